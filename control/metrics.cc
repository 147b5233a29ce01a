// One table of families, in the order of the page. Names follow Prometheus' conventions: base units (bytes, seconds,
// ratios), counters end in _total, no name that changes with a label.
#include "control/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace glintfs {
namespace {

constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

std::string EscapeLabel(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

// "I/O error" → "io_error"
std::string LabelOf(Errc code) {
  std::string out;
  for (const char c : ErrcName(code)) {
    if (c == ' ') out += '_';
    if (c != ' ' && c != '/') out += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  return out;
}

struct Labelled {
  std::string_view value;  // of the family's one label
  uint64_t count;
};

class Page {
 public:
  void Gauge(std::string_view name, std::string_view help, double value) {
    Family(name, "gauge", help);
    Append("{} {}\n", name, value);
  }
  void Gauge(std::string_view name, std::string_view help, uint64_t value) {
    Family(name, "gauge", help);
    Append("{} {}\n", name, value);
  }
  void Gauges(std::string_view name, std::string_view help, std::string_view label,
              std::initializer_list<Labelled> values) {
    Family(name, "gauge", help);
    for (const Labelled& v : values) Append("{}{{{}=\"{}\"}} {}\n", name, label, v.value, v.count);
  }
  void Counter(std::string_view name, std::string_view help, uint64_t value) {
    Family(name, "counter", help);
    Append("{} {}\n", name, value);
  }
  void Counters(std::string_view name, std::string_view help, std::string_view label,
                std::initializer_list<Labelled> values) {
    Family(name, "counter", help);
    for (const Labelled& v : values) Append("{}{{{}=\"{}\"}} {}\n", name, label, v.value, v.count);
  }
  // One family, `label` telling the histograms apart; no label when it is empty.
  void Histograms(std::string_view name, std::string_view help, std::string_view label,
                  std::initializer_list<std::pair<std::string_view, const HistogramCounts*>> values) {
    Family(name, "histogram", help);
    for (const auto& [value, counts] : values) {
      const std::string first = label.empty() ? "" : fmt::format("{}=\"{}\",", label, value);
      const std::string only = label.empty() ? "" : fmt::format("{{{}=\"{}\"}}", label, value);
      uint64_t below = 0;
      for (size_t i = 0; i < counts->buckets.size(); ++i) {
        below += counts->buckets[i];
        const std::string bound =
            i < kHistogramBounds.size() ? fmt::format("{}", static_cast<double>(kHistogramBounds[i]) / 1e9) : "+Inf";
        Append("{}_bucket{{{}le=\"{}\"}} {}\n", name, first, bound, below);
      }
      Append("{}_sum{} {}\n", name, only, std::chrono::duration<double>(counts->sum).count());
      Append("{}_count{} {}\n", name, only, below);
    }
  }
  void Removals(std::string_view name, std::string_view help, const std::array<uint64_t, kRemovals>& counts) {
    Family(name, "counter", help);
    for (size_t i = 0; i < counts.size(); ++i)
      Append("{}{{reason=\"{}\"}} {}\n", name, RemovalName(static_cast<Removal>(i)), counts[i]);
  }
  // The four families of one backend, by operation and by kind of error.
  void Source(const BackendStats& stats) {
    const std::string backend = EscapeLabel(stats.backend);
    Family("glintfs_source_request_duration_seconds", "histogram",
           "Requests to the source and how long they took to the answer; fetches to the first byte.");
    for (const Operation operation : kOperations) {
      const LatencyCounts& counts = stats.latency[static_cast<size_t>(operation)];
      const std::string labels = fmt::format("backend=\"{}\",operation=\"{}\"", backend, OperationName(operation));
      uint64_t below = 0;
      for (size_t i = 0; i < counts.buckets.size(); ++i) {
        below += counts.buckets[i];
        const std::string bound = i < kLatencyBounds.size() ? fmt::format("{}", kLatencyBounds[i]) : "+Inf";
        Append("glintfs_source_request_duration_seconds_bucket{{{},le=\"{}\"}} {}\n", labels, bound, below);
      }
      Append("glintfs_source_request_duration_seconds_sum{{{}}} {}\n", labels,
             std::chrono::duration<double>(counts.sum).count());
      Append("glintfs_source_request_duration_seconds_count{{{}}} {}\n", labels, below);
    }
    Family("glintfs_source_errors_total", "counter", "Requests to the source that failed, by kind.");
    for (size_t i = 0; i < stats.errors.size(); ++i) {
      const auto code = static_cast<Errc>(i);
      if (code == Errc::kCancelled) continue;
      Append("glintfs_source_errors_total{{backend=\"{}\",kind=\"{}\"}} {}\n", backend, LabelOf(code),
             stats.errors[i]);
    }
    Family("glintfs_source_retries_total", "counter", "Requests to the source that were sent again after a failure.");
    Append("glintfs_source_retries_total{{backend=\"{}\"}} {}\n", backend, stats.retries);
    Family("glintfs_source_received_bytes_total", "counter", "Bytes of images that came from the source.");
    Append("glintfs_source_received_bytes_total{{backend=\"{}\"}} {}\n", backend, stats.bytes);
  }
  void Info(const ServiceStatus& status) {
    Family("glintfs_info", "gauge", "What this daemon is; always 1.");
    Append("glintfs_info{{version=\"{}\",source=\"{}\",mountpoint=\"{}\",fill=\"{}\"}} 1\n",
           EscapeLabel(status.version), EscapeLabel(status.source), EscapeLabel(status.mountpoint),
           EscapeLabel(status.fill));
    Family("glintfs_build_info", "gauge", "What was built; always 1.");
    Append("glintfs_build_info{{version=\"{}\",compiler=\"{}\"}} 1\n", EscapeLabel(status.version), EscapeLabel(__VERSION__));
  }
  void Counter(std::string_view name, std::string_view help, double value) {
    Family(name, "counter", help);
    Append("{} {}\n", name, value);
  }
  std::string Take() { return std::move(text_); }

 private:
  void Family(std::string_view name, std::string_view type, std::string_view help) {
    Append("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  template <typename... Args>
  void Append(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
  }

  std::string text_;
};

void AddState(Page& page, const ServiceStatus& status, const std::vector<QueueEntry>& queue) {
  const CacheStats& c = status.cache;
  page.Info(status);
  page.Gauge("glintfs_uptime_seconds", "Time since the daemon started.",
             static_cast<double>(status.uptime.count()) / 1e9);
  page.Gauge("glintfs_source_up", "1 when the source answered last time, 0 when it could not be asked.",
             uint64_t{status.source_reachable});
  page.Gauge("glintfs_cache_storing", "1 while fetched data is kept, 0 while the cache cannot store.",
             uint64_t{c.storage_error.empty()});
  page.Gauge("glintfs_cache_max_bytes", "Limit of the cache on disk, 0 when unlimited.", c.limits.max_size);
  page.Gauge("glintfs_cache_used_bytes", "Disk bytes counted against the limit.", c.used_bytes);
  page.Gauge("glintfs_cache_reserved_bytes", "Part of the used bytes that is being written.", c.reserved_bytes);
  page.Gauge("glintfs_cache_low_mark_ratio", "Share of the limit that eviction goes down to.", c.limits.low_mark);
  page.Gauge("glintfs_cache_min_free_ratio", "Share of the file system that is left free.", c.limits.min_free);
  page.Gauge("glintfs_cache_fill_rate_limit_bytes_per_second", "Limit of background fills, 0 when unlimited.",
             c.limits.fill_rate);
  page.Gauge("glintfs_filesystem_size_bytes", "Size of the file system of the cache.", c.disk_total);
  page.Gauge("glintfs_filesystem_available_bytes", "Bytes available on the file system of the cache.",
             c.disk_available);
  page.Gauges("glintfs_images", "Known images by state.", "state",
              {{"absent", c.absent},
               {"partial", c.partial},
               {"complete", c.complete},
               {"verified", c.verified},
               {"invalid", c.invalid}});
  page.Gauge("glintfs_pinned_images", "Images that are never evicted.", c.pinned);
  page.Gauge("glintfs_open_images", "Images with an open handle.", c.open_images);
  const auto failing = std::count_if(queue.begin(), queue.end(), [](const QueueEntry& e) { return !e.error.empty(); });
  page.Gauge("glintfs_queued_images", "Images waiting to be cached on request, the running ones included.",
             uint64_t{queue.size()});
  page.Gauge("glintfs_queued_images_failing", "Queued images whose last attempt failed.",
             static_cast<uint64_t>(failing));
  page.Gauges("glintfs_fetches", "Requests to the source by state.", "state",
              {{"running", c.fetches_running}, {"waiting", c.fetches_waiting}});
  page.Gauge("glintfs_reads_parked", "Reads that wait for data.", c.reads_parked);
  page.Gauge("glintfs_fills", "Images that are being filled.", c.fills_running);
  page.Gauge("glintfs_fill_rate_bytes_per_second", "Speed of all fills together.", c.fill_rate);
  page.Gauge("glintfs_passthrough_on", "1 when the kernel reads complete images by itself.",
             static_cast<uint64_t>(status.passthrough_refused.empty()));
  page.Gauge("glintfs_passthrough_open_handles", "Open handles that read past glintfs.", c.passthrough_open);
  page.Gauges("glintfs_scrubs", "Images that somebody asked to be reread from disk.", "state",
              {{"waiting", c.scrub.waiting}, {"running", c.scrub.running}});
  page.Gauge("glintfs_index_size_bytes", "Size of the files of the cache index.", c.index.size);
  page.Gauge("glintfs_index_last_commit_timestamp_seconds", "When the cache index was last written, 0 when not since the start.",
             static_cast<double>(c.index.last_commit.count()) / 1e9);
}

void AddCounters(Page& page, const CacheStats& c) {
  page.Counters("glintfs_reads_total", "Reads answered at once (hit) or after waiting (miss).", "result",
                {{"hit", c.read_hits}, {"miss", c.read_misses}});
  const uint64_t waited = c.bytes_from_store + c.bytes_from_bypass;
  page.Counters("glintfs_read_bytes_total", "Bytes given to readers: from the cache, after waiting for the store, and past the cache.",
                "origin",
                {{"cache", c.bytes_read > waited ? c.bytes_read - waited : 0},
                 {"store", c.bytes_from_store},
                 {"bypass", c.bytes_from_bypass}});
  page.Histograms("glintfs_read_duration_seconds", "Reads by how long they took: answered at once (hit) or after waiting (miss).",
                  "result", {{"hit", &c.hit_latency}, {"miss", &c.miss_latency}});
  page.Counter("glintfs_passthrough_opens_total", "Opens of complete images that read past glintfs.", c.passthrough_opens);
  page.Counters("glintfs_fetched_bytes_total", "Bytes fetched from the source by urgency.", "urgency",
                {{"demand", c.bytes_fetched[0]},
                 {"readahead", c.bytes_fetched[1]},
                 {"queued", c.bytes_fetched[2]},
                 {"background", c.bytes_fetched[3]}});
  page.Counter("glintfs_fetch_errors_total", "Fetches that failed after all retries.", c.fetch_errors);
  page.Counter("glintfs_bypassed_bytes_total", "Bytes given to readers without being kept.", c.bypassed_bytes);
  page.Removals("glintfs_evictions_total", "Images that left the cache, by reason.", c.removed);
  page.Removals("glintfs_evicted_bytes_total", "Disk bytes of images that left the cache, by reason.", c.removed_bytes);
  page.Counters("glintfs_checksums_total", "Whole images compared with the checksum of the source.", "result",
                {{"ok", c.checksum_ok}, {"failed", c.checksum_failed}});
  page.Counter("glintfs_bad_chunks_total", "Chunks on disk that did not match their hash.", c.bad_chunks);
  page.Counters("glintfs_scrubbed_images_total", "Images reread from disk, by result; one that was repaired later counts in both.",
                "result", {{"good", c.scrub.good}, {"repaired", c.scrub.repaired}, {"failed", c.scrub.failed}});
  page.Counter("glintfs_scrubbed_bytes_total", "Bytes reread from disk.", c.scrub.bytes);
  page.Counter("glintfs_storage_errors_total", "Reads and writes that the cache directory refused.", c.storage_errors);
  page.Counter("glintfs_index_commits_total", "Transactions of the cache index.", c.index_commits);
  page.Counter("glintfs_index_commit_errors_total", "Transactions of the cache index that failed.", c.index.commit_errors);
  page.Histograms("glintfs_index_commit_duration_seconds", "Transactions of the cache index by how long they took.", "",
                  {{"", &c.index.commit_latency}});
}

// As the client libraries of Prometheus name them.
void AddProcess(Page& page, const ProcessStats& p) {
  page.Counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", p.cpu_seconds);
  page.Gauge("process_open_fds", "Number of open file descriptors.", p.open_fds);
  page.Gauge("process_max_fds", "Maximum number of open file descriptors.", p.max_fds);
  page.Gauge("process_resident_memory_bytes", "Resident memory size in bytes.", p.resident_bytes);
  page.Gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", p.virtual_bytes);
  page.Gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
             static_cast<double>(p.started.count()) / 1e9);
}

}  // namespace

std::string RenderMetrics(const ServiceStatus& status, const std::vector<QueueEntry>& queue) {
  Page page;
  AddState(page, status, queue);
  AddCounters(page, status.cache);
  page.Source(status.backend);
  AddProcess(page, status.process);
  return page.Take();
}

std::string TextfileMetrics(std::string_view page, std::string_view mountpoint) {
  const std::string label = fmt::format("mountpoint=\"{}\"", EscapeLabel(mountpoint));
  std::string out;
  while (!page.empty()) {
    const std::string_view line = page.substr(0, page.find('\n') + 1);
    page.remove_prefix(line.size());
    const std::string_view name = line.substr(line.starts_with("# ") ? std::string_view("# HELP ").size() : 0);
    if (name.starts_with("process_")) continue;
    const size_t end = line.find_first_of("{ ");
    if (line.starts_with('#') || name.starts_with("glintfs_info{"))  // that has it
      out += line;
    else if (line[end] == '{')
      out += fmt::format("{}{{{},{}", line.substr(0, end), label, line.substr(end + 1));
    else
      out += fmt::format("{}{{{}}}{}", line.substr(0, end), label, line.substr(end));
  }
  return out;
}

std::vector<Route> MetricsRoutes(Service& service) {
  return {{"GET", "/metrics",
           [&service](const HttpRequest& request, const std::string&) {
             const ServiceStatus status = service.Status();
             HttpResponse response;
             response.content_type = kContentType;
             response.body = RenderMetrics(status, service.Queue());
             if (request.query.contains("textfile")) response.body = TextfileMetrics(response.body, status.mountpoint);
             return response;
           },
           {"textfile"}}};
}

}  // namespace glintfs
