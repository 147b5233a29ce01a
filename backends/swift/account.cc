#include "backends/swift/account.h"

#include <fmt/format.h>

#include "backends/http/handlers.h"
#include "backends/swift/answer.h"
#include "fs/base/percent.h"

namespace glintfs {
namespace {

constexpr size_t kMaxPage = 16 << 20;

std::string QueryText(const SwiftAccount::Query& query, int limit) {
  std::string text = "format=json";
  if (query.directories) text += "&delimiter=%2F";
  if (!query.prefix.empty()) text += "&prefix=" + PercentEncode(query.prefix);
  if (!query.marker.empty()) text += "&marker=" + PercentEncode(query.marker);
  if (limit > 0) text += fmt::format("&limit={}", limit);
  return text;
}

}  // namespace

Result<OriginRequest> SwiftAccount::Request(std::string_view container, std::string_view object, std::stop_token stop) {
  OriginRequest request;
  if (login_.storage) {
    request.url = *login_.storage;
  } else {
    GLINTFS_ASSIGN(request.url, login_.auth->Endpoint("object-store", std::move(stop)));
  }
  request.url = request.url.Below(container);
  if (!object.empty()) {
    request.url.path += '/';
    request.url = request.url.Below(object);
  }
  return request;
}

Result<OriginResponse> SwiftAccount::Head(const OriginRequest& request, std::stop_token stop) {
  OriginRequest head = request;
  head.head = true;
  IgnoreBody ignore;
  return http_.Perform(head, ignore, std::move(stop));
}

Result<std::vector<SwiftEntry>> SwiftAccount::List(std::string_view container, const Query& query, std::stop_token stop) {
  GLINTFS_ASSIGN(OriginRequest request, Request(container, "", stop));
  const int limit = query.limit > 0 ? query.limit : server_sets_limit_ ? 0 : page_limit_;
  request.url.query = QueryText(query, limit);
  KeepBody page(kMaxPage, {Errc::kInvalid, "a page of the listing is too long"});
  GLINTFS_ASSIGN(const OriginResponse response, http_.Perform(request, page, stop));
  if (response.status == 412 && limit > 1) {
    server_sets_limit_ = true;
    Query again = query;
    again.limit = 0;
    return List(container, again, std::move(stop));
  }
  if (response.status == 204) return std::vector<SwiftEntry>();
  if (response.status != 200) return StatusError(request, response);
  auto entries = ParseSwiftPage(page.body());
  if (!entries) return Error{entries.error().code, fmt::format("{}: {}", HttpClient::Describe(request), entries.error().message)};
  if (!entries->empty() && entries->back().name <= query.marker)
    return Error{Errc::kInvalid, fmt::format("{}: the listing does not go on after its marker", HttpClient::Describe(request))};
  return entries;
}

Error SwiftAccount::StatusError(const OriginRequest& request, const OriginResponse& response) const {
  return SwiftStatusError(request, response, login_.auth->DescribeLogin());
}

}  // namespace glintfs
