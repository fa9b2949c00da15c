#include "cyray/gcs/kv_table.h"

#include <cstring>
#include <utility>

namespace cyray::gcs {

KvTable::PutResult KvTable::Put(const std::string& space, const std::string& key, wire::Bytes value,
                                bool overwrite) {
  auto [it, added] = values_.try_emplace({space, key});
  if (!added && !overwrite) return {PutOutcome::kKept, {}};
  wire::Bytes before = std::exchange(it->second, std::move(value));
  return {added ? PutOutcome::kAdded : PutOutcome::kReplaced, std::move(before)};
}

const wire::Bytes* KvTable::Get(const std::string& space, const std::string& key) const {
  auto it = values_.find({space, key});
  return it == values_.end() ? nullptr : &it->second;
}

std::vector<std::string> KvTable::Keys(const std::string& space, const std::string& prefix) const {
  std::vector<std::string> keys;
  for (auto it = values_.lower_bound({space, prefix});
       it != values_.end() && it->first.first == space && it->first.second.starts_with(prefix);
       ++it) {
    keys.push_back(it->first.second);
  }
  return keys;
}

std::vector<KvTable::Pair> KvTable::Delete(const std::string& space, const std::string& key,
                                           bool prefix) {
  std::vector<Pair> removed;
  for (const std::string& found : prefix ? Keys(space, key) : std::vector<std::string>{key}) {
    auto node = values_.extract({space, found});
    if (!node.empty()) removed.emplace_back(found, std::move(node.mapped()));
  }
  return removed;
}

std::string KvTable::StorageKey(const std::string& space, const std::string& key) {
  const auto size = static_cast<uint32_t>(space.size());
  std::string text(reinterpret_cast<const char*>(&size), sizeof size);
  return text + space + key;
}

std::optional<std::pair<std::string, std::string>> KvTable::ParseStorageKey(std::string_view text) {
  uint32_t size;
  if (text.size() < sizeof size) return std::nullopt;
  std::memcpy(&size, text.data(), sizeof size);
  text.remove_prefix(sizeof size);
  if (text.size() < size) return std::nullopt;
  return std::make_pair(std::string(text.substr(0, size)), std::string(text.substr(size)));
}

}  // namespace cyray::gcs
