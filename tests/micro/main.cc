// glintfs_micro: Google Benchmark's usual command line. Exits with 1 when a benchmark reports an error (a wrong result) or none
// runs, so that a test can run it.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>

namespace {

class CountingReporter final : public benchmark::ConsoleReporter {
 public:
  CountingReporter() : ConsoleReporter(::isatty(STDOUT_FILENO) != 0 ? OO_Color : OO_None) {}

  void ReportRuns(const std::vector<Run>& runs) override {
    errors_ += std::count_if(runs.begin(), runs.end(), [](const Run& run) { return run.error_occurred; });
    ConsoleReporter::ReportRuns(runs);
  }
  auto errors() const { return errors_; }

 private:
  std::ptrdiff_t errors_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  CountingReporter reporter;
  const size_t ran = benchmark::RunSpecifiedBenchmarks(&reporter);
  benchmark::Shutdown();
  return ran > 0 && reporter.errors() == 0 ? 0 : 1;
}
