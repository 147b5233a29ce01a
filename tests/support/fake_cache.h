// FakeCache: a Cache that holds what a test puts into it, and remembers what it was told. FakeOpener: opened images
// whose reads a test answers at once, parks or fails. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/cache/aliases.h"
#include "fs/cache/cache.h"
#include "fs/fuse/opened_image.h"
#include "tests/support/fake_backend.h"

namespace glintfs::testing {

class FakeCache final : public Cache {
 public:
  // ---- What it holds and was told.
  void PutCached(const ImageInfo& info, ImageState state = ImageState::kComplete);
  void SetStats(const CacheStats& stats);
  // Stats() does not come back from now on, and again does.
  void HangStats();
  void LetStatsGo();
  int hanging();  // calls that do not come back
  void FailEvict(std::optional<Error> error);
  std::vector<std::string> superseded();  // "name@version", in order
  std::vector<std::string> gone();

  RowId RowFor(const ImageId& id) override;
  Result<std::shared_ptr<CachedImage>> OpenImage(const ImageInfo&) override;  // kNotSupported: use FakeOpener
  std::optional<ImageInfo> FindNewest(std::string_view name) override;
  void SetAlias(std::string_view alias, std::string_view own_name) override;
  std::string OwnName(std::string_view name) override;
  std::vector<std::string> AliasesOf(std::string_view own_name) override;
  std::vector<ListEntry> NamesIn(std::string_view directory) override;
  std::optional<RowId> SealedRow(const ImageId&) override { return std::nullopt; }
  Result<OpenedSealed> OpenSealed(RowId) override { return Error{Errc::kNotFound, "not sealed"}; }
  void SealedOpened(RowId) override {}
  void SealedClosed(RowId) override {}
  void Supersede(const ImageId& current) override;
  void Gone(std::string_view name) override;
  ImageStatus StatusOf(const ImageInfo& info) override;
  std::optional<ImageStatus> StatusOf(std::string_view name) override;
  std::vector<ImageStatus> List() override;

  // Removes it, unless FailEvict said otherwise.
  Result<void> Evict(std::string_view name) override;
  PruneResult Prune(std::optional<uint64_t>, bool) override { return {}; }
  PruneResult Clear() override { return {}; }
  PruneResult Clean() override { return {}; }
  Result<void> SetPinned(std::string_view, bool) override { return {}; }
  std::vector<std::string> Pins() override { return {}; }
  bool IsPinned(std::string_view) override { return false; }
  Result<void> Scrub(std::string_view) override { return {}; }
  uint64_t ScrubAll() override { return 0; }
  Result<void> Enqueue(const ImageInfo&, bool) override { return {}; }
  Result<void> Dequeue(std::string_view) override { return {}; }
  void ClearQueue() override {}
  std::vector<QueueEntry> Queue() override { return {}; }
  Result<void> CancelFill(std::string_view) override { return {}; }
  CacheActivity Activity() override { return {}; }
  CacheStats Stats() override;
  CacheLimits Limits() override { return {}; }
  void SetLimits(const CacheLimits&) override {}
  Result<void> Checkpoint() override { return {}; }
  void SetEventHandler(EventHandler) override {}

 private:
  Mutex mu_;
  CondVar let_go_;
  bool hang_stats_ GUARDED_BY(mu_) = false;
  int hanging_ GUARDED_BY(mu_) = 0;
  CacheStats stats_ GUARDED_BY(mu_);
  std::map<std::pair<std::string, std::string>, RowId> rows_ GUARDED_BY(mu_);  // by name, version
  std::map<std::string, std::pair<ImageInfo, ImageState>> cached_ GUARDED_BY(mu_);
  Aliases aliases_ GUARDED_BY(mu_);
  std::optional<Error> evict_error_ GUARDED_BY(mu_);
  std::vector<std::string> superseded_ GUARDED_BY(mu_), gone_ GUARDED_BY(mu_);
};

// Opens images of a FakeBackend. Reads are answered with the right bytes, from memory or from a real file.
class FakeOpener {
 public:
  explicit FakeOpener(FakeBackend& backend);
  ~FakeOpener();

  ImageOpener opener();
  // Reads are answered from a file (spliced) rather than from memory. The file is made in `directory`.
  void UseFiles(const std::string& directory);
  // From now on reads park. Release answers those that did.
  void Park();
  void Release();
  void FailReads(std::optional<Error> error);
  void FailOpens(std::optional<Error> error);
  size_t parked();
  int opens();
  int images_alive();

 private:
  struct State;
  class Image;
  const std::shared_ptr<State> state_;
};

}  // namespace glintfs::testing
