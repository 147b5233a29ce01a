// What is read is passed on only when the version was confirmed after it came (rbd_image.h): a deleted snapshot reads as zeros.
#include "backends/rbd/rbd.h"

#include <fmt/format.h>
#include <rbd/librbd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "backends/ceph/cluster.h"
#include "backends/ceph/window.h"
#include "backends/rbd/rbd_image.h"

namespace glintfs {
namespace {

constexpr uint64_t kBudget = 256 << 20;
constexpr uint64_t kPieceSize = 4 << 20;    // of objects that are smaller; RBD's own default
constexpr uint64_t kMaxPiece = 8 << 20;     // of larger ones, a whole fraction
constexpr size_t kMaxNames = 1'000'000;
constexpr size_t kMaxHoles = 1 << 16;
constexpr uint64_t kMaxProbed = 1 << 14;    // objects that are asked for one by one where there is no fast-diff
constexpr int kUsefulParallel = 8;

// What a backend and its readers share.
struct Shared {
  explicit Shared(CephSettings settings)
      : cluster(std::make_shared<Cluster>(std::move(settings))), images(cluster) {}
  const std::shared_ptr<Cluster> cluster;
  RbdImages images;
  const std::shared_ptr<ReadBudget> budget = std::make_shared<ReadBudget>(kBudget);
  bool head = false;
};

Result<RbdFound> Find(const Shared& shared, const CephPoolPtr& pool, std::string name, std::stop_token stop) {
  return shared.cluster->workers().Call<RbdFound>(
      "stat",
      [cluster = shared.cluster, pool, name = std::move(name), head = shared.head](std::stop_token token) {
        return FindRbdImage(*cluster, pool, name, head, token);
      },
      std::move(stop));
}

void OnRead(rbd_completion_t completion, void* arg) {
  const int64_t result = ::rbd_aio_get_return_value(completion);
  ::rbd_aio_release(completion);
  static_cast<PieceDone*>(arg)->Finish(result);
}

class RbdSource final : public PieceSource {
 public:
  RbdSource(std::shared_ptr<Shared> shared, RbdImagePtr image, std::string name)
      : shared_(std::move(shared)), image_(std::move(image)), name_(std::move(name)) {}

  int Start(Extent extent, std::byte* buffer, PieceDone* done) override {
    rbd_completion_t completion = nullptr;
    int err = ::rbd_aio_create_completion(done, OnRead, &completion);
    if (err != 0) return err;
    err = ::rbd_aio_read(image_->image, extent.offset, extent.length, reinterpret_cast<char*>(buffer), completion);
    if (err != 0) ::rbd_aio_release(completion);
    return err;
  }

  Result<void> Confirm(std::stop_token stop) override {
    auto confirmed = ConfirmRbdVersion(*shared_->cluster, image_->pool, image_->version, stop);
    if (confirmed) return {};
    return Explain(std::move(confirmed).error(), std::move(stop));
  }

  Error ErrorOf(int err, std::stop_token stop) override {
    return Explain(shared_->cluster->Failed(image_->pool, err, name_), std::move(stop));
  }

  // A version that is gone: is the name gone, or does it stand for another now?
  Error Explain(Error error, std::stop_token stop) const {
    if (error.code != Errc::kNotFound) return error;
    const auto now = Find(*shared_, image_->pool, name_, std::move(stop));
    if (!now) return now.error();
    if (now->version == image_->version) return {Errc::kUnavailable, error.message};
    return {Errc::kStale, fmt::format("{}/{}: replaced", shared_->cluster->settings().source, name_)};
  }

