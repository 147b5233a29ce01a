// An object is read by operations that hold an assertion of its version, so what they bring is of that version or nothing. The OSD
// counts versions per placement group: an object that is removed and made anew gets a higher one.
#include "backends/rados/rados.h"

#include <fmt/format.h>
#include <rados/librados.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>

#include "backends/ceph/cluster.h"
#include "backends/ceph/window.h"

namespace glintfs {
namespace {

constexpr uint64_t kPieceSize = 4 << 20;
constexpr uint64_t kBudget = 256 << 20;
constexpr size_t kMaxNames = 1'000'000;  // a pool with more is no store of images
constexpr int kUsefulParallel = 8;

// "pool id . object version . mtime": the number of a pool that is made anew is another, so is nearly everything after it.
std::string VersionOf(const CephPool& pool, const ObjectAnswer& stat) {
  return fmt::format("{}.{}.{}", ::rados_ioctx_get_id(pool.io()), stat.version, stat.mtime);
}

std::optional<uint64_t> ObjectVersionIn(std::string_view version) {
  const size_t begin = version.find('.') + 1, end = version.find('.', begin);
  uint64_t number = 0;
  if (begin == 0 || end == std::string_view::npos) return std::nullopt;
  const auto [rest, err] = std::from_chars(version.data() + begin, version.data() + end, number);
  if (err != std::errc() || rest != version.data() + end || number == 0) return std::nullopt;
  return number;
}

// One read with its assertion, until librados is done with it.
struct Read {
  ~Read() {
    ::rados_release_read_op(op);
    if (completion != nullptr) ::rados_aio_release(completion);
  }
  rados_read_op_t op = ::rados_create_read_op();
  rados_completion_t completion = nullptr;
  size_t bytes = 0;
  int result = 0;
  PieceDone* done = nullptr;
};

void OnRead(rados_completion_t completion, void* arg) {
  const std::unique_ptr<Read> read(static_cast<Read*>(arg));
  const int err = ::rados_aio_get_return_value(completion);
  read->done->Finish(err < 0 ? err : static_cast<int64_t>(read->bytes));
}

class RadosSource final : public PieceSource {
 public:
  RadosSource(std::shared_ptr<Cluster> cluster, CephPoolPtr pool, std::string name, uint64_t version)
      : cluster_(std::move(cluster)), pool_(std::move(pool)), name_(std::move(name)), version_(version) {}

  int Start(Extent extent, std::byte* buffer, PieceDone* done) override {
    auto read = std::make_unique<Read>();
    read->done = done;
    ::rados_read_op_assert_version(read->op, version_);
    ::rados_read_op_read(read->op, extent.offset, extent.length, reinterpret_cast<char*>(buffer), &read->bytes, &read->result);
    ::rados_aio_create_completion2(read.get(), OnRead, &read->completion);
    const int err = ::rados_aio_read_op_operate(read->op, pool_->io(), read->completion, name_.c_str(), 0);
    if (err == 0) read.release();
    return err;
  }

  Result<void> Confirm(std::stop_token) override {
    cluster_->Heard(pool_);
    return {};
  }

  Error ErrorOf(int err, std::stop_token) override {
    if (err == ERANGE || err == EOVERFLOW)
      return {Errc::kStale, fmt::format("{}/{}: the object has changed", cluster_->settings().source, name_)};
    return cluster_->Failed(pool_, err, name_);
  }

 private:
  const std::shared_ptr<Cluster> cluster_;
  const CephPoolPtr pool_;
  const std::string name_;
  const uint64_t version_;
};

class RadosReader final : public ImageReader {
 public:
  RadosReader(std::shared_ptr<Cluster> cluster, std::shared_ptr<ReadBudget> budget, const ImageInfo& image, uint64_t version)
      : ImageReader(image.size),
        cluster_(std::move(cluster)),
        budget_(std::move(budget)),
        name_(image.id.name),
        version_(version) {}

 private:
  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override {
    GLINTFS_ASSIGN(CephPoolPtr pool, cluster_->GetPool(stop));
    auto source = std::make_shared<RadosSource>(cluster_, std::move(pool), name_, version_);
    return FetchThroughWindow(std::move(source), budget_, kPieceSize, extent, sink, stop);
  }

