// Hangs are polled every few milliseconds rather than notified, so that a stop_token needs no callback that takes the
// lock.
#include "tests/support/fake_backend.h"

#include <algorithm>
#include <cstring>
#include <thread>

namespace glintfs::testing {
namespace {

uint64_t Mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

uint64_t Seed(const ImageId& id) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : id.name + "\n" + id.version) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

void Generate(uint64_t seed, uint64_t offset, std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size()) {
    const uint64_t word = Mix(seed + (offset + done) / 8);
    const size_t skip = (offset + done) % 8;
    const size_t n = std::min(out.size() - done, 8 - skip);
    std::memcpy(out.data() + done, reinterpret_cast<const char*>(&word) + skip, n);
    done += n;
  }
}

void ZeroOut(const std::vector<Extent>& zeros, uint64_t offset, std::span<std::byte> out) {
  for (const Extent& zero : zeros) {
    const uint64_t begin = std::max(zero.offset, offset);
    const uint64_t end = std::min(zero.end(), offset + out.size());
    if (begin < end) std::memset(out.data() + (begin - offset), 0, end - begin);
  }
}

}  // namespace

class FakeBackend::Reader final : public ImageReader {
 public:
  Reader(FakeBackend& backend, const ImageInfo& image) : ImageReader(image.size), backend_(backend), id_(image.id) {}

  Result<std::vector<Extent>> Holes(std::stop_token) override {
    MutexLock lock(backend_.mu_);
    return backend_.versions_[{id_.name, id_.version}].holes;
  }

 private:
  struct Running {
    explicit Running(FakeBackend& b) : backend(b) {
      const int now = ++backend.running_fetches_;
      int max = backend.max_running_fetches_;
      while (now > max && !backend.max_running_fetches_.compare_exchange_weak(max, now)) {
      }
    }
    ~Running() { --backend.running_fetches_; }
    FakeBackend& backend;
  };

  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override {
    const Running running(backend_);
    backend_.Note(Call::kFetch, id_.name);
    const size_t slot = backend_.StartDelivery(id_.name, extent.offset);
    {
      MutexLock lock(backend_.mu_);
      backend_.fetches_[id_.name].push_back(extent);
    }
    std::vector<std::byte> block;
    uint64_t passed = 0;
    while (passed < extent.length) {
      GLINTFS_TRY(backend_.MaybeTrouble(Call::kFetch, id_.name, passed, stop));
      GLINTFS_TRY(backend_.CheckCurrent(id_));
      if (!backend_.seekable_ && extent.offset != 0) return Error{Errc::kNotSupported, "fake source has no ranges"};
      if (stop.stop_requested()) return Error{Errc::kCancelled, "stopped"};
      uint64_t n = std::min<uint64_t>(backend_.block_size_, extent.length - passed);
      n = std::min(n, backend_.UntilTrouble(Call::kFetch, id_.name, passed));
      block.resize(n);
      backend_.Fill(id_, extent.offset + passed, block);
      Pace(n);
      backend_.NoteDelivered(id_.name, slot, n);
      passed += n;
      if (!sink.Write(block)) return {};
    }
    return {};
  }

