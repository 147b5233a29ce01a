#include "fs/cache/chunk_set.h"

#include <algorithm>
#include <bit>

namespace glintfs {

bool ChunkSet::Add(uint64_t chunk) {
  const uint64_t bit = uint64_t{1} << (chunk % 64);
  uint64_t& word = words_[chunk / 64];
  if (word & bit) return false;
  word |= bit;
  ++count_;
  return true;
}

bool ChunkSet::Remove(uint64_t chunk) {
  const uint64_t bit = uint64_t{1} << (chunk % 64);
  uint64_t& word = words_[chunk / 64];
  if (!(word & bit)) return false;
  word &= ~bit;
  --count_;
  return true;
}

void ChunkSet::Clear() {
  std::fill(words_.begin(), words_.end(), 0);
  count_ = 0;
}

void ChunkSet::LoadWords(uint64_t first_word, std::span<const uint64_t> words) {
  for (size_t i = 0; i < words.size(); ++i) {
    uint64_t value = words[i];
    const uint64_t base = (first_word + i) * 64;
    if (size_ - base < 64) value &= (uint64_t{1} << (size_ - base)) - 1;
    uint64_t& word = words_[first_word + i];
    count_ += static_cast<uint64_t>(std::popcount(value)) - static_cast<uint64_t>(std::popcount(word));
    word = value;
  }
}

uint64_t ChunkSet::Find(uint64_t from, uint64_t end, uint64_t flip) const {
  while (from < end) {
    const uint64_t word = (words_[from / 64] ^ flip) >> (from % 64);
    if (word != 0) return std::min(end, from + static_cast<uint64_t>(std::countr_zero(word)));
    from = (from / 64 + 1) * 64;
  }
  return end;
}

}  // namespace glintfs
