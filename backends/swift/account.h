// SwiftAccount: requests to the containers of one account. Shared by a backend and its readers, which may outlive it. Thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backends/http/client.h"
#include "backends/swift/login.h"
#include "backends/swift/page.h"

namespace glintfs {

class SwiftAccount {
 public:
  // A page of the longest names, every byte of them written as \uXXXX, stays below the longest answer that is read.
  static constexpr int kPageLimit = 2000;

  SwiftAccount(HttpSettings http, SwiftLogin login, int page_limit = kPageLimit)
      : login_(login), page_limit_(page_limit), http_(std::move(http), login.auth) {}

  // A request for what is called so. `object` may be empty: the container. Logs in if need be.
  Result<OriginRequest> Request(std::string_view container, std::string_view object, std::stop_token stop);

  // The headers alone, whatever the status.
  Result<OriginResponse> Head(const OriginRequest& request, std::stop_token stop);

  struct Query {
    std::string prefix;
    std::string marker;       // names after this one; empty: from the first
    bool directories = false;  // names are cut at the next '/'
    int limit = 0;            // 0: as many as make a page
  };
  // The names of a container in ascending order of their bytes. An empty page is the end; a short one is not.
  // kNotFound when there is no such container; kInvalid for a listing that makes no sense or does not go on.
  Result<std::vector<SwiftEntry>> List(std::string_view container, const Query& query, std::stop_token stop);

  Result<OriginResponse> Perform(const OriginRequest& request, HttpHandler& handler, std::stop_token stop) {
    return http_.Perform(request, handler, std::move(stop));
  }

  // The error for an answer whose status is not the one asked for.
  Error StatusError(const OriginRequest& request, const OriginResponse& response) const;

 private:
  const SwiftLogin login_;
  const int page_limit_;
  HttpClient http_;
  std::atomic<bool> server_sets_limit_{false};  // ours is above the server's, which then refuses it
};

}  // namespace glintfs
