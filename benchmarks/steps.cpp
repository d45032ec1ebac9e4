// steps ARTIFACT PLUGIN COUNT: prints the median seconds of a training step on inputs of zeros.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "funtorch.hpp"

int main(int argc, char** argv) try {
  if (argc != 4) return std::fprintf(stderr, "usage: steps ARTIFACT PLUGIN COUNT\n"), 2;
  auto model = ft::load(argv[1], argv[2]);
  auto& step = model["train"];
  std::vector<ft::Tensor> inputs;
  for (const ft::Leaf& leaf : step.inputs)
    if (leaf.role == "input") inputs.emplace_back(leaf.dtype, leaf.shape);
  std::vector<const ft::Tensor*> given;
  for (const ft::Tensor& input : inputs) given.push_back(&input);
  for (int i = 0; i < 6; i++) step.run(given);
  std::vector<double> seen;
  for (int i = 0; i < std::atoi(argv[3]); i++) {
    auto start = std::chrono::steady_clock::now();
    step.run(given);
    seen.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seen.begin(), seen.end());
  std::printf("%.9f\n", seen[seen.size() / 2]);
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
