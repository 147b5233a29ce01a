// Catalog: names → images. What the source says about a name is kept for a while; what it said last is served when it
// does not answer. See answers.h for when a question waits and when it does not.
//
// Every version of an image that the source shows here is told to the cache: a new version makes the older ones
// invalid, an answered "no such name" all of them. "Cannot ask" changes nothing.
//
// Thread-safe. Lookup and List never wait for the source and may be called by FUSE workers; LookupAndWait waits.
// Callbacks are called exactly once and without a lock: inline when the answer is known, else from an asking thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "fs/base/clock.h"
#include "fs/cache/cache.h"
#include "fs/catalog/answers.h"

namespace glintfs {

struct CatalogOptions {
  Nanos attr_ttl = std::chrono::seconds(60);     // how long an answer about a name, or a listing, is good
  Nanos negative_ttl = std::chrono::seconds(5);  // the same for "no such name"
  Nanos offline_ttl = std::chrono::seconds(1);   // and for what is served because the source does not answer
  Nanos patience = std::chrono::milliseconds(250);  // how long a known name waits for a newer answer
  Nanos give_up = std::chrono::seconds(30);      // how long an unknown one waits at most
  Nanos probe_interval = std::chrono::seconds(1);  // between questions to a source in trouble
  int ask_threads = 8;
  size_t max_names = 200'000;                    // kept in memory
  size_t max_listings = 4'096;
  // Told when the source ceases to answer and when it answers again, as the log is; without locks, by the timer's thread.
  std::function<void(const Health&)> on_health = nullptr;
};

struct CatalogEntry {
  bool is_directory = false;
  ImageInfo image;      // when not a directory
  RowId row = 0;        // likewise
  Nanos valid_for{0};   // from now
};

using ListingPtr = std::shared_ptr<const std::vector<ListEntry>>;
struct CatalogListing {
  ListingPtr entries;
  bool from_source = false;  // false: it could not be asked, or cannot list; these are the names that are known
};

class Catalog {
 public:
  using LookupCallback = std::function<void(Result<CatalogEntry>)>;
  using ListCallback = std::function<void(Result<ListingPtr>)>;

  // `backend`, `cache` and `clock` must outlive the catalogue.
  Catalog(CatalogOptions options, Backend& backend, Cache& cache, Clock& clock = Clock::System());
  ~Catalog();  // Stop

  // Never the same twice.
  RequestId NewRequestId() { return next_id_.fetch_add(1, std::memory_order_relaxed); }

  // What stands under `name` ("" is the root directory). kNotFound; kUnavailable, kTimedOut, kAccessDenied when the
  // source cannot be asked and nothing is known; kCancelled.
  void Lookup(const std::string& name, RequestId id, LookupCallback done);
  // All names in `directory`, sorted. kNotFound, kNotDirectory and as above. A source that cannot list shows what is
  // known.
  void List(const std::string& directory, RequestId id, ListCallback done);
  // Answers a waiting request with kCancelled. False when it is answered, or being answered.
  bool Cancel(RequestId id);

  Result<CatalogEntry> LookupAndWait(const std::string& name, std::stop_token stop);
  Result<CatalogListing> ListAndWait(const std::string& directory, std::stop_token stop);

  // The source refused this name's version (kStale): the next lookup asks again.
  void Invalidate(const std::string& name);
  // True when the source is known to hold another version, or none, or refused this one: an open should look up again.
  bool IsOutdated(const ImageId& id);

  // Somebody else asked the source and got no answer: it is in trouble until it answers. `error` is a cannot-ask one.
  void CannotAsk(const Error& error);
  // The same, but it may have been for what was asked alone (one image too slow to come): the source itself is asked, soon and
  // at most once per probe_interval, and that decides. For what happens all the time while the source is away.
  void Suspect();
  Health health() { return health_.Get(); }
  // Fails everything that waits, ends the threads. For before the destructor, when replies must still find their
  // session.
  void Stop();
  size_t names_known() { return names_.size(); }  // for tests

 private:
  struct Known {
    enum class Kind { kMissing, kDirectory, kImage };
    Kind kind = Kind::kMissing;
    bool confirmed = false;  // by the source, not only by the cache
    ImageInfo image;
    RowId row = 0;
  };
  struct Listed {
    std::optional<Error> refused;  // an answer: not there, or no directory
    ListingPtr entries;
    bool from_source = false;
  };

  void GetListing(const std::string& directory, RequestId id, std::function<void(Result<CatalogListing>)> done);
  Answers<Known>::Hooks NameHooks();
  Answers<Listed>::Hooks ListHooks();
  Result<Known> AskName(const std::string& name, const std::optional<Known>& before, std::stop_token stop);
  Known Confirm(const NameInfo& info, const std::string& name, const std::optional<Known>& before);
  std::optional<Known> OfflineName(const std::string& name, const std::optional<Known>& known);
  Result<Listed> AskListing(const std::string& directory, std::stop_token stop);
  std::optional<Listed> OfflineListing(const std::string& directory, const std::optional<Listed>& known);
  Result<std::vector<ListEntry>> FetchListing(const std::string& directory, std::stop_token stop);
  // A source without a root is no source without images: what holds it is away (an NFS that is not mounted). So it counts as
  // one that cannot be asked.
  static Error RootIsGone(const Error& error) { return {Errc::kUnavailable, error.message}; }
  void AddKnownNames(const std::string& directory, std::vector<ListEntry>& entries);
  static Result<CatalogEntry> ToEntry(Result<Answers<Known>::Answer> answer, const std::string& name);

  void WakeTimer();
  void RunTimer(std::stop_token stop);
  // What the timer remembers of the source's health.
  struct Watched {
    Nanos next_probe{0}, next_report{0};
    bool reported_reachable = true;
  };
  void Watch(Watched& watched);
  void Probe(std::stop_token stop);

  // Constant after construction.
  const CatalogOptions options_;
  // Synchronise themselves.
  Backend& backend_;
  Cache& cache_;
  Clock& clock_;
  std::atomic<RequestId> next_id_{1};
  std::atomic<bool> probing_{false};
  std::atomic<bool> suspected_{false};  // Suspect, and no probe began since
  SourceHealth health_;
  AskPool pool_;
  Answers<Known> names_;
  Answers<Listed> listings_;

  Mutex timer_mu_;
  CondVar timer_changed_;
  bool timer_wanted_ GUARDED_BY(timer_mu_) = false;
  bool timer_stop_ GUARDED_BY(timer_mu_) = false;
  Thread timer_;  // last: uses all of the above
};

}  // namespace glintfs
