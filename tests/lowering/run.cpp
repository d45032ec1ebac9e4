// run ARTIFACT PLUGIN PROGRAM COUNT: calls a program COUNT times on the arrays that stand in the
// standard input, one after another as plain bytes, and writes its outputs in the same way.
#include <cstdio>
#include <cstdlib>

#include "funtorch.hpp"

int main(int argc, char** argv) try {
  if (argc != 5) return std::fprintf(stderr, "usage: run ARTIFACT PLUGIN PROGRAM COUNT\n"), 2;
  auto model = ft::load(argv[1], argv[2]);
  auto& program = model[argv[3]];
  std::vector<ft::Tensor> inputs;
  for (const ft::Leaf& leaf : program.inputs) {
    if (leaf.role != "input") continue;
    std::vector<char>& bytes = inputs.emplace_back(leaf.dtype, leaf.shape).bytes;
    if (std::fread(bytes.data(), 1, bytes.size(), stdin) != bytes.size())
      throw std::runtime_error("the input is too short");
  }
  std::vector<const ft::Tensor*> given;
  for (const ft::Tensor& input : inputs) given.push_back(&input);
  for (int i = 0; i < std::atoi(argv[4]); i++)
    for (const ft::Tensor& output : program.run(given))
      std::fwrite(output.bytes.data(), 1, output.bytes.size(), stdout);
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
