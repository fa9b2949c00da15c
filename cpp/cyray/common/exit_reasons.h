// Reasons for which a process ends itself that others tell from faults.
//
// Pure.

#pragma once

namespace cyray {

// How the reason of an actor begins that its call has kept longer than it might; the call follows.
inline constexpr char kOverTime[] = "it was ended for a call over its timeout_s: ";

}  // namespace cyray
