// What the cache tells, passed on: to the events that people see, and to the catalogue when the source could not be asked.
#pragma once

#include "fs/cache/cache.h"
#include "fs/catalog/catalog.h"
#include "fs/event_log.h"

namespace glintfs {

// For Cache::SetEventHandler, alone or called by the handler there. Both outlive it.
Cache::EventHandler PassOnCacheEvents(EventLog& events, Catalog& catalog);

}  // namespace glintfs
