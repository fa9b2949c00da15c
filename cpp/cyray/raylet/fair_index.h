// FairIndex: things in fair order, each with an amount, asked for the first whose amount is small
// or large enough.
//
// A treap: a search tree by order whose nodes know the least and the most amount below them, so a
// question costs the logarithm of their number, whatever the amounts are. Its shape follows from
// the orders alone. Threading: confined to its owner. Pure. Invariant: no two have the same order.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "cyray/util/log.h"

namespace cyray::raylet {

// `Order` is a pair whose second part is unique.
template <class Order, class Thing>
class FairIndex {
 public:
  void Add(const Order& order, int64_t amount, Thing* thing) {
    auto made = std::make_unique<Node>(Node{order, amount, thing, Priority(order)});
    made->Update();
    Insert(root_, made);
    ++size_;
  }
  void Remove(const Order& order) {
    if (Erase(root_, order)) --size_;
  }
  // The first behind `after` with an amount of at most `limit`, or of more than that; nullptr:
  // there is none. `searched` grows by the nodes that were looked at.
  Thing* FirstWithin(const Order& after, int64_t limit, uint64_t* searched) const {
    return First(
        root_.get(), after, [limit](const Node& node) { return node.amount <= limit; },
        [limit](const Node& node) { return node.least <= limit; }, searched);
  }
  Thing* FirstBeyond(const Order& after, int64_t limit, uint64_t* searched) const {
    return First(
        root_.get(), after, [limit](const Node& node) { return node.amount > limit; },
        [limit](const Node& node) { return node.most > limit; }, searched);
  }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void CheckInvariants() const { CYRAY_CHECK(Check(root_.get()) == size_) << size_; }

 private:
  struct Node {
    Order order;
    int64_t amount;
    Thing* thing;
    uint64_t priority;
    int64_t least = 0, most = 0;  // of this node and those below
    std::unique_ptr<Node> left = nullptr, right = nullptr;

    void Update() {
      least = most = amount;
      for (const Node* child : {left.get(), right.get()}) {
        if (child == nullptr) continue;
        least = std::min(least, child->least);
        most = std::max(most, child->most);
      }
    }
  };
  using Link = std::unique_ptr<Node>;

  static uint64_t Priority(const Order& order) {  // splitmix64
    uint64_t x = order.second + 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  // Those before `order` stay, the others are returned.
  static Link Split(Link& root, const Order& order) {
    if (root == nullptr) return nullptr;
    if (root->order < order) {
      Link rest = Split(root->right, order);
      root->Update();
      return rest;
    }
    Link before = std::move(root->left);
    root->left = Split(before, order);
    root->Update();
    return std::exchange(root, std::move(before));
  }
  static Link Join(Link left, Link right) {
    if (left == nullptr) return right;
    if (right == nullptr) return left;
    Link& top = left->priority > right->priority ? left : right;
    if (&top == &left) {
      left->right = Join(std::move(left->right), std::move(right));
    } else {
      right->left = Join(std::move(left), std::move(right->left));
    }
    top->Update();
    return std::move(top);
  }
  static void Insert(Link& root, Link& made) {
    if (root != nullptr && root->priority >= made->priority) {
      Insert(made->order < root->order ? root->left : root->right, made);
    } else {
      made->right = Split(root, made->order);
      made->left = std::move(root);
      root = std::move(made);
    }
    root->Update();
  }
  static bool Erase(Link& root, const Order& order) {
    if (root == nullptr) return false;
    if (root->order == order) {
      root = Join(std::move(root->left), std::move(root->right));
      return true;
    }
    const bool erased = Erase(order < root->order ? root->left : root->right, order);
    root->Update();
    return erased;
  }
  template <class Fits, class MayHold>
  static Thing* First(const Node* node, const Order& after, const Fits& fits,
                      const MayHold& may_hold, uint64_t* searched) {
    if (node == nullptr || !may_hold(*node)) return nullptr;
    ++*searched;
    if (!(after < node->order)) return First(node->right.get(), after, fits, may_hold, searched);
    if (Thing* found = First(node->left.get(), after, fits, may_hold, searched)) return found;
    return fits(*node) ? node->thing : First(node->right.get(), after, fits, may_hold, searched);
  }
  static size_t Check(const Node* node) {
    if (node == nullptr) return 0;
    size_t size = 1;
    int64_t least = node->amount, most = node->amount;
    for (const Node* child : {node->left.get(), node->right.get()}) {
      if (child == nullptr) continue;
      CYRAY_CHECK(child->priority <= node->priority);
      CYRAY_CHECK((child->order < node->order) == (child == node->left.get()));
      least = std::min(least, child->least);
      most = std::max(most, child->most);
      size += Check(child);
    }
    CYRAY_CHECK(least == node->least && most == node->most) << least << " to " << most;
    return size;
  }

  Link root_;
  size_t size_ = 0;
};

}  // namespace cyray::raylet
