#include "tests/support/fake_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "fs/base/unique_fd.h"
#include "fs/cache/cached_image.h"

namespace glintfs::testing {

// ---- FakeCache

void FakeCache::PutCached(const ImageInfo& info, ImageState state) {
  MutexLock lock(mu_);
  cached_[info.id.name] = {info, state};
}

void FakeCache::SetStats(const CacheStats& stats) {
  MutexLock lock(mu_);
  stats_ = stats;
}

CacheStats FakeCache::Stats() {
  MutexLock lock(mu_);
  ++hanging_;
  while (hang_stats_) let_go_.Wait(mu_);
  --hanging_;
  return stats_;
}

void FakeCache::HangStats() {
  MutexLock lock(mu_);
  hang_stats_ = true;
}

void FakeCache::LetStatsGo() {
  MutexLock lock(mu_);
  hang_stats_ = false;
  let_go_.NotifyAll();
}

int FakeCache::hanging() {
  MutexLock lock(mu_);
  return hanging_;
}

void FakeCache::FailEvict(std::optional<Error> error) {
  MutexLock lock(mu_);
  evict_error_ = std::move(error);
}

Result<void> FakeCache::Evict(std::string_view name) {
  AssertNoLockHeld();
  MutexLock lock(mu_);
  if (evict_error_) return *evict_error_;
  if (cached_.erase(std::string(name)) == 0) return Error{Errc::kNotFound, "not cached"};
  return {};
}

std::vector<ImageStatus> FakeCache::List() {
  AssertNoLockHeld();
  std::vector<ImageStatus> list;
  MutexLock lock(mu_);
  for (const auto& [name, cached] : cached_) {
    ImageStatus status;
    status.info = cached.first;
    status.state = cached.second;
    list.push_back(std::move(status));
  }
  return list;
}

std::vector<std::string> FakeCache::superseded() {
  MutexLock lock(mu_);
  return superseded_;
}

std::vector<std::string> FakeCache::gone() {
  MutexLock lock(mu_);
  return gone_;
}

RowId FakeCache::RowFor(const ImageId& id) {
  AssertNoLockHeld();
  MutexLock lock(mu_);
  return rows_.try_emplace({id.name, id.version}, rows_.size() + 1).first->second;
}

Result<std::shared_ptr<CachedImage>> FakeCache::OpenImage(const ImageInfo&) {
  return Error{Errc::kNotSupported, "FakeCache opens nothing"};
}

std::optional<ImageInfo> FakeCache::FindNewest(std::string_view name) {
  AssertNoLockHeld();
  MutexLock lock(mu_);
  const auto it = cached_.find(std::string(name));
  return it == cached_.end() ? std::nullopt : std::optional(it->second.first);
}

void FakeCache::SetAlias(std::string_view alias, std::string_view own_name) {
  AssertNoLockHeld();
  MutexLock lock(mu_);
  aliases_.Set(alias, own_name);
}

std::string FakeCache::OwnName(std::string_view name) {
  AssertNoLockHeld();
  MutexLock lock(mu_);
  return aliases_.OwnName(name).value_or(std::string(name));
}

std::vector<std::string> FakeCache::AliasesOf(std::string_view own_name) {
  AssertNoLockHeld();
  MutexLock lock(mu_);
  return aliases_.Of(own_name);
}

std::vector<ListEntry> FakeCache::NamesIn(std::string_view directory) {
  AssertNoLockHeld();
  const std::string prefix = directory.empty() ? "" : std::string(directory) + "/";
  MutexLock lock(mu_);
  std::map<std::string, bool> names;
  for (const auto& [name, cached] : cached_) {
    if (!name.starts_with(prefix)) continue;
    const std::string rest = name.substr(prefix.size());
    names[rest.substr(0, rest.find('/'))] = rest.find('/') != std::string::npos;
  }
  std::vector<ListEntry> entries;
  for (const auto& [name, is_directory] : names)
    entries.push_back(ListEntry{.name = name, .is_directory = is_directory});
  return entries;
}

void FakeCache::Supersede(const ImageId& current) {
  AssertNoLockHeld();
  MutexLock lock(mu_);
  superseded_.push_back(current.name + "@" + current.version);
  const auto it = cached_.find(current.name);
  if (it != cached_.end() && it->second.first.id != current) cached_.erase(it);
}

void FakeCache::Gone(std::string_view name) {
  AssertNoLockHeld();
  MutexLock lock(mu_);
  gone_.emplace_back(name);
  cached_.erase(std::string(name));
}

ImageStatus FakeCache::StatusOf(const ImageInfo& info) {
  MutexLock lock(mu_);
  ImageStatus status;
  status.info = info;
  if (const auto it = cached_.find(info.id.name); it != cached_.end()) {
    status.state = it->second.second;
    status.cached_bytes = info.size;
  }
  return status;
}

std::optional<ImageStatus> FakeCache::StatusOf(std::string_view name) {
  const auto info = FindNewest(name);
  return info ? std::optional(StatusOf(*info)) : std::nullopt;
}

// ---- FakeOpener

struct FakeOpener::State {
  explicit State(FakeBackend& b) : backend(b) {}

