// Optimisers as pure updates: parameters, gradients and state in, parameters and state out.
#pragma once

#include "ft_layers.hpp"

namespace ft {

// One array of an optimiser's state for one parameter.
struct Slot {
  std::string key;
  Tensor initial;
};

class Optimizer {
 public:
  explicit Optimizer(double lr) : lr(lr) {}
  virtual ~Optimizer() = default;

  // The state of one parameter, by PyTorch's names.
  virtual std::vector<Slot> slots(const Parameter& parameter) const = 0;

  // (new parameter, new state) from the old ones. lr: a scalar of the parameter's type.
  virtual Vars update(const Var& p, const Var& g, const Vars& state, const Var& lr) const = 0;

  double lr;
};

// With momentum and weight decay as in PyTorch.
class SGD : public Optimizer {
 public:
  explicit SGD(double lr, double momentum = 0, double weight_decay = 0, bool nesterov = false)
      : Optimizer(lr), momentum_(momentum), weight_decay_(weight_decay), nesterov_(nesterov) {}

  std::vector<Slot> slots(const Parameter& p) const override {
    if (momentum_ == 0) return {};
    return {{"momentum_buffer", Tensor(p.initial.dtype, p.initial.shape)}};
  }

  Vars update(const Var& p, const Var& g, const Vars& state, const Var& lr) const override {
    Var step = weight_decay_ == 0 ? g : g + p * weight_decay_;
    if (momentum_ == 0) return {p - step * lr};
    Var buffer = state.at(0) * momentum_ + step;
    Var move = nesterov_ ? step + buffer * momentum_ : buffer;
    return {p - move * lr, buffer};
  }

 private:
  double momentum_, weight_decay_;
  bool nesterov_;
};

// Loshchilov and Hutter, Decoupled weight decay regularization (2019), in the order of PyTorch's
// steps.
class AdamW : public Optimizer {
 public:
  explicit AdamW(double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8,
                 double weight_decay = 1e-2)
      : Optimizer(lr), beta1_(beta1), beta2_(beta2), eps_(eps), weight_decay_(weight_decay) {}

  std::vector<Slot> slots(const Parameter& p) const override {
    Tensor zeros(p.initial.dtype, p.initial.shape);
    return {{"step", Tensor("float32", {})}, {"exp_avg", zeros}, {"exp_avg_sq", zeros}};
  }

  Vars update(const Var& p, const Var& g, const Vars& state, const Var& lr) const override {
    Var step = state.at(0) + 1.0;
    Var first = state.at(1) * beta1_ + g * (1 - beta1_);
    Var second = state.at(2) * beta2_ + g * g * (1 - beta2_);
    auto correction = [&](double beta) {
      return convert(1.0 - pow(scalar("float32", beta), step), p.dtype());
    };
    Var below = sqrt(second) / sqrt(correction(beta2_)) + eps_;
    Var moved = p * (1.0 - lr * weight_decay_) - lr / correction(beta1_) * (first / below);
    return {moved, step, first, second};
  }

 private:
  double beta1_, beta2_, eps_, weight_decay_;
};

}  // namespace ft
