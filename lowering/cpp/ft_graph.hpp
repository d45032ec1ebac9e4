// Recorded computations: a Var is an array that a program will compute. Nothing runs here; `text`
// writes what was recorded as StableHLO.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "ft_tensor.hpp"

namespace ft {

struct Type {
  std::string dtype;
  Shape shape;
};

inline std::string mlir(const Type& type) {
  std::string made = "tensor<";
  for (int64_t extent : type.shape) made += std::to_string(extent) + "x";
  return made + kind_of(type.dtype).mlir + ">";
}

struct Node;

class Var {
 public:
  Var() = default;
  explicit Var(std::shared_ptr<Node> node, size_t index = 0)
      : node(std::move(node)), index(index) {}

  explicit operator bool() const { return node != nullptr; }
  const Type& type() const;
  const Shape& shape() const { return type().shape; }
  const std::string& dtype() const { return type().dtype; }
  int64_t rank() const { return static_cast<int64_t>(shape().size()); }

  int64_t size(int64_t axis) const {
    return shape().at(static_cast<size_t>(axis < 0 ? axis + rank() : axis));
  }

  std::shared_ptr<Node> node;
  size_t index = 0;  // which result of the node
};

using Vars = std::vector<Var>;
// Gradients of a node's operands from the gradient of its result; an empty Var stands for none.
using Vjp = std::function<Vars(const Var& result, const Var& gradient)>;

// One operation. Its name and attributes are StableHLO's; a leaf has a name of its own instead.
struct Node {
  std::string op, attributes, region;
  Vars operands;
  std::vector<Type> types;
  Vjp vjp;
  std::string leaf;
};

inline const Type& Var::type() const {
  if (!node) throw std::runtime_error("this Var stands for nothing");
  return node->types[index];
}

inline const Var& operand(const Var& result, size_t i) { return result.node->operands[i]; }

inline std::string words(const Var& x) { return words(x.dtype(), x.shape()); }

[[noreturn]] inline void refuse(const std::string& op, const Vars& operands,
                                const std::string& why) {
  std::string made = op + ": " + why + " (given";
  for (const Var& x : operands) made += " " + words(x);
  throw std::runtime_error(made + ")");
}

inline Var leaf(const std::string& name, Type type) {
  auto node = std::make_shared<Node>();
  node->leaf = name;
  node->types = {std::move(type)};
  return Var(node);
}

inline Var make(const std::string& op, Vars operands, Type type, Vjp vjp,
                const std::string& attributes = "", const std::string& region = "") {
  auto node = std::make_shared<Node>();
  node->op = "stablehlo." + op;
  node->operands = std::move(operands);
  node->types = {std::move(type)};
  node->vjp = std::move(vjp);
  node->attributes = attributes;
  node->region = region;
  return Var(node);
}

// Attributes ------------------------------------------------------------------------------------

template <class Items>
std::string joined(const Items& items) {
  std::string made;
  for (const auto& item : items) made += (made.empty() ? "" : ", ") + std::to_string(item);
  return made;
}

inline std::string array_attribute(const std::string& name, const Shape& values) {
  return name + " = array<i64" + (values.empty() ? "" : ": ") + joined(values) + ">";
}

using Padding = std::vector<std::pair<int64_t, int64_t>>;

inline std::string padding_attribute(const Padding& padding) {
  std::string made;
  for (const auto& [low, high] : padding)
    made += (made.empty() ? "[" : ", [") + std::to_string(low) + ", " + std::to_string(high) + "]";
  std::string type = std::to_string(padding.size()) + "x2xi64>";
  return padding.empty() ? "padding = dense<> : tensor<0x2xi64>"
                         : "padding = dense<[" + made + "]> : tensor<" + type;
}

// A region of one operation on two scalars, such as the body of a reduction.
inline std::string scalar_region(const std::string& op, const std::string& dtype,
                                 const std::string& attributes = "") {
  std::string scalar = mlir(Type{dtype, {}});
  std::string result = op == "compare" ? "tensor<i1>" : scalar;
  return "({^bb0(%a: " + scalar + ", %b: " + scalar + "): %c = \"stablehlo." + op + "\"(%a, %b) {" +
         attributes + "} : (" + scalar + ", " + scalar + ") -> " + result +
         " \"stablehlo.return\"(%c) : (" + result + ") -> () })";
}

// Text ------------------------------------------------------------------------------------------

// Nodes that `outputs` need, operands first. Walks with a stack of its own: graphs may be deep.
inline std::vector<Node*> ordered(const Vars& outputs) {
  std::vector<Node*> made;
  std::unordered_map<Node*, bool> done;  // false: seen, its operands are under way
  std::vector<Node*> stack;
  for (const Var& output : outputs) stack.push_back(output.node.get());
  while (!stack.empty()) {
    Node* node = stack.back();
    auto [found, fresh] = done.emplace(node, false);
    if (fresh) {
      for (const Var& x : node->operands)
        if (!done.count(x.node.get())) stack.push_back(x.node.get());
      continue;
    }
    stack.pop_back();
    if (!found->second) made.push_back(node);
    found->second = true;
  }
  return made;
}

// The program that computes `outputs` from `inputs`, which are leaves. aliases: for an input, the
// output that may take over its memory.
inline std::string text(const Vars& inputs, const Vars& outputs,
                        const std::map<size_t, size_t>& aliases) {
  std::unordered_map<const Node*, std::string> names;
  std::string head, body, results, types;
  for (size_t i = 0; i < inputs.size(); i++) {
    std::string name = "%arg" + std::to_string(i);
    names[inputs[i].node.get()] = name;
    head += (i ? ", " : "") + name + ": " + mlir(inputs[i].type());
    auto alias = aliases.find(i);
    if (alias != aliases.end())
      head += " {tf.aliasing_output = " + std::to_string(alias->second) + " : i32}";
  }
  auto named = [&](const Var& x) {
    const std::string& base = names.at(x.node.get());
    return x.node->types.size() > 1 ? base + "#" + std::to_string(x.index) : base;
  };
  size_t count = 0;
  for (Node* node : ordered(outputs)) {
    if (!node->leaf.empty()) {
      if (!names.count(node))
        throw std::runtime_error("the program reads " + node->leaf +
                                 ", which is none of its inputs");
      continue;
    }
    std::string name = names[node] = "%" + std::to_string(count++), given, of, to;
    for (const Var& x : node->operands) {
      given += (given.empty() ? "" : ", ") + named(x);
      of += (of.empty() ? "" : ", ") + mlir(x.type());
    }
    for (const Type& type : node->types) to += (to.empty() ? "" : ", ") + mlir(type);
    if (node->types.size() > 1) name += ":" + std::to_string(node->types.size());
    body += "  " + name + " = \"" + node->op + "\"(" + given + ") " + node->region + " {" +
            node->attributes + "} : (" + of + ") -> (" + to + ")\n";
  }
  for (size_t i = 0; i < outputs.size(); i++) {
    results += (i ? ", " : "") + named(outputs[i]);
    types += (i ? ", " : "") + mlir(outputs[i].type());
  }
  return "module @program {\nfunc.func public @main(" + head + ") -> (" + types + ") {\n" + body +
         "  \"func.return\"(" + results + ") : (" + types + ") -> ()\n}\n}\n";
}

}  // namespace ft
