// DirStore: a directory as a store, local unless a derived class puts root() elsewhere.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/stores/store.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {

class DirStore : public Store {
 public:
  DirStore() { std::filesystem::create_directory(dir_ / "images"); }

  StoreTraits traits() const override {
    StoreTraits traits;
    traits.directories = true;
    traits.holes = true;
    traits.breakable = false;
    return traits;
  }
  std::string source() const override { return "dir://" + root(); }
  BackendOptions options() const override {
    BackendOptions options;
    options.retries = 2;
    return options;
  }
  std::vector<std::string> mount_options() const override { return {}; }

  std::string Put(const std::string& name, const Content& content) override {
    const std::string path = root() + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    for (const Piece& piece : content.pieces) {
      out.seekp(static_cast<std::streamoff>(piece.offset));
      out << piece.bytes;
    }
    out.close();
    std::filesystem::resize_file(path, content.size);
    // Versions of web servers are made of whole seconds.
    const timespec times[2] = {{++seconds_, 0}, {seconds_, 0}};
    if (!out || ::utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) throw std::runtime_error("cannot write " + path);
    return name;
  }
  std::vector<std::string> PutMany(const std::vector<std::string>& names) override {
    for (const std::string& name : names) Put(name, Content::Of("x"));
    return names;
  }
  void Remove(const std::string& name) override { std::filesystem::remove(root() + "/" + name); }

  void Stop() override {}
  void Start() override {}
  void Freeze() override {}
  void Thaw() override {}
  std::optional<Access> WrongCredentials() override { return std::nullopt; }

 protected:

  virtual std::string root() const { return dir_ / "images"; }
  std::string Write(const std::string& name, const std::string& content) {
    std::ofstream(dir_ / name) << content;
    ::chmod((dir_ / name).c_str(), 0600);
    return dir_ / name;
  }

 private:
  TempDir dir_;
  time_t seconds_ = 1'700'000'000;
};

}  // namespace glintfs::testing
