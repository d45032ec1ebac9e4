// Activations, losses and further layers' computations as functions, composed of the primitives.
#pragma once

#include "ft_contract.hpp"

namespace ft {

inline Var relu(const Var& x) { return where(x > 0.0, x, full_like(x, 0)); }
inline Var leaky_relu(const Var& x, double slope = 0.01) { return where(x > 0.0, x, x * slope); }
inline Var silu(const Var& x) { return x * sigmoid(x); }
inline Var softplus(const Var& x) { return maximum(x, full_like(x, 0)) + log1p(exp(-abs(x))); }

// With tanh, PyTorch's approximate='tanh'.
inline Var gelu(const Var& x) {
  return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

inline Var square(const Var& x) { return x * x; }

inline Var clamp(const Var& x, double low, double high) {
  return where(x < low, full_like(x, low), where(x > high, full_like(x, high), x));
}

inline Var elu(const Var& x, double alpha = 1) {
  return where(x > 0.0, x, alpha * expm1(where(x > 0.0, full_like(x, 0), x)));
}

inline Var hardtanh(const Var& x) { return clamp(x, -1, 1); }

inline Var log_softmax(const Var& x, int64_t axis = -1) {
  Var shifted = x - stop_gradient(amax(x, {axis}, true));
  return shifted - log(sum(exp(shifted), Shape{axis}, true));
}

inline Var softmax(const Var& x, int64_t axis = -1) {
  Var grown = exp(x - stop_gradient(amax(x, {axis}, true)));
  return grown / sum(grown, Shape{axis}, true);
}

// Normalised over `axes` to mean 0 and variance 1.
inline Var normalize(const Var& x, const Shape& axes, double eps) {
  Var off = x - mean(x, axes, true);
  return off * rsqrt(mean(square(off), axes, true) + eps);
}

// One number for each channel, to be used on x: [N, C, ...].
inline Var per_channel(const Var& v, const Var& x) {
  Shape shape(x.shape().size(), 1);
  shape.at(1) = -1;
  return reshape(v, shape);
}

// x: [N, C, L], weight: [O, C/groups, K].
inline Var conv1d(const Var& x, const Var& weight, int64_t stride = 1, int64_t padding = 0,
                  int64_t dilation = 1, int64_t groups = 1) {
  auto flat = [](const Var& v) { return reshape(v, {v.size(0), v.size(1), 1, v.size(2)}); };
  Var y = conv2d(flat(x), flat(weight), {{1, stride}, {0, padding}, {1, dilation}}, groups);
  return reshape(y, {y.size(0), y.size(1), y.size(3)});
}

// x: [N, I, H, W], weight: [I, O/groups, KH, KW].
inline Var conv_transpose2d(const Var& x, const Var& weight, const Window& w = {},
                            const Shape& output_padding = {0, 0}, int64_t groups = 1) {
  if (x.rank() != 4 || weight.rank() != 4 || x.size(1) != weight.size(0))
    refuse("conv_transpose2d", {x, weight}, "the channels do not fit");
  Shape low = {0, 0}, high = {0, 0}, interior = {0, 0}, k = weight.shape();
  for (size_t i = 0; i < 2; i++) {
    int64_t around = w.dilation[i] * (k[i + 2] - 1) - w.padding[i];
    low.push_back(around), high.push_back(around + output_padding[i]);
    interior.push_back(w.stride[i] - 1);
  }
  Var split = reshape(reverse(weight, {2, 3}), {groups, k[0] / groups, k[1], k[2], k[3]});
  Var turned =
      reshape(transpose(split, {0, 2, 1, 3, 4}), {groups * k[1], k[0] / groups, k[2], k[3]});
  return conv2d(pad(x, low, high, interior), turned, {{1, 1}, {0, 0}, w.dilation}, groups);
}

// To a size that divides that of x: [N, C, H, W].
inline Var adaptive_avg_pool2d(const Var& x, const Shape& size) {
  if (x.rank() != 4 || x.size(2) % size[0] || x.size(3) % size[1])
    refuse("adaptive_avg_pool2d", {x}, "the size does not divide the image's");
  return avg_pool2d(x, {x.size(2) / size[0], x.size(3) / size[1]});
}

// The mean over rows. log_probabilities: [N, C], target: [N] of whole numbers below C.
inline Var nll_loss(const Var& log_probabilities, const Var& target) {
  const Var& x = log_probabilities;
  if (x.rank() != 2 || target.shape() != Shape{x.size(0)})
    refuse("nll_loss", {x, target}, "expected [N, C] and [N]");
  return -mean(sum(x * one_hot(target, x.size(1), x.dtype()), Shape{1}));
}

inline Var cross_entropy(const Var& logits, const Var& target) {
  return nll_loss(log_softmax(logits), target);
}

inline Var binary_cross_entropy_with_logits(const Var& x, const Var& target) {
  return mean(softplus(x) - x * target);
}

inline Var mse_loss(const Var& x, const Var& target) {
  if (x.shape() != target.shape()) refuse("mse_loss", {x, target}, "the shapes differ");
  return mean(square(x - target));
}
inline Var l1_loss(const Var& x, const Var& target) { return mean(abs(x - target)); }

inline Var smooth_l1_loss(const Var& x, const Var& target) {
  Var off = abs(x - target);
  return mean(where(off < 1.0, 0.5 * square(off), off - 0.5));
}

}  // namespace ft
