// Scrubber: rereads images from disk on request, on one thread of its own: each present chunk against its hash, a whole image
// against the checksum of the source. Bad chunks are fetched again.
//
//                  ┌─▶ good
//   waiting ─▶ running ─▶ bad chunks: absent ─▶ fetched ─▶ repaired
//                  │                     │ └─ the source cannot give them ─▶ failed, tried again with growing pauses ─▶ repaired
//                  │                     └─── passed through: replaced as a whole, once the source gives what is bad and
//                  │                          nobody has it open (failed until then) ───▶ repaired
//                  └─▶ failed            (invalid; a wrong checksum)
//
// It holds an image for a slice of a quarter of a second at a time and then rests as long: so it takes half of the disk's time
// at most, an eviction waits for it no longer than that, and an image that is evicted meanwhile is simply gone. Being scrubbed
// does not count as use.
//
// Thread-safe. Callbacks happen on its thread, without locks.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "backends/backend.h"
#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "fs/base/thread.h"
#include "fs/cache/cache_stats.h"
#include "fs/cache/image_status.h"

namespace glintfs {

class CachedImage;

class Scrubber {
 public:
  struct Callbacks {
    // Ready to be read. kNotFound: nothing of it is cached any more; any other error: it cannot be checked.
    std::function<Result<std::shared_ptr<CachedImage>>(const ImageInfo&)> use;
    // What the whole is to be compared with. May wait for the source.
    std::function<std::optional<Checksum>(const ImageInfo&, std::stop_token)> find_checksum;
    std::function<void(CachedImage&)> passed;  // the whole matches
    std::function<void(CachedImage&, std::string message)> failed;
    // It was found bad, its file is not to be written, and the source has it: it may go once nobody uses it, and is then queued.
    // True: somebody has it open.
    std::function<bool(const ImageId&)> replace;
  };
  Scrubber(Callbacks callbacks, Clock& clock);
  ~Scrubber();

  void Add(const ImageInfo& image);  // no effect while it waits or runs
  void Stop();

  ScrubStatus StatusOf(const ImageId& id);
  void AddTo(std::vector<ImageStatus>& images);
  ScrubCounts counts();

  // The image is complete: whatever was bad is not any more.
  void OnCompleted(const ImageId& id);
  // It is being looked at, or waits for the source: what is found bad of it is not to be removed yet.
  bool Owns(const ImageId& id);
  // It was removed. True when it was found bad and is to be fetched anew: then its scrub is not over.
  bool OnRemoved(const ImageId& id);

 private:
  struct Record {
    ImageInfo image;
    ScrubStatus status;
    std::vector<uint64_t> bad{};  // chunks that were found bad and are not back yet
    bool replace = false;         // as a whole: its file is not to be written
    Nanos retry_at{0};            // monotonic; 0: not to be tried
    int tries = 0;
  };
  struct Look;  // at one image

  void Run(std::stop_token stop);
  Record* NextLocked(Nanos& wait) REQUIRES(mu_);
  void Check(const ImageInfo& image, std::stop_token stop);
  bool CheckSlice(Look& look, CachedImage& image, std::stop_token stop);
  void Judge(Look& look, CachedImage& image, std::stop_token stop);
  void Repair(CachedImage& image, std::stop_token stop);
  void Replace(CachedImage& image, std::stop_token stop);
  Result<void> Refetch(CachedImage& image, uint64_t chunk, std::stop_token stop);
  void Rest(Nanos time);
  void Finish(const ImageId& id, ScrubStatus::State state, std::string error, bool again);
  void Forget(const ImageId& id);
  Record* FindLocked(const ImageId& id) REQUIRES(mu_);

  const Callbacks callbacks_;
  Clock& clock_;
  Mutex mu_;
  CondVar wake_;
  std::unordered_map<std::string, Record> records_ GUARDED_BY(mu_);  // those that were asked for, by what names an image
  std::deque<std::string> waiting_ GUARDED_BY(mu_);                  // keys of records_
  ScrubCounts counts_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  uint64_t next_read_ = 0;  // the thread's own
  Thread thread_;
};

}  // namespace glintfs
