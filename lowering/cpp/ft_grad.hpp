// Reverse-mode gradients: the graph is walked backwards, and each node adds its share.
#pragma once

#include "ft_ops.hpp"

namespace ft {

// The gradients of a scalar with respect to `of`. They are Vars like any other, so they can be
// differentiated again (convolutions and pooling excepted).
inline Vars gradients(const Var& loss, const Vars& of) {
  if (loss.rank() != 0) refuse("gradients", {loss}, "a scalar is needed");
  std::vector<Node*> order = ordered({loss});
  std::unordered_map<Node*, bool> matters;  // does it depend on one of `of`?
  for (const Var& x : of) matters[x.node.get()] = true;
  for (Node* node : order)
    for (const Var& x : node->operands)
      if (matters[x.node.get()]) matters[node] = true;

  std::unordered_map<Node*, Var> found;
  // Vars of the walked nodes: a node does not know the pointer that owns it, its users do.
  std::unordered_map<Node*, Var> owner;
  owner[loss.node.get()] = loss;
  for (Node* node : order)
    for (const Var& x : node->operands) owner[x.node.get()] = Var(x.node);
  found[loss.node.get()] = full_like(loss, 1);
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    Node* node = *it;
    if (!node->vjp || !matters[node] || !found.count(node)) continue;
    Vars shares = node->vjp(owner[node], found[node]);
    for (size_t i = 0; i < shares.size(); i++) {
      Node* to = node->operands[i].node.get();
      if (!shares[i] || !matters[to]) continue;
      Var& sum = found[to];
      sum = sum ? sum + shares[i] : shares[i];
    }
  }
  Vars made;
  for (const Var& x : of) {
    auto at = found.find(x.node.get());
    made.push_back(at == found.end() ? full_like(x, 0) : at->second);
  }
  return made;
}

}  // namespace ft
