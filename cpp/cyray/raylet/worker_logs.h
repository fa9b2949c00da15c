// WorkerLogs: the output of this node's workers, from their pipes to log files and to drivers.
//
// A file is made at a worker's first output and is rotated once when it grows too large. When all
// of them exceed their bound, files of dead workers go, oldest first, then rotated ones of living
// workers. Lines go to a callback in batches, with the label that the worker set last. Threading:
// confined to the raylet's loop. Invariants: memory is bounded: one partial line of at most
// kMaxLineBytes per pipe; the files of living workers fit into the bound, the more workers there
// are the smaller each file may grow.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/raylet/worker_lines.h"
#include "cyray/util/event_loop.h"
#include "cyray/util/unique_fd.h"

namespace cyray::raylet {

// Cuts a byte stream into lines; pure.
class LineCutter {
 public:
  // Lines without their end. A line "\x1ecyray-label:<text>" sets label() and is not among them.
  // When the label changes in between, `on_batch` is called with those before.
  using OnBatch = std::function<void(const std::string& label, std::vector<std::string> lines)>;
  void Feed(std::string_view bytes, const OnBatch& on_batch);
  void Finish(const OnBatch& on_batch);  // the partial line at the end

 private:
  void TakeLine(std::string line, std::vector<std::string>* lines, const OnBatch& on_batch);
  std::string partial_;
  std::string label_;
};

class WorkerLogs {
 public:
  using Lines = WorkerLines;

  WorkerLogs(EventLoop* loop, std::string directory, uint64_t total_limit_bytes,
             std::function<void(const Lines&)> on_lines);
  ~WorkerLogs();

  // The raylet's ends of the pipes.
  void Open(const WorkerId& worker, UniqueFd out, UniqueFd err);
  void SetPid(const WorkerId& worker, int pid);
  // Reads what is there now and ends partial lines.
  void Drain(const WorkerId& worker);
  // The same, and closes.
  void Close(const WorkerId& worker);
  void CloseAll();
  // The files of a worker's stderr and stdout; empty when there was no output.
  std::string ErrPath(const WorkerId& worker) const { return PathOf(worker, 1); }
  std::string OutPath(const WorkerId& worker) const { return PathOf(worker, 0); }
  uint64_t total_bytes() const { return total_bytes_; }

 private:
  struct Stream {
    UniqueFd pipe;
    UniqueFd file;
    LineCutter cutter;
    std::string path;  // once there was output
    uint64_t file_bytes = 0;
    uint64_t rotated_bytes = 0;
    bool is_stderr = false;
  };
  struct Output {
    int pid = 0;
    Stream streams[2];
  };
  std::string PathOf(const WorkerId& worker, size_t stream) const;
  void OnReadable(const WorkerId& worker, bool is_stderr);
  bool ReadSome(const WorkerId& worker, Output& output, Stream& stream);
  void Deliver(const WorkerId& worker, Output& output, Stream& stream, const std::string& label,
               std::vector<std::string> lines);
  void Append(const WorkerId& worker, const Output& output, Stream& stream,
              const std::vector<std::string>& lines);
  void DrainOutput(const WorkerId& worker, Output& output);
  void ClosePipe(Stream& stream);
  uint64_t FileLimit() const;
  void Trim();

  EventLoop* const loop_;
  const std::string directory_;
  const uint64_t total_limit_bytes_;
  const std::function<void(const Lines&)> on_lines_;
  std::unordered_map<WorkerId, std::unique_ptr<Output>> outputs_;
  std::deque<std::pair<std::string, uint64_t>> dead_files_;  // path, bytes
  uint64_t total_bytes_ = 0;
};

}  // namespace cyray::raylet
