// Elementwise operations, shapes and reductions, each with its gradient.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>

#include "ft_graph.hpp"

namespace ft {

// Constants and shapes --------------------------------------------------------------------------

inline bool is_float(const std::string& dtype) {
  return dtype == "float32" || dtype == "float64" || dtype == "bfloat16" || dtype == "float16";
}

inline std::string literal(const std::string& dtype, double value) {
  char made[40];
  if (dtype == "bool") return value != 0 ? "true" : "false";
  if (!is_float(dtype)) return std::snprintf(made, sizeof made, "%.0f", value), made;
  if (std::isfinite(value)) return std::snprintf(made, sizeof made, "%.17e", value), made;
  const char* infinite = dtype == "float64"    ? "7FF0000000000000"
                         : dtype == "float32"  ? "7F800000"
                         : dtype == "bfloat16" ? "7F80"
                                               : "7C00";
  const char* negative = dtype == "float64"    ? "FFF0000000000000"
                         : dtype == "float32"  ? "FF800000"
                         : dtype == "bfloat16" ? "FF80"
                                               : "FC00";
  if (std::isnan(value)) throw std::runtime_error("NaN as a constant is not written");
  return std::string("0x") + (value > 0 ? infinite : negative);
}

inline Var scalar(const std::string& dtype, double value) {
  Type type{dtype, {}};
  std::string text = "value = dense<" + literal(dtype, value) + "> : " + mlir(type);
  return make("constant", {}, type, nullptr, text);
}

Var sum(const Var& x, Shape axes, bool keep = false);
Var reshape(const Var& x, Shape shape);

// x along the axes `where` of a larger shape, repeated along all others.
inline Var broadcast_in_dim(const Var& x, const Shape& shape, const Shape& where) {
  auto vjp = [where](const Var& y, const Var& g) {
    const Shape& from = operand(y, 0).shape();
    Shape axes;
    for (int64_t axis = 0; axis < y.rank(); axis++) {
      size_t i = 0;
      while (i < where.size() && where[i] != axis) i++;
      if (i == where.size() || from[i] != y.size(axis)) axes.push_back(axis);
    }
    return Vars{reshape(sum(g, axes), from)};
  };
  return make("broadcast_in_dim", {x}, {x.dtype(), shape}, vjp,
              array_attribute("broadcast_dimensions", where));
}

inline Var broadcast_to(const Var& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  int64_t offset = static_cast<int64_t>(shape.size()) - x.rank();
  Shape where;
  for (int64_t i = 0; i < x.rank(); i++) {
    where.push_back(i + offset);
    bool fits =
        offset >= 0 && (x.size(i) == 1 || x.size(i) == shape[static_cast<size_t>(i + offset)]);
    if (!fits) refuse("broadcast_to", {x}, "the shape does not fit " + words("", shape));
  }
  return broadcast_in_dim(x, shape, where);
}

inline Var full(const Shape& shape, const std::string& dtype, double value) {
  return broadcast_to(scalar(dtype, value), shape);
}

inline Var full_like(const Var& x, double value) { return full(x.shape(), x.dtype(), value); }

// 0, 1, 2, ... along one axis.
inline Var iota(const Shape& shape, const std::string& dtype, int64_t axis) {
  return make("iota", {}, {dtype, shape}, nullptr,
              "iota_dimension = " + std::to_string(axis) + " : i64");
}

inline Var reshape(const Var& x, Shape shape) {
  int64_t known = 1;
  for (int64_t n : shape) known *= n < 0 ? 1 : n;
  for (int64_t& n : shape)
    if (n < 0) n = static_cast<int64_t>(elements(x.shape())) / known;
  if (shape == x.shape()) return x;
  if (elements(shape) != elements(x.shape()))
    refuse("reshape", {x}, "the shape is not " + words("", shape));
  return make("reshape", {x}, {x.dtype(), shape},
              [](const Var& y, const Var& g) { return Vars{reshape(g, operand(y, 0).shape())}; });
}

inline Var flatten(const Var& x) { return reshape(x, {x.size(0), -1}); }

inline Var transpose(const Var& x, const Shape& order) {
  Shape shape, back(order.size());
  for (size_t i = 0; i < order.size(); i++) {
    shape.push_back(x.size(order[i]));
    back[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
  }
  return make(
      "transpose", {x}, {x.dtype(), shape},
      [back](const Var&, const Var& g) { return Vars{transpose(g, back)}; },
      array_attribute("permutation", order));
}

// The last two axes exchanged.
inline Var matrix_transpose(const Var& x) {
  Shape order(x.shape().size());
  std::iota(order.begin(), order.end(), 0);
  std::swap(order.at(order.size() - 1), order.at(order.size() - 2));
  return transpose(x, order);
}

inline Var slice(const Var& x, const Shape& start, const Shape& limit, Shape stride = {});

// Zeros (or `value`) around x, and `interior` many between its elements; negative: elements are
// taken away.
inline Var pad(const Var& x, const Shape& low, const Shape& high, Shape interior = {},
               double value = 0) {
  if (interior.empty()) interior.assign(x.shape().size(), 0);
  Shape shape, step;
  for (size_t i = 0; i < low.size(); i++) {
    int64_t n = x.shape()[i];
    shape.push_back(low[i] + high[i] + n + std::max<int64_t>(n - 1, 0) * interior[i]);
    step.push_back(interior[i] + 1);
  }
  auto vjp = [low, high, step](const Var&, const Var& g) {
    Shape less_low, less_high;
    for (int64_t n : low) less_low.push_back(-n);
    for (int64_t n : high) less_high.push_back(-n);
    Var inner = pad(g, less_low, less_high);
    return Vars{slice(inner, Shape(low.size(), 0), inner.shape(), step), Var()};
  };
  std::string attributes = array_attribute("edge_padding_low", low) + ", " +
                           array_attribute("edge_padding_high", high) + ", " +
                           array_attribute("interior_padding", interior);
  return make("pad", {x, scalar(x.dtype(), value)}, {x.dtype(), shape}, vjp, attributes);
}

inline Var slice(const Var& x, const Shape& start, const Shape& limit, Shape stride) {
  if (stride.empty()) stride.assign(x.shape().size(), 1);
  Shape shape;
  for (size_t i = 0; i < start.size(); i++)
    shape.push_back((limit[i] - start[i] + stride[i] - 1) / stride[i]);
  if (shape == x.shape()) return x;
  auto vjp = [start, stride](const Var& y, const Var& g) {
    Shape high, interior;
    for (size_t i = 0; i < start.size(); i++) {
      int64_t last = start[i] + (y.shape()[i] - 1) * stride[i];
      high.push_back(operand(y, 0).shape()[i] - last - 1);
      interior.push_back(stride[i] - 1);
    }
    return Vars{pad(g, start, high, interior)};
  };
  return make("slice", {x}, {x.dtype(), shape}, vjp,
              array_attribute("start_indices", start) + ", " +
                  array_attribute("limit_indices", limit) + ", " +
                  array_attribute("strides", stride));
}

// `size` elements from `start` on, along one axis.
inline Var narrow(const Var& x, int64_t axis, int64_t start, int64_t size) {
  Shape first(x.shape().size(), 0), limit = x.shape();
  first[static_cast<size_t>(axis)] = start;
  limit[static_cast<size_t>(axis)] = start + size;
  return slice(x, first, limit);
}

inline Var concatenate(const Vars& parts, int64_t axis) {
  Type type = parts.at(0).type();
  int64_t total = 0;
  for (const Var& part : parts) total += part.size(axis);
  type.shape.at(static_cast<size_t>(axis)) = total;
  auto vjp = [axis](const Var& y, const Var& g) {
    Vars made;
    int64_t at = 0;
    for (const Var& part : y.node->operands) {
      made.push_back(narrow(g, axis, at, part.size(axis)));
      at += part.size(axis);
    }
    return made;
  };
  return make("concatenate", parts, type, vjp, "dimension = " + std::to_string(axis) + " : i64");
}

inline Var reverse(const Var& x, const Shape& axes) {
  return make(
      "reverse", {x}, x.type(), [axes](const Var&, const Var& g) { return Vars{reverse(g, axes)}; },
      array_attribute("dimensions", axes));
}

inline Var convert(const Var& x, const std::string& dtype) {
  if (x.dtype() == dtype) return x;
  return make("convert", {x}, {dtype, x.shape()}, [](const Var& y, const Var& g) {
    return Vars{is_float(operand(y, 0).dtype()) ? convert(g, operand(y, 0).dtype()) : Var()};
  });
}

// Its value, without a gradient.
inline Var stop_gradient(const Var& x) { return make("convert", {x}, x.type(), nullptr); }

// Two operands ----------------------------------------------------------------------------------

inline Shape common_shape(const std::string& op, const Var& a, const Var& b) {
  Shape made(static_cast<size_t>(std::max(a.rank(), b.rank())));
  for (size_t i = 1; i <= made.size(); i++) {
    auto k = static_cast<int64_t>(i);
    int64_t m = k > a.rank() ? 1 : a.size(-k), n = k > b.rank() ? 1 : b.size(-k);
    if (m != n && m != 1 && n != 1) refuse(op, {a, b}, "the shapes do not fit");
    made[made.size() - i] = m == 1 ? n : m;
  }
  return made;
}

inline Var binary(const std::string& op, Var a, Var b, Vjp vjp,
                  const std::string& attributes = "") {
  if (a.dtype() != b.dtype()) refuse(op, {a, b}, "the dtypes differ: use convert");
  Shape shape = common_shape(op, a, b);
  std::string dtype = op == "compare" ? "bool" : a.dtype();
  return make(op, {broadcast_to(a, shape), broadcast_to(b, shape)}, {dtype, shape}, std::move(vjp),
              attributes);
}

// Each operation with the gradients of its operands; y is the result, g its gradient, a and b the
// operands.
#define FT_BINARY(name, op, of_a, of_b)                                             \
  inline Var name(const Var& a, const Var& b) {                                     \
    return binary(op, a, b, [](const Var& y, const Var& g) {                        \
      const Var &a = operand(y, 0), &b = operand(y, 1);                             \
      (void)a, (void)b, (void)y, (void)g;                                           \
      return Vars{of_a, of_b};                                                      \
    });                                                                             \
  }                                                                                 \
  inline Var name(const Var& a, double b) { return name(a, scalar(a.dtype(), b)); } \
  inline Var name(double a, const Var& b) { return name(scalar(b.dtype(), a), b); }

#define FT_UNARY(name, op, gradient)                                \
  inline Var name(const Var& x) {                                   \
    return make(op, {x}, x.type(), [](const Var& y, const Var& g) { \
      const Var& x = operand(y, 0);                                 \
      (void)x, (void)y, (void)g;                                    \
      return Vars{gradient};                                        \
    });                                                             \
  }

#define FT_COMPARE(name, direction)                                                         \
  inline Var name(const Var& a, const Var& b) {                                             \
    return binary("compare", a, b, nullptr,                                                 \
                  "comparison_direction = #stablehlo<comparison_direction " direction ">"); \
  }                                                                                         \
  inline Var name(const Var& a, double b) { return name(a, scalar(a.dtype(), b)); }

FT_COMPARE(operator==, "EQ")
FT_COMPARE(operator!=, "NE")
FT_COMPARE(operator<, "LT")
FT_COMPARE(operator<=, "LE")
FT_COMPARE(operator>, "GT")
FT_COMPARE(operator>=, "GE")

inline Var where(const Var& condition, const Var& a, const Var& b) {
  if (a.dtype() != b.dtype() || condition.dtype() != "bool")
    refuse("where", {condition, a, b}, "dtypes");
  Shape shape = common_shape("where", a, b);
  return make("select",
              {broadcast_to(condition, shape), broadcast_to(a, shape), broadcast_to(b, shape)},
              {a.dtype(), shape}, [](const Var& y, const Var& g) {
                const Var &c = operand(y, 0), zero = full_like(g, 0);
                return Vars{Var(), where(c, g, zero), where(c, zero, g)};
              });
}

inline Var operator*(const Var& a, const Var& b);
inline Var operator/(const Var& a, const Var& b);
inline Var operator-(const Var& x);
inline Var log(const Var& x);
inline Var pow(const Var& a, const Var& b);

// The share of two equal operands is half each, as PyTorch has it.
inline Var share(const Var& winner, const Var& loser, const Var& g, bool larger) {
  Var wins = larger ? winner > loser : winner < loser, half = g * full_like(g, 0.5);
  return where(wins, g, where(winner == loser, half, full_like(g, 0)));
}

FT_BINARY(operator+, "add", g, g)
FT_BINARY(operator-, "subtract", g, -g)
FT_BINARY(operator*, "multiply", g* b, g* a)
FT_BINARY(operator/, "divide", g / b, -(g* y / b))
FT_BINARY(maximum, "maximum", share(a, b, g, true), share(b, a, g, true))
FT_BINARY(minimum, "minimum", share(a, b, g, false), share(b, a, g, false))
FT_BINARY(pow, "power", g * b * pow(a, b - 1.0), g * y * log(a))
FT_BINARY(atan2, "atan2", g* b / (a * a + b * b), -(g* a / (a * a + b * b)))
FT_BINARY(remainder, "remainder", g, Var())
FT_BINARY(logical_and, "and", Var(), Var())
FT_BINARY(logical_or, "or", Var(), Var())
FT_BINARY(logical_xor, "xor", Var(), Var())

// One operand -----------------------------------------------------------------------------------

inline Var cos(const Var& x);
inline Var sign(const Var& x);
inline Var exp(const Var& x);

FT_UNARY(operator-, "negate", -g)
FT_UNARY(exp, "exponential", g* y)
FT_UNARY(expm1, "exponential_minus_one", g*(y + 1.0))
FT_UNARY(log, "log", g / x)
FT_UNARY(log1p, "log_plus_one", g / (x + 1.0))
FT_UNARY(tanh, "tanh", g * (1.0 - y * y))
FT_UNARY(sigmoid, "logistic", g * y * (1.0 - y))
FT_UNARY(sqrt, "sqrt", g / (2.0 * y))
FT_UNARY(rsqrt, "rsqrt", g * y * (-0.5) / x)
FT_UNARY(cbrt, "cbrt", g / (3.0 * y * y))
FT_UNARY(abs, "abs", g* sign(x))
FT_UNARY(sin, "sine", g* cos(x))
FT_UNARY(cos, "cosine", -(g* sin(x)))
FT_UNARY(sign, "sign", Var())
FT_UNARY(floor, "floor", Var())
FT_UNARY(ceil, "ceil", Var())
FT_UNARY(round, "round_nearest_even", Var())
FT_UNARY(logical_not, "not", Var())

// Reductions ------------------------------------------------------------------------------------

inline Var reduce(const Var& x, const Shape& axes, const std::string& op, double start, Vjp vjp) {
  Shape rest;
  std::vector<bool> gone(x.shape().size(), false);
  for (int64_t axis : axes) gone.at(static_cast<size_t>(axis)) = true;
  for (size_t i = 0; i < gone.size(); i++)
    if (!gone[i]) rest.push_back(x.shape()[i]);
  return make("reduce", {x, scalar(x.dtype(), start)}, {x.dtype(), rest}, std::move(vjp),
              array_attribute("dimensions", axes), scalar_region(op, x.dtype()));
}

// Axes counted from the front, sorted; all of them if none is given.
inline Shape settled(const Var& x, Shape axes) {
  if (axes.empty()) {
    axes.resize(x.shape().size());
    std::iota(axes.begin(), axes.end(), 0);
  }
  for (int64_t& axis : axes) axis += axis < 0 ? x.rank() : 0;
  std::sort(axes.begin(), axes.end());
  return axes;
}

inline Shape kept(const Shape& shape, const Shape& axes) {
  Shape made = shape;
  for (int64_t axis : axes) made[static_cast<size_t>(axis)] = 1;
  return made;
}

// An empty list of axes leaves x as it is; `sum(x)` sums everything.
inline Var sum(const Var& x, Shape axes, bool keep) {
  if (axes.empty()) return x;
  axes = settled(x, axes);
  Var made = reduce(x, axes, "add", 0, [axes](const Var& y, const Var& g) {
    const Shape& shape = operand(y, 0).shape();
    return Vars{broadcast_to(reshape(g, kept(shape, axes)), shape), Var()};
  });
  return keep ? reshape(made, kept(x.shape(), axes)) : made;
}

inline Var sum(const Var& x) { return x.rank() ? sum(x, settled(x, {})) : x; }

inline Var extreme(const Var& x, Shape axes, bool keep, bool largest) {
  axes = settled(x, axes);
  double infinity = std::numeric_limits<double>::infinity();
  if (!is_float(x.dtype())) refuse(largest ? "amax" : "amin", {x}, "a floating type is needed");
  auto vjp = [axes](const Var& y, const Var& g) {  // equal ones share, as PyTorch has it
    const Var& x = operand(y, 0);
    auto spread = [&](const Var& v) {
      return broadcast_to(reshape(v, kept(x.shape(), axes)), x.shape());
    };
    Var hits = convert(x == spread(y), x.dtype());
    return Vars{hits * spread(g / sum(hits, axes)), Var()};
  };
  Var made = reduce(x, axes, largest ? "maximum" : "minimum", largest ? -infinity : infinity, vjp);
  return keep ? reshape(made, kept(x.shape(), axes)) : made;
}

inline Var amax(const Var& x, Shape axes = {}, bool keep = false) {
  return extreme(x, axes, keep, true);
}
inline Var amin(const Var& x, Shape axes = {}, bool keep = false) {
  return extreme(x, axes, keep, false);
}

inline Var mean(const Var& x, Shape axes = {}, bool keep = false) {
  axes = settled(x, axes);
  double count = 1;
  for (int64_t axis : axes) count *= static_cast<double>(x.size(axis));
  return sum(x, axes, keep) / count;
}

// The first place of the largest element along an axis.
inline Var argmax(const Var& x, int64_t axis) {
  axis += axis < 0 ? x.rank() : 0;
  Var places = iota(x.shape(), "int64", axis);
  Var none = full(x.shape(), "int64", static_cast<double>(x.size(axis)));
  Var hits = where(x == broadcast_to(amax(x, {axis}, true), x.shape()), places, none);
  return reduce(hits, {axis}, "minimum", static_cast<double>(x.size(axis)), nullptr);
}

#undef FT_BINARY
#undef FT_UNARY
#undef FT_COMPARE

}  // namespace ft
