#include "cyray/raylet/metrics_server.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

constexpr const char* kPath = "/metrics";
constexpr int64_t kAcceptPauseMs = 100;
constexpr int kPriorities = 3;  // libevent gives the middle one, to connections and the listener

timeval Interval(int64_t ms) { return {ms / 1000, (ms % 1000) * 1000}; }

struct FreeEvent {
  void operator()(event_base* base) const { event_base_free(base); }
  void operator()(evhttp* http) const { evhttp_free(http); }
  void operator()(event* watch) const { event_free(watch); }
};
template <class T>
using EventPtr = std::unique_ptr<T, FreeEvent>;

}  // namespace

// What libevent has of a server. Confined to the server's thread, once that runs.
//
// libevent tells of a connection when it comes, and of its end only after a whole request. So each
// has a second owner here, until its end is told or seen or its time is over: how many there are is
// known, and none stays because it says nothing, or a byte a second, or is needed for another.
class MetricsServer::Http {
 public:
  Http(const char* content_type, Page page, int64_t limit_ms)
      : content_type_(content_type), page_(std::move(page)), limit_(Interval(limit_ms)) {}
  ~Http() {
    listener_ = nullptr;
    http_.reset();  // ends the connections that libevent still has
    for (const auto& connection : connections_) bufferevent_decref(connection->socket);
  }

  Status Listen(UniqueFd listening, int stop) {
    Status failed(StatusCode::kOutOfMemory, "libevent cannot begin to serve metrics");
    base_.reset(event_base_new());
    if (!base_ || event_base_priority_init(base_.get(), kPriorities) != 0) return failed;
    http_.reset(evhttp_new(base_.get()));
    if (http_) stop_.reset(event_new(base_.get(), stop, EV_READ, &Http::OnStop, this));
    if (stop_) pause_.reset(evtimer_new(base_.get(), &Http::OnPauseOver, this));
    if (pause_)
      waits_.reset(event_new(base_.get(), listening.get(), EV_READ, &Http::OnWaits, this));
    if (!waits_ || event_priority_set(waits_.get(), kPriorities - 1) != 0 ||
        event_priority_set(stop_.get(), 0) != 0 || event_add(stop_.get(), nullptr) != 0) {
      return failed;
    }
    evhttp_set_allowed_methods(http_.get(), EVHTTP_REQ_GET);
    evhttp_set_max_headers_size(http_.get(), kMaxHeaderBytes);
    evhttp_set_max_body_size(http_.get(), 0);
    evhttp_set_timeout_tv(http_.get(), &limit_);
    evhttp_set_bevcb(http_.get(), &Http::OnConnection, this);
    evhttp_set_gencb(http_.get(), &Http::OnRequest, this);
    evhttp_bound_socket* bound = evhttp_accept_socket_with_handle(http_.get(), listening.get());
    if (bound == nullptr) return failed;
    (void)listening.release();  // libevent closes it
    listener_ = evhttp_bound_socket_get_listener(bound);
    evconnlistener_set_error_cb(listener_, &Http::OnCannotAccept);
    return Status::Ok();
  }
  void Run() { event_base_dispatch(base_.get()); }

 private:
  struct Connection {
    Http* self;
    bufferevent* socket;
    EventPtr<event> deadline;
    bool answered = false;  // it has brought its request: its answer is on its way
  };

  static Http& Of(void* self) { return *static_cast<Http*>(self); }

  static void OnStop(evutil_socket_t, short, void* self) {
    event_base_loopbreak(Of(self).base_.get());
  }

  // Out of descriptors, most likely: pauses, so that the thread does not spin on it. What comes
  // with the listener is libevent's own; whose it is, the events of its base tell.
  static void OnCannotAccept(evconnlistener* listener, void*) {
    CYRAY_LOG(kWarning) << Status::FromErrno("accept, for metrics").message();
    void* self = nullptr;
    event_base_foreach_event(evconnlistener_get_base(listener), &Http::TellOwner, &self);
    const timeval pause = Interval(kAcceptPauseMs);
    evtimer_add(Of(self).pause_.get(), &pause);
    Of(self).AcceptIfRoom();
  }
  static int TellOwner(const event_base*, const event* watch, void* owner) {
    if (event_get_callback(watch) != &Http::OnStop) return 0;
    *static_cast<void**>(owner) = event_get_callback_arg(watch);
    return 1;
  }
  static void OnPauseOver(evutil_socket_t, short, void* self) { Of(self).AcceptIfRoom(); }
  void AcceptIfRoom() {
    if (listener_ == nullptr) return;
    const bool pauses = evtimer_pending(pause_.get(), nullptr) != 0;
    if (!pauses && connections_.size() < kMaxConnections) {
      event_del(waits_.get());
      evconnlistener_enable(listener_);
    } else {
      evconnlistener_disable(listener_);
      if (!pauses && Oldest() != nullptr) event_add(waits_.get(), nullptr);
    }
  }

