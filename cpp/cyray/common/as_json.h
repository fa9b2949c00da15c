// Resources and labels as reports have them: for people, and for the code that explains reports to
// them. Shared by what a raylet and a process say of themselves. Threading: pure functions.

#pragma once

#include <nlohmann/json.hpp>

#include "cyray/common/labels.h"
#include "cyray/common/resources.h"

namespace cyray {

// {"CPU": 1.5}
inline nlohmann::json AsJson(const ResourceSet& set) {
  nlohmann::json out = nlohmann::json::object();
  for (const auto& [name, amount] : set.amounts()) {
    out[name] = static_cast<double>(amount) / kResourceUnit;
  }
  return out;
}

// {"text": "region in (eu)", "selectors": [[{"key": "region", "op": 0, "values": ["eu"]}]]}
inline nlohmann::json AsJson(const LabelChoice& choice) {
  nlohmann::json selectors = nlohmann::json::array();
  for (const LabelSelector& selector : choice) {
    nlohmann::json terms = nlohmann::json::array();
    for (const LabelTerm& term : selector) {
      terms.push_back(
          {{"key", term.key}, {"op", static_cast<int>(term.op)}, {"values", term.values}});
    }
    selectors.push_back(std::move(terms));
  }
  return {{"text", ToString(choice)}, {"selectors", std::move(selectors)}};
}

}  // namespace cyray
