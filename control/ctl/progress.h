// Progress of one image as a line of text, and the rate it goes at. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

namespace glintfs::ctl {

// Bytes per second over the last few seconds.
class RateMeter {
 public:
  using Nanos = std::chrono::nanoseconds;

  // `now` never goes back. Fewer bytes than before (the image was evicted) start over.
  void Add(Nanos now, uint64_t bytes);
  double BytesPerSecond() const;

 private:
  static constexpr Nanos kWindow = std::chrono::seconds(5);
  std::deque<std::pair<Nanos, uint64_t>> samples_;
};

struct Progress {
  std::string name;
  std::string note;    // "queued", "retrying" … instead of a rate
  uint64_t done = 0;   // bytes
  uint64_t total = 0;  // bytes; 0: not known yet
  double rate = 0;     // bytes/s; 0: not known
  std::string count{};  // of several images: "3 of 40 images, 1 failed"
  bool at_least = false;  // more is to come than total: sizes are not known yet
};

// "45%  1.2 GiB of 2.7 GiB  210 MiB/s  8s left"
std::string ProgressText(const Progress& progress);

// "disk.img  [=====>     ]  45%  1.2 GiB of …", cut or filled so that it takes `width` columns at most.
std::string ProgressBar(const Progress& progress, size_t width);

}  // namespace glintfs::ctl
