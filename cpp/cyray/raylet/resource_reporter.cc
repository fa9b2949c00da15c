#include "cyray/raylet/resource_reporter.h"

#include <algorithm>
#include <utility>

#include "cyray/gcs/codec.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {

bool ResourceReporter::Differs() const {
  const NodeResources& resources = leases_->scheduler().resources();
  return available_ != resources.available() || total_ != resources.total();
}

void ResourceReporter::OnChanged() {
  changed_ = changed_ || Differs();
  const int64_t wait = sent_ms_ + kIntervalMs - runtime_->NowMs();
  if (wait <= 0) {
    Send();
  } else {
    timer_.StartOnce(wait, [this] { Send(); });
  }
}

uint64_t ResourceReporter::Next() {
  changed_ = true;  // or what is granted here was returned in the same round
  timer_.StartOnce(std::max<int64_t>(sent_ms_ + kIntervalMs - runtime_->NowMs(), 0),
                   [this] { Send(); });
  return number_ + 1;
}

void ResourceReporter::OnUp() {
  told_pending_ = 0;
  Send();
}

void ResourceReporter::Send() {
  timer_.Stop();
  sent_ms_ = runtime_->NowMs();
  flatbuffers::FlatBufferBuilder builder;
  const NodeResources& resources = leases_->scheduler().resources();
  if (number_ == 0 || std::exchange(changed_, false) || Differs()) {
    available_ = resources.available();
    total_ = resources.total();
    ++number_;
    told_ = {};
  }
  const auto available = wire::ToWire(builder, resources.available());
  const auto total = wire::ToWire(builder, resources.total());
  const bool as_before = told_pending_ == leases_->pending_version();
  told_pending_ = leases_->pending_version();
  flatbuffers::Offset<gcs::WirePending> pending;
  if (!as_before) pending = gcs::WritePending(builder, leases_->pending_demands());
  report_(gcs::FinishReport(builder, wire::CreateResourceReport(builder, available, total, pending,
                                                                as_before, number_, &told_)));
}

void ResourceReporter::OnRelayed(uint64_t number, const wire::ViewStamp& stamp) {
  if (number == number_) told_ = stamp;
}

}  // namespace cyray::raylet
