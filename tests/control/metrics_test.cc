// The page of GET /metrics, checked line by line against the text exposition format 0.0.4.
#include <cctype>
#include <fstream>
#include <set>
#include <sstream>

#include "control/metrics.h"
#include "tests/control/control_test.h"
#include "tests/control/subprocess.h"
#include "tests/support/temp_dir.h"

namespace glintfs::testing {
namespace {

struct Sample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

// Strict: what it does not understand throws.
class PageParser {
 public:
  explicit PageParser(const std::string& page) {
    if (page.empty() || page.back() != '\n') throw std::runtime_error("the page must end with a newline");
    std::istringstream lines(page);
    for (std::string line; std::getline(lines, line);) {
      if (line.empty()) throw std::runtime_error("empty line");
      line[0] == '#' ? Comment(line) : AddSample(line);
    }
  }
  const std::map<std::string, std::string>& types() const { return types_; }
  double Value(const std::string& name, const std::map<std::string, std::string>& labels = {}) const {
    for (const Sample& sample : samples_) {
      if (sample.name == name && sample.labels == labels) return sample.value;
    }
    throw std::runtime_error("no sample " + name);
  }
  const std::vector<Sample>& samples() const { return samples_; }

 private:
  [[noreturn]] static void Bad(const std::string& line) { throw std::runtime_error("bad line: " + line); }

  static std::string TakeName(const std::string& line, size_t& at) {
    const size_t start = at;
    while (at < line.size() && (std::isalnum(static_cast<unsigned char>(line[at])) || line[at] == '_')) ++at;
    if (at == start || std::isdigit(static_cast<unsigned char>(line[start]))) Bad(line);
    return line.substr(start, at - start);
  }

  // HELP, then TYPE, then all samples of a family; each family once.
  void Comment(const std::string& line) {
    size_t at = 7;
    if (line.rfind("# HELP ", 0) == 0) {
      help_ = TakeName(line, at);
      if (at + 1 >= line.size() || line[at] != ' ') Bad(line);
      if (types_.count(help_)) Bad(line);
    } else if (line.rfind("# TYPE ", 0) == 0) {
      family_ = TakeName(line, at);
      if (family_ != help_) Bad(line);
      const std::string type = line.substr(at);
      if (type != " counter" && type != " gauge" && type != " histogram") Bad(line);
      types_[family_] = type.substr(1);
    } else {
      Bad(line);
    }
  }

  void AddSample(const std::string& line) {
    Sample sample;
    size_t at = 0;
    sample.name = TakeName(line, at);
    if (sample.name != family_ && !IsPartOfHistogram(sample.name)) Bad(line);
    if (line.at(at) == '{') Labels(line, ++at, sample);
    if (line.at(at++) != ' ') Bad(line);
    size_t used = 0;
    sample.value = std::stod(line.substr(at), &used);
    if (at + used != line.size()) Bad(line);
    if (!seen_.insert(line.substr(0, at)).second) Bad(line);
    samples_.push_back(sample);
  }

  bool IsPartOfHistogram(const std::string& name) {
    return types_[family_] == "histogram" &&
           (name == family_ + "_bucket" || name == family_ + "_sum" || name == family_ + "_count");
  }

  static void Labels(const std::string& line, size_t& at, Sample& sample) {
    for (;;) {
      const std::string name = TakeName(line, at);
      if (line.substr(at, 2) != "=\"") Bad(line);
      at += 2;
      std::string value;
      for (; line.at(at) != '"'; ++at) {
        if (line[at] != '\\') {
          value += line[at];
          continue;
        }
        const char c = line.at(++at);
        if (c != 'n' && c != '"' && c != '\\') Bad(line);
        value += c == 'n' ? '\n' : c;
      }
      sample.labels[name] = value;
      ++at;
      if (line.at(at) == '}') break;
      if (line.at(at++) != ',') Bad(line);
    }
    ++at;
  }

