// ImageTable: every image the cache knows, by row and by name. Plain data; guarded by the cache's lock.
//
// 100,000 images are to fit in well under 150 MiB, so an image that is not in use is this entry and nothing else: its chunk
// set stays in the index until it is opened.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/cache/index.h"

namespace glintfs {

class CachedImage;

// What names an image, as one text.
std::string RowKey(const ImageId& id);

struct Entry {
  ImageRow row;
  std::weak_ptr<CachedImage> live;  // set while the image is in use
  int instances = 0;                // CachedImages of it that have not let go of it yet; one of them is `live`
  bool loading = false;             // one thread makes `live`; others wait
  bool stored = false;              // the index has a row for it
  bool changed = false;             // use, verdict … differ from the index
  bool announced = false;           // its completion was told
  bool complete_at_start = false;   // there was nothing to tell
  bool verified_untold = false;     // to be told with its completion

  // See cache_sealed.cc.
  int sealed_opens = 0;                // handles that read past this process
  bool passed_through = false;         // it was, since start: its file is not to change
  bool damaged = false;                // a chunk was found bad, and the row does not say so yet
  bool seal_announced = false;
  bool checksum_out_of_reach = false;  // the source could not be asked for it

  bool invalid() const { return row.superseded || row.verdict == Verdict::kFailed; }
};

class ImageTable {
 public:
  Entry& Add(ImageRow row);  // REQUIRES: no entry with this row
  void Remove(RowId row);

  Entry* Find(RowId row);
  Entry* Find(const ImageId& id);
  // The version with the highest row that is not invalid and has content or is in use; null when there is none.
  Entry* Newest(std::string_view source, std::string_view name);
  std::vector<Entry*> Versions(std::string_view source, std::string_view name);

  std::unordered_map<RowId, std::unique_ptr<Entry>>& all() { return by_row_; }
  size_t size() const { return by_row_.size(); }

 private:
  std::unordered_map<RowId, std::unique_ptr<Entry>> by_row_;
  std::unordered_multimap<std::string_view, Entry*> by_name_;  // views into Entry::row.info.id.name
};

}  // namespace glintfs
