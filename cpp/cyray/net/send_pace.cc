#include "cyray/net/send_pace.h"

namespace cyray::net {

void SendPace::OnWritten(size_t bytes) {
  written_ += bytes;
  // More than the kernel keeps has gone at once: the wire is faster than whoever writes.
  if (full_since_ns_ == 0 && written_ > unsent_bytes() && write_bytes_ < kMostBytes) {
    write_bytes_ *= 2;
  }
}

void SendPace::OnFull(int64_t now_ns) {
  if (full_since_ns_ != 0 && written_ > 0 && now_ns > full_since_ns_) {
    const double sample =
        static_cast<double>(written_) / static_cast<double>(now_ns - full_since_ns_);
    bytes_per_ns_ = bytes_per_ns_ == 0 ? sample : bytes_per_ns_ + (sample - bytes_per_ns_) / 4;
    Adapt(bytes_per_ns_ * static_cast<double>(kAheadNs));
  }
  full_since_ns_ = now_ns;
  written_ = 0;
}

void SendPace::OnDrained() {
  full_since_ns_ = 0;
  written_ = 0;
}

// Not at each small change: the range in which a pace stays is wider than a step.
void SendPace::Adapt(double bytes_ahead) {
  while (write_bytes_ < kMostBytes && bytes_ahead >= 2 * static_cast<double>(write_bytes_)) {
    write_bytes_ *= 2;
  }
  while (write_bytes_ > kLeastBytes && bytes_ahead < 0.75 * static_cast<double>(write_bytes_)) {
    write_bytes_ /= 2;
  }
}

}  // namespace cyray::net
