// A Transport whose streams end after so many bytes, wherever that is in what they carry.
//
// Decorates another one. Threading: confined to the test's loop.

#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "cyray/net/transport.h"

namespace cyray::raylet {

class FaultyTransport : public net::Transport {
 public:
  explicit FaultyTransport(net::Transport* inner) : inner_(inner) {}

  // How many bytes the next stream carries, both ways together; 0: as many as wanted.
  std::function<size_t()> next_budget = [] { return size_t{0}; };
  int cuts = 0;

  Result<std::unique_ptr<net::Stream>> Dial(const std::string& ip, uint16_t port) override {
    auto stream = inner_->Dial(ip, port);
    if (!stream) return stream;
    return Limited(std::move(*stream));
  }
  Status Listen(const std::string& ip, uint16_t port, AcceptCallback on_accepted) override {
    return inner_->Listen(ip, port, [this, on_accepted](std::unique_ptr<net::Stream> stream) {
      on_accepted(Limited(std::move(stream)));
    });
  }
  uint16_t port() const override { return inner_->port(); }
  void SetAccepting(bool accepting) override { inner_->SetAccepting(accepting); }

 private:
  class LimitedStream : public net::Stream {
   public:
    LimitedStream(FaultyTransport* owner, std::unique_ptr<net::Stream> inner, size_t budget)
        : owner_(owner), inner_(std::move(inner)), left_(budget) {}
    void Watch(ReadyCallback on_ready) override { inner_->Watch(std::move(on_ready)); }
    void AwaitWritable(bool wanted) override { inner_->AwaitWritable(wanted); }
    Result<size_t> Read(std::span<const iovec> into) override {
      return Spend(into, [this](std::span<const iovec> parts) { return inner_->Read(parts); });
    }
    Result<size_t> Write(std::span<const iovec> parts) override {
      return Spend(parts, [this](std::span<const iovec> some) { return inner_->Write(some); });
    }
    void LimitUnsent(size_t bytes) override { inner_->LimitUnsent(bytes); }

   private:
    template <class Move>
    Result<size_t> Spend(std::span<const iovec> parts, Move move) {
      if (left_ == 0) {
        ++owner_->cuts;
        return Fail(StatusCode::kDisconnected, "cut by the test");
      }
      iovec first = parts[0];
      first.iov_len = std::min(first.iov_len, left_);
      const Result<size_t> n = move(std::span<const iovec>(&first, 1));
      if (n) left_ -= *n;
      return n;
    }
    FaultyTransport* const owner_;
    const std::unique_ptr<net::Stream> inner_;
    size_t left_;
  };
  std::unique_ptr<net::Stream> Limited(std::unique_ptr<net::Stream> stream) {
    const size_t budget = next_budget();
    if (budget == 0) return stream;
    return std::make_unique<LimitedStream>(this, std::move(stream), budget);
  }

  net::Transport* const inner_;
};

}  // namespace cyray::raylet