  FakeBackend& backend;
  Mutex mu;
  bool parking GUARDED_BY(mu) = false;
  std::string directory GUARDED_BY(mu);
  std::optional<Error> read_error GUARDED_BY(mu), open_error GUARDED_BY(mu);
  std::vector<std::pair<Image*, std::unique_ptr<ReadOp>>> parked GUARDED_BY(mu);
  int opens GUARDED_BY(mu) = 0;
  int alive GUARDED_BY(mu) = 0;
};

class FakeOpener::Image final : public OpenedImage {
 public:
  Image(std::shared_ptr<State> state, ImageInfo info, const std::string& directory)
      : state_(std::move(state)), info_(std::move(info)) {
    if (!directory.empty()) MakeFile(directory);
  }
  ~Image() override {
    MutexLock lock(state_->mu);
    --state_->alive;
  }

  void Read(std::unique_ptr<ReadOp> op) override {
    {
      MutexLock lock(state_->mu);
      if (state_->parking) {
        state_->parked.emplace_back(this, std::move(op));
        return;
      }
    }
    Answer(*op);
  }

  bool Cancel(uint64_t id) override {
    std::unique_ptr<ReadOp> op;
    {
      MutexLock lock(state_->mu);
      for (auto it = state_->parked.begin(); it != state_->parked.end(); ++it) {
        if (it->second->id != id) continue;
        op = std::move(it->second);
        state_->parked.erase(it);
        break;
      }
    }
    if (!op) return false;
    op->Fail(Error{Errc::kCancelled, "cancelled"});
    return true;
  }

  void Answer(ReadOp& op) {
    std::optional<Error> error;
    {
      MutexLock lock(state_->mu);
      error = state_->read_error;
    }
    if (error) return op.Fail(*error);
    const uint64_t from = std::min(op.offset, info_.size);
    const size_t length = std::min<uint64_t>(op.length, info_.size - from);
    ReadData data;
    data.offset = from;
    data.length = length;
    std::vector<std::byte> bytes;
    if (file_) {
      data.file = file_.get();
    } else {
      bytes = state_->backend.Expected(info_.id.name, info_.id.version, from, length);
      data.bytes = bytes;
    }
    op.Done(data);
  }

 private:
  class RealFile final : public File {
   public:
    explicit RealFile(UniqueFd fd) : fd_(std::move(fd)) {}
    Result<void> ReadAt(std::span<std::byte> buffer, uint64_t offset) const override {
      const ssize_t n = ::pread(fd_.get(), buffer.data(), buffer.size(), static_cast<off_t>(offset));
      return n == static_cast<ssize_t>(buffer.size()) ? Result<void>() : Result<void>(Errc::kIo, "short read");
    }
    Result<void> WriteAt(std::span<const std::byte> data, uint64_t offset) override {
      const ssize_t n = ::pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
      return n == static_cast<ssize_t>(data.size()) ? Result<void>() : Result<void>(Errc::kIo, "short write");
    }
    Result<void> Sync() override { return {}; }
    int fd() const override { return fd_.get(); }

   private:
    const UniqueFd fd_;
  };

  void MakeFile(const std::string& directory) {
    std::string path = directory + "/image-XXXXXX";
    UniqueFd fd(::mkstemp(path.data()));
    ::unlink(path.c_str());
    file_ = std::make_unique<RealFile>(std::move(fd));
    constexpr uint64_t kStep = 1 << 20;
    for (uint64_t at = 0; at < info_.size; at += kStep) {
      const auto bytes =
          state_->backend.Expected(info_.id.name, info_.id.version, at, std::min(kStep, info_.size - at));
      if (!file_->WriteAt(bytes, at)) throw std::runtime_error("cannot write " + path);
    }
  }

  const std::shared_ptr<State> state_;
  const ImageInfo info_;
  std::unique_ptr<File> file_;
};

FakeOpener::FakeOpener(FakeBackend& backend) : state_(std::make_shared<State>(backend)) {}
FakeOpener::~FakeOpener() = default;

ImageOpener FakeOpener::opener() {
  return [state = state_](const ImageInfo& info) -> Result<std::shared_ptr<OpenedImage>> {
    std::string directory;
    {
      MutexLock lock(state->mu);
      if (state->open_error) return *state->open_error;
      ++state->opens;
      ++state->alive;
      directory = state->directory;
    }
    return std::shared_ptr<OpenedImage>(std::make_shared<Image>(state, info, directory));
  };
}

void FakeOpener::UseFiles(const std::string& directory) {
  MutexLock lock(state_->mu);
  state_->directory = directory;
}

void FakeOpener::Park() {
  MutexLock lock(state_->mu);
  state_->parking = true;
}

void FakeOpener::Release() {
  std::vector<std::pair<Image*, std::unique_ptr<ReadOp>>> parked;
  {
    MutexLock lock(state_->mu);
    state_->parking = false;
    parked.swap(state_->parked);
  }
  for (auto& [image, op] : parked) image->Answer(*op);
}

void FakeOpener::FailReads(std::optional<Error> error) {
  MutexLock lock(state_->mu);
  state_->read_error = std::move(error);
}

void FakeOpener::FailOpens(std::optional<Error> error) {
  MutexLock lock(state_->mu);
  state_->open_error = std::move(error);
}

size_t FakeOpener::parked() {
  MutexLock lock(state_->mu);
  return state_->parked.size();
}

int FakeOpener::opens() {
  MutexLock lock(state_->mu);
  return state_->opens;
}

int FakeOpener::images_alive() {
  MutexLock lock(state_->mu);
  return state_->alive;
}

}  // namespace glintfs::testing
