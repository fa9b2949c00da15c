// What an actor that does not live yet waits for, in the words of errors and dumps.
//
// Threading: a function without state.

#pragma once

#include <string>

#include "cyray/gcs/actor_record.h"

namespace cyray::gcs {

// Goes behind the actor's id: "which no node can take: it needs {CPU: 8}". Empty for one that lives
// or is dead.
std::string WhatItWaitsFor(const ActorRecord& record);

}  // namespace cyray::gcs
