// Threads: `ask_threads` that wait for the source (AskPool) and one timer, which sleeps unless someone waits or the
// source is in trouble. While someone waits it looks four times per `patience`; a finer clock would buy nothing a
// reader could notice.
//
// A source in trouble is asked for its root directory once per `probe_interval`, one question at a time, so that its
// return is noticed even when nobody looks anything up; names are asked about again once it is well. One that is only
// suspected, for somebody else's question to it failed, is asked once.
#include "fs/catalog/catalog.h"

#include <exception>

#include "fs/base/log.h"

namespace glintfs {
namespace {
constexpr size_t kMaxQueued = 4'096;
constexpr Nanos kReportInterval = std::chrono::seconds(5);
}  // namespace

Catalog::Catalog(CatalogOptions options, Backend& backend, Cache& cache, Clock& clock)
    : options_(options),
      backend_(backend),
      cache_(cache),
      clock_(clock),
      health_(options.patience, clock),
      pool_(options.ask_threads, kMaxQueued),
      names_({options.patience, options.offline_ttl, options.give_up, options.max_names}, NameHooks(), pool_, health_,
             clock),
      listings_({options.patience, options.offline_ttl, options.give_up, options.max_listings}, ListHooks(), pool_,
                health_, clock),
      timer_("catalog-timer", [this](std::stop_token stop) { RunTimer(stop); }) {}

Catalog::~Catalog() { Stop(); }

void Catalog::Stop() {
  const Error error{Errc::kCancelled, "the daemon is stopping"};
  names_.Stop(error);
  listings_.Stop(error);
  {
    MutexLock lock(timer_mu_);
    timer_stop_ = true;
    timer_changed_.NotifyAll();
  }
  pool_.Stop();
  timer_.Join();
}

// ---- Names

Answers<Catalog::Known>::Hooks Catalog::NameHooks() {
  return {
      .ask = [this](const std::string& name, const std::optional<Known>& before,
                    std::stop_token stop) { return AskName(name, before, stop); },
      .offline = [this](const std::string& name,
                        const std::optional<Known>& known) { return OfflineName(name, known); },
      .ttl =
          [this](const Known& known) {
            return known.kind == Known::Kind::kMissing ? options_.negative_ttl : options_.attr_ttl;
          },
      .wake_timer = [this] { WakeTimer(); },
  };
}

Result<CatalogEntry> Catalog::ToEntry(Result<Answers<Known>::Answer> answer, const std::string& name) {
  if (!answer) return std::move(answer).error();
  Known& known = answer->value;
  if (known.kind == Known::Kind::kMissing) return Error{Errc::kNotFound, "the source has no " + name};
  return CatalogEntry{.is_directory = known.kind == Known::Kind::kDirectory,
                      .image = std::move(known.image),
                      .row = known.row,
                      .valid_for = answer->valid_for};
}

void Catalog::Lookup(const std::string& name, RequestId id, LookupCallback done) {
  if (!name.empty() && !IsValidName(name)) return done(Error{Errc::kNotFound, "no image can have this name"});
  names_.Get(name, id, [name, done = std::move(done)](Result<Answers<Known>::Answer> answer) {
    done(ToEntry(std::move(answer), name));
  });
}

Result<Catalog::Known> Catalog::AskName(const std::string& name, const std::optional<Known>& before,
                                        std::stop_token stop) try {
  const Result<NameInfo> info = backend_.Stat(name, stop);
  if (info) return Confirm(*info, name, before);
  if (info.error().code != Errc::kNotFound) return info.error();
  if (name.empty()) return RootIsGone(info.error());
  const bool known = before && before->kind != Known::Kind::kMissing;
  if (!name.empty() && (known || cache_.FindNewest(name))) cache_.Gone(name);  // of an alias the image stays
  return Known{.kind = Known::Kind::kMissing, .confirmed = true, .image = {}, .row = 0};
} catch (const std::exception& e) {
  return Error{Errc::kIo, fmt::format("asking for {}: {}", name, e.what())};
}

Catalog::Known Catalog::Confirm(const NameInfo& info, const std::string& name, const std::optional<Known>& before) {
  const bool was_image = before && before->kind == Known::Kind::kImage;
  if (info.is_directory) {
    if (was_image) cache_.Gone(name);
    return Known{.kind = Known::Kind::kDirectory, .confirmed = true, .image = {}, .row = 0};
  }
  if (was_image && before->confirmed && before->image.id == info.image.id) {
    Known known = *before;
    known.image = info.image;
    return known;
  }
  if (info.alias) cache_.SetAlias(name, info.image.id.name);
  cache_.Supersede(info.image.id);
  return Known{.kind = Known::Kind::kImage,
               .confirmed = true,
               .image = info.image,
               .row = cache_.RowFor(info.image.id)};
}

std::optional<Catalog::Known> Catalog::OfflineName(const std::string& name, const std::optional<Known>& known) {
  if (known) return known;
  if (auto image = cache_.FindNewest(name)) {
    const RowId row = cache_.RowFor(image->id);
    return Known{.kind = Known::Kind::kImage, .confirmed = false, .image = std::move(*image), .row = row};
  }
  if (name.empty() || !cache_.NamesIn(name).empty())
    return Known{.kind = Known::Kind::kDirectory, .confirmed = false, .image = {}, .row = 0};
  return std::nullopt;
}

bool Catalog::Cancel(RequestId id) { return names_.Cancel(id) || listings_.Cancel(id); }

void Catalog::Invalidate(const std::string& name) { names_.Invalidate(name); }

bool Catalog::IsOutdated(const ImageId& id) {
  return names_.Contradicts(
      id.name, [&id](const Known& known) { return known.kind == Known::Kind::kImage && known.image.id == id; });
}

namespace {
// The callback may still be returning when who waits has gone on.
template <typename T>
struct Outcome {
  Mutex mu;
  CondVar changed;
  std::optional<Result<T>> answer GUARDED_BY(mu);

