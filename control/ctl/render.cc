#include "control/ctl/render.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "control/ctl/answer.h"
#include "control/ctl/table.h"
#include "fs/base/size_text.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;
using Nanos = std::chrono::nanoseconds;

std::string Ago(const json& object, const char* key, Nanos now) {
  if (!Part(object, key).is_number()) return "never";
  const Nanos since = now - Seconds(Real(object, key));
  return since < std::chrono::seconds(1) ? "now" : Span(since) + " ago";
}

std::string Percent(uint64_t part, uint64_t whole) {
  if (whole == 0) return "-";
  return fmt::format("{}%", static_cast<unsigned>(static_cast<double>(part) / static_cast<double>(whole) * 100));
}

std::string Cached(const json& image) {
  const std::string state = Text(image, "state");
  if (state == "complete" || state == "verified") return "100%";
  return Percent(Count(image, "cached_bytes"), Count(image, "size"));
}

std::string Marks(const json& image) {
  std::string marks;
  auto add = [&marks](const std::string& mark) { marks += (marks.empty() ? "" : ",") + mark; };
  if (Flag(image, "pinned")) add("pinned");
  if (Count(image, "open_count") > 0) add("open");
  if (Flag(image, "filling"))
    add(Real(image, "fill_rate") >= 1 ? "filling at " + Size(image, "fill_rate") + "/s" : "filling");
  if (IsSuperseded(image)) add("superseded");
  else if (!Text(image, "error").empty()) add("error");
  return marks;
}

void Line(std::string& text, std::string_view label, const std::string& value) {
  text += fmt::format("{:<12}{}\n", label, Printable(value));
}

std::string CacheLine(const json& status) {
  const json& use = Part(status, "use");
  const json& limits = Part(status, "limits");
  const uint64_t used = Count(use, "used_bytes"), most = Count(limits, "max_size");
  if (most == 0) return FormatSize(used) + " used, no limit";
  return fmt::format("{} of {} used ({}), pruned down to {}%", FormatSize(used), FormatSize(most), Percent(used, most),
                     static_cast<int>(Real(limits, "low_mark") * 100 + 0.5));
}

std::string ImagesLine(const json& images) {
  return fmt::format("{}: {} partial, {} complete, {} verified, {} invalid; {} pinned, {} open, {} queued",
                     Count(images, "total"), Count(images, "partial"), Count(images, "complete"),
                     Count(images, "verified"), Count(images, "invalid"), Count(images, "pinned"),
                     Count(images, "open"), Count(images, "queued"));
}

// "812 by rbd, in ms half/99% below: stat 12 (0.5/1), fetch 800 (5/25); 3 retries"
std::string RequestsLine(const json& requests) {
  std::string text = fmt::format("{} by {}", Count(requests, "requests"), Text(requests, "backend"));
  std::string separator = ", in ms half/99% below: ";
  for (const auto& [name, operation] : Part(requests, "operations").items()) {
    if (Count(operation, "requests") == 0) continue;
    text += fmt::format("{}{} {} ({:g}/{:g})", std::exchange(separator, ", "), name, Count(operation, "requests"),
                        Real(operation, "median_below") * 1000,
                        Real(operation, "p99_below") * 1000);
  }
  return text + "; " + Counted(Count(requests, "retries"), "retry", "retries");
}

std::string ErrorsLine(const json& errors) {
  std::string text;
  for (const auto& [kind, count] : errors.items())
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count.is_number() ? count.dump() : "?", kind);
  return text.empty() ? "none" : text;
}

std::string QueueState(const json& entry, Nanos now) {
  if (Flag(entry, "running")) return "running";
  if (Part(entry, "next_try").is_number()) {
    const Nanos at = Seconds(Real(entry, "next_try"));
    if (at > now) return "again in " + Span(at - now);
  }
  return "waiting";
}

}  // namespace

