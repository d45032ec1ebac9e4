// Modules and layers with PyTorch's names, and activations and losses as functions.
#pragma once

#include <random>

#include "ft_contract.hpp"

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

struct Parameter {
  std::string name;
  Tensor initial;
  Var var;  // the leaf that stands for it in programs

  explicit Parameter(Tensor value)
      : initial(std::move(value)), var(leaf("a parameter", {initial.dtype, initial.shape})) {}
};

using Parameters = std::vector<std::shared_ptr<Parameter>>;

// What programs read beside their arguments while they are recorded.
struct Recording {
  Var key;  // of random numbers; a leaf uint32[2] as soon as somebody draws
  uint64_t draws = 0;
};

inline Recording*& recording() {
  static thread_local Recording* now = nullptr;
  return now;
}

// A module with parameters and children by name. Subclasses register both and write `forward`.
class Module {
 public:
  virtual ~Module() = default;
  virtual Var forward(const Var& x) = 0;
  Var operator()(const Var& x) { return forward(x); }

  // All parameters, named by their paths.
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

// Functions -------------------------------------------------------------------------------------

inline Var relu(const Var& x) { return where(x > 0.0, x, full_like(x, 0)); }
inline Var leaky_relu(const Var& x, double slope = 0.01) { return where(x > 0.0, x, x * slope); }
inline Var silu(const Var& x) { return x * sigmoid(x); }
inline Var softplus(const Var& x) { return maximum(x, full_like(x, 0)) + log1p(exp(-abs(x))); }

// With tanh, PyTorch's approximate='tanh'.
inline Var gelu(const Var& x) {
  return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

inline Var log_softmax(const Var& x, int64_t axis = -1) {
  Var shifted = x - stop_gradient(amax(x, {axis}, true));
  return shifted - log(sum(exp(shifted), Shape{axis}, true));
}

inline Var softmax(const Var& x, int64_t axis = -1) {
  Var grown = exp(x - stop_gradient(amax(x, {axis}, true)));
  return grown / sum(grown, Shape{axis}, true);
}

// The mean over rows. logits: [N, C], target: [N] of whole numbers below C.
inline Var cross_entropy(const Var& logits, const Var& target) {
  if (logits.rank() != 2 || target.shape() != Shape{logits.size(0)})
    refuse("cross_entropy", {logits, target}, "expected [N, C] and [N]");
  Var picked = sum(log_softmax(logits) * one_hot(target, logits.size(1), logits.dtype()), Shape{1});
  return -mean(picked);
}

inline Var mse_loss(const Var& x, const Var& target) {
  if (x.shape() != target.shape()) refuse("mse_loss", {x, target}, "the shapes differ");
  Var off = x - target;
  return mean(off * off);
}

inline Var l1_loss(const Var& x, const Var& target) { return mean(abs(x - target)); }

// Layers ----------------------------------------------------------------------------------------

class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out, bool bias = true) {
    float bound = 1.0f / std::sqrt(static_cast<float>(in));
    weight = parameter("weight", uniform_values({out, in}, -bound, bound));
    if (bias) this->bias = parameter("bias", uniform_values({out}, -bound, bound));
  }

  Var forward(const Var& x) override {
    Var y = matmul(x, matrix_transpose(weight->var));
    return bias ? y + bias->var : y;
  }

  std::shared_ptr<Parameter> weight, bias;
};

class Conv2d : public Module {
 public:
  Conv2d(int64_t in, int64_t out, int64_t kernel, Window window = {}, int64_t groups = 1,
         bool bias = true)
      : window_(std::move(window)), groups_(groups) {
    float bound = 1.0f / std::sqrt(static_cast<float>(in / groups * kernel * kernel));
    weight = parameter("weight", uniform_values({out, in / groups, kernel, kernel}, -bound, bound));
    if (bias) this->bias = parameter("bias", uniform_values({out}, -bound, bound));
  }

  Var forward(const Var& x) override {
    Var y = conv2d(x, weight->var, window_, groups_);
    return bias ? y + reshape(bias->var, {-1, 1, 1}) : y;
  }

  std::shared_ptr<Parameter> weight, bias;

 private:
  Window window_;
  int64_t groups_;
};

class Embedding : public Module {
 public:
  Embedding(int64_t count, int64_t width) {
    weight = parameter("weight", normal_values({count, width}));
  }
  Var forward(const Var& index) override { return take(weight->var, index); }
  std::shared_ptr<Parameter> weight;
};

// Over the last axis.
class LayerNorm : public Module {
 public:
  explicit LayerNorm(int64_t width, double eps = 1e-5) : eps_(eps) {
    weight = parameter(
        "weight", Tensor::of<float>({width}, std::vector<float>(static_cast<size_t>(width), 1)));
    bias = parameter("bias", Tensor("float32", {width}));
  }

  Var forward(const Var& x) override {
    Var off = x - mean(x, {-1}, true);
    return off * rsqrt(mean(off * off, {-1}, true) + eps_) * weight->var + bias->var;
  }

  std::shared_ptr<Parameter> weight, bias;

 private:
  double eps_;
};

class Dropout : public Module {
 public:
  explicit Dropout(double p = 0.5) : p_(p) {}

  Var forward(const Var& x) override {
    if (!training || p_ == 0) return x;
    Recording* now = recording();
    if (!now) throw std::runtime_error("Dropout draws random numbers: record it with a Builder");
    if (!now->key) now->key = leaf("the key of random numbers", {"uint32", {2}});
    Var keep = uniform(now->key, now->draws++, x.shape()) >= p_;
    return where(keep, x * (1.0 / (1.0 - p_)), full_like(x, 0));
  }

 private:
  double p_;
};

// A function as a module: `ft::Function relu(ft::relu)`.
class Function : public Module {
 public:
  explicit Function(std::function<Var(const Var&)> function) : function_(std::move(function)) {}
  Var forward(const Var& x) override { return function_(x); }

 private:
  std::function<Var(const Var&)> function_;
};

// Modules in a row, named "0", "1", ... as in PyTorch: Sequential net(Linear(4, 8) ...) is written
// net.add<Linear>(4, 8).add(ft::relu).add<Linear>(8, 3).
class Sequential : public Module {
 public:
  template <class Layer, class... Arguments>
  Sequential& add(Arguments&&... arguments) {
    layers_.push_back(std::make_unique<Layer>(std::forward<Arguments>(arguments)...));
    child(std::to_string(layers_.size() - 1), *layers_.back());
    return *this;
  }

  Sequential& add(std::function<Var(const Var&)> function) {
    return add<Function>(std::move(function));
  }

  Var forward(const Var& x) override {
    Var y = x;
    for (auto& layer : layers_) y = (*layer)(y);
    return y;
  }

 private:
  std::vector<std::unique_ptr<Module>> layers_;
};

}  // namespace ft
