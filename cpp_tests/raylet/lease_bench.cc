// What granting costs: a lease from its request to its return, alone and among many who wait.

#include <benchmark/benchmark.h>

#include <cstring>
#include <deque>
#include <optional>

#include "cyray/raylet/lease_scheduler.h"

namespace cyray::raylet {
namespace {

ResourceSet Cpus(int64_t count) {
  ResourceSet set;
  set.Set("CPU", count * kResourceUnit);
  return set;
}

Address Client(uint32_t number) {
  Address address;
  address.worker.bytes[0] = static_cast<uint8_t>(number);
  address.worker.bytes[1] = static_cast<uint8_t>(number >> 8);
  address.worker.bytes[2] = 1;
  return address;
}

LeaseRequest Request(uint32_t client, uint64_t id) {
  LeaseRequest request;
  request.key = {Client(client), id};
  request.demand = request.held = Cpus(1);
  return request;
}

std::optional<WorkerId> NewWorker(const LeaseRequest&, const WorkerUse&) {
  static uint64_t next = 0;
  WorkerId worker;
  ++next;
  std::memcpy(worker.bytes.data(), &next, sizeof next);
  return worker;
}

// One client, a free CPU: what a first task waits for.
void BM_RequestGrantReturn(benchmark::State& state) {
  LeaseScheduler scheduler(NodeId::Random(), Cpus(2));
  uint64_t id = 0;
  for (auto _ : state) {
    scheduler.AddRequest(Request(1, ++id), 0);
    const ScheduleActions actions = scheduler.Schedule(0, NewWorker);
    benchmark::DoNotOptimize(
        scheduler.ReturnLease(actions.grants[0].lease_id, actions.grants[0].key.client));
  }
}
BENCHMARK(BM_RequestGrantReturn);

// Every CPU of a node of 64 is leased, and so many clients wait: each returned lease serves one.
void BM_ReturnServesOneOfManyClients(benchmark::State& state) {
  const auto clients = static_cast<uint32_t>(state.range(0));
  LeaseScheduler scheduler(NodeId::Random(), Cpus(64));
  uint64_t id = 0;
  for (uint32_t client = 0; client < clients; ++client) {
    scheduler.AddRequest(Request(client, ++id), 0);
  }
  for (int i = 0; i < 64; ++i) scheduler.AddRequest(Request(clients, ++id), 0);
  std::deque<LeaseGrant> held;
  const auto schedule = [&] {
    for (LeaseGrant& grant : scheduler.Schedule(0, NewWorker).grants) held.push_back(grant);
  };
  schedule();
  for (auto _ : state) {
    const LeaseGrant done = held.front();
    held.pop_front();
    scheduler.ReturnLease(done.lease_id, done.key.client);
    LeaseRequest again;
    again.key = {done.key.client, ++id};
    again.demand = again.held = Cpus(1);
    scheduler.AddRequest(std::move(again), 0);
    schedule();
  }
}
BENCHMARK(BM_ReturnServesOneOfManyClients)->Arg(8)->Arg(64)->Arg(512);

// So many shapes of one client wait: each returned lease serves one of them.
void BM_ReturnServesOneOfManyShapes(benchmark::State& state) {
  const auto shapes = static_cast<int64_t>(state.range(0));
  ResourceSet total = Cpus(2);
  total.Set("memory", 1'000'000'000);
  LeaseScheduler scheduler(NodeId::Random(), total);
  uint64_t id = 0;
  const auto ask = [&](int64_t bytes) {
    LeaseRequest request = Request(1, ++id);
    request.demand.Set("memory", bytes);
    request.held = request.demand;
    scheduler.AddRequest(std::move(request), 0);
  };
  for (int64_t shape = 1; shape <= shapes; ++shape) ask(shape);
  std::deque<LeaseGrant> held;
  const auto schedule = [&] {
    for (LeaseGrant& grant : scheduler.Schedule(0, NewWorker).grants) held.push_back(grant);
  };
  schedule();
  for (auto _ : state) {
    const LeaseGrant done = held.front();
    held.pop_front();
    scheduler.ReturnLease(done.lease_id, done.key.client);
    ask(static_cast<int64_t>(id % static_cast<uint64_t>(shapes)) + 1);
    schedule();
  }
}
BENCHMARK(BM_ReturnServesOneOfManyShapes)->Arg(8)->Arg(512)->Arg(8192);

// Requests that are cancelled before they are served, with others waiting.
void BM_CancelAmongManyClients(benchmark::State& state) {
  LeaseScheduler scheduler(NodeId::Random(), Cpus(0));
  uint64_t id = 0;
  for (uint32_t client = 0; client < 512; ++client) {
    scheduler.AddRequest(Request(client, ++id), 0);
  }
  for (auto _ : state) {
    scheduler.AddRequest(Request(77, ++id), 0);
    benchmark::DoNotOptimize(scheduler.CancelRequest({Client(77), id}));
  }
}
BENCHMARK(BM_CancelAmongManyClients);

}  // namespace
}  // namespace cyray::raylet
