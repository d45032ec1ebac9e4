// Artifacts from C++, without Python: forward passes and whole training steps.
//
//   auto model = ft::load("train.ftpkg", plugin);     // plugin: a PJRT plugin, libpjrt_*.so
//   auto& step = model["train"];
//   step.set("lr", 0.01);
//   for (...) float loss = step(x, t)[0].data<float>()[0];
//
// State (parameters, buffers, the optimiser's) stays on the device and is shared by the programs of a
// file. Programs with symbolic dimensions are refused: the C API refines no shapes.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "ft_file.hpp"
#include "ft_pjrt.hpp"

namespace ft {

template <class T>
const char* name_of();
template <> inline const char* name_of<float>() { return "float32"; }
template <> inline const char* name_of<double>() { return "float64"; }
template <> inline const char* name_of<int32_t>() { return "int32"; }
template <> inline const char* name_of<int64_t>() { return "int64"; }
template <> inline const char* name_of<uint8_t>() { return "uint8"; }
template <> inline const char* name_of<uint32_t>() { return "uint32"; }
template <> inline const char* name_of<bool>() { return "bool"; }

// An array in this program's memory, in C order.
class Tensor {
 public:
  Tensor(std::string dtype, std::vector<int64_t> shape)
      : dtype(std::move(dtype)), shape(std::move(shape)) {
    bytes.resize(size() * kind_of(this->dtype).bytes);
  }

  template <class T>
  static Tensor of(std::vector<int64_t> shape, const std::vector<T>& values) {
    Tensor made(name_of<T>(), std::move(shape));
    if (made.size() != values.size()) throw std::runtime_error("shape and values do not fit");
    if (!values.empty()) std::memcpy(made.bytes.data(), values.data(), made.bytes.size());
    return made;
  }

  size_t size() const {
    size_t n = 1;
    for (int64_t extent : shape) n *= static_cast<size_t>(extent);
    return n;
  }

  template <class T>
  T* data() {
    if (dtype != name_of<T>()) throw std::runtime_error("the elements are " + dtype);
    return reinterpret_cast<T*>(bytes.data());
  }

  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<char> bytes;
};

inline std::string words(const std::string& dtype, const std::vector<int64_t>& shape) {
  std::string made = dtype + "[";
  for (size_t i = 0; i < shape.size(); i++) made += (i ? ", " : "") + std::to_string(shape[i]);
  return made + "]";
}

struct Leaf {
  std::string name, dtype, role, target;
  std::vector<int64_t> shape;

  explicit Leaf(const Json& entry)
      : name(entry["name"].text), dtype(entry["dtype"].text), role(entry["role"].text),
        target(entry["target"].text) {
    for (const Json& extent : entry["shape"].items) {
      if (extent.kind != Json::Number)
        throw std::runtime_error(name + " has the open dimension " + extent.text +
                                 ": export with fixed shapes for C++");
      shape.push_back(static_cast<int64_t>(extent.number));
    }
  }
};

// State of a file, by name, on the device.
struct State {
  std::shared_ptr<File> file;
  Shared runtime;
  std::map<std::string, Array> arrays;
  uint32_t seed = 0, draws = 0;

  Array& at(const std::string& name) {
    auto found = arrays.find(name);
    if (found != arrays.end()) return found->second;
    auto stored = file->arrays.find(name);
    if (stored == file->arrays.end()) throw std::runtime_error("the weights lack " + name);
    const Weight& w = stored->second;
    return arrays[name] = Buffer::put(runtime, w.bytes.data, kind_of(w.dtype), w.shape);
  }
};

class Program {
 public:
  Program(std::shared_ptr<State> state, const std::string& name, const Json& entry)
      : state_(std::move(state)) {
    for (const Json& leaf : entry["inputs"].items) inputs.emplace_back(leaf);
    for (const Json& leaf : entry["outputs"].items) outputs.emplace_back(leaf);
    for (const auto& field : entry["numbers"].fields) numbers_[field.first] = field.second.number;
    Slice code = state_->file->record("programs/" + name + ".vhlo");
    executable_ = std::make_unique<Executable>(state_->runtime, code.data, code.size);
  }

