// What `glintctl top` shows, from two looks at the daemon. Pure.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace glintfs::ctl {

struct Sample {
  std::chrono::nanoseconds time{0};  // of the steady clock
  nlohmann::json status;             // GET /v1/status
  nlohmann::json activity;           // GET /v1/activity
  nlohmann::json queue;              // GET /v1/queue
};

// Rates over the time between two samples; zeros without a first one. A daemon that was restarted in between counts from 0.
struct TopRates {
  double seconds = 0;
  double read = 0;                           // bytes/s to readers
  double fetched = 0;                        // bytes/s from the store
  double demand = 0, readahead = 0, queued = 0, background = 0;  // parts of it
  std::optional<double> hit_ratio;           // of the reads in between, 0 … 1; none without reads
  std::optional<double> hit_ratio_overall;   // since the daemon started
  double requests = 0;                       // to the store, per second
  std::optional<double> first_byte_seconds;  // mean of the fetches in between
  uint64_t errors = 0, retries = 0;          // in between
};
TopRates RatesBetween(const Sample* before, const Sample& now);

// Lines for people. The lists are as long as fits into `rows` (0: ten each).
std::string TopText(const Sample& now, const TopRates& rates, size_t rows, bool colors);

// One object for programs: {"time", "interval_seconds", "read_bytes_per_second", …}.
nlohmann::json TopJson(const Sample& now, const TopRates& rates, double wall_seconds);

}  // namespace glintfs::ctl
