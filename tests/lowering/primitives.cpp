// Every primitive of the C++ front end with its gradients: primitives PLUGIN [NAME] prints, for
// each case, its name, the result, and the gradients of sum(result * weights) with respect to the
// operands.
#include <cstdio>

#include "funtorch_nn.hpp"

using ft::Shape;
using ft::Var;
using ft::Vars;

struct Case {
  std::string name;
  std::vector<Shape> shapes;
  std::function<Var(const Vars&)> body;
};

// Values that no two operands share, within (-1, 1).
static ft::Tensor values(const Shape& shape, size_t which) {
  ft::Tensor made("float32", shape);
  for (size_t i = 0; i < made.size(); i++)
    made.data<float>()[i] =
        static_cast<float>(std::sin(1.3 * static_cast<double>(i) + static_cast<double>(which)));
  return made;
}

static Var whole(const Var& x) { return ft::convert(ft::floor(ft::abs(x) * 5.0), "int64"); }
static Var real(const Var& x) { return ft::convert(x, "float32"); }

#define UNARY(name, expression)        \
  {name, {{3, 4}}, [](const Vars& v) { \
     const Var& x = v[0];              \
     return expression;                \
   }}
#define BINARY(name, expression)            \
  {name, {{3, 4}, {4}}, [](const Vars& v) { \
     const Var &a = v[0], &b = v[1];        \
     return expression;                     \
   }}

static const std::vector<Case> cases = {
    UNARY("neg", -x),
    UNARY("exp", exp(x)),
    UNARY("expm1", expm1(x)),
    UNARY("log", log(x + 2.0)),
    UNARY("log1p", log1p(x * 0.9)),
    UNARY("tanh", tanh(x)),
    UNARY("sigmoid", sigmoid(x)),
    UNARY("sqrt", sqrt(x + 2.0)),
    UNARY("rsqrt", rsqrt(x + 2.0)),
    UNARY("cbrt", cbrt(x + 2.0)),
    UNARY("abs", abs(x)),
    UNARY("sin", sin(x)),
    UNARY("cos", cos(x)),
    UNARY("sign", sign(x) + x),
    UNARY("floor", floor(x * 3.0) + x),
    UNARY("ceil", ceil(x * 3.0) + x),
    UNARY("round", round(x * 3.0) + x),
    UNARY("relu", relu(x)),
    UNARY("leaky_relu", leaky_relu(x)),
    UNARY("silu", silu(x)),
    UNARY("clamp", clamp(x, -0.5, 0.25)),
    UNARY("elu", elu(x, 1.5)),
    UNARY("cumsum", cumsum(x, 1) * x),
    UNARY("softplus", softplus(x)),
    UNARY("gelu", gelu(x)),
    UNARY("softmax", softmax(x)),
    UNARY("log_softmax", log_softmax(x, 0)),
    UNARY("not", real(logical_not(x > 0.0)) + x),
    BINARY("add", a + b),
    BINARY("sub", 1.0 - a - b),
    BINARY("mul", a* b),
    BINARY("div", a / (b + 2.0)),
    BINARY("maximum", maximum(a, b)),
    BINARY("minimum", minimum(a, b)),
    BINARY("ties", maximum(a, a * 1.0) + b),
    BINARY("pow", pow(a + 2.0, b)),
    BINARY("atan2", atan2(a, b)),
    BINARY("remainder", remainder(a, 0.3) + b),
    BINARY("compare", real(a == b) + real(a != b) + real(a < b) + 2.0 * real(a >= b) + a * b),
    BINARY("logical", real(logical_and(a > 0.0, b > 0.0)) + real(logical_or(a <= 0.0, b > 0.0)) +
                          real(logical_xor(a > 0.0, b > 0.0)) + a * b),
    BINARY("where", where(a > b, a* a, b + a * 0.0)),
    UNARY("sum", sum(x* x)),
    UNARY("sum_axis", sum(x* x, Shape{0})),
    UNARY("mean", mean(x, {-1}, true)),
    UNARY("amax", amax(x, {1})),
    UNARY("amin", amin(x)),
    UNARY("argmax", real(argmax(x, 1))),
    UNARY("reshape", reshape(x, {2, -1}) * 2.0),
    UNARY("transpose", transpose(x, {1, 0})),
    UNARY("broadcast", broadcast_to(reshape(x, {3, 1, 4}), {2, 3, 5, 4})),
    UNARY("slice", slice(x, {0, 1}, {3, 4}, {2, 2})),
    UNARY("narrow", narrow(x, 1, 1, 2)),
    UNARY("pad", pad(x, {1, -1}, {0, 2}, {1, 0}, 0.5)),
    UNARY("reverse", reverse(x, {0, 1})),
    UNARY("iota", x + ft::iota({3, 4}, "float32", 1)),
    BINARY("concatenate", ft::concatenate({a, broadcast_to(b, {2, 4})}, 0)),
    {"matmul", {{3, 4}, {4, 5}}, [](const Vars& v) { return matmul(v[0], v[1]); }},
    {"batched", {{2, 1, 3, 4}, {5, 4, 2}}, [](const Vars& v) { return matmul(v[0], v[1]); }},
    {"folded", {{2, 3, 4}, {4, 5}}, [](const Vars& v) { return matmul(v[0], v[1]); }},
    {"conv2d", {{2, 3, 6, 5}, {4, 3, 3, 2}}, [](const Vars& v) { return conv2d(v[0], v[1]); }},
    {"conv2d_full",
     {{2, 4, 9, 8}, {6, 2, 3, 2}},
     [](const Vars& v) { return conv2d(v[0], v[1], {{2, 3}, {1, 2}, {2, 1}}, 2); }},
    {"max_pool2d",
     {{2, 2, 7, 6}},
     [](const Vars& v) { return max_pool2d(v[0], {3, 2}, {2, 2}, {1, 0}); }},
    {"avg_pool2d",
     {{2, 2, 7, 6}},
     [](const Vars& v) { return avg_pool2d(v[0], {3, 2}, {2, 1}, {1, 1}); }},
    {"adaptive_avg_pool2d",
     {{2, 2, 6, 4}},
     [](const Vars& v) { return adaptive_avg_pool2d(v[0], {3, 2}); }},
    {"conv1d",
     {{2, 4, 9}, {6, 2, 3}},
     [](const Vars& v) { return conv1d(v[0], v[1], 2, 1, 2, 2); }},
    {"conv_transpose2d",
     {{2, 4, 5, 4}, {4, 3, 3, 2}},
     [](const Vars& v) {
       return conv_transpose2d(v[0], v[1], {{2, 3}, {1, 2}, {2, 1}}, {1, 2}, 2);
     }},
    {"take", {{5, 3}, {2, 4}}, [](const Vars& v) { return take(v[0], whole(v[1])); }},
    {"one_hot",
     {{6}, {6, 5}},
     [](const Vars& v) { return ft::one_hot(whole(v[0]), 5, "float32") * v[1]; }},
    {"cross_entropy",
     {{4, 5}, {4}},
     [](const Vars& v) { return cross_entropy(v[0], whole(v[1])); }},
    {"mse_loss", {{4, 5}, {4, 5}}, [](const Vars& v) { return mse_loss(v[0], v[1]); }},
    {"smooth_l1_loss",
     {{4, 5}, {4, 5}},
     [](const Vars& v) { return smooth_l1_loss(v[0] * 2.0, v[1]); }},
    {"bce",
     {{4, 5}, {4, 5}},
     [](const Vars& v) { return binary_cross_entropy_with_logits(v[0], v[1]); }},
    {"l1_loss", {{4, 5}, {4, 5}}, [](const Vars& v) { return l1_loss(v[0], v[1]); }},
    {"second",
     {{3, 4}},
     [](const Vars& v) { return ft::gradients(sum(tanh(v[0]) * v[0] * v[0]), {v[0]})[0]; }},
};

