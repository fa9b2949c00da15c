// What a person is told of a demand that no node can ever meet. Used by raylets for tasks and by
// the GCS for actors, so that both say it the same way. Threading: a function without state.

#pragma once

#include <string>
#include <vector>

#include "cyray/common/resources.h"

namespace cyray {

// `who` begins the sentence ("A task"); `totals` are the nodes' resources, of which those that are
// asked for are named.
std::string InfeasibleWarning(const std::string& who, const ResourceSet& demand,
                              const std::vector<ResourceSet>& totals);

// " Did you mean CPU by 'cpu'?", for names that no node has; empty where all are right.
std::string MeantNames(const ResourceSet& demand, const std::vector<ResourceSet>& totals);

}  // namespace cyray
