// Layers with PyTorch's names.
#pragma once

#include "ft_functional.hpp"
#include "ft_module.hpp"

namespace ft {

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

class Conv1d : public Module {
 public:
  Conv1d(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1, int64_t padding = 0,
         int64_t dilation = 1, int64_t groups = 1)
      : stride_(stride), padding_(padding), dilation_(dilation), groups_(groups) {
    float bound = 1.0f / std::sqrt(static_cast<float>(in / groups * kernel));
    weight = parameter("weight", uniform_values({out, in / groups, kernel}, -bound, bound));
    bias = parameter("bias", uniform_values({out}, -bound, bound));
  }

  Var forward(const Var& x) override {
    Var y = conv1d(x, weight->var, stride_, padding_, dilation_, groups_);
    return y + per_channel(bias->var, y);
  }

  std::shared_ptr<Parameter> weight, bias;

 private:
  int64_t stride_, padding_, dilation_, groups_;
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
    return bias ? y + per_channel(bias->var, y) : y;
  }

  std::shared_ptr<Parameter> weight, bias;

 private:
  Window window_;
  int64_t groups_;
};

class ConvTranspose2d : public Module {
 public:
  ConvTranspose2d(int64_t in, int64_t out, int64_t kernel, Window window = {},
                  Shape output_padding = {0, 0}, int64_t groups = 1)
      : window_(std::move(window)), output_padding_(std::move(output_padding)), groups_(groups) {
    float bound = 1.0f / std::sqrt(static_cast<float>(out / groups * kernel * kernel));
    weight = parameter("weight", uniform_values({in, out / groups, kernel, kernel}, -bound, bound));
    bias = parameter("bias", uniform_values({out}, -bound, bound));
  }

  Var forward(const Var& x) override {
    Var y = conv_transpose2d(x, weight->var, window_, output_padding_, groups_);
    return y + per_channel(bias->var, y);
  }

  std::shared_ptr<Parameter> weight, bias;

 private:
  Window window_;
  Shape output_padding_;
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
    weight = parameter("weight", ones({width}));
    bias = parameter("bias", Tensor("float32", {width}));
  }

  Var forward(const Var& x) override {
    return normalize(x, {-1}, eps_) * weight->var + bias->var;
  }

  std::shared_ptr<Parameter> weight, bias;

 private:
  double eps_;
};

// Over the channels of x: [N, C, ...] in groups.
class GroupNorm : public Module {
 public:
  GroupNorm(int64_t groups, int64_t channels, double eps = 1e-5) : groups_(groups), eps_(eps) {
    weight = parameter("weight", ones({channels}));
    bias = parameter("bias", Tensor("float32", {channels}));
  }

  Var forward(const Var& x) override {
    Var y = reshape(normalize(reshape(x, {x.size(0), groups_, -1}), {-1}, eps_), x.shape());
    return y * per_channel(weight->var, x) + per_channel(bias->var, x);
  }

  std::shared_ptr<Parameter> weight, bias;

 private:
  int64_t groups_;
  double eps_;
};

// Over all axes of x: [N, C, ...] but the second; PyTorch's BatchNorm1d, 2d and 3d. Training programs
// update the running statistics, others read them.
class BatchNorm : public Module {
 public:
  explicit BatchNorm(int64_t channels, double eps = 1e-5, double momentum = 0.1)
      : eps_(eps), momentum_(momentum) {
    weight = parameter("weight", ones({channels}));
    bias = parameter("bias", Tensor("float32", {channels}));
    running_mean = buffer("running_mean", Tensor("float32", {channels}));
    running_var = buffer("running_var", ones({channels}));
    num_batches_tracked = buffer("num_batches_tracked", Tensor("int64", {}));
  }

  Var forward(const Var& x) override {
    Var average = running_mean->now(), variance = running_var->now();
    if (training) {
      Shape axes = {0};
      for (int64_t axis = 2; axis < x.rank(); axis++) axes.push_back(axis);
      average = mean(x, axes);
      variance = mean(square(x - per_channel(average, x)), axes);
      auto n = static_cast<double>(elements(x.shape()) / elements(average.shape()));
      update(running_mean, average);
      update(running_var, variance * (n / (n - 1)));
      num_batches_tracked->assign(num_batches_tracked->now() + 1.0);
    }
    Var scale = weight->var * rsqrt(variance + eps_);
    return (x - per_channel(average, x)) * per_channel(scale, x) + per_channel(bias->var, x);
  }

  std::shared_ptr<Parameter> weight, bias, running_mean, running_var, num_batches_tracked;

 private:
  void update(const std::shared_ptr<Parameter>& running, const Var& value) {
    running->assign(running->now() * (1 - momentum_) + value * momentum_);
  }

  double eps_, momentum_;
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
