// Thread: a named std::jthread. The name (at most 15 bytes) shows in ps -L, gdb and perf.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <thread>

namespace glintfs {

class Thread {
 public:
  Thread() = default;
  Thread(std::string name, std::function<void(std::stop_token)> body);
  Thread(Thread&&) = default;
  Thread& operator=(Thread&&) = default;
  ~Thread() = default;  // asks to stop, then joins

  bool running() const { return thread_.joinable(); }  // started and not joined
  void RequestStop() { thread_.request_stop(); }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::jthread thread_;
};

}  // namespace glintfs