 private:
  const std::shared_ptr<Shared> shared_;
  const RbdImagePtr image_;
  const std::string name_;
};

struct DiffWalk {
  std::stop_token stop;
  std::vector<Extent> holes;
  uint64_t at = 0;  // all before it is hole or data
  bool too_many = false;
};

int OnData(uint64_t offset, size_t length, int exists, void* arg) {
  auto& walk = *static_cast<DiffWalk*>(arg);
  if (walk.stop.stop_requested()) return -ECANCELED;
  if (exists == 0) return 0;
  if (offset < walk.at && offset + length > walk.at) length -= walk.at - offset, offset = walk.at;
  if (offset > walk.at) walk.holes.push_back({walk.at, offset - walk.at});
  walk.at = std::max<uint64_t>(walk.at, offset + length);
  walk.too_many = walk.holes.size() >= kMaxHoles;
  return walk.too_many ? -ECANCELED : 0;
}

// Blocks. Whole objects: with fast-diff this is told by the object map, and without by a question per object.
Result<std::vector<Extent>> FindHoles(Cluster& cluster, const RbdImage& image, uint64_t size, std::stop_token stop) {
  const bool fast = (image.features & RBD_FEATURE_FAST_DIFF) != 0;
  if (!fast && size / std::max<uint64_t>(image.object_size, 1) > kMaxProbed) return std::vector<Extent>();
  DiffWalk walk{.stop = std::move(stop), .holes = {}, .at = 0, .too_many = false};
  const int err = ::rbd_diff_iterate2(image.image, nullptr, 0, size, 1, 1, OnData, &walk);
  if (walk.stop.stop_requested()) return Error{Errc::kCancelled, "holes: given up"};
  if (walk.too_many) return std::vector<Extent>();
  if (err < 0) return cluster.Failed(image.pool, -err, "what image " + image.version.image_id + " holds");
  if (walk.at < size) walk.holes.push_back({walk.at, size - walk.at});
  return std::move(walk.holes);
}

class RbdReader final : public ImageReader {
 public:
  RbdReader(std::shared_ptr<Shared> shared, const ImageInfo& image, RbdVersion version)
      : ImageReader(image.size), shared_(std::move(shared)), name_(image.id.name), version_(std::move(version)) {}

  Result<std::vector<Extent>> Holes(std::stop_token stop) override {
    if (size() == 0) return std::vector<Extent>();
    GLINTFS_ASSIGN(const RbdImagePtr image, Get(stop));
    GLINTFS_ASSIGN(auto holes,
                   shared_->cluster->workers().Call<std::vector<Extent>>(
                       "holes",
                       [cluster = shared_->cluster, image, bytes = size()](std::stop_token token) {
                         return FindHoles(*cluster, *image, bytes, std::move(token));
                       },
                       stop));
    GLINTFS_TRY(RbdSource(shared_, image, name_).Confirm(stop));
    return holes;
  }

 private:
  Result<void> DoFetch(Extent extent, DataSink& sink, std::stop_token stop) override {
    GLINTFS_ASSIGN(RbdImagePtr image, Get(stop));
    uint64_t piece = std::max<uint64_t>(image->object_size, 1);
    while (piece < kPieceSize) piece *= 2;  // object sizes are powers of two
    piece = std::min(piece, kMaxPiece);
    auto source = std::make_shared<RbdSource>(shared_, std::move(image), name_);
    return FetchThroughWindow(std::move(source), shared_->budget, piece, extent, sink, std::move(stop));
  }

  Result<RbdImagePtr> Get(const std::stop_token& stop) const {
    auto image = shared_->images.Get(version_, stop);
    if (image || image.error().code != Errc::kNotFound) return image;
    GLINTFS_ASSIGN(const CephPoolPtr pool, shared_->cluster->GetPool(stop));
    const auto now = Find(*shared_, pool, name_, stop);
    if (!now) return now.error();
    return Error{Errc::kStale, fmt::format("{}/{}: replaced", shared_->cluster->settings().source, name_)};
  }

  const std::shared_ptr<Shared> shared_;
  const std::string name_;
  const RbdVersion version_;
};

// Blocks.
Result<Listing> ListImages(Cluster& cluster, const CephPoolPtr& pool) {
  std::vector<rbd_image_spec_t> images(1024);
  int err = -ERANGE;
  size_t count = images.size();
  while (err == -ERANGE && count <= kMaxNames) {
    images.resize(std::max(images.size(), count));
    count = images.size();
    err = ::rbd_list2(pool->io(), images.data(), &count);
  }
  if (err == -ERANGE) return Error{Errc::kInvalid, fmt::format("{}: more than {} images", cluster.settings().source, kMaxNames)};
  if (err != 0) return cluster.Failed(pool, -err, "listing");
  cluster.Heard(pool);
  Listing listing;
  for (size_t i = 0; i < count; ++i) listing.entries.push_back({.name = images[i].name, .is_directory = false});
  ::rbd_image_spec_list_cleanup(images.data(), count);
  return listing;
}

// Whether there is such a namespace. Its directory stands in the default one, which not everybody may read.
Result<void> CheckNamespace(Cluster& cluster, const CephPoolPtr& pool) {
  rados_ioctx_t io = nullptr;
  int err = ::rados_ioctx_create2(pool->cluster(), ::rados_ioctx_get_id(pool->io()), &io);
  if (err != 0) return cluster.Failed(pool, -err, "the pool");
  bool exists = false;
  err = ::rbd_namespace_exists(io, cluster.settings().name_space.c_str(), &exists);
  ::rados_ioctx_destroy(io);
  if (err == -EPERM || err == -EACCES) return {};
  if (err != 0) return cluster.Failed(pool, -err, "the namespace");
  if (!exists) return Error{Errc::kNotFound, fmt::format("{}: the pool has no such namespace", cluster.settings().source)};
  return {};
}

class RbdBackend final : public Backend {
 public:
  RbdBackend(CephSettings settings, const BackendOptions& options)
      : Backend(settings.source),
        shared_(std::make_shared<Shared>(std::move(settings))),
        max_parallel_(std::clamp(options.max_parallel, 1, kUsefulParallel)) {
    shared_->head = options.ceph.rbd_head;
  }
  ~RbdBackend() override {
    shared_->images.Clear();
    shared_->cluster->Close();
  }

