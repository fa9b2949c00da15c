// The shapes of a TaskSubmitter: what makes leases interchangeable.

#include "cyray/core/task_submitter.h"

namespace cyray::core {
namespace {

// An idle lease is kept so long: work of the same shape often follows.
constexpr int64_t kKeepIdleNs = 50'000'000;
// While kin wait for one: as long as it takes a caller to make its next call.
constexpr int64_t kKeepFromKinNs = 200'000;

}  // namespace

Shape* TaskSubmitter::FindShape(const ShapeKey& key) {
  if (const auto found = shapes_by_key_.find(key); found != shapes_by_key_.end()) {
    ++found->second->templates;
    return found->second;
  }
  if (shapes_by_key_.size() >= look_at_) ForgetUnusedShapes();
  if (free_shapes_.empty()) {
    shapes_.push_back(std::make_unique<Shape>());
    free_shapes_.push_back(shapes_.back().get());
  }
  Shape* shape = free_shapes_.back();
  free_shapes_.pop_back();
  shapes_by_key_.emplace(key, shape);
  shape->templates = 1;
  shape->key = key;
  shape->bounded =
      !key.demand.empty() || key.strategy == static_cast<uint8_t>(wire::SchedulingStrategy::Spread);
  shape->kin = KinOf(key);
  shape->crew = {};
  shape->permits = {};
  if (shape->limited()) {
    shape->permits.number = next_limited_;
    limited_[next_limited_++] = shape;
  }
  return shape;
}

void TaskSubmitter::ForgetUnusedShapes() {
  std::erase_if(shapes_by_key_, [this](const auto& item) {
    Shape* shape = item.second;
    const bool used = shape->templates > 0 || !shape->ready.empty() || !shape->leases.empty() ||
                      shape->unanswered > 0 || shape->has_leases || shape->permits.held() > 0;
    if (used) return false;
    limited_.erase(shape->permits.number);
    shape->kin.reset();
    free_shapes_.push_back(shape);
    return true;
  });
  std::erase_if(kin_, [](const auto& item) { return item.second.expired(); });
  look_at_ = 64 + 2 * shapes_by_key_.size();
}

std::shared_ptr<Kin> TaskSubmitter::KinOf(ShapeKey key) {
  key.priority = 0;
  key.max_running = 0;
  key.limited = {};
  std::weak_ptr<Kin>& known = kin_[key];
  std::shared_ptr<Kin> kin = known.lock();
  if (kin == nullptr) known = kin = std::make_shared<Kin>();
  return kin;
}

void TaskSubmitter::CountRequests(Shape& shape) {
  if (shape.requests.size() == shape.counted) return;
  size_t& all = shape.kin->requests;
  const bool others_wait = all > shape.counted;
  all += shape.requests.size() - shape.counted;
  const bool begins = shape.counted == 0 && !shape.requests.empty();
  shape.counted = shape.requests.size();
  // Its kin may have workers that are idle already.
  if (begins && !others_wait && shape.kin.use_count() > 1) TickAt(links_.NowNs() + kKeepFromKinNs);
}

int64_t TaskSubmitter::KeepIdleNs(const Shape& shape) {
  return shape.kin->requests > shape.counted ? kKeepFromKinNs : kKeepIdleNs;
}

}  // namespace cyray::core
