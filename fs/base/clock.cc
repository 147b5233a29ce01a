#include "fs/base/clock.h"

namespace glintfs {
namespace {
class SystemClock final : public Clock {
 public:
  Nanos Now() const override { return std::chrono::steady_clock::now().time_since_epoch(); }
  Nanos WallNow() const override { return std::chrono::system_clock::now().time_since_epoch(); }
};
}  // namespace

Clock& Clock::System() {
  static SystemClock clock;
  return clock;
}

}  // namespace glintfs
