// MetricsServer: answers HTTP on one port: GET /metrics is a page that its owner writes.
//
// libevent does HTTP, on one thread of this class's own. Whoever connects may be anybody: a request
// has kRequestLimitMs to come and its answer as long to go, headers are bounded, a body is refused.
// Each connection brings one request. Beyond kMaxConnections the oldest that has not brought it
// makes room; when all of them have, others wait in the backlog.
// Threading: made and destroyed by its owner's thread; `page` is called on the server's own one.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "cyray/util/status.h"
#include "cyray/util/unique_fd.h"

namespace cyray::raylet {

class MetricsServer {
 public:
  static constexpr size_t kMaxConnections = 32;
  static constexpr int64_t kRequestLimitMs = 5'000;
  static constexpr size_t kMaxHeaderBytes = 16 << 10;

  // The body of an answer, in the format that `content_type` names.
  using Page = std::function<std::string()>;

  // Takes a listening socket that does not block. `request_limit_ms`: another one, for tests.
  static Result<std::unique_ptr<MetricsServer>> Start(UniqueFd listening, const char* content_type,
                                                      Page page,
                                                      int64_t request_limit_ms = kRequestLimitMs);
  // Ends the thread when `page`, should it run, has come back.
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

 private:
  class Http;
  MetricsServer(UniqueFd stop, std::unique_ptr<Http> http);

  UniqueFd stop_;  // an eventfd; before http_, which watches it to its end
  std::unique_ptr<Http> http_;
  std::thread thread_;
};

}  // namespace cyray::raylet
