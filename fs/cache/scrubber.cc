// The disk is read past the page cache (File::ReadFromDisk): what is in memory may be right while the disk is not, and the
// pages of readers stay where they are.
//
// Left out on purpose: scrubbing by the clock. When to put a load on the disk is for who runs it to say (cron, a timer).
#include "fs/cache/scrubber.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "fs/base/log.h"
#include "fs/cache/cached_image.h"
#include "fs/cache/image_table.h"
#include "fs/cache/verifier.h"

namespace glintfs {
namespace {

constexpr Nanos kSlice = std::chrono::milliseconds(250);
constexpr Nanos kPoll = std::chrono::milliseconds(20);
constexpr uint64_t kReadIds = uint64_t{1} << 63;  // apart from those of the file system's requests

Nanos BackOff(int tries) { return std::chrono::seconds(std::min<int64_t>(300, int64_t{1} << std::min(tries - 1, 9))); }

std::string BadChunks(uint64_t count) { return fmt::format("{} bad chunk{}", count, count == 1 ? "" : "s"); }

// This thread only: after everybody else, on the processor and, where the disk's scheduler knows it, on the disk.
void StepBack() {
  setpriority(PRIO_PROCESS, 0, 19);
  constexpr int kWhoProcess = 1, kIdleClass = 3 << 13;
  ::syscall(SYS_ioprio_set, kWhoProcess, 0, kIdleClass);
}

// A read nobody waits for but the scrubber.
class RefetchOp final : public ReadOp {
 public:
  struct Outcome {
    Mutex mu;
    CondVar changed;
    std::optional<Result<void>> result GUARDED_BY(mu);
  };
  RefetchOp(uint64_t op_id, uint64_t at, size_t size, std::shared_ptr<Outcome> outcome)
      : ReadOp(op_id, at, size), outcome_(std::move(outcome)) {}

  bool Done(const ReadData&) override {
    Set({});
    return true;
  }
  void Fail(const Error& error) override { Set(error); }

