// Listings: all pages of a directory, merged with what else is known when the source cannot, or does not, list.
#include <algorithm>
#include <exception>
#include <set>

#include "fs/base/log.h"
#include "fs/catalog/catalog.h"

namespace glintfs {
namespace {

constexpr size_t kMaxEntries = 4'000'000;  // a listing beyond this is a source gone mad

// Sorted; each name once, a directory rather than an image of the same name.
void Normalise(std::vector<ListEntry>& entries) {
  std::erase_if(entries,
                [](const ListEntry& e) { return !IsValidName(e.name) || e.name.find('/') != std::string::npos; });
  std::sort(entries.begin(), entries.end(), [](const ListEntry& a, const ListEntry& b) {
    return a.name != b.name ? a.name < b.name : a.is_directory > b.is_directory;
  });
  entries.erase(std::unique(entries.begin(), entries.end(),
                            [](const ListEntry& a, const ListEntry& b) { return a.name == b.name; }),
                entries.end());
}

ListingPtr Share(std::vector<ListEntry> entries) {
  Normalise(entries);
  return std::make_shared<const std::vector<ListEntry>>(std::move(entries));
}

}  // namespace

Answers<Catalog::Listed>::Hooks Catalog::ListHooks() {
  return {
      .ask = [this](const std::string& directory, const std::optional<Listed>&,
                    std::stop_token stop) { return AskListing(directory, stop); },
      .offline = [this](const std::string& directory,
                        const std::optional<Listed>& known) { return OfflineListing(directory, known); },
      .ttl = [this](const Listed& listed) {
        if (listed.refused) return options_.negative_ttl;
        return listed.from_source ? options_.attr_ttl : options_.offline_ttl;
      },
      .wake_timer = [this] { WakeTimer(); },
  };
}

void Catalog::List(const std::string& directory, RequestId id, ListCallback done) {
  GetListing(directory, id, [done = std::move(done)](Result<CatalogListing> listing) {
    if (!listing) return done(std::move(listing).error());
    done(std::move(listing->entries));
  });
}

void Catalog::GetListing(const std::string& directory, RequestId id, std::function<void(Result<CatalogListing>)> done) {
  if (!directory.empty() && !IsValidName(directory))
    return done(Error{Errc::kNotFound, "no directory can have this name"});
  listings_.Get(directory, id, [done = std::move(done)](Result<Answers<Listed>::Answer> answer) {
    if (!answer) return done(std::move(answer).error());
    if (answer->value.refused) return done(*answer->value.refused);
    done(CatalogListing{.entries = std::move(answer->value.entries), .from_source = answer->value.from_source});
  });
}

Result<Catalog::Listed> Catalog::AskListing(const std::string& directory, std::stop_token stop) try {
  Result<std::vector<ListEntry>> entries = FetchListing(directory, stop);
  if (entries) return Listed{.refused = {}, .entries = Share(std::move(*entries)), .from_source = true};
  switch (entries.error().code) {
    case Errc::kNotFound:
    case Errc::kNotDirectory:
      if (directory.empty()) return RootIsGone(entries.error());
      return Listed{.refused = entries.error(), .entries = nullptr, .from_source = true};
    case Errc::kNotSupported: {
      std::vector<ListEntry> known;
      AddKnownNames(directory, known);
      return Listed{.refused = {}, .entries = Share(std::move(known)), .from_source = false};
    }
    default: return entries.error();
  }
} catch (const std::exception& e) {
  return Error{Errc::kIo, fmt::format("listing {}: {}", directory, e.what())};
}

Result<std::vector<ListEntry>> Catalog::FetchListing(const std::string& directory, std::stop_token stop) {
  std::vector<ListEntry> entries;
  std::set<std::string> cursors;
  std::string cursor;
  do {
    GLINTFS_ASSIGN(Listing page, backend_.List(directory, cursor, stop));
    std::move(page.entries.begin(), page.entries.end(), std::back_inserter(entries));
    cursor = std::move(page.next_cursor);
    if (entries.size() > kMaxEntries || (!cursor.empty() && !cursors.insert(cursor).second))
      return Error{Errc::kInvalid, fmt::format("the listing of '{}' does not end", directory)};
  } while (!cursor.empty());
  return entries;
}

void Catalog::AddKnownNames(const std::string& directory, std::vector<ListEntry>& entries) {
  names_.VisitChildren(directory, [&](std::string name, const Known& known) {
    if (known.kind != Known::Kind::kMissing)
      entries.push_back(ListEntry{.name = std::move(name), .is_directory = known.kind == Known::Kind::kDirectory});
  });
  std::vector<ListEntry> cached = cache_.NamesIn(directory);
  std::move(cached.begin(), cached.end(), std::back_inserter(entries));
}

// Nothing known at all is no empty directory: then the source must answer.
std::optional<Catalog::Listed> Catalog::OfflineListing(const std::string& directory,
                                                       const std::optional<Listed>& known) {
  if (known && known->refused) return known;
  std::vector<ListEntry> entries;
  if (known) entries = *known->entries;
  AddKnownNames(directory, entries);
  if (!known && entries.empty()) return std::nullopt;
  return Listed{.refused = {}, .entries = Share(std::move(entries)), .from_source = false};
}

}  // namespace glintfs
