// run ARTIFACT PLUGIN: calls the program "forward" on the arrays that stand in the standard input, one after
// another as plain bytes, and writes its outputs in the same way.
#include <cstdio>

#include "funtorch.hpp"

int main(int, char** argv) try {
  auto model = ft::load(argv[1], argv[2]);
  auto& forward = model["forward"];
  std::vector<ft::Tensor> inputs;
  for (const ft::Leaf& leaf : forward.inputs)
    if (leaf.role == "input") {
      inputs.emplace_back(leaf.dtype, leaf.shape);
      if (std::fread(inputs.back().bytes.data(), 1, inputs.back().bytes.size(), stdin) != inputs.back().bytes.size())
        throw std::runtime_error("the input is too short");
    }
  std::vector<const ft::Tensor*> given;
  for (const ft::Tensor& input : inputs) given.push_back(&input);
  for (const ft::Tensor& output : forward.run(given))
    std::fwrite(output.bytes.data(), 1, output.bytes.size(), stdout);
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
