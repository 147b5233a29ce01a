// How interrupts get along with libfuse. It calls OnInterrupt under a lock of the request, with data that must still
// mean something: an id, which the Filesystem may find gone. Replying from there is sound when another thread's
// INTERRUPT calls it, since libfuse then holds a reference to the request; it is not when fuse_req_interrupt_func calls
// it itself for a request that was interrupted before, since the reply would free the request under its own lock. So
// that call does nothing, and the constructor asks afterwards.
//
// The function is registered before the request is handed on: later it could be answered, and freed, meanwhile.
#include "fs/fuse/request.h"

namespace glintfs {
namespace {
thread_local bool registering = false;
}  // namespace

WaitingRequest::WaitingRequest(Request request, Filesystem& filesystem)
    : filesystem_(filesystem), request_(std::move(request)), id_(filesystem.BeginRequest()) {
  registering = true;
  fuse_req_interrupt_func(request_.get(), OnInterrupt, reinterpret_cast<void*>(id_));
  registering = false;
  if (fuse_req_interrupted(request_.get())) Error(EINTR);
}

void WaitingRequest::OnInterrupt(fuse_req_t req, void* data) {
  if (registering) return;
  const auto* context = static_cast<const AdapterContext*>(fuse_req_userdata(req));
  context->filesystem.Interrupt(reinterpret_cast<RequestId>(data));
}

}  // namespace glintfs