  void Set(Result<T> result) {
    MutexLock lock(mu);
    answer.emplace(std::move(result));
    changed.NotifyAll();
  }
  Result<T> Wait() {
    MutexLock lock(mu);
    while (!answer) changed.Wait(mu);
    return *answer;
  }
};
}  // namespace

Result<CatalogEntry> Catalog::LookupAndWait(const std::string& name, std::stop_token stop) {
  const auto outcome = std::make_shared<Outcome<CatalogEntry>>();
  const RequestId id = NewRequestId();
  Lookup(name, id, [outcome](Result<CatalogEntry> entry) { outcome->Set(std::move(entry)); });
  const std::stop_callback cancel(stop, [this, id] { Cancel(id); });
  return outcome->Wait();
}

Result<CatalogListing> Catalog::ListAndWait(const std::string& directory, std::stop_token stop) {
  const auto outcome = std::make_shared<Outcome<CatalogListing>>();
  const RequestId id = NewRequestId();
  GetListing(directory, id, [outcome](Result<CatalogListing> listing) { outcome->Set(std::move(listing)); });
  const std::stop_callback cancel(stop, [this, id] { Cancel(id); });
  return outcome->Wait();
}

void Catalog::CannotAsk(const Error& error) {
  health_.End(health_.Begin(), &error);
  WakeTimer();
}

void Catalog::Suspect() {
  if (!suspected_.exchange(true)) WakeTimer();
}

// ---- The timer

void Catalog::WakeTimer() {
  MutexLock lock(timer_mu_);
  if (std::exchange(timer_wanted_, true)) return;
  timer_changed_.NotifyAll();
}

void Catalog::RunTimer(std::stop_token) {
  Watched watched;
  for (;;) {
    {
      MutexLock lock(timer_mu_);
      while (!timer_wanted_ && !timer_stop_) timer_changed_.Wait(timer_mu_);
      if (!timer_stop_) timer_changed_.WaitFor(timer_mu_, options_.patience / 4);
      if (timer_stop_) return;
      timer_wanted_ = false;
    }
    const bool names_wait = names_.Tick(), listings_wait = listings_.Tick();
    Watch(watched);
    const bool well = watched.reported_reachable && !health_.InTrouble() && !suspected_;
    if (names_wait || listings_wait || !well || probing_ || health_.Asking()) WakeTimer();
  }
}

// Notices, tells and probes trouble. A source that comes and goes is told of once in a while only.
void Catalog::Watch(Watched& watched) {
  const Health health = health_.Get();
  const Nanos now = clock_.Now();
  if (health.reachable != watched.reported_reachable && now >= watched.next_report) {
    if (health.reachable) LogInfo("source {} answers again", backend_.source());
    if (!health.reachable)
      LogWarn("source {} does not answer ({}); serving what is cached", backend_.source(), health.error);
    watched.reported_reachable = health.reachable;
    if (options_.on_health) options_.on_health(health);
    watched.next_report = now + kReportInterval;
  }
  if ((health.reachable && !suspected_) || now < watched.next_probe || probing_.exchange(true)) return;
  watched.next_probe = now + options_.probe_interval;
  suspected_ = false;  // first: what fails from now on is newer than the probe
  if (!pool_.Submit([this](std::stop_token stop) { Probe(stop); })) probing_ = false;
}

void Catalog::Probe(std::stop_token stop) {
  const uint64_t token = health_.Begin();
  const Result<Known> answer = AskName("", std::nullopt, stop);
  health_.End(token, answer ? nullptr : &answer.error());
  probing_ = false;
  WakeTimer();  // to look at what it found
}

}  // namespace glintfs
