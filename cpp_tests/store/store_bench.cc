// The store's hot paths: allocate and free, the life of an object, and copying into the arena next
// to a plain memcpy of the same size into warm shared memory.

#include <benchmark/benchmark.h>

#include <cstring>
#include <thread>
#include <vector>

#include "cyray/store/arena_mapping.h"
#include "cyray/store/object_store.h"

namespace cyray::store {
namespace {

void BM_AllocateFree(benchmark::State& state) {
  ArenaAllocator allocator(uint64_t{8} << 30);
  const auto bytes = static_cast<uint64_t>(state.range(0));
  std::vector<uint64_t> held;
  for (int i = 0; i < 1000; ++i) held.push_back(*allocator.Allocate(bytes));
  size_t at = 0;
  for (auto _ : state) {
    allocator.Free(held[at]);
    held[at] = *allocator.Allocate(bytes);
    at = (at + 7) % held.size();
  }
}
BENCHMARK(BM_AllocateFree)->Arg(256)->Arg(200'000)->Arg(1 << 20);

void BM_ObjectTableLife(benchmark::State& state) {
  ObjectTable table;
  uint32_t index = 0;
  for (auto _ : state) {
    const ObjectId id(TaskId{}, ++index);
    ObjectTable::Actions actions;
    table.Create(id, 1, {}, {0, 100}, CopyKind::kPrimary);
    benchmark::DoNotOptimize(table.Seal(id, 1, actions));
    benchmark::DoNotOptimize(table.Pin(id, 2));
    benchmark::DoNotOptimize(table.Release(id, 1, actions));
    benchmark::DoNotOptimize(table.Release(id, 2, actions));
    table.Free(id, actions);
  }
}
BENCHMARK(BM_ObjectTableLife);

void BM_PutIntoStore(benchmark::State& state) {
  const auto bytes = static_cast<uint64_t>(state.range(0));
  auto store = *ObjectStore::Open(uint64_t{1} << 30);
  auto mapping =
      *ArenaMapping::Map(*store->arena().DuplicateReadOnly(), *store->arena().DuplicateReadWrite(),
                         store->arena().capacity_bytes());
  const std::vector<uint8_t> source(bytes, 1);
  benchmark::DoNotOptimize(mapping->PrepareWrite(0, bytes));
  uint32_t index = 0;
  for (auto _ : state) {
    const ObjectId id(TaskId{}, ++index);
    const uint64_t offset = *store->Create(1, id, bytes, {});
    benchmark::DoNotOptimize(mapping->PrepareWrite(offset, bytes));
    std::memcpy(mapping->write(offset), source.data(), bytes);
    benchmark::DoNotOptimize(store->Seal(1, id));
    benchmark::DoNotOptimize(store->Release(1, id));
    store->Free(id);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}
BENCHMARK(BM_PutIntoStore)->Arg(1 << 20)->Arg(8 << 20)->Arg(100 << 20);

void BM_MemcpyIntoWarmMemory(benchmark::State& state) {
  const auto bytes = static_cast<size_t>(state.range(0));
  const Arena arena = *Arena::Create(uint64_t{1} << 30);
  auto mapping = *ArenaMapping::Map(*arena.DuplicateReadOnly(), *arena.DuplicateReadWrite(),
                                    arena.capacity_bytes());
  const std::vector<uint8_t> source(bytes, 1);
  benchmark::DoNotOptimize(mapping->PrepareWrite(0, bytes));
  const auto half = state.range(1) == 2 ? bytes / 2 : bytes;
  for (auto _ : state) {
    std::thread other;
    if (half < bytes) {
      other = std::thread(
          [&] { std::memcpy(mapping->write(half), source.data() + half, bytes - half); });
    }
    std::memcpy(mapping->write(0), source.data(), half);
    if (other.joinable()) other.join();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}
BENCHMARK(BM_MemcpyIntoWarmMemory)
    ->ArgsProduct({{1 << 20, 8 << 20, 100 << 20}, {1, 2}})
    ->UseRealTime();

}  // namespace
}  // namespace cyray::store
