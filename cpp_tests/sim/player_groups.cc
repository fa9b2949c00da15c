// What a Player does with placement groups.

#include <time.h>

#include "cpp_tests/sim/book.h"
#include "cpp_tests/sim/player.h"
#include "cyray/common/bundle_names.h"
#include "cyray/common/resource_names.h"
#include "cyray/core/gcs_groups.h"
#include "cyray/util/log.h"

namespace cyray::sim {
namespace {

constexpr uint32_t kAskMs = 500;

}  // namespace

std::optional<PlacementGroupId> Player::MakeGroup(int bundles) {
  core::GroupOrder order;
  order.id = PlacementGroupId::Random();
  const JobId job = core_.job_id();
  std::copy(job.bytes.begin(), job.bytes.end(), order.id.bytes.end() - JobId::kSize);
  order.creator = core_.address();
  order.policy = static_cast<uint8_t>(wire::GroupPolicy::Pack);
  ResourceSet bundle;
  bundle.Set(kCpu, kResourceUnit);
  order.bundles.assign(static_cast<size_t>(bundles), bundle);
  CYRAY_CHECK(core::RegisterGroup(core_.control(), order).ok());
  while (true) {
    std::vector<core::GroupRow> rows;
    if (!core::WaitGroup(core_.control(), order.id, kAskMs, &rows).ok() || rows.empty()) {
      const timespec wait{0, 100'000'000};
      ::nanosleep(&wait, nullptr);
      continue;
    }
    if (rows[0].state == "Removed") return std::nullopt;  // the GCS cannot store it
    if (rows[0].state == "Created") return order.id;
  }
}

void Player::RemoveGroup(const PlacementGroupId& group) {
  (void)core::RemoveGroup(core_.control(), group, /*wait=*/false);
}

core::ObjectEntry* Player::SubmitIn(const PlacementGroupId& group, const TaskKey& key) {
  core::TemplateSpec spec;
  spec.function_id.bytes.fill(static_cast<uint8_t>(1 + static_cast<int>(key.kind)));
  spec.name = "task in a group";
  spec.max_retries = -1;
  spec.shape.demand.Set(kCpu, kResourceUnit);
  spec.shape.demand = InBundle(spec.shape.demand, group, kAnyBundle);
  core::Submission submission;
  submission.tmpl = core_.submitter().AddTemplate(spec);
  submission.args = Encode(key.Pack(), {});
  core::TaskTemplate* const tmpl = submission.tmpl;
  core::ObjectEntry* result = nullptr;
  core_.submitter().Submit(std::move(submission), nullptr, &result);
  core_.submitter().ReleaseTemplate(tmpl);
  Book::Get().Submitted(result->id.task(), -1);
  return result;
}

}  // namespace cyray::sim