// The result and all gradients in one row.
static Var row(const Case& test, const Vars& given) {
  Var result = test.body(given);
  Var flat = reshape(result, {-1});
  Var weighted = sum(flat * cos(ft::iota(flat.shape(), "float32", 0)));
  Vars parts = {flat};
  for (const Var& g : ft::gradients(weighted, given)) parts.push_back(reshape(g, {-1}));
  return concatenate(parts, 0);
}

int main(int argc, char** argv) try {
  ft::Sequential nothing;
  ft::Builder build(nothing);
  for (const Case& test : cases) {
    std::vector<ft::Input> inputs;
    for (const Shape& shape : test.shapes)
      inputs.push_back({"x" + std::to_string(inputs.size()), "float32", shape});
    build.program(test.name, inputs, [&](const Vars& given) { return row(test, given); });
  }
  ft::Model model = build.model(argv[1]);
  for (const Case& test : cases) {
    if (argc > 2 && test.name != argv[2]) continue;
    std::vector<ft::Tensor> held;
    std::vector<const ft::Tensor*> given;
    for (const Shape& shape : test.shapes) held.push_back(values(shape, held.size()));
    for (const ft::Tensor& tensor : held) given.push_back(&tensor);
    if (argc > 2) std::fprintf(stderr, "%s", build.text(test.name).c_str());
    ft::Tensor found = model[test.name].run(given)[0];
    std::printf("%s", test.name.c_str());
    for (size_t i = 0; i < found.size(); i++) std::printf(" %.7g", found.data<float>()[i]);
    std::printf("\n");
  }
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