  int max_parallel_fetches() const override { return max_parallel_; }

 private:
  Result<NameInfo> DoStat(std::string_view name, std::stop_token stop) override {
    GLINTFS_ASSIGN(const CephPoolPtr pool, shared_->cluster->GetPool(stop));
    if (name.empty()) return StatRoot(pool, std::move(stop));
    if (name.find_first_of("/@") != std::string_view::npos)
      return Error{Errc::kNotFound, fmt::format("{}/{}: no name of an image", source(), name)};
    GLINTFS_ASSIGN(const RbdFound found, Find(*shared_, pool, std::string(name), std::move(stop)));
    return NameInfo{.is_directory = false,
                    .image = {.id = {source(), std::string(name), found.version.ToString()},
                              .size = found.version.size,
                              .mtime = found.mtime},
                    .alias = false};
  }

  Result<NameInfo> StatRoot(const CephPoolPtr& pool, std::stop_token stop) {
    GLINTFS_ASSIGN(const ObjectAnswer stat, StatObject(pool, "rbd_directory", stop));
    if (stat.result != 0 && stat.result != -ENOENT) return shared_->cluster->Failed(pool, -stat.result, "the pool");
    // A pool without any image has no directory yet; a namespace has one from its beginning.
    if (stat.result == -ENOENT && ::rados_pool_lookup(pool->cluster(), shared_->cluster->settings().pool.c_str()) < 0)
      return shared_->cluster->Failed(pool, ENOENT, "the pool");
    if (stat.result == -ENOENT && !shared_->cluster->settings().name_space.empty()) {
      GLINTFS_TRY(shared_->cluster->workers().Call<void>(
          "namespace", [cluster = shared_->cluster, pool](std::stop_token) { return CheckNamespace(*cluster, pool); },
          std::move(stop)));
    }
    shared_->cluster->Heard(pool);
    return NameInfo{.is_directory = true, .image = {}, .alias = false};
  }

  Result<Listing> DoList(std::string_view directory, std::string_view, std::stop_token stop) override {
    if (!directory.empty()) return Error{Errc::kNotDirectory, fmt::format("{}/{} is no directory", source(), directory)};
    GLINTFS_ASSIGN(const CephPoolPtr pool, shared_->cluster->GetPool(stop));
    return shared_->cluster->workers().Call<Listing>(
        "list", [cluster = shared_->cluster, pool](std::stop_token) { return ListImages(*cluster, pool); }, std::move(stop));
  }

  Result<std::unique_ptr<ImageReader>> DoOpen(const ImageInfo& image, std::stop_token) override {
    auto version = RbdVersion::Parse(image.id.version);
    if (!version || version->size != image.size)
      return Error{Errc::kInvalid, fmt::format("{}: '{}' is no version of an RBD image", image.id.name, image.id.version)};
    return std::unique_ptr<ImageReader>(std::make_unique<RbdReader>(shared_, image, std::move(*version)));
  }

  const std::shared_ptr<Shared> shared_;
  const int max_parallel_;
};

}  // namespace

Result<std::unique_ptr<Backend>> MakeRbd(std::string_view source, const BackendOptions& options) {
  GLINTFS_ASSIGN(CephSettings settings, MakeCephSettings(source, "rbd", options, std::getenv("CEPH_ARGS")));
  return std::unique_ptr<Backend>(std::make_unique<RbdBackend>(std::move(settings), options));
}

}  // namespace glintfs
