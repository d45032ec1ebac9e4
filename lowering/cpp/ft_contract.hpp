// Products, convolutions, pooling, gathering and random bits.
#pragma once

#include "ft_ops.hpp"

namespace ft {

inline Vars once(const Var& y, const Var&) {
  refuse(y.node->op, {y}, "second gradients are not written for it");
}

// Products --------------------------------------------------------------------------------------

// Matrix product of the last two axes; those before are broadcast.
inline Var matmul(const Var& a, const Var& b) {
  if (a.rank() < 2 || b.rank() < 2 || a.size(-1) != b.size(-2) || a.dtype() != b.dtype())
    refuse("matmul", {a, b}, "the operands do not fit");
  if (b.rank() == 2 && a.rank() > 2) {  // one large product instead of many small ones
    Shape shape = a.shape();
    shape.back() = b.size(1);
    return reshape(matmul(reshape(a, {-1, a.size(-1)}), b), shape);
  }
  auto rank = static_cast<size_t>(std::max(a.rank(), b.rank()));
  auto lifted = [&](const Var& x) {
    Shape shape(rank - static_cast<size_t>(x.rank()), 1);
    shape.insert(shape.end(), x.shape().begin(), x.shape().end());
    return reshape(x, shape);
  };
  Var left = lifted(a), right = lifted(b);
  Shape front, batch;
  for (size_t i = 0; i + 2 < rank; i++) {
    front.push_back(std::max(left.shape()[i], right.shape()[i]));
    batch.push_back(static_cast<int64_t>(i));
  }
  auto spread = [&](const Var& x) {
    Shape shape = front;
    shape.insert(shape.end(), x.shape().end() - 2, x.shape().end());
    return broadcast_to(x, shape);
  };
  left = spread(left), right = spread(right);
  Shape shape = front;
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  auto n = static_cast<int64_t>(rank);
  std::string list = "[" + joined(batch) + "]";
  std::string attributes =
      "dot_dimension_numbers = #stablehlo.dot<lhs_batching_dimensions = " + list +
      ", rhs_batching_dimensions = " + list + ", lhs_contracting_dimensions = [" +
      std::to_string(n - 1) + "], rhs_contracting_dimensions = [" + std::to_string(n - 2) + "]>";
  return make(
      "dot_general", {left, right}, {a.dtype(), shape},
      [](const Var& y, const Var& g) {
        return Vars{matmul(g, matrix_transpose(operand(y, 1))),
                    matmul(matrix_transpose(operand(y, 0)), g)};
      },
      attributes);
}

// Convolution -----------------------------------------------------------------------------------

// Two-dimensional convolution in StableHLO's generality. dims: which axis is what in the operands and
// in the result.
struct Conv {
  std::string dims = "[b, f, 0, 1]x[o, i, 0, 1]->[b, f, 0, 1]";
  Shape strides = {1, 1}, lhs_dilation = {1, 1}, rhs_dilation = {1, 1};
  Padding padding = {{0, 0}, {0, 0}};
  int64_t groups = 1, batch_groups = 1;

