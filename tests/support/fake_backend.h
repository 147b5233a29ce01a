// FakeBackend: a source in memory that a test steers while it runs: images appear, change and vanish, calls hang until
// released, fail a number of times, stop in the middle, send wrong bytes; everything asked of it is counted.
//
// Bytes are a function of (name, version, offset), so that any range can be checked without keeping it: Expected().
// Thread-safe.
#pragma once

#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "fs/base/mutex.h"

namespace glintfs::testing {

enum class Call { kStat, kList, kOpen, kFetch, kChecksum };

struct FakeImage {
  uint64_t size = 0;
  std::string version = "v1";
  Nanos mtime = std::chrono::seconds(1'700'000'000);
  std::vector<Extent> zeros;       // these bytes are zero, whatever the generator says
  std::vector<Extent> holes;       // what Holes() tells; must be covered by `zeros`
  std::optional<Checksum> checksum;
};

class FakeBackend : public Backend {
 public:
  explicit FakeBackend(std::string source = "fake://source") : Backend(std::move(source)) {}

  // ---- What the source holds. Directories exist as far as names imply them, and by PutDirectory.
  void Put(const std::string& name, FakeImage image);
  void Put(const std::string& name, uint64_t size, const std::string& version = "v1") {
    FakeImage image;
    image.size = size;
    image.version = version;
    Put(name, std::move(image));
  }
  // Another name for the image `name`, which is found under it and kept under its own. Not listed.
  void PutAlias(const std::string& alias, const std::string& name);
  void PutDirectory(const std::string& name);
  void Remove(const std::string& name);
  ImageInfo Info(const std::string& name);  // REQUIRES: it is there
  std::vector<std::byte> Expected(const std::string& name, const std::string& version, uint64_t offset, size_t length);
  // The same for the version the source holds now.
  std::vector<std::byte> Expected(const std::string& name, uint64_t offset, size_t length);

  // ---- What the source can do.
  void SetListable(bool listable) { listable_ = listable; }
  void SetSeekable(bool seekable) { seekable_ = seekable; }       // false: a fetch that starts after 0 is kNotSupported
  void SetPageSize(size_t entries) { page_size_ = entries; }      // of listings
  void SetBlockSize(size_t bytes) { block_size_ = bytes; }        // of one DataSink::Write
  void SetBytesPerSecond(uint64_t rate) { bytes_per_second_ = rate; }  // per fetch; 0: no limit
  void SetMaxParallel(int fetches) { max_parallel_ = fetches; }
  int max_parallel_fetches() const override { return max_parallel_; }

  // ---- Trouble. `name` empty: for every name. A fetch hangs or fails once it has passed `after` bytes of its extent.
  void Hang(Call call, const std::string& name = "", uint64_t after = 0);
  void Release(Call call, const std::string& name = "");
  // Calls that hang now fail; those that come later hang, as before.
  void FailHanging(Call call, Error error);
  void HangAll();
  void ReleaseAll();
  // Calls that hang now.
  int Hanging(Call call);
  // The next `times` calls fail with `error`; -1: until Heal.
  void Fail(Call call, Error error, const std::string& name = "", int times = -1, uint64_t after = 0);
  void FailAll(Error error);
  void Heal();
  // Fetches of `name` carry a wrong byte at `offset`; nullopt: right again.
  void Corrupt(const std::string& name, std::optional<uint64_t> offset);

  // ---- What was asked.
  int Count(Call call);
  int Count(Call call, const std::string& name);
  std::vector<Extent> Fetches(const std::string& name);     // as asked, in order
  std::vector<Extent> Delivered(const std::string& name);   // as passed to sinks, in order of passing, one per fetch
  uint64_t DeliveredBytes(const std::string& name);         // sum of these
  uint64_t DistinctBytes(const std::string& name);          // of their union
  int RunningFetches() const { return running_fetches_; }
  int MaxRunningFetches() const { return max_running_fetches_; }
  void ResetCounters();

 private:
  class Reader;
  struct Trouble {
    std::string name;
    uint64_t after = 0;
    int times = -1;
    std::optional<Error> error;  // none: hang
  };

  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override;
  Result<Listing> DoList(std::string_view directory, std::string_view cursor, std::stop_token stop) override;
  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token stop) override;
  Result<std::optional<Checksum>> DoFindChecksum(const ImageInfo& image, std::stop_token stop) override;

  void Note(Call call, const std::string& name);
  // Waits while told to hang, then fails when told to. `passed`: bytes of the extent already passed; a trouble applies
  // once passed >= after.
  Result<void> MaybeTrouble(Call call, const std::string& name, uint64_t passed, std::stop_token stop);
  // How many bytes may pass before the next trouble applies.
  uint64_t UntilTrouble(Call call, const std::string& name, uint64_t passed);
  const Trouble* FindTrouble(Call call, const std::string& name, bool hang) const REQUIRES(mu_);
  bool IsDirectory(const std::string& name) const REQUIRES(mu_);
  // kStale or kNotFound when the source no longer holds `id`.
  Result<void> CheckCurrent(const ImageId& id);
  void Fill(const ImageId& id, uint64_t offset, std::span<std::byte> out);
  void NoteDelivered(const std::string& name, size_t slot, uint64_t bytes);
  size_t StartDelivery(const std::string& name, uint64_t offset);

  std::atomic<bool> listable_{true}, seekable_{true};
  std::atomic<size_t> page_size_{1000}, block_size_{64 * 1024};
  std::atomic<uint64_t> bytes_per_second_{0};
  std::atomic<int> max_parallel_{16};
  std::atomic<int> running_fetches_{0}, max_running_fetches_{0};

  Mutex mu_;
  CondVar changed_;
  std::map<std::string, FakeImage> images_ GUARDED_BY(mu_);
  std::map<std::string, bool> directories_ GUARDED_BY(mu_);
  std::map<std::string, std::string> aliases_ GUARDED_BY(mu_);
  std::map<std::pair<std::string, std::string>, FakeImage> versions_ GUARDED_BY(mu_);  // every one there ever was
  std::map<Call, std::vector<Trouble>> troubles_ GUARDED_BY(mu_);
  struct Ending {
    uint64_t count = 0;
    Error error{};
  };
  std::map<Call, Ending> endings_ GUARDED_BY(mu_);  // of calls that hung: FailHanging
  std::map<Call, int> hanging_ GUARDED_BY(mu_);
  std::map<std::string, uint64_t> corrupt_ GUARDED_BY(mu_);
  std::map<Call, std::map<std::string, int>> counts_ GUARDED_BY(mu_);
  std::map<std::string, std::vector<Extent>> fetches_ GUARDED_BY(mu_);
  std::map<std::string, std::vector<Extent>> delivered_ GUARDED_BY(mu_);
};

}  // namespace glintfs::testing
