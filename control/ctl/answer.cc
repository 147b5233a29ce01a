#include "control/ctl/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fs/base/percent.h"
#include "fs/base/size_text.h"

namespace glintfs::ctl {

using nlohmann::json;

const json& Part(const json& object, const char* key) {
  static const json kNothing;
  if (!object.is_object()) return kNothing;
  const auto it = object.find(key);
  return it != object.end() ? *it : kNothing;
}
std::string Text(const json& object, const char* key) {
  const json& value = Part(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}
double Real(const json& object, const char* key) {
  const json& value = Part(object, key);
  return value.is_number() ? value.get<double>() : 0;
}
uint64_t Count(const json& object, const char* key) {
  const json& value = Part(object, key);
  return value.is_number_unsigned() ? value.get<uint64_t>() : static_cast<uint64_t>(std::max(0.0, Real(object, key)));
}
bool Flag(const json& object, const char* key) { return Part(object, key) == json(true); }
std::string Size(const json& object, const char* key) { return FormatSize(Count(object, key)); }

std::string Counted(uint64_t count, std::string_view one, std::string_view several) {
  if (count == 1) return fmt::format("1 {}", one);
  return several.empty() ? fmt::format("{} {}s", count, one) : fmt::format("{} {}", count, several);
}

std::string Span(std::chrono::nanoseconds span) {
  if (span < std::chrono::seconds(1)) return "<1s";
  return FormatDuration(std::chrono::floor<std::chrono::seconds>(span));
}

std::chrono::nanoseconds Seconds(double seconds) {
  return std::chrono::nanoseconds(static_cast<int64_t>(std::clamp(seconds, 0.0, 4e9) * 1e9));
}

bool IsSuperseded(const json& image) { return Text(image, "state") == "invalid" && Text(image, "error").starts_with("superseded"); }

std::string ExactName(const json& entry) {
  constexpr std::string_view kPrefix = "/v1/images/";
  const std::string href = Text(entry, "href");
  if (href.starts_with(kPrefix)) {
    if (auto name = PercentDecode(std::string_view(href).substr(kPrefix.size()))) return *name;
  }
  return Text(entry, "name");
}

Result<json> Get(Client& client, const std::string& target, int* status) {
  if (status != nullptr) *status = 0;
  GLINTFS_ASSIGN(const Reply reply, client.Send("GET", target));
  if (status != nullptr) *status = reply.status;
  if (!reply.ok()) return Error{Errc::kIo, reply.ErrorMessage()};
  json body = json::parse(reply.body, nullptr, false);
  if (!body.is_object()) return Error{Errc::kIo, "the daemon's answer makes no sense"};
  return body;
}

}  // namespace glintfs::ctl
