// Paths in the cache directory. Every one is built and parsed here.
//
//   <cache>/lock                          flock()ed by the daemon; holds its pid
//   <cache>/index.db (-wal, -shm)         the index (SQLite)
//   <cache>/scratch/                      what Glance writes, with layout=glance-cache
//   <cache>/data/<2 hex>/<row>-<generation>   one sparse data file an image; <2 hex> is row mod 256
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "fs/cache/image_status.h"

namespace glintfs::layout {

inline constexpr char kLock[] = "lock";
inline constexpr char kIndex[] = "index.db";
inline constexpr char kData[] = "data";
inline constexpr char kScratch[] = "scratch";  // of fs/fuse/scratch, with layout=glance-cache

std::string DataPath(RowId row, uint32_t generation);

struct DataName {
  RowId row;
  uint32_t generation;
};
// The inverse of DataPath; nullopt for anything that DataPath would not build.
std::optional<DataName> ParseDataPath(std::string_view path);

}  // namespace glintfs::layout
