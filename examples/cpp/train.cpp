// Trains an exported step: train ARTIFACT PLUGIN STEPS. Prints each loss, then seconds per step.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "funtorch.hpp"

int main(int argc, char** argv) try {
  if (argc != 4) return std::fprintf(stderr, "usage: train ARTIFACT PLUGIN STEPS\n"), 2;
  auto model = ft::load(argv[1], argv[2]);
  auto& step = model["train"];

  // One fixed batch: x counts upwards, the classes go round.
  std::vector<float> x(24);
  std::vector<int64_t> t(6);
  for (size_t i = 0; i < x.size(); i++) x[i] = 0.1f * static_cast<float>(i) - 1.0f;
  for (size_t i = 0; i < t.size(); i++) t[i] = static_cast<int64_t>(i % 3);
  auto input = ft::Tensor::of<float>({6, 4}, x);
  auto target = ft::Tensor::of<int64_t>({6}, t);

  int steps = std::atoi(argv[3]);
  auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < steps; i++) std::printf("%.7f\n", step(input, target)[0].data<float>()[0]);
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::fprintf(stderr, "%.6f s a step\n", took.count() / steps);
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
