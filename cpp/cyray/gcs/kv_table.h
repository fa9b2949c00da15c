// KvTable: the cluster's key-value pairs, in spaces.
// Threading: confined to the GCS's state loop. Pure: no I/O; the caller stores what changed.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cyray/wire/bytes.h"

namespace cyray::gcs {

class KvTable {
 public:
  enum class PutOutcome { kAdded, kReplaced, kKept };
  struct PutResult {
    PutOutcome outcome;
    wire::Bytes replaced;  // the value before, when there was one and it was replaced
  };
  using Pair = std::pair<std::string, wire::Bytes>;

  // kKept: the key was there and `overwrite` is false; nothing changed.
  PutResult Put(const std::string& space, const std::string& key, wire::Bytes value,
                bool overwrite);
  // Valid until the next change; nullptr when there is none.
  const wire::Bytes* Get(const std::string& space, const std::string& key) const;
  // Removes the key, or with `prefix` every key that starts with it. Returns what was removed.
  std::vector<Pair> Delete(const std::string& space, const std::string& key, bool prefix);
  // In order.
  std::vector<std::string> Keys(const std::string& space, const std::string& prefix) const;
  size_t size() const { return values_.size(); }

  // One string for both names, for storage: unambiguous whatever bytes they hold.
  static std::string StorageKey(const std::string& space, const std::string& key);
  static std::optional<std::pair<std::string, std::string>> ParseStorageKey(std::string_view text);

 private:
  std::map<std::pair<std::string, std::string>, wire::Bytes> values_;  // by space, then key
};

}  // namespace cyray::gcs
