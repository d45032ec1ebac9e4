// Writes and trains a small network in C++: mlp PLUGIN STEPS [FILE]. Prints each loss; FILE is an
// artifact that goes on training in C++ (ft::load) and in Python (funtorch.export.load_step).
#include <cstdio>
#include <cstdlib>

#include "funtorch_nn.hpp"

int main(int argc, char** argv) try {
  if (argc < 3) return std::fprintf(stderr, "usage: mlp PLUGIN STEPS [FILE]\n"), 2;
  ft::manual_seed(0);
  ft::Sequential net;
  net.add<ft::Linear>(2, 32).add(ft::relu).add<ft::Linear>(32, 32).add(ft::relu);
  net.add<ft::Linear>(32, 3);

  ft::Builder build(net);
  build.forward({{"x", "float32", {96, 2}}});
  build.training({{"x", "float32", {96, 2}}, {"t", "int64", {96}}}, ft::AdamW(0.01),
                 [&](const ft::Vars& in) { return ft::cross_entropy(net(in[0]), in[1]); });
  ft::Model model = build.model(argv[1]);

  // Three arms of a spiral.
  std::vector<float> points;
  std::vector<int64_t> classes;
  for (int i = 0; i < 96; i++) {
    double along = i / 96.0, angle = 4 * along + 2.0943951 * (i % 3);
    points.push_back(static_cast<float>(along * std::cos(angle)));
    points.push_back(static_cast<float>(along * std::sin(angle)));
    classes.push_back(i % 3);
  }
  auto x = ft::Tensor::of<float>({96, 2}, points);
  auto t = ft::Tensor::of<int64_t>({96}, classes);

  auto& step = model["train"];
  for (int i = 0; i < std::atoi(argv[2]); i++)
    std::printf("%.7f\n", step(x, t)[0].data<float>()[0]);

  ft::Tensor scores = model["forward"](x)[0];
  int right = 0;
  for (int i = 0; i < 96; i++) {
    const float* row = scores.data<float>() + 3 * i;
    right += std::max_element(row, row + 3) - row == classes[static_cast<size_t>(i)];
  }
  std::fprintf(stderr, "%d of 96 points are classified right\n", right);
  if (argc > 3) model.save(argv[3]);
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
