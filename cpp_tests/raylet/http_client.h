// A client of the metrics' HTTP for tests: one connection over loopback, without a library.

#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <string>

#include "cyray/util/unique_fd.h"

namespace cyray::raylet {

class HttpClient {
 public:
  HttpClient() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  // `receive_bytes`: so much at most waits here to be read; 0: what the kernel likes.
  explicit HttpClient(uint16_t port, int receive_bytes = 0) : HttpClient() {
    if (receive_bytes > 0) {
      EXPECT_EQ(
          ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes),
          0);
    }
    Connect(port);
  }
  void Connect(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
  }
  // False: the other end has closed.
  bool Send(const std::string& text) {
    return ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(text.size());
  }
  // All that comes until the other end closes.
  std::string ReadAll() {
    std::string all;
    char bytes[4096];
    for (ssize_t n; (n = ::recv(socket_.get(), bytes, sizeof bytes, 0)) > 0;) {
      all.append(bytes, static_cast<size_t>(n));
    }
    return all;
  }
  static std::string Get(uint16_t port, const std::string& path = "/metrics") {
    HttpClient client(port);
    client.Send("GET " + path + " HTTP/1.1\r\nHost: here\r\n\r\n");
    return client.ReadAll();
  }

 private:
  UniqueFd socket_;
};

}  // namespace cyray::raylet
