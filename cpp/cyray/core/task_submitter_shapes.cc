// The shapes of a TaskSubmitter: what makes leases interchangeable.

#include "cyray/core/task_submitter.h"

namespace cyray::core {

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
    free_shapes_.push_back(shape);
    return true;
  });
  look_at_ = 64 + 2 * shapes_by_key_.size();
}

}  // namespace cyray::core
