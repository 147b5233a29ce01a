#include "backends/http/pool.h"

#include <new>

namespace glintfs {
namespace {

// Before the first handle, once per process; the initialisation of a static is thread-safe.
void InitCurl() {
  static const CURLcode done = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  if (done != CURLE_OK) throw std::bad_alloc();
}

}  // namespace

Connection::Connection(NearWindow& near_window) : window(near_window) {
  InitCurl();
  multi = ::curl_multi_init();
  easy = ::curl_easy_init();
  if (multi == nullptr || easy == nullptr) throw std::bad_alloc();
  // One to the source and a few to where it redirects.
  ::curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 4L);
}

Connection::~Connection() {
  ::curl_easy_cleanup(easy);
  ::curl_multi_cleanup(multi);
}

ConnectionPool::Lease ConnectionPool::Take() {
  AssertNoLockHeld();
  std::unique_ptr<Connection> connection;
  {
    MutexLock lock(mu_);
    if (!idle_.empty()) {
      connection = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!connection) connection = std::make_unique<Connection>(window_);
  return Lease(*this, std::move(connection));
}

void ConnectionPool::Return(std::unique_ptr<Connection> connection) {
  AssertNoLockHeld();
  std::unique_ptr<Connection> surplus;  // closed after the lock is released
  MutexLock lock(mu_);
  if (idle_.size() < max_idle_) {
    idle_.push_back(std::move(connection));
  } else {
    surplus = std::move(connection);
  }
}

size_t ConnectionPool::idle() const {
  MutexLock lock(mu_);
  return idle_.size();
}

}  // namespace glintfs