  std::string help_, family_;
  std::map<std::string, std::string> types_;
  std::set<std::string> seen_;
  std::vector<Sample> samples_;
};

ServiceStatus Everything() {
  ServiceStatus status;
  status.version = "0.1.0";
  status.source = "http://host/\"quoted\"\\\n";
  status.mountpoint = "/mnt";
  status.uptime = std::chrono::milliseconds(2500);
  status.cache.used_bytes = 18'446'744'073'709'551'615ull;
  status.cache.partial = 3;
  status.cache.read_hits = 11;
  status.cache.read_misses = 12;
  status.cache.bytes_fetched[2] = 13;
  status.cache.checksum_failed = 14;
  return status;
}

TEST(MetricsTest, ThePageIsWellFormed) {
  QueueEntry failing;
  failing.error = "timed out";
  const PageParser page(RenderMetrics(Everything(), {failing, QueueEntry()}));
  EXPECT_EQ(page.Value("glintfs_uptime_seconds"), 2.5);
  EXPECT_EQ(page.Value("glintfs_images", {{"state", "partial"}}), 3);
  EXPECT_EQ(page.Value("glintfs_reads_total", {{"result", "hit"}}), 11);
  EXPECT_EQ(page.Value("glintfs_reads_total", {{"result", "miss"}}), 12);
  EXPECT_EQ(page.Value("glintfs_fetched_bytes_total", {{"urgency", "queued"}}), 13);
  EXPECT_EQ(page.Value("glintfs_checksums_total", {{"result", "failed"}}), 14);
  EXPECT_EQ(page.Value("glintfs_queued_images"), 2);
  EXPECT_EQ(page.Value("glintfs_queued_images_failing"), 1);
  EXPECT_EQ(page.Value("glintfs_cache_low_mark_ratio"), 0.9);
  EXPECT_EQ(page.Value("glintfs_source_up"), 1);
}

TEST(MetricsTest, TheSourceIsCountedByOperationAndByError) {
  ServiceStatus status = Everything();
  BackendMeter meter("rbd");
  meter.Count(Operation::kFetch, std::chrono::milliseconds(3));
  meter.Count(Operation::kFetch, std::chrono::milliseconds(3));
  meter.Count(Operation::kFetch, std::chrono::minutes(1));
  meter.CountError(Errc::kTimedOut);
  meter.CountBytes(4096);
  meter.CountRetry();
  status.backend = meter.stats();
  const PageParser page(RenderMetrics(status, {}));
  const std::string name = "glintfs_source_request_duration_seconds";
  const auto bucket = [&](const std::string& bound) {
    return page.Value(name + "_bucket", {{"backend", "rbd"}, {"operation", "fetch"}, {"le", bound}});
  };
  EXPECT_EQ(bucket("0.0025"), 0);
  EXPECT_EQ(bucket("0.005"), 2);
  EXPECT_EQ(bucket("30"), 2);
  EXPECT_EQ(bucket("+Inf"), 3);
  EXPECT_EQ(page.Value(name + "_count", {{"backend", "rbd"}, {"operation", "fetch"}}), 3);
  EXPECT_NEAR(page.Value(name + "_sum", {{"backend", "rbd"}, {"operation", "fetch"}}), 60.006, 1e-6);
  EXPECT_EQ(page.Value("glintfs_source_errors_total", {{"backend", "rbd"}, {"kind", "timed_out"}}), 1);
  EXPECT_EQ(page.Value("glintfs_source_errors_total", {{"backend", "rbd"}, {"kind", "io_error"}}), 0);
  EXPECT_EQ(page.Value("glintfs_source_retries_total", {{"backend", "rbd"}}), 1);
  EXPECT_EQ(page.Value("glintfs_source_received_bytes_total", {{"backend", "rbd"}}), 4096);
}

TEST(MetricsTest, LabelsAreEscaped) {
  const PageParser page(RenderMetrics(Everything(), {}));
  EXPECT_EQ(page.Value(
                "glintfs_info",
                {{"version", "0.1.0"}, {"source", "http://host/\"quoted\"\\\n"}, {"mountpoint", "/mnt"}, {"fill", ""}}),
            1);
}

TEST(MetricsTest, NamesFollowTheConventions) {
  const PageParser page(RenderMetrics(Everything(), {}));
  for (const auto& [name, type] : page.types()) {
    EXPECT_TRUE(name.starts_with("glintfs_") || name.starts_with("process_")) << name;
    const bool total = name.size() > 6 && name.substr(name.size() - 6) == "_total";
    EXPECT_EQ(total, type == "counter") << name;
  }
  for (const Sample& sample : page.samples()) EXPECT_GE(sample.value, 0) << sample.name;
}

TEST(MetricsTest, WhatIsWrongIsZero) {
  ServiceStatus status = Everything();
  status.source_reachable = false;
  status.cache.storage_error = "full";
  const PageParser page(RenderMetrics(status, {}));
  EXPECT_EQ(page.Value("glintfs_source_up"), 0);
  EXPECT_EQ(page.Value("glintfs_cache_storing"), 0);
}

TEST(MetricsTest, LatenciesAreHistograms) {
  ServiceStatus status = Everything();
  LatencyHistogram hits, misses;
  hits.Count(std::chrono::microseconds(20));
  hits.Count(std::chrono::microseconds(20));
  misses.Count(std::chrono::minutes(2));
  status.cache.hit_latency = hits.counts();
  status.cache.miss_latency = misses.counts();
  const PageParser page(RenderMetrics(status, {}));
  const std::string name = "glintfs_read_duration_seconds";
  EXPECT_EQ(page.Value(name + "_bucket", {{"result", "hit"}, {"le", "1e-05"}}), 0);
  EXPECT_EQ(page.Value(name + "_bucket", {{"result", "hit"}, {"le", "2.5e-05"}}), 2);
  EXPECT_NEAR(page.Value(name + "_sum", {{"result", "hit"}}), 40e-6, 1e-9);
  EXPECT_EQ(page.Value(name + "_bucket", {{"result", "miss"}, {"le", "30"}}), 0);
  EXPECT_EQ(page.Value(name + "_bucket", {{"result", "miss"}, {"le", "+Inf"}}), 1);
  EXPECT_EQ(page.Value(name + "_count", {{"result", "miss"}}), 1);
}

TEST(MetricsTest, BytesByOriginAddUp) {
  ServiceStatus status = Everything();
  status.cache.bytes_read = 100;
  status.cache.bytes_from_store = 20;
  status.cache.bytes_from_bypass = 5;
  status.cache.removed[static_cast<size_t>(Removal::kStalled)] = 3;
  const PageParser page(RenderMetrics(status, {}));
  EXPECT_EQ(page.Value("glintfs_read_bytes_total", {{"origin", "cache"}}), 75);
  EXPECT_EQ(page.Value("glintfs_read_bytes_total", {{"origin", "store"}}), 20);
  EXPECT_EQ(page.Value("glintfs_read_bytes_total", {{"origin", "bypass"}}), 5);
  EXPECT_EQ(page.Value("glintfs_evictions_total", {{"reason", "stalled"}}), 3);
}

// Prometheus' own judge of names, help and types. Debian's package prometheus has it.
TEST(MetricsTest, PromtoolHasNothingToSay) {
  ServiceStatus status = Everything();
  BackendMeter meter("rbd");
  meter.Count(Operation::kFetch, std::chrono::milliseconds(3));
  status.backend = meter.stats();
  TempDir dir;
  std::ofstream(dir / "page") << RenderMetrics(status, {QueueEntry()});
  Subprocess promtool({"/bin/sh", "-c", "exec promtool check metrics < \"$1\"", "sh", dir / "page"}, {});
  const ProcessResult result = promtool.Wait();
  ASSERT_NE(result.code, 127) << "promtool is missing: scripts/packages test";
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out + result.err, "");
}

// Beside the pages of other daemons: no name and labels twice, nothing that the exporter itself has.
TEST(MetricsTest, ForTheTextfileCollectorEverySampleSaysItsMount) {
  ServiceStatus status = Everything();
  BackendMeter meter("rbd");
  meter.Count(Operation::kFetch, std::chrono::milliseconds(3));
  status.backend = meter.stats();
  status.mountpoint = "/mnt/\"a\"";
  const PageParser plain(RenderMetrics(status, {QueueEntry()}));
  const PageParser page(TextfileMetrics(RenderMetrics(status, {QueueEntry()}), status.mountpoint));
  size_t shared = 0;
  for (const Sample& sample : plain.samples()) {
    if (sample.name.starts_with("process_")) continue;
    ++shared;
    auto labels = sample.labels;
    labels["mountpoint"] = status.mountpoint;
    EXPECT_EQ(page.Value(sample.name, labels), sample.value) << sample.name;
  }
  EXPECT_GT(shared, 50u);
  EXPECT_EQ(page.samples().size(), shared);
}

class MetricsRouteTest : public ControlTest {};

TEST_F(MetricsRouteTest, IsServedAsPrometheusText) {
  StartServer();
  const RawReply reply = Ask("GET", "/metrics");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NO_THROW(PageParser{reply.body});
  EXPECT_EQ(reply.body.find("{mountpoint="), std::string::npos);
  EXPECT_NE(Ask("GET", "/metrics?textfile").body.find("glintfs_source_up{mountpoint="), std::string::npos);
}

}  // namespace
}  // namespace glintfs::testing
