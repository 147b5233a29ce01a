// ChunkSet: a set of chunk numbers in [0, size), as a bitmap with a count. Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace glintfs {

class ChunkSet {
 public:
  explicit ChunkSet(uint64_t size = 0) : size_(size), words_((size + 63) / 64, 0) {}

  uint64_t size() const { return size_; }
  uint64_t count() const { return count_; }
  bool full() const { return count_ == size_; }
  bool empty() const { return count_ == 0; }

  // REQUIRES: chunk < size()
  bool Has(uint64_t chunk) const { return (words_[chunk / 64] >> (chunk % 64)) & 1; }
  bool Add(uint64_t chunk);     // false: it was there
  bool Remove(uint64_t chunk);  // false: it was not there
  void Clear();

  // The first chunk in [from, end) that is (not) in the set; `end` when there is none. REQUIRES: end <= size()
  uint64_t FirstPresent(uint64_t from, uint64_t end) const { return Find(from, end, 0); }
  uint64_t FirstAbsent(uint64_t from, uint64_t end) const { return Find(from, end, ~uint64_t{0}); }

  // Bit chunk%64 of word chunk/64; bits at and beyond size() are zero.
  std::span<const uint64_t> words() const { return words_; }
  // Replaces words [first_word, first_word + words.size()); bits beyond size() are dropped.
  // REQUIRES: the words lie within the set.
  void LoadWords(uint64_t first_word, std::span<const uint64_t> words);

 private:
  uint64_t Find(uint64_t from, uint64_t end, uint64_t flip) const;

  uint64_t size_;
  uint64_t count_ = 0;
  std::vector<uint64_t> words_;
};

}  // namespace glintfs
