// Store: a real store on loopback that the contract tests (contract_test.cc, mount_contract_test.cc) fill, break and mend. One
// implementation per backend, in NAME_store.cc, which also instantiates the tests:
//
//   INSTANTIATE_TEST_SUITE_P(Rbd, ContractTest, ::testing::Values(&MakeRbdStore));
//
// A store is started once for a test program and stopped at its end. Everything it starts listens on 127.0.0.1, on ports of
// tests/support/port.h, keeps its files in a TempDir, and dies with the test program. Methods throw std::runtime_error with the
// server's own words when something does not work.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/registry.h"

namespace glintfs::testing {

struct Piece {
  uint64_t offset = 0;
  std::string bytes;
};

// What an image holds: the pieces, in order and disjoint, and zeros elsewhere.
struct Content {
  uint64_t size = 0;
  std::vector<Piece> pieces;

  static Content Of(std::string bytes) { return {bytes.size(), {{0, bytes}}}; }
  std::string Bytes(Extent extent) const;  // what a read must give
};

struct StoreTraits {
  bool directories = false;      // names may hold '/'
  bool free_names = true;        // a test chooses the name; false: see Put
  bool lists_dot_names = true;   // a listing shows names that begin with '.'
  bool replace = true;           // the content under a name can change
  bool holes = false;            // zeros that were never written cost no transfer
  bool ranges = true;            // a fetch may start in the middle
  bool breakable = true;         // it has a server that can end and hang
  bool sparse_put = true;        // a sparse image of 5 GiB can be made in a second or two
  uint64_t object_size = 4 << 20;  // borders that odd sizes are tried around
};

class Store {
 public:
  virtual ~Store() = default;

  virtual StoreTraits traits() const = 0;

  // What to mount, with which settings and environment. The settings hold good credentials, try again twice at most, and have the
  // time limits of the program: servers written in Python take seconds for an answer on a loaded machine.
  virtual std::string source() const = 0;
  virtual BackendOptions options() const = 0;
  // The same for the program: "ceph_conf=/…". Without what options() sets for speed.
  virtual std::vector<std::string> mount_options() const = 0;
  virtual std::vector<std::string> environment() const { return {}; }  // "NAME=value"; secrets come this way, or in files

  // Texts of the good credentials that must show nowhere.
  virtual std::vector<std::string> secrets() const { return {}; }

  // Makes or replaces an image and returns the name it shows under, which is `name` where names are free, else one that depends on
  // `name` alone (glance: a UUID made from it).
  virtual std::string Put(const std::string& name, const Content& content) = 0;
  // Makes images of one byte, "x", quickly; the names they show under.
  virtual std::vector<std::string> PutMany(const std::vector<std::string>& names) = 0;
  virtual void Remove(const std::string& name) = 0;  // as Put was given it

  // The server ends: it is not reachable until Start, and then holds what it held.
  virtual void Stop() = 0;
  virtual void Start() = 0;
  // The server stays and answers nothing (SIGSTOP).
  virtual void Freeze() = 0;
  virtual void Thaw() = 0;

  // Settings and environment with credentials that the server refuses; nullopt when the store knows none.
  struct Access {
    BackendOptions options;
    std::vector<std::string> mount_options;
    std::vector<std::string> environment;
    std::string secret;  // a text that must show nowhere
  };
  virtual std::optional<Access> WrongCredentials() = 0;
  // What backends made so far have logged in with is refused from now on, and they can get better credentials by themselves (a new
  // token, new keys in the file). False when there is no such thing.
  virtual bool ExpireCredentials() { return false; }
};

using StoreMaker = std::unique_ptr<Store> (*)();

// For tests in which the server ends or hangs: the same, but gives up after a few seconds without a byte.
BackendOptions GivingUpSoon(BackendOptions options);

// The program's one store of this kind, started now if it is not.
Store& SharedStore(StoreMaker make);

class ContractTest : public ::testing::TestWithParam<StoreMaker> {
 protected:
  void SetUp() override;
  // The image now, and a reader of it; the test fails when there is none.
  ImageInfo Info(const std::string& name);
  std::unique_ptr<ImageReader> OpenNow(const std::string& name);
  // Reads `extent` and compares.
  void ExpectBytes(ImageReader& reader, Extent extent, const Content& content);

  Store& store() { return *store_; }
  Backend& backend() { return *backend_; }

  Store* store_ = nullptr;
  std::unique_ptr<Backend> backend_;
};

class MountContractTest : public ::testing::TestWithParam<StoreMaker> {
 protected:
  void SetUp() override;
  Store& store() { return *store_; }
  Store* store_ = nullptr;
};

}  // namespace glintfs::testing
