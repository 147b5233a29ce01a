// Tolerant look-ups in the daemon's answers: what is absent, null or of another type (an older daemon) counts as nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "control/ctl/client.h"
#include "fs/base/result.h"

namespace glintfs::ctl {

const nlohmann::json& Part(const nlohmann::json& object, const char* key);
std::string Text(const nlohmann::json& object, const char* key);
double Real(const nlohmann::json& object, const char* key);
uint64_t Count(const nlohmann::json& object, const char* key);
bool Flag(const nlohmann::json& object, const char* key);
std::string Size(const nlohmann::json& object, const char* key);  // "4.00 MiB"

// "1 chunk", "2 chunks"; `several` is for what does not just take an s.
std::string Counted(uint64_t count, std::string_view one, std::string_view several = "");

// As people say how long: whole seconds, "<1s".
std::string Span(std::chrono::nanoseconds span);

std::chrono::nanoseconds Seconds(double seconds);  // what is negative is 0

// An image that is invalid because the source has another version, or none: the new one can be cached beside it.
bool IsSuperseded(const nlohmann::json& image);

// The exact name, from `href`: bytes that are not UTF-8 are lost in `name`.
std::string ExactName(const nlohmann::json& entry);

// The body of a good answer to GET. kUnavailable, kAccessDenied, kTimedOut as Client::Send; kIo: the daemon answered with an
// error, or with nonsense. `status`, if given, gets the status of the answer, 0 without one.
Result<nlohmann::json> Get(Client& client, const std::string& target, int* status = nullptr);

}  // namespace glintfs::ctl
