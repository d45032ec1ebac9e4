// Models written in C++: layers, losses and optimisers are recorded once into StableHLO, a PJRT
// plugin compiles them, and `save` writes them as an artifact that C++ and Python load.
//
//   ft::manual_seed(0);
//   ft::Sequential net;
//   net.add<ft::Linear>(4, 8).add(ft::relu).add<ft::Linear>(8, 3);
//   ft::Builder build(net);
//   build.training({{"x", "float32", {6, 4}}, {"t", "int64", {6}}}, ft::AdamW(0.01),
//                  [&](const ft::Vars& in) { return ft::cross_entropy(net(in[0]), in[1]); });
//   ft::Model model = build.model(plugin);
//   float loss = model["train"](x, t)[0].data<float>()[0];
//   model.save("train.ftpkg");
#pragma once

#include "ft_build.hpp"
#include "funtorch.hpp"