std::string StatusText(const json& status) {
  const json& use = Part(status, "use");
  const json& flight = Part(status, "in_flight");
  const json& counters = Part(status, "counters");
  const json& fetched = Part(counters, "bytes_fetched");
  std::string text;
  Line(text, "Source", Text(status, "source") + (Flag(status, "source_reachable") ? "" : " (not reachable)"));
  Line(text, "Mounted at", Text(status, "mountpoint"));
  Line(text, "Version",
       fmt::format("{}, up {}", Text(status, "version"), Span(Seconds(Real(status, "uptime_seconds")))));
  Line(text, "Health", Text(status, "health"));
  for (const json& problem : Part(status, "problems")) {
    if (problem.is_string()) Line(text, "", problem.get<std::string>());
  }
  Line(text, "Cache", Text(status, "cache_directory") + ": " + CacheLine(status));
  Line(text, "Disk",
       fmt::format("{} of {} available", Size(use, "disk_available_bytes"), Size(use, "disk_total_bytes")));
  Line(text, "Images", ImagesLine(Part(status, "images")));
  const json& passthrough = Part(status, "passthrough");
  Line(text, "Passthrough", Flag(passthrough, "on") ? "on" : "off: " + Text(passthrough, "refused"));
  Line(text, "In flight",
       fmt::format("{}, {} waiting, {} parked", Counted(Count(flight, "fetches_running"), "fetch", "fetches"),
                   Count(flight, "fetches_waiting"), Counted(Count(flight, "reads_parked"), "read")));
  Line(text, "Reads",
       fmt::format("{}, {}, {} read, {} not kept", Counted(Count(counters, "read_hits"), "hit"),
                   Counted(Count(counters, "read_misses"), "miss", "misses"), Size(counters, "bytes_read"), Size(counters, "bypassed_bytes")));
  Line(text, "Fetched",
       fmt::format("{} on demand, {} readahead, {} queued, {} background, {}", Size(fetched, "demand"),
                   Size(fetched, "readahead"), Size(fetched, "queued"), Size(fetched, "background"),
                   Counted(Count(counters, "fetch_errors"), "error")));
  const json& requests = Part(status, "source_requests");
  Line(text, "Requests", RequestsLine(requests));
  Line(text, "Errors", ErrorsLine(Part(requests, "errors")));
  Line(text, "Removed",
       fmt::format("{} evicted ({}), {} stalled, {} invalid", Count(counters, "evictions"),
                   Size(counters, "evicted_bytes"), Count(counters, "stalled_removed"),
                   Count(counters, "invalid_removed")));
  Line(text, "Checksums",
       fmt::format("{} right, {} wrong, {}", Count(counters, "checksum_ok"),
                   Count(counters, "checksum_failed"), Counted(Count(counters, "bad_chunks"), "bad chunk")));
  return text;
}

std::string ImagesText(const json& images, Nanos now, std::optional<size_t> columns) {
  Table table({{"NAME"},
               {"STATE"},
               {"SIZE", Table::Align::kRight},
               {"CACHED", Table::Align::kRight},
               {"ON DISK", Table::Align::kRight},
               {"HITS", Table::Align::kRight},
               {"LAST READ", Table::Align::kRight},
               {""}});
  for (const json& image : Part(images, "images")) {
    table.Add({Text(image, "name"), Text(image, "state"), Size(image, "size"), Cached(image), Size(image, "disk_bytes"),
               fmt::format("{}", Count(image, "hits")), Ago(image, "last_access", now), Marks(image)});
  }
  if (columns) table.FitInto(*columns);
  return table.Render();
}

std::string ImageText(const json& image, Nanos now) {
  std::string text;
  Line(text, "Name", Text(image, "name"));
  Line(text, "State", Text(image, "state"));
  Line(text, "Size", fmt::format("{} ({} bytes)", Size(image, "size"), Count(image, "size")));
  Line(text, "Cached",
       fmt::format("{} ({}), {} of {} chunks of {}", Cached(image), Size(image, "cached_bytes"),
                   Count(image, "chunks_present"), Count(image, "chunks"), Size(image, "chunk_size")));
  Line(text, "On disk", Size(image, "disk_bytes"));
  Line(text, "Version", Text(image, "version"));
  Line(text, "Changed", Part(image, "mtime").is_number() ? Ago(image, "mtime", now) : "unknown");
  Line(text, "Hits", fmt::format("{}, last read {}", Count(image, "hits"), Ago(image, "last_access", now)));
  Line(text, "Progress", Ago(image, "last_progress", now));
  const std::string marks = Marks(image);
  if (!marks.empty()) Line(text, "Now", marks);
  const json& checksum = Part(image, "checksum");
  Line(text, "Checksum",
       checksum.is_object() ? Text(checksum, "algorithm") + " " + Text(checksum, "value") : "none known");
  if (!Text(image, "error").empty()) Line(text, "Error", Text(image, "error"));
  return text;
}

std::string QueueText(const json& queue, Nanos now, std::optional<size_t> columns) {
  const json& entries = Part(queue, "queue");
  if (entries.empty()) return "The queue is empty.\n";
  Table table({{"NAME"},
               {"STATE"},
               {"CACHED", Table::Align::kRight},
               {"ADDED", Table::Align::kRight},
               {"TRIES", Table::Align::kRight},
               {"ERROR"}});
  for (const json& entry : entries) {
    table.Add({Text(entry, "name"), QueueState(entry, now), Percent(Count(entry, "cached_bytes"), Count(entry, "size")),
               Ago(entry, "added", now), fmt::format("{}", Count(entry, "attempts")), Text(entry, "error")});
  }
  if (columns) table.FitInto(*columns);
  return table.Render();
}

std::string RemovedText(const json& answer, bool dry_run) {
  const bool prune = !Part(answer, "total_files_pruned").is_null();
  const uint64_t files = Count(answer, prune ? "total_files_pruned" : "total_files_cleaned");
  std::string text;
  for (const json& name : Part(answer, "images")) {
    if (name.is_string()) text += Printable(name.get<std::string>()) + "\n";
  }
  return text + fmt::format("{}{}, {}\n", Counted(files, "image"), dry_run ? " would be removed" : " removed",
                            Size(answer, prune ? "total_bytes_pruned" : "total_bytes_cleaned"));
}

}  // namespace glintfs::ctl
