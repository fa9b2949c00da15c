#include "cyray/raylet/gcs_watch.h"

#include "cyray/gcs/codec.h"
#include "peer_generated.h"

namespace cyray::raylet {

using flatbuffers::FlatBufferBuilder;
using wire::FrameType;

GcsWatch::GcsWatch(Runtime* runtime, bool head, GcsBridge* gcs, PeerTable* peers,
                   std::function<void(const std::string&)> fence)
    : runtime_(runtime),
      gcs_(gcs),
      peers_(peers),
      fence_(std::move(fence)),
      lease_(head),
      tick_(runtime) {
  peers_->On<wire::AskWitness>(
      FrameType::kAskWitness, [this](const NodeId& from, const wire::AskWitness& ask) {
        FlatBufferBuilder builder;
        builder.Finish(
            wire::CreateTestimony(builder, ask.asked_ms(), lease_.IsQuiet(runtime_->NowMs())));
        (void)peers_->Send(from, FrameType::kTestimony, builder);
      });
  peers_->On<wire::Testimony>(FrameType::kTestimony,
                              [this](const NodeId& from, const wire::Testimony& testimony) {
                                if (from == witness_)
                                  lease_.OnTestimony(testimony.asked_ms(), testimony.quiet());
                              });
}

void GcsWatch::OnUp() {
  const bool first = !lease_.started();
  lease_.Start(hello_ms_, runtime_->NowMs());
  if (first) Tick();
}

void GcsWatch::Tick() {
  const int64_t now = runtime_->NowMs();
  const GcsLease::Turn turn = lease_.Tick(now);
  if (turn.fence) {
    return fence_("the GCS cannot be reached, and may have declared this node dead");
  }
  if (turn.beat) {
    FlatBufferBuilder builder(64);
    gcs_->Report(gcs::FinishReport(builder, wire::CreateHeartbeat(builder, now)));
  }
  if (turn.ask) Ask();
  tick_.Start(turn.next_ms, [this] { Tick(); });
}

void GcsWatch::Ask() {
  if (witness_.is_nil()) return;
  FlatBufferBuilder builder(64);
  builder.Finish(wire::CreateAskWitness(builder, runtime_->NowMs()));
  (void)peers_->Send(witness_, FrameType::kAskWitness, builder);
}

}  // namespace cyray::raylet
