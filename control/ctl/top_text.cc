#include "control/ctl/top_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/ctl/answer.h"
#include "control/ctl/table.h"
#include "control/ctl/terminal.h"
#include "fs/base/size_text.h"

namespace glintfs::ctl {
namespace {

using nlohmann::json;

constexpr size_t kListed = 10;
constexpr size_t kBarCells = 20;

double Difference(const json& before, const json& now, const char* key) {
  const double was = Real(before, key), is = Real(now, key);
  return is >= was ? is - was : is;
}

std::string Rate(double bytes) { return FormatSize(static_cast<uint64_t>(std::max(0.0, bytes))) + "/s"; }
std::string Share(std::optional<double> share) { return share ? fmt::format("{:.1f}%", *share * 100) : "-"; }
// A bound of a bucket: 0.5 ms is not 0 ms.
std::string Bound(double seconds) { return seconds < 0.01 ? fmt::format("{:g}ms", seconds * 1000) : FormatDuration(Seconds(seconds)); }
std::string Time(double seconds) { return FormatDuration(Seconds(seconds)); }

std::optional<double> Ratio(double part, double rest) {
  return part + rest > 0 ? std::optional<double>(part / (part + rest)) : std::nullopt;
}

void Line(std::string& text, std::string_view label, const std::string& value, bool colors) {
  text += Colored(fmt::format("{:<9}", label), Color::kBold, colors) + value + "\n";
}

std::string UseLine(const json& status) {
  const json& use = Part(status, "use");
  const json& images = Part(status, "images");
  const uint64_t used = Count(use, "used_bytes"), most = Count(Part(status, "limits"), "max_size");
  std::string text;
  if (most > 0) {
    const double share = std::min(1.0, static_cast<double>(used) / static_cast<double>(most));
    std::string bar(static_cast<size_t>(share * kBarCells), '#');
    bar.resize(kBarCells, ' ');
    text = fmt::format("[{}] {:.0f}%  {} of {}", bar, share * 100, FormatSize(used), FormatSize(most));
  } else {
    text = FormatSize(used) + ", no limit";
  }
  return text + fmt::format("; {}, {} open, {} pinned; {} free on disk", Counted(Count(images, "total"), "image"), Count(images, "open"),
                            Count(images, "pinned"), Size(use, "disk_available_bytes"));
}

std::string SourceLine(const json& status, const TopRates& rates, bool colors) {
  const json& requests = Part(status, "source_requests");
  const json& fetches = Part(Part(requests, "operations"), "fetch");
  std::string text = Flag(status, "source_reachable") ? Colored("ok", Color::kGreen, colors) : Colored("AWAY", Color::kRed, colors);
  text += fmt::format("; {:.1f} requests/s; first byte after {} now", rates.requests,
                      rates.first_byte_seconds ? Time(*rates.first_byte_seconds) : "-");
  if (Count(fetches, "requests") > 0)
    text += fmt::format(", half below {}, 99% below {}", Bound(Real(fetches, "median_below")), Bound(Real(fetches, "p99_below")));
  text += "; " + Counted(rates.retries, "retry", "retries") + ", ";
  const std::string errors = Counted(rates.errors, "error");
  return text + (rates.errors > 0 ? Colored(errors, Color::kRed, colors) : errors);
}

std::string QueueLine(const json& queue) {
  const json& entries = Part(queue, "queue");
  size_t failing = 0;
  std::string running;
  for (const json& entry : entries) {
    if (!Text(entry, "error").empty()) ++failing;
    if (Flag(entry, "running") && running.empty()) running = Printable(Text(entry, "name"));
  }
  return fmt::format("{}{}{}", Counted(entries.size(), "image"), failing > 0 ? fmt::format(", {} being tried again", failing) : "",
                     running.empty() ? "" : "; now " + running);
}

std::string FillsText(const json& fills, size_t most) {
  Table table({{"FILLS"}, {"DONE", Table::Align::kRight}, {"SIZE", Table::Align::kRight}, {"RATE", Table::Align::kRight}, {"LEFT", Table::Align::kRight}, {"WHY"}});
  for (size_t i = 0; i < std::min(most, fills.size()); ++i) {
    const json& fill = fills[i];
    const double size = Real(fill, "size"), done = Real(fill, "cached_bytes"), rate = Real(fill, "fill_rate");
    table.Add({Text(fill, "name"), size > 0 ? fmt::format("{:.0f}%", done / size * 100) : "-", Size(fill, "size"), Rate(rate),
               rate >= 1 && size >= done ? Span(Seconds((size - done) / rate + 1)) : "-", Flag(fill, "queued") ? "asked for" : "being read"});
  }
  return table.Render();
}

std::string FetchesText(const json& fetches, size_t most) {
  Table table({{"SLOWEST FETCHES"}, {"OFFSET", Table::Align::kRight}, {"RECEIVED", Table::Align::kRight}, {"OF", Table::Align::kRight}, {"AGE", Table::Align::kRight}, {"FOR"}});
  for (size_t i = 0; i < std::min(most, fetches.size()); ++i) {
    const json& fetch = fetches[i];
    table.Add({Text(fetch, "name"), Size(fetch, "offset"), Size(fetch, "received"), Size(fetch, "length"), Time(Real(fetch, "age_seconds")),
               Text(fetch, "urgency")});
  }
  return table.Render();
}

}  // namespace

TopRates RatesBetween(const Sample* before, const Sample& now) {
  TopRates rates;
  const json& counters = Part(now.status, "counters");
  rates.hit_ratio_overall = Ratio(Real(counters, "read_hits"), Real(counters, "read_misses"));
  if (before == nullptr) return rates;
  rates.seconds = std::max(0.001, std::chrono::duration<double>(now.time - before->time).count());
  const json& old = Part(before->status, "counters");
  rates.read = Difference(old, counters, "bytes_read") / rates.seconds;
  const json& bytes = Part(counters, "bytes_fetched");
  const json& old_bytes = Part(old, "bytes_fetched");
  rates.demand = Difference(old_bytes, bytes, "demand") / rates.seconds;
  rates.readahead = Difference(old_bytes, bytes, "readahead") / rates.seconds;
  rates.queued = Difference(old_bytes, bytes, "queued") / rates.seconds;
  rates.background = Difference(old_bytes, bytes, "background") / rates.seconds;
  rates.fetched = rates.demand + rates.readahead + rates.queued + rates.background;
  rates.hit_ratio = Ratio(Difference(old, counters, "read_hits"), Difference(old, counters, "read_misses"));
  const json& requests = Part(now.status, "source_requests");
  const json& old_requests = Part(before->status, "source_requests");
  rates.requests = Difference(old_requests, requests, "requests") / rates.seconds;
  rates.retries = static_cast<uint64_t>(Difference(old_requests, requests, "retries"));
  rates.errors = static_cast<uint64_t>(Difference(old, counters, "fetch_errors"));
  const json& fetches = Part(Part(requests, "operations"), "fetch");
  const json& old_fetches = Part(Part(old_requests, "operations"), "fetch");
  const double count = Difference(old_fetches, fetches, "requests");
  if (count > 0) rates.first_byte_seconds = Difference(old_fetches, fetches, "seconds") / count;
  return rates;
}

std::string TopText(const Sample& now, const TopRates& rates, size_t rows, bool colors) {
  const json& status = now.status;
  const json& flight = Part(status, "in_flight");
  const std::string health = Text(status, "health");
  // Health first: of a long line the end is cut off.
  std::string text = Colored(health, health == "ok" ? Color::kGreen : Color::kRed, colors);
  text += fmt::format(": glintfs {}, {} at {}, up {}\n", Text(status, "version"), Printable(Text(status, "source")),
                      Printable(Text(status, "mountpoint")), Span(Seconds(Real(status, "uptime_seconds"))));
  for (const json& problem : Part(status, "problems"))
    if (problem.is_string()) text += Colored("  " + Printable(problem.get<std::string>()), Color::kRed, colors) + "\n";
  Line(text, "Readers", fmt::format("{}; hits {} now, {} overall; {} parked", Rate(rates.read), Share(rates.hit_ratio),
                                    Share(rates.hit_ratio_overall), Counted(Count(flight, "reads_parked"), "read")), colors);
  Line(text, "Store", fmt::format("{}: {} demand, {} readahead, {} queued, {} background; {}, {} waiting", Rate(rates.fetched),
                                  Rate(rates.demand), Rate(rates.readahead), Rate(rates.queued), Rate(rates.background),
                                  Counted(Count(flight, "fetches_running"), "fetch", "fetches"), Count(flight, "fetches_waiting")), colors);
  Line(text, "Cache", UseLine(status), colors);
  Line(text, "Source", SourceLine(status, rates, colors), colors);
  Line(text, "Queue", QueueLine(now.queue), colors);

  const json& fills = Part(now.activity, "fills");
  const json& fetches = Part(now.activity, "fetches");
  size_t fills_shown = kListed, fetches_shown = kListed;
  if (rows > 0) {  // half of what is left for each, and what one does not need for the other
    const size_t used = static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) + 4;
    const size_t room = rows > used ? rows - used : 0;
    fetches_shown = std::min(fetches.size(), room - std::min(fills.size(), room / 2));
    fills_shown = room - fetches_shown;
  }
  if (!fills.empty() && fills_shown > 0) text += "\n" + FillsText(fills, fills_shown);
  if (!fetches.empty() && fetches_shown > 0) text += "\n" + FetchesText(fetches, fetches_shown);
  return text;
}

