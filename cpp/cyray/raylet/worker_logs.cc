#include "cyray/raylet/worker_logs.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "cyray/raylet/process_supervisor.h"
#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

constexpr size_t kMaxLineBytes = 64 << 10;
constexpr size_t kReadBytes = 64 << 10;
constexpr uint64_t kMaxFileBytes = 16u << 20;
constexpr uint64_t kMinFileBytes = 64u << 10;
constexpr uint64_t kFilesPerWorker = 4;  // two streams, each with its rotated file
constexpr size_t kMaxReadsAtOnce = 64;   // 4 MiB: more than a pipe can hold
constexpr std::string_view kLabelMark =
    "\x1e"
    "cyray-label:";

}  // namespace

void LineCutter::TakeLine(std::string line, std::vector<std::string>* lines,
                          const OnBatch& on_batch) {
  if (line.starts_with(kLabelMark)) {
    if (!lines->empty()) on_batch(label_, std::exchange(*lines, {}));
    label_ = line.substr(kLabelMark.size());
    return;
  }
  lines->push_back(std::move(line));
}

void LineCutter::Feed(std::string_view bytes, const OnBatch& on_batch) {
  std::vector<std::string> lines;
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const size_t room = kMaxLineBytes - partial_.size();
    const size_t take = std::min(end == std::string_view::npos ? bytes.size() : end, room);
    partial_.append(bytes.substr(0, take));
    bytes.remove_prefix(take);
    const bool ended = !bytes.empty() && bytes.front() == '\n';
    if (ended) bytes.remove_prefix(1);
    if (ended || partial_.size() >= kMaxLineBytes) {
      TakeLine(std::exchange(partial_, {}), &lines, on_batch);
    }
  }
  if (!lines.empty()) on_batch(label_, std::move(lines));
}

void LineCutter::Finish(const OnBatch& on_batch) {
  if (partial_.empty()) return;
  std::vector<std::string> lines;
  TakeLine(std::exchange(partial_, {}), &lines, on_batch);
  if (!lines.empty()) on_batch(label_, std::move(lines));
}

WorkerLogs::WorkerLogs(EventLoop* loop, std::string directory, uint64_t total_limit_bytes,
                       std::function<void(const Lines&)> on_lines)
    : loop_(loop),
      directory_(std::move(directory)),
      total_limit_bytes_(total_limit_bytes),
      on_lines_(std::move(on_lines)) {}

WorkerLogs::~WorkerLogs() {
  for (auto& [worker, output] : outputs_) {
    for (Stream& stream : output->streams) ClosePipe(stream);
  }
}

void WorkerLogs::Open(const WorkerId& worker, UniqueFd out, UniqueFd err) {
  auto& output = outputs_[worker] = std::make_unique<Output>();
  output->streams[0].pipe = std::move(out);
  output->streams[1].pipe = std::move(err);
  output->streams[1].is_stderr = true;
  for (Stream& stream : output->streams) {
    const bool is_stderr = stream.is_stderr;
    loop_->Add(stream.pipe.get(), EPOLLIN,
               [this, worker, is_stderr](uint32_t) { OnReadable(worker, is_stderr); });
  }
}

void WorkerLogs::SetPid(const WorkerId& worker, int pid) {
  if (const auto it = outputs_.find(worker); it != outputs_.end()) it->second->pid = pid;
}

void WorkerLogs::OnReadable(const WorkerId& worker, bool is_stderr) {
  const auto it = outputs_.find(worker);
  if (it == outputs_.end()) return;
  ReadSome(worker, *it->second, it->second->streams[is_stderr ? 1 : 0]);
}

bool WorkerLogs::ReadSome(const WorkerId& worker, Output& output, Stream& stream) {
  static thread_local std::array<char, kReadBytes> buffer;
  const ssize_t n = ::read(stream.pipe.get(), buffer.data(), buffer.size());
  if (n < 0) return errno == EINTR;
  if (n == 0) {
    ClosePipe(stream);
    return false;
  }
  stream.cutter.Feed({buffer.data(), static_cast<size_t>(n)},
                     [&](const std::string& label, std::vector<std::string> lines) {
                       Deliver(worker, output, stream, label, std::move(lines));
                     });
  return true;
}

