// Between rounds the verifier keeps only a weak_ptr of an image that is still partial, so that hashing does not keep it in
// use; once it is complete it is held until the verdict. An image that was closed and is opened again goes on where the
// digest stood: the bytes behind it cannot have changed.
#include "fs/cache/verifier.h"

#include <openssl/evp.h>
#include <sys/resource.h>

#include <array>
#include <boost/crc.hpp>
#include <utility>

#include "fs/base/log.h"
#include "fs/cache/cached_image.h"

namespace glintfs {
namespace {

constexpr Nanos kRound = std::chrono::milliseconds(200);

class EvpDigest final : public Digest {
 public:
  explicit EvpDigest(const EVP_MD* md) : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(context_.get(), md, nullptr); }
  void Update(std::span<const std::byte> data) override { EVP_DigestUpdate(context_.get(), data.data(), data.size()); }
  std::string FinishHex() override {
    std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
    unsigned int length = 0;
    EVP_DigestFinal_ex(context_.get(), bytes.data(), &length);
    std::string hex;
    for (unsigned int i = 0; i < length; ++i) hex += fmt::format("{:02x}", bytes[i]);
    return hex;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

// Parameters of the CRCs that S3 stores: https://reveng.sourceforge.io/crc-catalogue/ (CRC-32/ISO-HDLC, CRC-32/ISCSI, CRC-64/NVME).
using Crc32 = boost::crc_optimal<32, 0x04C11DB7, 0xFFFFFFFF, 0xFFFFFFFF, true, true>;
using Crc32c = boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true>;
using Crc64Nvme = boost::crc_optimal<64, 0xAD93D23594C93659, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, true, true>;

template <typename Crc>
class CrcDigest final : public Digest {
 public:
  void Update(std::span<const std::byte> data) override { crc_.process_bytes(data.data(), data.size()); }
  std::string FinishHex() override { return fmt::format("{:0{}x}", crc_.checksum(), Crc::bit_count / 4); }

 private:
  Crc crc_;
};

}  // namespace

std::unique_ptr<Digest> Digest::Make(const std::string& algorithm) {
  if (algorithm == "crc32") return std::make_unique<CrcDigest<Crc32>>();
  if (algorithm == "crc32c") return std::make_unique<CrcDigest<Crc32c>>();
  if (algorithm == "crc64nvme") return std::make_unique<CrcDigest<Crc64Nvme>>();
  const EVP_MD* md = EVP_get_digestbyname(algorithm.c_str());
  return md == nullptr ? nullptr : std::make_unique<EvpDigest>(md);
}

struct Verifier::Hashing {
  std::weak_ptr<CachedImage> image;
  std::shared_ptr<CachedImage> held;  // while it is complete
  Checksum expected;
  std::unique_ptr<Digest> digest;
  uint64_t next = 0;      // chunk
  bool refilled = false;  // what turned out bad was asked for again: once, lest a broken disk be filled for ever
};

Verifier::Verifier(Callbacks callbacks) : callbacks_(std::move(callbacks)) {
  thread_ = Thread("verify", [this](std::stop_token stop) {
    setpriority(PRIO_PROCESS, 0, 10);  // this thread only: reads and fetches go first
    Run(stop);
  });
}

Verifier::~Verifier() { Stop(); }

void Verifier::Stop() {
  thread_.RequestStop();
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  thread_.Join();
}

void Verifier::Consider(const std::shared_ptr<CachedImage>& image) {
  {
    MutexLock lock(mu_);
    considered_.push_back(image);
  }
  wake_.NotifyAll();
}

void Verifier::Recheck(const std::shared_ptr<CachedImage>& image) {
  {
    MutexLock lock(mu_);
    rechecks_.push_back(image);
  }
  wake_.NotifyAll();
}

void Verifier::Run(std::stop_token stop) {
  for (;;) {
    std::vector<std::shared_ptr<CachedImage>> fresh, recheck;
    {
      MutexLock lock(mu_);
      if (considered_.empty() && rechecks_.empty() && !stopping_) {
        if (hashing_.empty())
          wake_.Wait(mu_);
        else
          wake_.WaitFor(mu_, kRound);
      }
      if (stopping_) return;
      fresh.swap(considered_);
      recheck.swap(rechecks_);
    }
    for (const auto& image : recheck)
      for (uint64_t chunk = 0; chunk < image->chunks() && !stop.stop_requested(); ++chunk) image->CheckIfSuspect(chunk);
    recheck.clear();
    for (const auto& image : fresh) {
      if (auto known = hashing_.find(image->row()); known != hashing_.end()) {
        known->second->image = image;
        continue;
      }
      const auto checksum = callbacks_.find_checksum(*image, stop);
      if (!checksum) continue;
      auto digest = Digest::Make(checksum->algorithm);
      if (!digest) continue;  // find_checksum knows better
      hashing_[image->row()] = std::make_unique<Hashing>(Hashing{image, nullptr, *checksum, std::move(digest)});
    }
    for (auto it = hashing_.begin(); it != hashing_.end();) it = Follow(*it->second, stop) ? std::next(it) : hashing_.erase(it);
  }
}

bool Verifier::Follow(Hashing& hashing, std::stop_token stop) {
  const auto image = hashing.image.lock();
  if (!image) return false;
  if (image->PresentRun(0) == image->chunks()) hashing.held = image;
  std::vector<std::byte> buffer;
  const uint64_t until = image->PresentRun(hashing.next);
  for (; hashing.next < until; ++hashing.next) {
    if (stop.stop_requested()) return false;
    if (!image->ReadChecked(hashing.next, buffer)) {  // absent again; goes on when it is back
      // A partial one is filled by those who want it.
      if (hashing.held && !std::exchange(hashing.refilled, true)) image->StartFill(Urgency::kBackground);
      hashing.held.reset();
      return true;
    }
    hashing.digest->Update(buffer);
  }
  if (hashing.next < image->chunks()) return true;
  const std::string found = hashing.digest->FinishHex();
  if (found == hashing.expected.hex) {
    callbacks_.passed(*image);
  } else {
    callbacks_.failed(*image, fmt::format("its {} is {}, the source says {}", hashing.expected.algorithm, found,
                                          hashing.expected.hex));
  }
  return false;
}

}  // namespace glintfs
