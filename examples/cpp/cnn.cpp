// A convolutional network as a Module of its own: cnn PLUGIN STEPS. Prints each loss.
#include <cstdio>
#include <cstdlib>

#include "funtorch_nn.hpp"

struct Net : ft::Module {
  ft::Conv2d first{1, 8, 3, {{1, 1}, {1, 1}}}, second{8, 16, 3};
  ft::Linear last{16, 2};

  Net() {
    child("first", first);
    child("second", second);
    child("last", last);
  }

  ft::Var forward(const ft::Var& x) override {
    ft::Var y = ft::max_pool2d(ft::relu(first(x)), {2, 2});
    return last(ft::flatten(ft::avg_pool2d(ft::relu(second(y)), {2, 2}, {1, 1})));
  }
};

int main(int argc, char** argv) try {
  if (argc < 3) return std::fprintf(stderr, "usage: cnn PLUGIN STEPS\n"), 2;
  ft::manual_seed(0);
  Net net;
  ft::Builder build(net);
  build.training({{"x", "float32", {16, 1, 9, 9}}, {"t", "int64", {16}}}, ft::SGD(0.05, 0.9, 1e-4),
                 [&](const ft::Vars& in) { return ft::cross_entropy(net(in[0]), in[1]); });
  ft::Model model = build.model(argv[1]);

  // Stripes that lie or stand, at many places.
  std::vector<float> pixels;
  std::vector<int64_t> classes;
  for (int i = 0; i < 16; i++) {
    classes.push_back(i % 2);
    for (int row = 0; row < 9; row++)
      for (int column = 0; column < 9; column++)
        pixels.push_back(static_cast<float>(std::sin(0.9 * (i % 2 ? row : column) + 0.7 * i)));
  }
  auto x = ft::Tensor::of<float>({16, 1, 9, 9}, pixels);
  auto t = ft::Tensor::of<int64_t>({16}, classes);

  auto& step = model["train"];
  for (int i = 0; i < std::atoi(argv[2]); i++)
    std::printf("%.7f\n", step(x, t)[0].data<float>()[0]);
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
