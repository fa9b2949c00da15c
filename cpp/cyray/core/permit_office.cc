#include "cyray/core/permit_office.h"

#include <utility>

#include "cyray/core/link.h"
#include "cyray/wire/convert.h"

namespace cyray::core {

using wire::FrameType;

void PermitOffice::Tell(uint32_t number, const FunctionId& function, const PermitTable::Wish& wish,
                        uint64_t granted) {
  if (!is_home() && links_.IsDead(home_.worker)) return BecomeHome();  // tells this, too
  if (is_home()) return Deliver(table_.Tell(function, {self_, number}, wish, granted));
  Link& link = links_.To(home_);
  if (link.state == Link::State::kBroken) return NoteUntold();
  builder_.Clear();
  builder_.Finish(wire::CreateHoldPermits(builder_, wire::ToWire(function), number, wish.limit,
                                          wish.wanted, wish.returned, granted));
  links_.Send(link, FrameType::kHoldPermits, builder_);
  links_.Flush(link);
}

void PermitOffice::BecomeHome() {
  home_ = self_;
  NoteUntold();
}

void PermitOffice::NoteUntold() {
  if (!std::exchange(untold_, true)) hooks_.on_untold();
}

bool PermitOffice::TellAgain() {
  if (!untold_) return true;
  if (!is_home() && links_.IsDead(home_.worker)) home_ = self_;
  if (!is_home() && links_.To(home_).state == Link::State::kBroken) return false;
  untold_ = false;
  hooks_.on_tell_again();
  return !untold_;
}

// Who is told may tell something in turn: what came of that is delivered after all of this.
void PermitOffice::Deliver(const PermitTable::Answers& answers) {
  undelivered_.insert(undelivered_.end(), answers.begin(), answers.end());
  if (delivering_) return;
  delivering_ = true;
  while (!undelivered_.empty()) {
    const PermitTable::Answer answer = undelivered_.front();
    undelivered_.pop_front();
    if (answer.holder.process == self_) {
      hooks_.on_answer(answer);
      continue;
    }
    if (links_.IsDead(answer.holder.process.worker)) continue;
    Link& link = links_.To(answer.holder.process);  // one that is broken: it will tell all again
    builder_.Clear();
    builder_.Finish(wire::CreateGrantPermits(builder_, wire::ToWire(answer.function),
                                             answer.holder.number, answer.granted, answer.returned,
                                             answer.recalled));
    links_.Send(link, FrameType::kGrantPermits, builder_);
    links_.Flush(link);
  }
  delivering_ = false;
}

bool PermitOffice::OnFrame(Link& link, const wire::Frame& frame) {
  if (frame.type == FrameType::kHoldPermits) {
    const auto* hold = frame.As<wire::HoldPermits>();
    if (hold == nullptr || hold->granted() < hold->returned() ||
        hold->granted() - hold->returned() > PermitTable::kMostWanted) {
      return false;
    }
    OnHoldPermits(link, *hold);
    return true;
  }
  if (frame.type != FrameType::kGrantPermits) return false;
  const auto* grant = frame.As<wire::GrantPermits>();
  if (grant != nullptr) OnGrantPermits(link, *grant);
  return grant != nullptr;
}

void PermitOffice::OnHoldPermits(Link& link, const wire::HoldPermits& hold) {
  const PermitTable::Wish wish{hold.limit(), hold.wanted(), hold.returned()};
  Deliver(table_.Tell(wire::FromWireOrNil(hold.function_id()), {link.peer, hold.number()}, wish,
                      hold.granted()));
}

void PermitOffice::OnGrantPermits(const Link& link, const wire::GrantPermits& grant) {
  if (link.peer != home_) return;
  hooks_.on_answer({.holder = {self_, grant.number()},
                    .function = wire::FromWireOrNil(grant.function_id()),
                    .granted = grant.granted(),
                    .returned = grant.returned(),
                    .recalled = grant.recalled()});
}

void PermitOffice::OnLinkBroken(const Link& link) {
  if (link.peer == home_ && !is_home()) NoteUntold();
}

void PermitOffice::OnProcessDied(const Address& process) {
  if (process == home_ && !is_home()) {
    BecomeHome();
  } else {
    Deliver(table_.Gone(process));
  }
}

void PermitOffice::OnNodeDied(const NodeId& node) {
  if (home_.node == node && !is_home()) BecomeHome();
}

}  // namespace cyray::core
