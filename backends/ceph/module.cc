#include "backends/ceph/module.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace glintfs {
namespace {

constexpr std::string_view kFile = "glintfs-ceph.so";

// Beside the program in a build directory, in lib/glintfs/modules/ when installed. PATH and the environment have no say.
std::string FindModule() {
  std::error_code error;
  const auto directory = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const auto installed = (directory / "../lib/glintfs/modules" / kFile).lexically_normal();
  for (const auto& path : {directory / kFile, installed})
    if (::access(path.c_str(), R_OK) == 0) return path;
  return {};
}

Result<const CephModule*> Load() {
  const std::string path = FindModule();
  if (path.empty())
    return Error{Errc::kInvalid, "rbd:// and rados:// need the package glintfs-ceph: apt install glintfs-ceph"};
  void* module = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) return Error{Errc::kInvalid, fmt::format("cannot load {}: {}", path, ::dlerror())};
  const auto* entry = static_cast<const CephModule*>(::dlsym(module, "glintfs_ceph_module"));
  if (entry == nullptr) return Error{Errc::kInvalid, fmt::format("cannot load {}: {}", path, ::dlerror())};
  if (std::string_view(entry->version) != GLINTFS_VERSION)
    return Error{Errc::kInvalid, fmt::format("glintfs is of version {} and glintfs-ceph of {}: install the same of both",
                                             GLINTFS_VERSION, entry->version)};
  return entry;
}

}  // namespace

Result<const CephModule*> LoadCephModule() {
  static const auto* module = new Result<const CephModule*>(Load());
  return *module;
}

}  // namespace glintfs
