// CrashStorage: a Storage in memory that knows what a power loss may take: everything not yet synced, page by page, at random.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "fs/base/file.h"
#include "fs/base/mutex.h"

namespace glintfs::testing {

class CrashStorage final : public Storage {
 public:
  static constexpr uint64_t kPage = 4096;

  CrashStorage() = default;

  // What a power loss now would leave: unsynced pages, new files and removals each survive or not, as `random` says.
  // `copy_index` is called while nothing can be written or synced, so that both copies are of one instant.
  std::unique_ptr<CrashStorage> AfterPowerLoss(std::mt19937_64& random, const std::function<void()>& copy_index);

  // The next calls fail; nullopt heals.
  void FailWrites(std::optional<Error> error);
  void FailReads(std::optional<Error> error);
  void FailSyncs(std::optional<Error> error);
  uint64_t allocated();  // bytes of pages in files that have a name

  Result<std::unique_ptr<File>> Open(const std::string& path, uint64_t size) override;
  Result<std::unique_ptr<File>> Create(const std::string& path, uint64_t size) override;
  Result<void> Remove(const std::string& path) override;
  Result<void> Walk(const std::string& directory, const std::function<void(const Found&)>& found) override;
  Result<SpaceInfo> Space() override { return SpaceInfo{.total = 1ull << 40, .available = 1ull << 40, .block_size = kPage}; }

 private:
  using Page = std::array<std::byte, kPage>;
  struct Node {
    uint64_t size = 0;
    std::map<uint64_t, Page> durable;
    std::map<uint64_t, Page> unsynced;  // newer than durable
    std::map<uint64_t, Page> lost;      // a sync of these failed: still read from memory, never written unless anew
    bool created_durably = false;
  };
  struct State {
    Mutex mu;
    std::map<std::string, std::shared_ptr<Node>> files GUARDED_BY(mu);
    std::map<std::string, std::shared_ptr<Node>> removed GUARDED_BY(mu);  // may come back
    std::optional<Error> write_error GUARDED_BY(mu), read_error GUARDED_BY(mu), sync_error GUARDED_BY(mu);
  };
  class MemoryFile;

  static uint64_t Allocated(const Node& node);

  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace glintfs::testing
