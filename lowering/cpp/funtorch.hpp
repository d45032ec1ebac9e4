// Artifacts from C++, without Python: forward passes and whole training steps.
//
//   auto model = ft::load("train.ftpkg", plugin);     // plugin: a PJRT plugin, libpjrt_*.so
//   auto& step = model["train"];
//   step.set("lr", 0.01);
//   for (...) float loss = step(x, t)[0].data<float>()[0];
//   model.save("trained.ftpkg", true);                // with executables: the next start is
//   quicker
//
// State (parameters, buffers, the optimiser's) stays on the device and is shared by the programs of
// a file. A program with open dimensions runs at the sizes for which the file holds it in a fixed
// form, for the C API refines no shapes. To write models in C++, include funtorch_nn.hpp.
#pragma once

#include "ft_model.hpp"
