#include "cyray/common/resources.h"

#include <cstdio>

namespace cyray {

std::string ResourceSet::ToString() const {
  std::string out;
  for (const auto& [name, amount] : amounts_) {
    char number[40];
    std::snprintf(number, sizeof number, "%.15g", static_cast<double>(amount) / kResourceUnit);
    if (!out.empty()) out += ", ";
    out += name + ": " + number;
  }
  return out.empty() ? "nothing" : out;
}

}  // namespace cyray
