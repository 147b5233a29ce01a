// Keeps the receive windows of connections to a near server small.
//
// A window that autotuning has opened to megabytes is of no use within a round trip of 2 ms, and does harm: a server with one
// event loop (nginx) fills the windows of all background extents before it turns to the demand read that came after them.
// Measured over loopback while a fill runs at 1 GB/s: a demand read takes 2 to 3 ms with open windows, 0.3 ms with 256 KiB
// ones, and the fill is as fast. A farther server is left to autotuning.
#pragma once

#include <atomic>

namespace glintfs {

// Thread-safe; shared by all connections of a pool.
class NearWindow {
 public:
  // Before a socket is connected: a window that was already opened wide would drop what the server sends into it.
  void OnOpen(int socket) const;
  // With the first answer over a socket: tells whether the server is near. `empty`: the answer has no body.
  void OnFirstAnswer(int socket, bool empty);

 private:
  std::atomic<bool> near_{false};
};

}  // namespace glintfs