json TopJson(const Sample& now, const TopRates& rates, double wall_seconds) {
  const auto number = [](std::optional<double> value) { return value ? json(*value) : json(nullptr); };
  const json& use = Part(now.status, "use");
  return {{"time", wall_seconds},
          {"interval_seconds", rates.seconds},
          {"health", Text(now.status, "health")},
          {"source_reachable", Flag(now.status, "source_reachable")},
          {"read_bytes_per_second", rates.read},
          {"fetched_bytes_per_second", {{"total", rates.fetched}, {"demand", rates.demand}, {"readahead", rates.readahead},
                                        {"queued", rates.queued}, {"background", rates.background}}},
          {"hit_ratio", number(rates.hit_ratio)},
          {"hit_ratio_overall", number(rates.hit_ratio_overall)},
          {"used_bytes", Count(use, "used_bytes")},
          {"max_size", Count(Part(now.status, "limits"), "max_size")},
          {"in_flight", Part(now.status, "in_flight")},
          {"queued_images", Part(now.queue, "queue").size()},
          {"source_requests_per_second", rates.requests},
          {"first_byte_seconds", number(rates.first_byte_seconds)},
          {"errors", rates.errors},
          {"retries", rates.retries},
          {"fills", Part(now.activity, "fills")},
          {"fetches", Part(now.activity, "fetches")}};
}

}  // namespace glintfs::ctl
