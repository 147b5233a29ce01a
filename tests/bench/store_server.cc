// A real store for scripts/bench, as the tests have it: store_server rbd|rados|s3|swift|glance
//
// Reads one JSON object a line and answers each with one:
//   {}                                                   what to mount: {"source", "options": ["k=v"], "environment": ["K=v"]}
//   {"put": name, "size": n, "data": [[offset, length]]} an image with random bytes there and zeros elsewhere: {"name"}
//   {"many": count}                                      so many images of one byte: {"names"}
// and ends, with the store, at the end of its input.
#include <cstdio>
#include <exception>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "tests/stores/makers.h"

namespace glintfs::testing {
namespace {

using nlohmann::json;

const std::map<std::string, StoreMaker> kMakers = {
#ifdef GLINTFS_CEPH
    {"rbd", &MakeRbdStore},   {"rados", &MakeRadosStore}, {"s3", &MakeS3Store},
#endif
    {"swift", &MakeSwiftStore}, {"glance", &MakeGlanceStore},
};

std::string RandomBytes(size_t size) {
  std::mt19937_64 random(size);
  std::string bytes((size + 7) / 8 * 8, '\0');
  for (size_t i = 0; i < bytes.size(); i += 8) {
    const uint64_t word = random();
    bytes.replace(i, 8, reinterpret_cast<const char*>(&word), 8);
  }
  bytes.resize(size);
  return bytes;
}

json Answer(Store& store, const json& ask) {
  if (ask.contains("put")) {
    Content content{ask.at("size"), {}};
    for (const json& piece : ask.at("data"))
      content.pieces.push_back({piece.at(0), RandomBytes(piece.at(1).get<size_t>())});
    return {{"name", store.Put(ask.at("put"), content)}};
  }
  if (ask.contains("many")) {
    std::vector<std::string> names;
    for (int i = 0; i < ask.at("many").get<int>(); ++i) names.push_back("many-" + std::to_string(100000 + i));
    return {{"names", store.PutMany(names)}};
  }
  return {{"source", store.source()}, {"options", store.mount_options()}, {"environment", store.environment()}};
}

int Serve(const std::string& kind) {
  const auto maker = kMakers.find(kind);
  if (maker == kMakers.end()) {
    std::cerr << "store_server: no store called '" << kind << "'\n";
    return 2;
  }
  const std::unique_ptr<Store> store = maker->second();
  for (std::string line; std::getline(std::cin, line);) std::cout << Answer(*store, json::parse(line)).dump() << std::endl;
  return 0;
}

}  // namespace
}  // namespace glintfs::testing

int main(int argc, char** argv) try {
  return glintfs::testing::Serve(argc == 2 ? argv[1] : "");
} catch (const std::exception& e) {
  std::cerr << "store_server: " << e.what() << "\n";
  return 1;
}