  // A number that the program takes, such as "lr".
  void set(const std::string& name, double value) {
    if (!numbers_.count(name)) throw std::runtime_error("there is no number " + name);
    numbers_[name] = value;
  }

  template <class... Tensors>
  std::vector<Tensor> operator()(const Tensors&... given) {
    return run({&given...});
  }

  std::vector<Tensor> run(const std::vector<const Tensor*>& given) {
    std::vector<Array> in;
    size_t next = 0;
    for (const Leaf& leaf : inputs) in.push_back(input(leaf, given, next));
    if (next != given.size()) throw std::runtime_error("too many arguments");
    std::vector<Array> out = (*executable_)(in, outputs.size());
    std::vector<Tensor> results;
    for (size_t i = 0; i < outputs.size(); i++) {
      if (outputs[i].role == "output") {
        results.emplace_back(outputs[i].dtype, outputs[i].shape);
        out[i]->get(results.back().bytes.data(), results.back().bytes.size());
      } else if (outputs[i].role != "input") {
        state_->at(outputs[i].target) = out[i];
      }
    }
    return results;
  }

  std::vector<Leaf> inputs, outputs;

 private:
  Array input(const Leaf& leaf, const std::vector<const Tensor*>& given, size_t& next) {
    const Kind& kind = kind_of(leaf.dtype);
    if (leaf.role == "input") {
      if (next >= given.size()) throw std::runtime_error("the argument " + leaf.name + " is missing");
      const Tensor& tensor = *given[next++];
      if (tensor.dtype != leaf.dtype || tensor.shape != leaf.shape)
        throw std::runtime_error(leaf.name + " is " + words(tensor.dtype, tensor.shape) +
                                 ", the program was made for " + words(leaf.dtype, leaf.shape));
      return Buffer::put(state_->runtime, tensor.bytes.data(), kind, leaf.shape);
    }
    if (leaf.role == "rng") {
      uint32_t key[2] = {state_->seed, state_->draws++};
      return Buffer::put(state_->runtime, key, kind, leaf.shape);
    }
    if (leaf.role == "lr" && leaf.target.empty()) {
      double value = numbers_.at(leaf.name);
      return Buffer::put(state_->runtime, &value, kind, leaf.shape);
    }
    return state_->at(leaf.target);
  }

  std::shared_ptr<State> state_;
  std::map<std::string, double> numbers_;
  std::unique_ptr<Executable> executable_;
};

class Model {
 public:
  Model(const std::string& path, Shared runtime) : state_(std::make_shared<State>()) {
    state_->file = std::make_shared<File>(path);
    state_->runtime = std::move(runtime);
  }

  // A program by name, compiled when it is first asked for.
  Program& operator[](const std::string& name) {
    auto found = programs_.find(name);
    if (found != programs_.end()) return *found->second;
    const Json* entry = state_->file->manifest["programs"].find(name);
    if (!entry) throw std::runtime_error("there is no program " + name);
    return *(programs_[name] = std::make_unique<Program>(state_, name, *entry));
  }

  // A copy of a parameter, buffer or optimiser state as it is now.
  Tensor state(const std::string& name) {
    auto stored = state_->file->arrays.find(name);
    if (stored == state_->file->arrays.end()) throw std::runtime_error("there is no state " + name);
    Tensor made(kind_of(stored->second.dtype).name, stored->second.shape);
    state_->at(name)->get(made.bytes.data(), made.bytes.size());
    return made;
  }

  void seed(uint32_t value) { state_->seed = value, state_->draws = 0; }

 private:
  std::shared_ptr<State> state_;
  std::map<std::string, std::unique_ptr<Program>> programs_;
};

inline Model load(const std::string& path, const std::string& plugin) {
  return Model(path, std::make_shared<Runtime>(plugin));
}

}  // namespace ft