  const std::shared_ptr<Cluster> cluster_;
  const std::shared_ptr<ReadBudget> budget_;
  const std::string name_;
  const uint64_t version_;
};

// All names, as one page: what librados gives as a position in a listing is that of a placement group, which is no cursor.
Result<Listing> ListObjects(Cluster& cluster, const CephPoolPtr& pool, const std::stop_token& stop) {
  rados_list_ctx_t list = nullptr;
  int err = ::rados_nobjects_list_open(pool->io(), &list);
  if (err != 0) return cluster.Failed(pool, -err, "listing");
  const std::unique_ptr<void, void (*)(void*)> closer(list, ::rados_nobjects_list_close);
  Listing listing;
  for (;;) {
    if (stop.stop_requested()) return Error{Errc::kCancelled, "list: given up"};
    const char *name = nullptr, *locator = nullptr;
    size_t size = 0, locator_size = 0;
    err = ::rados_nobjects_list_next2(list, &name, &locator, nullptr, &size, &locator_size, nullptr);
    if (err == -ENOENT) break;
    if (err != 0) return cluster.Failed(pool, -err, "listing");
    if (locator_size != 0) continue;  // not to be found by its name alone
    if (listing.entries.size() >= kMaxNames)
      return Error{Errc::kInvalid, fmt::format("{}: more than {} objects", cluster.settings().source, kMaxNames)};
    listing.entries.push_back({.name = std::string(name, size), .is_directory = false});
  }
  cluster.Heard(pool);
  return listing;
}

class RadosBackend final : public Backend {
 public:
  RadosBackend(CephSettings settings, int max_parallel)
      : Backend(settings.source),
        cluster_(std::make_shared<Cluster>(std::move(settings))),
        max_parallel_(std::clamp(max_parallel, 1, kUsefulParallel)) {}
  ~RadosBackend() override { cluster_->Close(); }

  int max_parallel_fetches() const override { return max_parallel_; }

 private:
  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override {
    GLINTFS_ASSIGN(const CephPoolPtr pool, cluster_->GetPool(stop));
    if (name.find('/') != std::string_view::npos)
      return Error{Errc::kNotFound, fmt::format("{}/{}: objects have no directories", source(), name)};
    // For the root: any object, to hear whether it may be asked for.
    GLINTFS_ASSIGN(const ObjectAnswer stat, StatObject(pool, name.empty() ? "glintfs" : std::string(name), stop));
    if (stat.result == 0 || stat.result == -ENOENT) cluster_->Heard(pool);
    if (name.empty() && (stat.result == 0 || stat.result == -ENOENT))
      return NameInfo{.is_directory = true, .image = {}, .alias = false};
    if (stat.result != 0) return cluster_->Failed(pool, -stat.result, name.empty() ? "the pool" : name);
    if (stat.version == 0) return Error{Errc::kInvalid, fmt::format("{}/{}: no version", source(), name)};
    return NameInfo{.is_directory = false,
                    .image = {.id = {source(), std::string(name), VersionOf(*pool, stat)},
                              .size = stat.size,
                              .mtime = std::chrono::seconds(stat.mtime)},
                    .alias = false};
  }

  Result<Listing> DoList(std::string_view directory, std::string_view, std::stop_token stop) override {
    if (!directory.empty()) return Error{Errc::kNotDirectory, fmt::format("{}/{} is no directory", source(), directory)};
    GLINTFS_ASSIGN(const CephPoolPtr pool, cluster_->GetPool(stop));
    return cluster_->workers().Call<Listing>(
        "list", [cluster = cluster_, pool](std::stop_token token) { return ListObjects(*cluster, pool, token); }, stop);
  }

  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token) override {
    const auto version = ObjectVersionIn(image.id.version);
    if (!version) return Error{Errc::kInvalid, fmt::format("{}: '{}' is no version of an object", image.id.name, image.id.version)};
    return std::unique_ptr<ImageReader>(std::make_unique<RadosReader>(cluster_, budget_, image, *version));
  }

  const std::shared_ptr<Cluster> cluster_;
  const std::shared_ptr<ReadBudget> budget_ = std::make_shared<ReadBudget>(kBudget);
  const int max_parallel_;
};

}  // namespace

Result<std::unique_ptr<Backend>> MakeRados(std::string_view source, const BackendOptions& options) {
  GLINTFS_ASSIGN(CephSettings settings, MakeCephSettings(source, "rados", options, std::getenv("CEPH_ARGS")));
  return std::unique_ptr<Backend>(std::make_unique<RadosBackend>(std::move(settings), options.max_parallel));
}

}  // namespace glintfs