  Var operator()(const Var& lhs, const Var& rhs, const Shape& shape, Vjp vjp) const {
    std::string attributes =
        array_attribute("window_strides", strides) + ", " + padding_attribute(padding) + ", " +
        array_attribute("lhs_dilation", lhs_dilation) + ", " +
        array_attribute("rhs_dilation", rhs_dilation) + ", dimension_numbers = #stablehlo.conv<" +
        dims + ">, feature_group_count = " + std::to_string(groups) +
        " : i64, batch_group_count = " + std::to_string(batch_groups) + " : i64";
    return make("convolution", {lhs, rhs}, {lhs.dtype(), shape}, std::move(vjp), attributes);
  }
};

struct Window {
  Shape stride = {1, 1}, padding = {0, 0}, dilation = {1, 1};
};

// Padding of a gradient so that sliding the window of size `reach` over it gives the size of `in`.
inline std::pair<int64_t, int64_t> back_padding(int64_t in, int64_t out, int64_t reach,
                                                int64_t stride, int64_t padding) {
  int64_t low = reach - 1 - padding;
  return {low, in + reach - 1 - ((out - 1) * stride + 1) - low};
}

inline Var conv2d_input_gradient(const Var& x, const Var& weight, const Var& g, const Window& w,
                                 int64_t groups) {
  Shape k = weight.shape();  // [O, I/groups, H, W] -> [I, O/groups, H, W], reversed
  Var split = reshape(weight, {groups, k[0] / groups, k[1], k[2], k[3]});
  Var turned =
      reshape(transpose(split, {0, 2, 1, 3, 4}), {groups * k[1], k[0] / groups, k[2], k[3]});
  Conv back;
  back.lhs_dilation = w.stride, back.rhs_dilation = w.dilation, back.groups = groups;
  for (size_t i = 0; i < 2; i++) {
    int64_t reach = (k[i + 2] - 1) * w.dilation[i] + 1;
    back.padding[i] =
        back_padding(x.shape()[i + 2], g.shape()[i + 2], reach, w.stride[i], w.padding[i]);
  }
  return back(g, reverse(turned, {2, 3}), x.shape(), once);
}

inline Var conv2d_weight_gradient(const Var& x, const Var& weight, const Var& g, const Window& w,
                                  int64_t groups) {
  Conv back;
  back.dims = "[f, b, 0, 1]x[i, o, 0, 1]->[f, b, 0, 1]";
  back.strides = w.dilation, back.rhs_dilation = w.stride, back.batch_groups = groups;
  for (size_t i = 0; i < 2; i++) {
    int64_t out = (g.shape()[i + 2] - 1) * w.stride[i] + 1;
    int64_t reach = (weight.shape()[i + 2] - 1) * w.dilation[i] + 1;
    back.padding[i] = {w.padding[i], reach - 1 - x.shape()[i + 2] + out - w.padding[i]};
  }
  return back(x, g, weight.shape(), once);
}

// x: [N, I, H, W], weight: [O, I/groups, KH, KW].
inline Var conv2d(const Var& x, const Var& weight, const Window& w = {}, int64_t groups = 1) {
  if (x.rank() != 4 || weight.rank() != 4 || x.size(1) != weight.size(1) * groups)
    refuse("conv2d", {x, weight}, "the channels do not fit");
  Conv forward;
  forward.strides = w.stride, forward.rhs_dilation = w.dilation, forward.groups = groups;
  Shape shape = {x.size(0), weight.size(0)};
  for (size_t i = 0; i < 2; i++) {
    forward.padding[i] = {w.padding[i], w.padding[i]};
    int64_t reach = (weight.shape()[i + 2] - 1) * w.dilation[i] + 1;
    shape.push_back((x.shape()[i + 2] + 2 * w.padding[i] - reach) / w.stride[i] + 1);
  }
  return forward(x, weight, shape, [w, groups](const Var& y, const Var& g) {
    const Var &x = operand(y, 0), &k = operand(y, 1);
    return Vars{conv2d_input_gradient(x, k, g, w, groups),
                conv2d_weight_gradient(x, k, g, w, groups)};
  });
}

// Pooling ---------------------------------------------------------------------------------------

struct Pool {
  Shape window, strides;
  Padding padding;

  Pool(const Shape& size, const Shape& stride, const Shape& pad)
      : window{1, 1, size[0], size[1]},
        strides{1, 1, stride[0], stride[1]},
        padding{{0, 0}, {0, 0}, {pad[0], pad[0]}, {pad[1], pad[1]}} {}

  std::string attributes(bool padded = true) const {
    return array_attribute("window_dimensions", window) + ", " +
           array_attribute("window_strides", strides) +
           (padded ? ", " + padding_attribute(padding) : "");
  }

  Shape out(const Var& x) const {
    Shape made;
    for (size_t i = 0; i < 4; i++)
      made.push_back(
          (x.shape().at(i) + padding[i].first + padding[i].second - window[i]) / strides[i] + 1);
    return made;
  }