  // Somebody waits for room. Of lower priority than all that connections do, so that what has come
  // from each is read by now: none is ended after its request has come.
  static void OnWaits(evutil_socket_t, short, void* self) {
    auto& connections = Of(self).connections_;
    std::erase_if(connections, &Http::IsOver);
    const Connection* const oldest = Of(self).Oldest();
    if (connections.size() >= kMaxConnections && oldest != nullptr) Of(self).End(*oldest);
    Of(self).AcceptIfRoom();
  }
  // libevent has let go of it and not said so: whoever connected has closed, or sent nonsense.
  static bool IsOver(const std::unique_ptr<Connection>& connection) {
    bufferevent_event_cb event = nullptr;
    bufferevent_getcb(connection->socket, nullptr, nullptr, &event, nullptr);
    if (event != nullptr) return false;
    bufferevent_decref(connection->socket);
    return true;
  }
  // Of those that have not brought their request the one that came first. (Who sends a byte a
  // second is not silent, and would stay at the expense of one whose request is on its way.)
  const Connection* Oldest() const {
    const auto oldest =
        std::ranges::find_if(connections_, [](const auto& each) { return !each->answered; });
    return oldest == connections_.end() ? nullptr : oldest->get();
  }

  static bufferevent* OnConnection(event_base* base, void* self) {
    bufferevent* socket = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    if (socket == nullptr) return nullptr;
    // When libevent has let go of it nobody takes what comes.
    bufferevent_setwatermark(socket, EV_READ, 0, 2 * kMaxHeaderBytes);
    Of(self).Keep(socket);
    return socket;
  }

  void Keep(bufferevent* socket) {
    bufferevent_incref(socket);
    auto connection = std::make_unique<Connection>(Connection{this, socket, nullptr});
    connection->deadline.reset(evtimer_new(base_.get(), &Http::OnOverdue, connection.get()));
    if (connection->deadline) evtimer_add(connection->deadline.get(), &limit_);
    connections_.push_back(std::move(connection));
    AcceptIfRoom();
  }
  auto Find(bufferevent* socket) {
    return std::ranges::find_if(connections_,
                                [&](const auto& each) { return each->socket == socket; });
  }
  void Drop(bufferevent* socket) {
    const auto connection = Find(socket);
    if (connection == connections_.end()) return;
    connections_.erase(connection);
    bufferevent_decref(socket);
    AcceptIfRoom();
  }
  void End(const Connection& connection) {
    // libevent, if it still has the connection, takes it for one whose other end has gone.
    ::shutdown(bufferevent_getfd(connection.socket), SHUT_RDWR);
    Drop(connection.socket);
  }

  static void OnOverdue(evutil_socket_t, short, void* connection) {
    const Connection& overdue = *static_cast<Connection*>(connection);
    overdue.self->End(overdue);
  }
  static void OnClosed(evhttp_connection* connection, void* self) {
    Of(self).Drop(evhttp_connection_get_bufferevent(connection));
  }

  static void OnRequest(evhttp_request* request, void* self) {
    evhttp_connection* const from = evhttp_request_get_connection(request);
    evhttp_connection_set_closecb(from, &Http::OnClosed, self);
    const auto connection = Of(self).Find(evhttp_connection_get_bufferevent(from));
    if (connection != Of(self).connections_.end()) (*connection)->answered = true;
    Of(self).Answer(request);
  }
  void Answer(evhttp_request* request) {
    evhttp_add_header(evhttp_request_get_output_headers(request), "Connection", "close");
    const char* path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
    if (path == nullptr || std::strcmp(path, kPath) != 0) {
      return evhttp_send_error(request, HTTP_NOTFOUND, "The metrics are at /metrics");
    }
    evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", content_type_);
    const std::string body = page_();
    evbuffer_add(evhttp_request_get_output_buffer(request), body.data(), body.size());
    evhttp_send_reply(request, HTTP_OK, "OK", nullptr);
  }

  const char* const content_type_;
  const Page page_;
  const timeval limit_;
  EventPtr<event_base> base_;
  EventPtr<event> stop_;
  EventPtr<event> pause_;  // pending while nobody is accepted
  EventPtr<event> waits_;  // watches the listening socket while there is no room
  EventPtr<evhttp> http_;
  evconnlistener* listener_ = nullptr;                    // http_'s
  std::vector<std::unique_ptr<Connection>> connections_;  // in the order in which they came
};

Result<std::unique_ptr<MetricsServer>> MetricsServer::Start(UniqueFd listening,
                                                            const char* content_type, Page page,
                                                            int64_t request_limit_ms) {
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop.valid()) return Fail(Status::FromErrno("eventfd"));
  auto http = std::make_unique<Http>(content_type, std::move(page), request_limit_ms);
  if (Status status = http->Listen(std::move(listening), stop.get()); !status.ok()) {
    return Fail(std::move(status));
  }
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(stop), std::move(http)));
}

MetricsServer::MetricsServer(UniqueFd stop, std::unique_ptr<Http> http)
    : stop_(std::move(stop)), http_(std::move(http)), thread_([this] {
        ::pthread_setname_np(::pthread_self(), "cyray-metrics");
        sigset_t all;
        sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, nullptr);  // SIGPIPE, too
        http_->Run();
      }) {}

MetricsServer::~MetricsServer() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(stop_.get(), &one, sizeof one);
  thread_.join();
}

}  // namespace cyray::raylet
