// Request: one kernel request on its way to its reply. Whoever holds it owes the reply; one that is dropped replies
// EIO. WaitingRequest: one that may be answered later and can be interrupted. For adapter*.cc only.
#pragma once

#include <fuse_lowlevel.h>

#include <cerrno>
#include <utility>

#include "fs/fuse/adapter.h"

namespace glintfs {

class Request {
 public:
  explicit Request(fuse_req_t req) : req_(req) {}
  Request(Request&& other) noexcept : req_(std::exchange(other.req_, nullptr)) {}
  Request& operator=(Request&&) = delete;
  ~Request() {
    if (req_ != nullptr) Error(EIO);
  }

  // The raw request, for one fuse_reply_* call; from then on it is gone.
  fuse_req_t Take() {
    AssertNoLockHeld();
    return std::exchange(req_, nullptr);
  }
  fuse_req_t get() const { return req_; }
  void Error(int err) { fuse_reply_err(Take(), err); }

 private:
  fuse_req_t req_;
};

class WaitingRequest {
 public:
  // Takes the request over. An interrupt that came already is answered at once: check `interrupted`.
  WaitingRequest(Request request, Filesystem& filesystem);
  WaitingRequest(WaitingRequest&&) = delete;
  ~WaitingRequest() { Finish([](Request& request) { request.Error(EIO); }); }

  RequestId id() const { return id_; }
  fuse_req_t get() const { return request_.get(); }
  // Replies through `reply(Request&)`, once; later calls do nothing.
  template <typename Reply>
  void Finish(Reply reply) {
    if (request_.get() == nullptr) return;
    reply(request_);
    filesystem_.EndRequest(id_);
  }
  void Error(int err) {
    Finish([err](Request& request) { request.Error(err); });
  }

 private:
  static void OnInterrupt(fuse_req_t req, void* data);

  Filesystem& filesystem_;
  Request request_;
  const RequestId id_;
};

}  // namespace glintfs
