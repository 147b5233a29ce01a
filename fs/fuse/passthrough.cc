#include "fs/fuse/passthrough.h"

#include <chrono>
#include <utility>

#include "fs/base/clock.h"
#include "fs/base/log.h"

namespace glintfs {
namespace {
constexpr Nanos kLook = std::chrono::milliseconds(5);
}  // namespace

// The port, for one call; Stop waits for it.
class PortCall {
 public:
  explicit PortCall(Passthrough& passthrough) : passthrough_(passthrough) {
    MutexLock lock(passthrough_.mu_);
    port_ = passthrough_.stopping_ ? nullptr : passthrough_.port_;
    if (port_ != nullptr) ++passthrough_.calls_;
  }
  ~PortCall() {
    if (port_ == nullptr) return;
    MutexLock lock(passthrough_.mu_);
    if (--passthrough_.calls_ == 0 && passthrough_.stopping_) passthrough_.changed_.NotifyAll();
  }
  PortCall(const PortCall&) = delete;
  KernelPort* port() const { return port_; }

 private:
  Passthrough& passthrough_;
  KernelPort* port_ = nullptr;
};

Passthrough::Passthrough(std::function<int()> names_waiting) : names_waiting_(std::move(names_waiting)) {}
Passthrough::~Passthrough() { Stop(); }

void Passthrough::Connect(KernelPort& port) {
  {
    MutexLock lock(mu_);
    port_ = &port;
  }
  thread_ = Thread("flip", [this](std::stop_token stop) { Run(std::move(stop)); });
}

void Passthrough::Start(KernelPort& port) {
  Connect(port);
  on_ = true;
  decided_ = true;
}

void Passthrough::Refuse(KernelPort& port) {
  Connect(port);
  decided_ = true;
}

void Passthrough::Stop() {
  on_ = false;
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.NotifyAll();
    while (calls_ > 0) changed_.Wait(mu_);
    port_ = nullptr;
    jobs_.clear();
  }
  thread_.RequestStop();
  thread_.Join();
}

Result<int32_t> Passthrough::Register(int fd) {
  if (!on_) return Error{Errc::kNotSupported, "passthrough is off"};
  const PortCall call(*this);
  if (call.port() == nullptr) return Error{Errc::kNotSupported, "passthrough is off"};
  return call.port()->Register(fd);
}

void Passthrough::Unregister(int32_t backing_id) {
  const PortCall call(*this);
  if (call.port() != nullptr) call.port()->Unregister(backing_id);  // else the kernel forgets it with the mount
}

void Passthrough::InvalidateSoon(uint64_t parent, std::string name) {
  MutexLock lock(mu_);
  if (port_ == nullptr || stopping_) return;
  jobs_.push_back({parent, std::move(name), Clock::System().Now() + kNameTtl});
  changed_.NotifyAll();
}

void Passthrough::InvalidatePagesSoon(uint64_t node) {
  MutexLock lock(mu_);
  if (port_ == nullptr || stopping_) return;
  // The first one may be under way: what was read since needs another.
  for (size_t i = 1; i < jobs_.size(); ++i)
    if (jobs_[i].node == node && jobs_[i].name.empty()) return;
  jobs_.push_back({node, "", Nanos::max()});
  changed_.NotifyAll();
}

size_t Passthrough::waiting() {
  MutexLock lock(mu_);
  return jobs_.size();
}

void Passthrough::Run(std::stop_token) {
  Clock& clock = Clock::System();
  for (;;) {
    Job job;
    {
      MutexLock lock(mu_);
      while (jobs_.empty() && !stopping_) changed_.Wait(mu_);
      if (stopping_) return;
      job = jobs_.front();
    }
    while (!job.name.empty() && names_waiting_() > 0 && clock.Now() < job.until) {
      MutexLock lock(mu_);
      if (stopping_) return;
      changed_.WaitFor(mu_, kLook);
    }
    if (clock.Now() < job.until) {
      const PortCall call(*this);
      if (call.port() == nullptr) return;
      const auto done = job.name.empty() ? call.port()->InvalidatePages(job.node) : call.port()->InvalidateEntry(job.node, job.name);
      if (!done && done.error().code != Errc::kNotFound) LogDebug("{}", done.error().ToString());
    }
    MutexLock lock(mu_);
    if (!jobs_.empty()) jobs_.pop_front();
  }
}

}  // namespace glintfs
