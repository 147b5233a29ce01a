#include "fs/cache_events.h"

#include <optional>

namespace glintfs {
namespace {

// What the cache tells, for people; nullopt: it is for the machine only.
std::optional<ServiceEvent::Kind> KindOf(Cache::Event event) {
  switch (event) {
    case Cache::Event::kQueued: return ServiceEvent::Kind::kQueued;
    case Cache::Event::kCancelled: return ServiceEvent::Kind::kCancelled;
    case Cache::Event::kCompleted: return ServiceEvent::Kind::kFilled;
    case Cache::Event::kVerified: return ServiceEvent::Kind::kVerified;
    case Cache::Event::kSealed:
    case Cache::Event::kChunkDropped:
    case Cache::Event::kCannotAsk: return std::nullopt;
    case Cache::Event::kInvalidated: return ServiceEvent::Kind::kInvalid;
    case Cache::Event::kRemoved: return ServiceEvent::Kind::kEvicted;
    case Cache::Event::kDamaged: return ServiceEvent::Kind::kDamaged;
    case Cache::Event::kRepaired: return ServiceEvent::Kind::kRepaired;
    case Cache::Event::kFailed: return ServiceEvent::Kind::kError;
  }
  return std::nullopt;
}

}  // namespace

Cache::EventHandler PassOnCacheEvents(EventLog& events, Catalog& catalog) {
  return [&events, &catalog](Cache::Event event, const ImageInfo& image, const Cache::EventDetail& detail) {
    if (event == Cache::Event::kCannotAsk) catalog.Suspect();
    if (const auto kind = KindOf(event)) events.Add(*kind, image.id.name, detail.text, detail.bytes);
  };
}

}  // namespace glintfs
