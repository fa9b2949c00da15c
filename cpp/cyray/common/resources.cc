#include "cyray/common/resources.h"

#include <cstdio>

#include "cyray/common/bundle_names.h"

namespace cyray {

std::string ResourceSet::ToString() const {
  if (const auto group = GroupOf(*this)) {
    return WithoutBundles(*this).ToString() + " in placement group " + group->Hex();
  }
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
