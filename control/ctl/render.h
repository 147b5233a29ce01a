// Answers of the daemon as text for people. Pure; a key that is missing (an older daemon) reads as zero or empty.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace glintfs::ctl {

std::string StatusText(const nlohmann::json& status);                                // GET /v1/status
// Lists, with long names shortened so that lines fit into `columns` if given.
std::string ImagesText(const nlohmann::json& images, std::chrono::nanoseconds now,
                       std::optional<size_t> columns = std::nullopt);  // GET /v1/images
std::string QueueText(const nlohmann::json& queue, std::chrono::nanoseconds now,
                      std::optional<size_t> columns = std::nullopt);  // GET /v1/queue
std::string ImageText(const nlohmann::json& image, std::chrono::nanoseconds now);    // GET /v1/images/{image}
std::string RemovedText(const nlohmann::json& answer, bool dry_run);                 // of prune and clean

}  // namespace glintfs::ctl