 private:
  void Set(Result<void> result) {
    MutexLock lock(outcome_->mu);
    outcome_->result = std::move(result);
    outcome_->changed.NotifyAll();
  }
  const std::shared_ptr<Outcome> outcome_;
};

}  // namespace

struct Scrubber::Look {
  const ImageInfo info;
  std::optional<Checksum> checksum{};
  std::unique_ptr<Digest> digest{};  // null: there is nothing to compare the whole with
  uint64_t next = 0;                 // chunk
  bool whole = true;                 // every chunk so far was there and good
};

Scrubber::Scrubber(Callbacks callbacks, Clock& clock) : callbacks_(std::move(callbacks)), clock_(clock) {
  thread_ = Thread("scrub", [this](std::stop_token stop) {
    StepBack();
    Run(stop);
  });
}

Scrubber::~Scrubber() { Stop(); }

void Scrubber::Stop() {
  thread_.RequestStop();
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  thread_.Join();
}

Scrubber::Record* Scrubber::FindLocked(const ImageId& id) {
  const auto it = records_.find(RowKey(id));
  return it == records_.end() ? nullptr : &it->second;
}

void Scrubber::Add(const ImageInfo& image) {
  {
    MutexLock lock(mu_);
    const std::string key = RowKey(image.id);
    Record& record = records_[key];
    if (record.status.state == ScrubStatus::State::kWaiting || record.status.state == ScrubStatus::State::kRunning) return;
    record = {.image = image, .status = {}, .bad = std::move(record.bad)};  // what is not back yet is still to come
    record.status.bad_chunks = record.bad.size();
    record.status.state = ScrubStatus::State::kWaiting;
    waiting_.push_back(key);
  }
  wake_.NotifyAll();
}

ScrubStatus Scrubber::StatusOf(const ImageId& id) {
  MutexLock lock(mu_);
  const Record* record = FindLocked(id);
  return record == nullptr ? ScrubStatus() : record->status;
}

void Scrubber::AddTo(std::vector<ImageStatus>& images) {
  MutexLock lock(mu_);
  if (records_.empty()) return;
  for (ImageStatus& image : images)
    if (const Record* record = FindLocked(image.info.id)) image.scrub = record->status;
}

ScrubCounts Scrubber::counts() {
  MutexLock lock(mu_);
  ScrubCounts counts = counts_;
  counts.waiting = waiting_.size();
  return counts;
}

void Scrubber::OnCompleted(const ImageId& id) {
  {
    MutexLock lock(mu_);
    const Record* record = FindLocked(id);
    if (record == nullptr) return;
    const bool waits = record->replace || (record->status.state == ScrubStatus::State::kFailed && !record->bad.empty());
    if (!waits) return;
  }
  Finish(id, ScrubStatus::State::kRepaired, "", false);
}

bool Scrubber::Owns(const ImageId& id) {
  MutexLock lock(mu_);
  const Record* record = FindLocked(id);
  return record != nullptr && (record->status.state == ScrubStatus::State::kRunning || record->retry_at.count() != 0);
}

bool Scrubber::OnRemoved(const ImageId& id) {
  MutexLock lock(mu_);
  const Record* record = FindLocked(id);
  if (record == nullptr) return false;
  if (record->replace) return true;
  // While it waits or runs, the thread finds out.
  if (record->status.state != ScrubStatus::State::kWaiting && record->status.state != ScrubStatus::State::kRunning)
    records_.erase(RowKey(id));
  return false;
}

void Scrubber::Forget(const ImageId& id) {
  MutexLock lock(mu_);
  records_.erase(RowKey(id));
}

void Scrubber::Finish(const ImageId& id, ScrubStatus::State state, std::string error, bool again) {
  ScrubStatus status;
  {
    MutexLock lock(mu_);
    Record* record = FindLocked(id);
    if (record == nullptr) return;
    const bool news = record->status.state != state;
    record->status.state = state;
    record->status.error = std::move(error);
    record->status.finished = clock_.WallNow();
    if (state == ScrubStatus::State::kGood) ++counts_.good;
    if (state == ScrubStatus::State::kRepaired) ++counts_.repaired;
    if (state == ScrubStatus::State::kFailed && news) ++counts_.failed;
    if (state == ScrubStatus::State::kRepaired) {
      record->bad.clear();
      record->replace = false;
    }
    record->retry_at = again ? Clock::System().Now() + BackOff(++record->tries) : Nanos(0);
    status = record->status;
    if (!news) return;
  }
  switch (state) {
    case ScrubStatus::State::kGood: LogInfo("{}: scrubbed, all of it is good", id.name); break;
    case ScrubStatus::State::kRepaired: LogInfo("{}: scrubbed, {} fetched again", id.name, BadChunks(status.bad_chunks)); break;
    case ScrubStatus::State::kFailed: LogWarn("{}: scrub: {}", id.name, status.error); break;
    case ScrubStatus::State::kNever:
    case ScrubStatus::State::kWaiting:
    case ScrubStatus::State::kRunning: break;
  }
}

// Repairs that are due before images that wait: they are short.
Scrubber::Record* Scrubber::NextLocked(Nanos& wait) {
  const Nanos now = Clock::System().Now();
  wait = std::chrono::hours(1);
  for (auto& [key, record] : records_) {
    if (record.retry_at.count() == 0) continue;
    if (record.retry_at <= now) return &record;
    wait = std::min(wait, record.retry_at - now);
  }
  while (!waiting_.empty()) {
    const auto it = records_.find(waiting_.front());
    waiting_.pop_front();
    if (it == records_.end()) continue;
    it->second.status.state = ScrubStatus::State::kRunning;
    return &it->second;
  }
  return nullptr;
}

void Scrubber::Run(std::stop_token stop) {
  for (;;) {
    ImageInfo image;
    bool repair;
    {
      MutexLock lock(mu_);
      Nanos wait;
      Record* record = nullptr;
      while (!stopping_ && (record = NextLocked(wait)) == nullptr) wake_.WaitFor(mu_, wait);
      if (stopping_) return;
      image = record->image;
      repair = record->status.state != ScrubStatus::State::kRunning;
      record->retry_at = Nanos(0);
      counts_.running = repair ? 0 : 1;
    }
    if (!repair) {
      Check(image, stop);
    } else if (const auto used = callbacks_.use(image)) {
      Repair(**used, stop);
    } else {
      Forget(image.id);
    }
    MutexLock lock(mu_);
    counts_.running = 0;
  }
}

void Scrubber::Check(const ImageInfo& info, std::stop_token stop) {
  Look look{.info = info};
  look.checksum = callbacks_.find_checksum(info, stop);
  if (look.checksum) look.digest = Digest::Make(look.checksum->algorithm);
  for (;;) {
    const Nanos begin = Clock::System().Now();
    {
      const auto image = callbacks_.use(info);
      if (!image && image.error().code == Errc::kNotFound) return Forget(info.id);  // evicted
      if (!image) return Finish(info.id, ScrubStatus::State::kFailed, image.error().message, false);
      if ((*image)->file_left_alone())
        return Finish(info.id, ScrubStatus::State::kFailed, "its data file cannot be opened now", false);
      const bool more = CheckSlice(look, **image, stop);
      if (stop.stop_requested()) return;
      if (!more) return Judge(look, **image, stop);
    }
    Rest(Clock::System().Now() - begin);
  }
}

// False when there is no more to look at.
bool Scrubber::CheckSlice(Look& look, CachedImage& image, std::stop_token stop) {
  const Nanos until = Clock::System().Now() + kSlice;
  std::vector<std::byte> buffer;
  while (look.next < image.chunks()) {
    if (stop.stop_requested() || Clock::System().Now() >= until) return true;
    const uint64_t present = image.NextPresent(look.next);
    if (present != look.next) look.whole = false;
    look.next = present;
    if (present >= image.chunks()) break;
    const CachedImage::Check check = image.CheckOnDisk(present, buffer);
    if (check != CachedImage::Check::kGood) look.whole = false;
    if (look.whole && look.digest) look.digest->Update(buffer);
    ++look.next;
    if (check == CachedImage::Check::kAbsent) continue;
    MutexLock lock(mu_);
    counts_.bytes += buffer.size();
    Record* record = FindLocked(look.info.id);
    if (record == nullptr) continue;
    record->status.checked_bytes += buffer.size();
    if (check != CachedImage::Check::kBad) continue;
    ++record->status.bad_chunks;
    record->bad.push_back(present);
  }
  return false;
}

void Scrubber::Judge(Look& look, CachedImage& image, std::stop_token stop) {
  bool bad, any;
  {
    MutexLock lock(mu_);
    const Record* record = FindLocked(look.info.id);
    if (record == nullptr) return;
    bad = !record->bad.empty();
    any = record->status.checked_bytes > 0 || image.chunks() == 0;
  }
  // A reader may have been the one who found it.
  if (bad || (image.sealed() && image.PresentRun(0) < image.chunks())) return Repair(image, stop);
  if (!any) return Forget(look.info.id);  // evicted, and what is there now is new and empty
  if (look.whole && look.digest) {
    const std::string found = look.digest->FinishHex();
    if (found != look.checksum->hex) {
      std::string message = fmt::format("its {} is {}, the source says {}", look.checksum->algorithm, found, look.checksum->hex);
      callbacks_.failed(image, message);
      return Finish(look.info.id, ScrubStatus::State::kFailed, std::move(message), false);
    }
    callbacks_.passed(image);
  }
  Finish(look.info.id, ScrubStatus::State::kGood, "", false);
}

void Scrubber::Repair(CachedImage& image, std::stop_token stop) {
  if (image.sealed()) return Replace(image, std::move(stop));
  const ImageId& id = image.info().id;
  std::vector<uint64_t> bad;
  {
    MutexLock lock(mu_);
    Record* record = FindLocked(id);
    if (record == nullptr) return;
    bad = record->bad;
  }
  for (const uint64_t chunk : bad) {
    const Result<void> fetched = Refetch(image, chunk, stop);
    if (stop.stop_requested()) return;
    if (!fetched)
      return Finish(id, ScrubStatus::State::kFailed,
                    fmt::format("{}, not fetched again yet: {}", BadChunks(bad.size()), fetched.error().ToString()), true);
  }
  Finish(id, ScrubStatus::State::kRepaired, "", false);
}

// The good part of it is worth more than nothing: it stays until the source is seen to give what is bad.
void Scrubber::Replace(CachedImage& image, std::stop_token stop) {
  const ImageId& id = image.info().id;
  size_t bad;
  {
    MutexLock lock(mu_);
    Record* record = FindLocked(id);
    if (record == nullptr) return;
    record->replace = true;
    bad = record->bad.size();
  }
  const uint64_t absent = image.PresentRun(0);
  if (absent < image.chunks()) {
    const Result<void> fetched = Refetch(image, absent, stop);
    if (stop.stop_requested()) return;
    if (!fetched && fetched.error().code != Errc::kNoSpace)  // kNoSpace: it came, and is not kept
      return Finish(id, ScrubStatus::State::kFailed,
                    fmt::format("{}, to be replaced once the source can give them: {}", BadChunks(bad), fetched.error().ToString()), true);
  }
  if (!callbacks_.replace(id)) return;  // running until it is complete again
  Finish(id, ScrubStatus::State::kFailed,
         fmt::format("{}; whoever has it open may read it past glintfs, so it is removed once nobody has, and then "
                     "fetched anew", BadChunks(bad)), false);
}

// A read is answered before the chunk is on disk: so this waits for the flight to be over, too.
Result<void> Scrubber::Refetch(CachedImage& image, uint64_t chunk, std::stop_token stop) {
  if (image.IsPresent(chunk)) return {};
  const uint64_t offset = chunk * image.chunk_size();
  const auto outcome = std::make_shared<RefetchOp::Outcome>();
  const uint64_t id = kReadIds + next_read_++;
  image.Refetch(std::make_unique<RefetchOp>(id, offset, std::min(image.chunk_size(), image.info().size - offset), outcome));
  for (;;) {
    {
      MutexLock lock(outcome->mu);
      if (!outcome->result) outcome->changed.WaitFor(outcome->mu, kPoll);
      if (outcome->result && !*outcome->result) return *outcome->result;
      if (outcome->result) break;
    }
    if (stop.stop_requested()) image.Cancel(id);  // again and again: it may be between two flights
  }
  while (image.IsInFlight(chunk) && !image.IsPresent(chunk)) {
    if (stop.stop_requested()) return Error{Errc::kCancelled, "stopping"};
    Rest(kPoll);
  }
  return image.IsPresent(chunk) ? Result<void>() : Error{Errc::kNoSpace, "the cache cannot keep it now"};
}

void Scrubber::Rest(Nanos time) {
  const Nanos until = Clock::System().Now() + time;
  MutexLock lock(mu_);
  for (Nanos left = time; left > Nanos(0) && !stopping_; left = until - Clock::System().Now()) wake_.WaitFor(mu_, left);
}

}  // namespace glintfs
