// Modules: parameters, buffers and children by name; random initial values.
#pragma once

#include <cmath>
#include <random>

#include "ft_ops.hpp"

namespace ft {

// Random initial values -------------------------------------------------------------------------

// The generator of initial values. Seeded alike, it gives PyTorch's own numbers.
inline std::mt19937& generator() {
  static std::mt19937 made(0);
  return made;
}

inline void manual_seed(uint32_t seed) { generator().seed(seed); }

inline Tensor uniform_values(const Shape& shape, float low, float high) {
  Tensor made("float32", shape);
  float* data = made.data<float>();
  for (size_t i = 0; i < made.size(); i++)
    data[i] = static_cast<float>(generator()() & 0xFFFFFFu) / 16777216.0f * (high - low) + low;
  return made;
}

inline Tensor ones(const Shape& shape) {
  return Tensor::of<float>(shape, std::vector<float>(elements(shape), 1));
}

// Normal values by Box and Muller in blocks of 16, as PyTorch draws them (which has another way for
// fewer than 16).
inline Tensor normal_values(const Shape& shape) {
  Tensor made = uniform_values(shape, 0, 1);
  float* data = made.data<float>();
  size_t n = made.size();
  auto block = [](float* p) {
    for (int i = 0; i < 8; i++) {
      float radius = std::sqrt(-2.0f * std::log(1.0f - p[i])),
            angle = 6.283185307179586f * p[i + 8];
      p[i] = radius * std::cos(angle);
      p[i + 8] = radius * std::sin(angle);
    }
  };
  for (size_t i = 0; i + 16 <= n; i += 16) block(data + i);
  if (n % 16 != 0 && n >= 16) {
    Tensor last = uniform_values({16}, 0, 1);
    block(last.data<float>());
    std::copy(last.data<float>(), last.data<float>() + 16, data + n - 16);
  }
  return made;
}

// Modules ---------------------------------------------------------------------------------------

// A parameter, or a buffer: state that is not trained, but that a program may replace.
struct Parameter {
  std::string name;
  Tensor initial;
  Var var;  // the leaf that stands for it in programs
  bool trained;

  explicit Parameter(Tensor value, bool trained = true)
      : initial(std::move(value)),
        var(leaf("a parameter", {initial.dtype, initial.shape})),
        trained(trained) {}

  // From here on in the program that is being recorded, it is `value`.
  void assign(const Var& value);
  // What it is at this point of the program.
  Var now() const;
};

using Parameters = std::vector<std::shared_ptr<Parameter>>;

// What programs read and replace beside their arguments while they are recorded.
struct Recording {
  Var key;  // of random numbers; a leaf uint32[2] as soon as somebody draws
  uint64_t draws = 0;
  std::map<const Parameter*, Var> assigned;
};

inline Recording*& recording() {
  static thread_local Recording* now = nullptr;
  return now;
}

inline void Parameter::assign(const Var& value) {
  if (trained) refuse("assign", {value}, "optimisers change parameters, modules change buffers");
  if (value.dtype() != var.dtype() || value.shape() != var.shape())
    refuse("assign", {var, value}, "type and shape must stay");
  if (!recording()) throw std::runtime_error("buffers change in programs: use a Builder");
  recording()->assigned[this] = stop_gradient(value);
}

inline Var Parameter::now() const {
  if (!recording()) return var;
  auto found = recording()->assigned.find(this);
  return found == recording()->assigned.end() ? var : found->second;
}

// A module with parameters and children by name. Subclasses register both and write `forward`.
class Module {
 public:
  virtual ~Module() = default;
  virtual Var forward(const Var& x) = 0;
  Var operator()(const Var& x) { return forward(x); }

  // All parameters and buffers, named by their paths.
  Parameters parameters() {
    Parameters made;
    collect("", made);
    return made;
  }

  void train(bool mode = true) {
    training = mode;
    for (auto& child : children_) child.second->train(mode);
  }

  void eval() { train(false); }

  bool training = true;

 protected:
  Module() = default;
  Module(const Module&) = delete;  // children are known by their address

  std::shared_ptr<Parameter> parameter(const std::string& name, Tensor initial) {
    own_.emplace_back(name, std::make_shared<Parameter>(std::move(initial)));
    return own_.back().second;
  }

  // Read it with `now()`, replace it with `assign`.
  std::shared_ptr<Parameter> buffer(const std::string& name, Tensor initial) {
    own_.emplace_back(name, std::make_shared<Parameter>(std::move(initial), false));
    return own_.back().second;
  }

  void child(const std::string& name, Module& module) { children_.emplace_back(name, &module); }

 private:
  void collect(const std::string& prefix, Parameters& made) {
    for (auto& [name, parameter] : own_) {
      parameter->name = prefix + name;
      made.push_back(parameter);
    }
    for (auto& [name, module] : children_) module->collect(prefix + name + ".", made);
  }

  std::vector<std::pair<std::string, std::shared_ptr<Parameter>>> own_;
  std::vector<std::pair<std::string, Module*>> children_;
};

}  // namespace ft