  Var operator()(const Var& x, const std::string& op, double start, Vjp vjp) const {
    return make("reduce_window", {x, scalar(x.dtype(), start)}, {x.dtype(), out(x)}, std::move(vjp),
                attributes(), scalar_region(op, x.dtype()));
  }
};

// x: [N, C, H, W]. The gradient goes to the first largest element of each window.
inline Var max_pool2d(const Var& x, const Shape& size, Shape stride = {},
                      const Shape& padding = {0, 0}) {
  if (x.rank() != 4) refuse("max_pool2d", {x}, "expected [N, C, H, W]");
  Pool pool(size, stride.empty() ? size : stride, padding);
  return pool(
      x, "maximum", -std::numeric_limits<double>::infinity(), [pool](const Var& y, const Var& g) {
        const Var& x = operand(y, 0);
        std::string greater = scalar_region(
            "compare", x.dtype(), "comparison_direction = #stablehlo<comparison_direction GE>");
        std::string plus = scalar_region("add", x.dtype());
        std::string both = greater.substr(0, greater.size() - 1) + ", " + plus.substr(1);
        return Vars{make("select_and_scatter", {x, g, scalar(x.dtype(), 0)}, x.type(), once,
                         pool.attributes(), both),
                    Var()};
      });
}

// x: [N, C, H, W]; padding counts, as PyTorch's count_include_pad=True.
inline Var avg_pool2d(const Var& x, const Shape& size, Shape stride = {},
                      const Shape& padding = {0, 0}) {
  if (x.rank() != 4) refuse("avg_pool2d", {x}, "expected [N, C, H, W]");
  if (stride.empty()) stride = size;
  Pool pool(size, stride, padding);
  Var total = pool(x, "add", 0, [=](const Var& y, const Var& g) {
    const Var& x = operand(y, 0);
    Shape low = {0, 0}, high = {0, 0}, interior = {0, 0};
    for (size_t i = 0; i < 2; i++) {
      auto [before, after] =
          back_padding(x.shape()[i + 2], g.shape()[i + 2], size[i], stride[i], padding[i]);
      low.push_back(before), high.push_back(after), interior.push_back(stride[i] - 1);
    }
    return Vars{Pool(size, {1, 1}, {0, 0})(pad(g, low, high, interior), "add", 0, once), Var()};
  });
  return total / static_cast<double>(size[0] * size[1]);
}

// The sum of all elements up to each, along an axis.
inline Var cumsum(const Var& x, int64_t axis) {
  axis += axis < 0 ? x.rank() : 0;
  Shape one(x.shape().size(), 1), window = one;
  Padding padding(x.shape().size(), {0, 0});
  window.at(static_cast<size_t>(axis)) = x.size(axis);
  padding.at(static_cast<size_t>(axis)).first = x.size(axis) - 1;
  auto vjp = [axis](const Var&, const Var& g) {
    return Vars{reverse(cumsum(reverse(g, {axis}), axis), {axis}), Var()};
  };
  std::string attributes = array_attribute("window_dimensions", window) + ", " +
                           array_attribute("window_strides", one) + ", " +
                           padding_attribute(padding);
  return make("reduce_window", {x, scalar(x.dtype(), 0)}, x.type(), vjp, attributes,
              scalar_region("add", x.dtype()));
}

// Gathering -------------------------------------------------------------------------------------

// Rows of a table: table [V, D], index [...] of whole numbers -> [..., D].
inline Var take(const Var& table, const Var& index) {
  if (table.rank() != 2 || is_float(index.dtype()))
    refuse("take", {table, index}, "expected [V, D] and whole numbers");
  Shape shape = index.shape();
  shape.push_back(table.size(1));
  Var flat = reshape(index, {-1, 1});
  auto vjp = [](const Var& y, const Var& g) {
    const Var& table = operand(y, 0);
    std::string numbers =
        "scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [1], "
        "inserted_window_dims = [0], "
        "scatter_dims_to_operand_dims = [0], index_vector_dim = 1>, indices_are_sorted = false, "
        "unique_indices = false";
    return Vars{make("scatter", {full_like(table, 0), operand(y, 1), g}, table.type(), once,
                     numbers, scalar_region("add", table.dtype())),
                Var()};
  };
  std::string attributes =
      "dimension_numbers = #stablehlo.gather<offset_dims = [1], collapsed_slice_dims = [0], "
      "start_index_map = [0], index_vector_dim = 1>, " +
      array_attribute("slice_sizes", {1, table.size(1)}) + ", indices_are_sorted = false";
  Var rows = make("gather", {table, flat}, {table.dtype(), {flat.size(0), table.size(1)}}, vjp,
                  attributes);
  return reshape(rows, shape);
}

// 1 where the number along a new last axis is the index, else 0.
inline Var one_hot(const Var& index, int64_t classes, const std::string& dtype) {
  Shape shape = index.shape(), where(shape.size());
  shape.push_back(classes);
  std::iota(where.begin(), where.end(), 0);
  Var places = iota(shape, index.dtype(), static_cast<int64_t>(where.size()));
  return convert(broadcast_in_dim(index, shape, where) == places, dtype);
}

// Random numbers --------------------------------------------------------------------------------

// Uniform in [0, 1), from Threefry with the program's key (uint32[2]) and the number of the draw.
inline Var uniform(const Var& key, uint64_t draw, const Shape& shape) {
  Var words = convert(key, "uint64");
  Var one = reshape(narrow(words, 0, 0, 1) * 4294967296.0 + narrow(words, 0, 1, 1), {1});
  Var two = full({1}, "uint64", static_cast<double>(draw));
  auto node = std::make_shared<Node>();
  node->op = "stablehlo.rng_bit_generator";
  node->operands = {concatenate({one, two}, 0)};
  node->types = {{"uint64", {2}}, {"uint32", shape}};
  node->attributes = "rng_algorithm = #stablehlo<rng_algorithm THREE_FRY>";
  Var bits(node, 1);
  Var high = make("shift_right_logical", {bits, full(shape, "uint32", 8)}, bits.type(), nullptr);
  return convert(high, "float32") * (1.0 / 16777216.0);
}

}  // namespace ft
