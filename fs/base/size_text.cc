#include "fs/base/size_text.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <optional>

namespace glintfs {
namespace {

struct Unit {
  std::string_view suffix;
  uint64_t factor;
};

constexpr std::array<Unit, 14> kSizeUnits = {{{"", 1},
                                              {"k", 1'000ull},
                                              {"K", 1'000ull},
                                              {"M", 1'000'000ull},
                                              {"G", 1'000'000'000ull},
                                              {"T", 1'000'000'000'000ull},
                                              {"P", 1'000'000'000'000'000ull},
                                              {"E", 1'000'000'000'000'000'000ull},
                                              {"Ki", 1ull << 10},
                                              {"Mi", 1ull << 20},
                                              {"Gi", 1ull << 30},
                                              {"Ti", 1ull << 40},
                                              {"Pi", 1ull << 50},
                                              {"Ei", 1ull << 60}}};
constexpr std::array<Unit, 6> kTimeUnits = {{{"ms", 1'000'000ull},
                                             {"", 1'000'000'000ull},
                                             {"s", 1'000'000'000ull},
                                             {"m", 60'000'000'000ull},
                                             {"h", 3'600'000'000'000ull},
                                             {"d", 86'400'000'000'000ull}}};

// A decimal number, split from what follows it. No sign, no exponent, no spaces; value kept exact as digits / 10^scale.
struct Number {
  uint64_t digits = 0;
  int scale = 0;
  std::string_view rest;
};

std::optional<Number> ParseNumber(std::string_view text) {
  Number number;
  size_t i = 0;
  bool any = false, point = false;
  for (; i < text.size(); ++i) {
    if (text[i] == '.' && !point) {
      point = true;
      continue;
    }
    if (text[i] < '0' || text[i] > '9') break;
    any = true;
    if (number.digits > (UINT64_MAX - 9) / 10) return std::nullopt;
    number.digits = number.digits * 10 + static_cast<uint64_t>(text[i] - '0');
    if (point) ++number.scale;
  }
  if (!any || number.scale > 9) return std::nullopt;
  number.rest = text.substr(i);
  return number;
}

// digits · factor / 10^scale, rounded up; nullopt above `limit`.
template <size_t N>
std::optional<uint64_t> Scale(std::string_view text, const std::array<Unit, N>& units, uint64_t limit) {
  const auto number = ParseNumber(text);
  if (!number) return std::nullopt;
  for (const Unit& unit : units) {
    if (unit.suffix != number->rest) continue;
    unsigned __int128 value = static_cast<unsigned __int128>(number->digits) * unit.factor;
    for (int i = 0; i < number->scale; ++i) value = (value + 9) / 10;
    if (value > limit) return std::nullopt;
    return static_cast<uint64_t>(value);
  }
  return std::nullopt;
}

}  // namespace

Result<uint64_t> ParseSize(std::string_view text) {
  if (auto bytes = Scale(text, kSizeUnits, static_cast<uint64_t>(INT64_MAX))) return *bytes;
  return Error{Errc::kInvalid, fmt::format("'{}' is not a size: write it like 10G (10·10⁹ bytes) or 10Gi (10·2³⁰)", text)};
}

Result<std::chrono::nanoseconds> ParseDuration(std::string_view text) {
  constexpr uint64_t kLimit = 100ull * 366 * 86'400 * 1'000'000'000;
  if (auto nanos = Scale(text, kTimeUnits, kLimit)) return std::chrono::nanoseconds(*nanos);
  return Error{Errc::kInvalid, fmt::format("'{}' is not a duration: write it like 500ms, 90s, 10m, 24h or 7d", text)};
}

Result<double> ParseShare(std::string_view text) {
  const bool percent = text.ends_with('%');
  const auto number = ParseNumber(percent ? text.substr(0, text.size() - 1) : text);
  if (number && number->rest.empty()) {
    const double value = static_cast<double>(number->digits) / std::pow(10.0, number->scale) / (percent ? 100.0 : 1.0);
    if (value <= 1.0) return value;
  }
  return Error{Errc::kInvalid, fmt::format("'{}' is not a share: write it like 90% or 0.9", text)};
}

std::string FormatSize(uint64_t bytes) {
  constexpr std::array<const char*, 7> kNames = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, kNames[unit]);
}

std::string FormatQuantity(uint64_t bytes) {
  const Unit* best = &kSizeUnits[0];
  for (const Unit& unit : kSizeUnits)
    if (bytes != 0 && bytes % unit.factor == 0 && unit.factor > best->factor) best = &unit;
  return fmt::format("{}{}", bytes / best->factor, best->suffix);
}

std::string FormatDuration(std::chrono::nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  if (seconds < 1) return fmt::format("{:.0f}ms", seconds * 1000);
  if (seconds < 60) return fmt::format("{:.3g}s", seconds);
  const auto total = static_cast<uint64_t>(seconds);
  const uint64_t d = total / 86'400, h = total / 3'600 % 24, m = total / 60 % 60, s = total % 60;
  std::string text;
  if (d) text += fmt::format("{}d", d);
  if (h) text += fmt::format("{}h", h);
  if (m && !d) text += fmt::format("{}m", m);
  if (s && !d && !h) text += fmt::format("{}s", s);
  return text;
}

}  // namespace glintfs