  void Pace(uint64_t bytes) const {
    if (const uint64_t rate = backend_.bytes_per_second_; rate != 0)
      std::this_thread::sleep_for(std::chrono::nanoseconds(bytes * 1'000'000'000 / rate));
  }

  FakeBackend& backend_;
  const ImageId id_;
};

// ---- What the source holds

void FakeBackend::Put(const std::string& name, FakeImage image) {
  MutexLock lock(mu_);
  versions_[{name, image.version}] = image;
  images_[name] = std::move(image);
}

void FakeBackend::PutAlias(const std::string& alias, const std::string& name) {
  MutexLock lock(mu_);
  aliases_[alias] = name;
}

void FakeBackend::PutDirectory(const std::string& name) {
  MutexLock lock(mu_);
  directories_[name] = true;
}

void FakeBackend::Remove(const std::string& name) {
  MutexLock lock(mu_);
  images_.erase(name);
  directories_.erase(name);
}

ImageInfo FakeBackend::Info(const std::string& name) {
  MutexLock lock(mu_);
  const FakeImage& image = images_.at(name);
  return ImageInfo{.id = {source(), name, image.version}, .size = image.size, .mtime = image.mtime};
}

std::vector<std::byte> FakeBackend::Expected(const std::string& name, const std::string& version, uint64_t offset,
                                             size_t length) {
  std::vector<std::byte> bytes(length);
  const ImageId id{source(), name, version};
  Generate(Seed(id), offset, bytes);
  MutexLock lock(mu_);
  ZeroOut(versions_[{name, version}].zeros, offset, bytes);
  return bytes;
}

std::vector<std::byte> FakeBackend::Expected(const std::string& name, uint64_t offset, size_t length) {
  return Expected(name, Info(name).id.version, offset, length);
}

void FakeBackend::Fill(const ImageId& id, uint64_t offset, std::span<std::byte> out) {
  Generate(Seed(id), offset, out);
  MutexLock lock(mu_);
  ZeroOut(versions_[{id.name, id.version}].zeros, offset, out);
  if (const auto bad = corrupt_.find(id.name); bad != corrupt_.end())
    if (bad->second >= offset && bad->second < offset + out.size()) out[bad->second - offset] ^= std::byte{0xff};
}

bool FakeBackend::IsDirectory(const std::string& name) const {
  if (name.empty() || directories_.contains(name)) return true;
  const std::string prefix = name + "/";
  const auto below = [&](const auto& map) {
    const auto it = map.lower_bound(prefix);
    return it != map.end() && it->first.starts_with(prefix);
  };
  return below(images_) || below(directories_);
}

Result<void> FakeBackend::CheckCurrent(const ImageId& id) {
  MutexLock lock(mu_);
  const auto it = images_.find(id.name);
  if (it == images_.end()) return Error{Errc::kNotFound, id.name + " is gone"};
  if (it->second.version != id.version) return Error{Errc::kStale, id.name + " changed"};
  return {};
}

// ---- Trouble

void FakeBackend::Hang(Call call, const std::string& name, uint64_t after) {
  MutexLock lock(mu_);
  troubles_[call].push_back(Trouble{.name = name, .after = after, .times = -1, .error = std::nullopt});
}

void FakeBackend::Release(Call call, const std::string& name) {
  MutexLock lock(mu_);
  std::erase_if(troubles_[call], [&](const Trouble& t) { return !t.error && t.name == name; });
  changed_.NotifyAll();
}

void FakeBackend::FailHanging(Call call, Error error) {
  MutexLock lock(mu_);
  endings_[call] = {endings_[call].count + 1, std::move(error)};
  changed_.NotifyAll();
}
void FakeBackend::HangAll() {
  for (const Call call : {Call::kStat, Call::kList, Call::kOpen, Call::kFetch, Call::kChecksum}) Hang(call);
}

void FakeBackend::ReleaseAll() {
  MutexLock lock(mu_);
  for (auto& [call, troubles] : troubles_) std::erase_if(troubles, [](const Trouble& t) { return !t.error; });
  changed_.NotifyAll();
}

int FakeBackend::Hanging(Call call) {
  MutexLock lock(mu_);
  return hanging_[call];
}

void FakeBackend::Fail(Call call, Error error, const std::string& name, int times, uint64_t after) {
  MutexLock lock(mu_);
  troubles_[call].push_back(Trouble{.name = name, .after = after, .times = times, .error = std::move(error)});
}

void FakeBackend::FailAll(Error error) {
  for (const Call call : {Call::kStat, Call::kList, Call::kOpen, Call::kFetch, Call::kChecksum}) Fail(call, error);
}

void FakeBackend::Heal() {
  MutexLock lock(mu_);
  for (auto& [call, troubles] : troubles_)
    std::erase_if(troubles, [](const Trouble& t) { return t.error.has_value(); });
}

void FakeBackend::Corrupt(const std::string& name, std::optional<uint64_t> offset) {
  MutexLock lock(mu_);
  if (offset) {
    corrupt_[name] = *offset;
  } else {
    corrupt_.erase(name);
  }
}

const FakeBackend::Trouble* FakeBackend::FindTrouble(Call call, const std::string& name, bool hang) const {
  const auto it = troubles_.find(call);
  if (it == troubles_.end()) return nullptr;
  const Trouble* first = nullptr;
  for (const Trouble& t : it->second) {
    if (t.error.has_value() == hang || t.times == 0 || (!t.name.empty() && t.name != name)) continue;
    if (first == nullptr || t.after < first->after) first = &t;
  }
  return first;
}

Result<void> FakeBackend::MaybeTrouble(Call call, const std::string& name, uint64_t passed, std::stop_token stop) {
  AssertNoLockHeld();
  MutexLock lock(mu_);
  const uint64_t endings = endings_[call].count;
  while (!stop.stop_requested()) {
    const Trouble* hang = FindTrouble(call, name, true);
    if (hang == nullptr || passed < hang->after) break;
    ++hanging_[call];
    changed_.WaitFor(mu_, std::chrono::milliseconds(2));
    --hanging_[call];
    if (endings_[call].count != endings) return endings_[call].error;
  }
  if (stop.stop_requested()) return Error{Errc::kCancelled, "stopped"};
  for (Trouble& t : troubles_[call]) {
    if (!t.error || t.times == 0 || passed < t.after || (!t.name.empty() && t.name != name)) continue;
    if (t.times > 0) --t.times;
    return *t.error;
  }
  return {};
}

uint64_t FakeBackend::UntilTrouble(Call call, const std::string& name, uint64_t passed) {
  MutexLock lock(mu_);
  uint64_t until = UINT64_MAX;
  for (const bool hang : {true, false}) {
    const Trouble* t = FindTrouble(call, name, hang);
    if (t != nullptr && t->after > passed) until = std::min(until, t->after - passed);
  }
  return until;
}

// ---- The contract

Result<NameInfo> FakeBackend::DoStat(std::string_view name_view, std::stop_token stop) {
  const std::string name(name_view);
  Note(Call::kStat, name);
  GLINTFS_TRY(MaybeTrouble(Call::kStat, name, 0, stop));
  MutexLock lock(mu_);
  const auto alias = aliases_.find(name);
  const std::string& own_name = alias == aliases_.end() ? name : alias->second;
  if (const auto it = images_.find(own_name); it != images_.end()) {
    const FakeImage& image = it->second;
    return NameInfo{.is_directory = false,
                    .image = {.id = {source(), own_name, image.version}, .size = image.size, .mtime = image.mtime},
                    .alias = alias != aliases_.end()};
  }
  if (IsDirectory(name)) return NameInfo{.is_directory = true, .image = {}, .alias = false};
  return Error{Errc::kNotFound, "fake source has no " + name};
}

Result<Listing> FakeBackend::DoList(std::string_view directory_view, std::string_view cursor, std::stop_token stop) {
  const std::string directory(directory_view);
  Note(Call::kList, directory);
  GLINTFS_TRY(MaybeTrouble(Call::kList, directory, 0, stop));
  if (!listable_) return Error{Errc::kNotSupported, "fake source cannot list"};
  MutexLock lock(mu_);
  if (images_.contains(directory)) return Error{Errc::kNotDirectory, directory + " is an image"};
  if (!IsDirectory(directory)) return Error{Errc::kNotFound, "fake source has no " + directory};
  const std::string prefix = directory.empty() ? "" : directory + "/";
  std::map<std::string, bool> names;
  const auto add = [&](const std::string& name, bool is_directory) {
    if (!name.starts_with(prefix) || name.size() == prefix.size()) return;
    const std::string rest = name.substr(prefix.size());
    const size_t slash = rest.find('/');
    names[rest.substr(0, slash)] |= is_directory || slash != std::string::npos;
  };
  for (const auto& [name, image] : images_) add(name, false);
  for (const auto& [name, yes] : directories_) add(name, true);
  Listing listing;
  for (auto it = names.upper_bound(std::string(cursor)); it != names.end(); ++it) {
    if (listing.entries.size() == page_size_) {
      listing.next_cursor = listing.entries.back().name;
      break;
    }
    listing.entries.push_back(ListEntry{.name = it->first, .is_directory = it->second});
  }
  return listing;
}

Result<std::unique_ptr<ImageReader>> FakeBackend::DoOpen(const ImageInfo& image, std::stop_token stop) {
  Note(Call::kOpen, image.id.name);
  GLINTFS_TRY(MaybeTrouble(Call::kOpen, image.id.name, 0, stop));
  return std::unique_ptr<ImageReader>(std::make_unique<Reader>(*this, image));
}

Result<std::optional<Checksum>> FakeBackend::DoFindChecksum(const ImageInfo& image, std::stop_token stop) {
  Note(Call::kChecksum, image.id.name);
  GLINTFS_TRY(MaybeTrouble(Call::kChecksum, image.id.name, 0, stop));
  MutexLock lock(mu_);
  return versions_[{image.id.name, image.id.version}].checksum;
}

// ---- What was asked

void FakeBackend::Note(Call call, const std::string& name) {
  MutexLock lock(mu_);
  ++counts_[call][name];
}

int FakeBackend::Count(Call call) {
  MutexLock lock(mu_);
  int sum = 0;
  for (const auto& [name, count] : counts_[call]) sum += count;
  return sum;
}

int FakeBackend::Count(Call call, const std::string& name) {
  MutexLock lock(mu_);
  return counts_[call][name];
}

size_t FakeBackend::StartDelivery(const std::string& name, uint64_t offset) {
  MutexLock lock(mu_);
  delivered_[name].push_back(Extent{offset, 0});
  return delivered_[name].size() - 1;
}

void FakeBackend::NoteDelivered(const std::string& name, size_t slot, uint64_t bytes) {
  MutexLock lock(mu_);
  auto& all = delivered_[name];
  if (slot < all.size()) all[slot].length += bytes;
}

std::vector<Extent> FakeBackend::Fetches(const std::string& name) {
  MutexLock lock(mu_);
  return fetches_[name];
}

std::vector<Extent> FakeBackend::Delivered(const std::string& name) {
  MutexLock lock(mu_);
  return delivered_[name];
}

uint64_t FakeBackend::DeliveredBytes(const std::string& name) {
  uint64_t sum = 0;
  for (const Extent& extent : Delivered(name)) sum += extent.length;
  return sum;
}

uint64_t FakeBackend::DistinctBytes(const std::string& name) {
  std::vector<Extent> all = Delivered(name);
  std::sort(all.begin(), all.end(), [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  uint64_t sum = 0, end = 0;
  for (const Extent& extent : all) {
    if (extent.end() > end) sum += extent.end() - std::max(end, extent.offset);
    end = std::max(end, extent.end());
  }
  return sum;
}

void FakeBackend::ResetCounters() {
  MutexLock lock(mu_);
  counts_.clear();
  fetches_.clear();
  delivered_.clear();
  max_running_fetches_ = running_fetches_.load();
}

}  // namespace glintfs::testing
