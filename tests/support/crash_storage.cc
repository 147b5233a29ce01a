#include "tests/support/crash_storage.h"

#include <algorithm>

namespace glintfs::testing {

class CrashStorage::MemoryFile final : public File {
 public:
  MemoryFile(std::shared_ptr<State> state, std::shared_ptr<Node> node) : state_(std::move(state)), node_(std::move(node)) {}

  Result<void> ReadAt(std::span<std::byte> buffer, uint64_t offset) const override {
    AssertNoLockHeld();
    MutexLock lock(state_->mu);
    if (state_->read_error) return *state_->read_error;
    if (offset + buffer.size() > node_->size) return Error{Errc::kIo, "read past the end"};
    for (size_t i = 0; i < buffer.size();) {
      const uint64_t page = (offset + i) / kPage, in_page = (offset + i) % kPage;
      const size_t n = std::min<size_t>(kPage - in_page, buffer.size() - i);
      const Page* from = Find(page);
      if (from)
        std::copy_n(from->begin() + static_cast<ptrdiff_t>(in_page), n, buffer.begin() + static_cast<ptrdiff_t>(i));
      else
        std::fill_n(buffer.begin() + static_cast<ptrdiff_t>(i), n, std::byte{0});
      i += n;
    }
    return {};
  }

  Result<void> WriteAt(std::span<const std::byte> data, uint64_t offset) override {
    AssertNoLockHeld();
    MutexLock lock(state_->mu);
    if (state_->write_error) return *state_->write_error;
    for (size_t i = 0; i < data.size();) {
      const uint64_t page = (offset + i) / kPage, in_page = (offset + i) % kPage;
      const size_t n = std::min<size_t>(kPage - in_page, data.size() - i);
      auto it = node_->unsynced.find(page);
      if (it == node_->unsynced.end()) {
        const Page* old = Find(page);
        it = node_->unsynced.emplace(page, old ? *old : Page{}).first;
        node_->lost.erase(page);
      }
      std::copy_n(data.begin() + static_cast<ptrdiff_t>(i), n, it->second.begin() + static_cast<ptrdiff_t>(in_page));
      i += n;
    }
    return {};
  }

  Result<void> Sync() override {
    AssertNoLockHeld();
    MutexLock lock(state_->mu);
    if (state_->sync_error) {
      node_->unsynced.swap(node_->lost);  // as the kernel does: the pages are marked clean, though they never reached the disk
      node_->lost.merge(node_->unsynced);
      node_->unsynced.clear();
      return *state_->sync_error;
    }
    for (auto& [page, bytes] : node_->unsynced) node_->durable[page] = bytes;
    node_->unsynced.clear();
    node_->created_durably = true;
    return {};
  }

 private:
  const Page* Find(uint64_t page) const {
    if (auto it = node_->unsynced.find(page); it != node_->unsynced.end()) return &it->second;
    if (auto it = node_->lost.find(page); it != node_->lost.end()) return &it->second;
    if (auto it = node_->durable.find(page); it != node_->durable.end()) return &it->second;
    return nullptr;
  }

  const std::shared_ptr<State> state_;
  const std::shared_ptr<Node> node_;
};

std::unique_ptr<CrashStorage> CrashStorage::AfterPowerLoss(std::mt19937_64& random,
                                                           const std::function<void()>& copy_index) {
  auto after = std::make_unique<CrashStorage>();
  const auto survive = [&](const Node& node) {
    auto copy = std::make_shared<Node>();
    copy->size = node.size;
    copy->durable = node.durable;
    copy->created_durably = true;
    for (const auto& [page, bytes] : node.unsynced)
      if (random() % 2) copy->durable[page] = bytes;
    return copy;
  };
  MutexLock lock(state_->mu);
  copy_index();
  std::map<std::string, std::shared_ptr<Node>> files;
  for (const auto& [path, node] : state_->removed)
    if (random() % 3 == 0) files[path] = survive(*node);
  for (const auto& [path, node] : state_->files)
    if (node->created_durably || random() % 2) files[path] = survive(*node);
  [&]() NO_THREAD_SAFETY_ANALYSIS { after->state_->files = std::move(files); }();  // nobody else has it yet
  return after;
}

void CrashStorage::FailWrites(std::optional<Error> error) {
  MutexLock lock(state_->mu);
  state_->write_error = std::move(error);
}
void CrashStorage::FailReads(std::optional<Error> error) {
  MutexLock lock(state_->mu);
  state_->read_error = std::move(error);
}
void CrashStorage::FailSyncs(std::optional<Error> error) {
  MutexLock lock(state_->mu);
  state_->sync_error = std::move(error);
}

uint64_t CrashStorage::Allocated(const Node& node) {
  uint64_t pages = node.durable.size();
  for (const auto& [page, content] : node.unsynced) pages += node.durable.contains(page) ? 0 : 1;
  for (const auto& [page, content] : node.lost) pages += node.durable.contains(page) || node.unsynced.contains(page) ? 0 : 1;
  return pages * kPage;
}

uint64_t CrashStorage::allocated() {
  MutexLock lock(state_->mu);
  uint64_t bytes = 0;
  for (const auto& [path, node] : state_->files) bytes += Allocated(*node);
  return bytes;
}

Result<std::unique_ptr<File>> CrashStorage::Open(const std::string& path, uint64_t size) {
  AssertNoLockHeld();
  MutexLock lock(state_->mu);
  auto it = state_->files.find(path);
  if (it == state_->files.end()) return Error{Errc::kNotFound, path};
  if (it->second->size != size) return Error{Errc::kCorrupt, path};
  return std::unique_ptr<File>(std::make_unique<MemoryFile>(state_, it->second));
}

Result<std::unique_ptr<File>> CrashStorage::Create(const std::string& path, uint64_t size) {
  AssertNoLockHeld();
  MutexLock lock(state_->mu);
  if (state_->write_error) return *state_->write_error;
  auto node = std::make_shared<Node>();
  node->size = size;
  state_->files[path] = node;
  return std::unique_ptr<File>(std::make_unique<MemoryFile>(state_, node));
}

Result<void> CrashStorage::Remove(const std::string& path) {
  AssertNoLockHeld();
  MutexLock lock(state_->mu);
  auto it = state_->files.find(path);
  if (it == state_->files.end()) return Error{Errc::kNotFound, path};
  state_->removed[path] = it->second;
  state_->files.erase(it);
  return {};
}

Result<void> CrashStorage::Walk(const std::string& directory, const std::function<void(const Found&)>& found) {
  AssertNoLockHeld();
  std::vector<Found> all;
  {
    MutexLock lock(state_->mu);
    for (const auto& [path, node] : state_->files)
      if (path.starts_with(directory + "/")) all.push_back({path, node->size, Allocated(*node)});
  }
  for (const Found& file : all) found(file);
  return {};
}

}  // namespace glintfs::testing