void WorkerLogs::Deliver(const WorkerId& worker, Output& output, Stream& stream,
                         const std::string& label, std::vector<std::string> lines) {
  Append(worker, output, stream, lines);
  on_lines_({worker, output.pid, label, stream.is_stderr, std::move(lines)});
}

std::string WorkerLogs::PathOf(const WorkerId& worker, size_t stream) const {
  const auto it = outputs_.find(worker);
  return it == outputs_.end() ? std::string() : it->second->streams[stream].path;
}

uint64_t WorkerLogs::FileLimit() const {
  const uint64_t files = kFilesPerWorker * std::max<size_t>(outputs_.size(), 1);
  return std::clamp(total_limit_bytes_ / files, kMinFileBytes, kMaxFileBytes);
}

void WorkerLogs::Append(const WorkerId& worker, const Output& output, Stream& stream,
                        const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) (text += line) += '\n';
  if (stream.path.empty()) {
    stream.path = directory_ + "/worker-" + worker.Hex() + "-" + std::to_string(output.pid) +
                  (stream.is_stderr ? ".err" : ".out");
  }
  if (stream.file_bytes + text.size() > FileLimit() && stream.file.valid()) {
    ::rename(stream.path.c_str(), (stream.path + ".1").c_str());
    total_bytes_ -= stream.rotated_bytes;
    stream.rotated_bytes = std::exchange(stream.file_bytes, 0);
    stream.file.reset();
  }
  if (!stream.file.valid()) stream.file = OpenLog(stream.path);
  const ssize_t n = ::write(stream.file.get(), text.data(), text.size());
  if (n <= 0) return;  // a full disk loses log lines, nothing else
  stream.file_bytes += static_cast<uint64_t>(n);
  total_bytes_ += static_cast<uint64_t>(n);
  if (total_bytes_ > total_limit_bytes_) Trim();
}

void WorkerLogs::Trim() {
  while (total_bytes_ > total_limit_bytes_ && !dead_files_.empty()) {
    ::unlink(dead_files_.front().first.c_str());
    total_bytes_ -= dead_files_.front().second;
    dead_files_.pop_front();
  }
  for (const auto& [worker, output] : outputs_) {
    for (Stream& stream : output->streams) {
      if (total_bytes_ <= total_limit_bytes_) return;
      if (stream.rotated_bytes == 0) continue;
      ::unlink((stream.path + ".1").c_str());
      total_bytes_ -= std::exchange(stream.rotated_bytes, 0);
    }
  }
}

void WorkerLogs::ClosePipe(Stream& stream) {
  if (!stream.pipe.valid()) return;
  loop_->Remove(stream.pipe.get());
  stream.pipe.reset();
}

void WorkerLogs::DrainOutput(const WorkerId& worker, Output& output) {
  for (Stream& stream : output.streams) {
    for (size_t i = 0; i < kMaxReadsAtOnce && stream.pipe.valid(); ++i) {
      if (!ReadSome(worker, output, stream)) break;
    }
    stream.cutter.Finish([&](const std::string& label, std::vector<std::string> lines) {
      Deliver(worker, output, stream, label, std::move(lines));
    });
  }
}

void WorkerLogs::Drain(const WorkerId& worker) {
  if (const auto it = outputs_.find(worker); it != outputs_.end()) DrainOutput(worker, *it->second);
}

void WorkerLogs::Close(const WorkerId& worker) {
  const auto it = outputs_.find(worker);
  if (it == outputs_.end()) return;
  Output& output = *it->second;
  DrainOutput(worker, output);
  for (Stream& stream : output.streams) {
    ClosePipe(stream);
    if (stream.rotated_bytes > 0) {
      dead_files_.emplace_back(stream.path + ".1", stream.rotated_bytes);
    }
    if (stream.file_bytes > 0) dead_files_.emplace_back(stream.path, stream.file_bytes);
  }
  outputs_.erase(worker);
}

void WorkerLogs::CloseAll() {
  while (!outputs_.empty()) Close(WorkerId(outputs_.begin()->first));
}

}  // namespace cyray::raylet
