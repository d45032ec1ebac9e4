// Programs of an artifact with the state that they share.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "ft_exec.hpp"
#include "ft_tensor.hpp"
#include "ft_write.hpp"

namespace ft {

// One array that a program takes or returns.
struct Leaf {
  std::string name, dtype, role, target;
  Shape shape;

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

  const Weight& stored(const std::string& name) const {
    auto found = file->arrays.find(name);
    if (found == file->arrays.end()) throw std::runtime_error("there is no state " + name);
    return found->second;
  }

  Array& at(const std::string& name) {
    auto found = arrays.find(name);
    if (found != arrays.end()) return found->second;
    const Weight& w = stored(name);
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
    if (const Json* codes = entry.find("exec")) load_one_of(*codes);
    if (executable_) return;
    const File& file = *state_->file;
    std::string record = "programs/" + name + ".vhlo", text = "programs/" + name + ".stablehlo";
    executable_ = std::make_unique<Executable>(
        state_->runtime, file.text(file.has(record) || !file.has(text) ? record : text));
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

  std::string serialized() const { return executable_->serialized(); }

  std::vector<Leaf> inputs, outputs;
  // Does it run a stored executable? If it could not, why.
  bool stored = false;
  std::vector<std::string> ignored;

 private:
  void load_one_of(const Json& codes) {
    if (codes.items.empty()) return;
    Json here = target_here(*state_->runtime);
    for (const Json& code : codes.items) {
      std::string reason = unfit(code["target"], here);
      if (reason.empty()) try {
          executable_ = Executable::load(state_->runtime, state_->file->text(code["file"].text));
          stored = true;
          return;
        } catch (const std::exception& error) {
          reason = error.what();
        }
      ignored.push_back(reason);
    }
  }

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
  Model(std::shared_ptr<File> file, Shared runtime) : state_(std::make_shared<State>()) {
    state_->file = std::move(file);
    state_->runtime = std::move(runtime);
  }

  // A program by name, compiled (or loaded) when it is first asked for.
  Program& operator[](const std::string& name) {
    auto found = programs_.find(name);
    if (found != programs_.end()) return *found->second;
    const Json* entry = state_->file->manifest["programs"].find(name);
    if (!entry) throw std::runtime_error("there is no program " + name);
    return *(programs_[name] = std::make_unique<Program>(state_, name, *entry));
  }

  // A copy of a parameter, buffer or optimiser state as it is now.
  Tensor state(const std::string& name) {
    const Weight& stored = state_->stored(name);
    Tensor made(kind_of(stored.dtype).name, stored.shape);
    state_->at(name)->get(made.bytes.data(), made.bytes.size());
    return made;
  }

  // Another value for a parameter, buffer or optimiser state.
  void set_state(const std::string& name, const Tensor& value) {
    const Weight& stored = state_->stored(name);
    if (value.dtype != kind_of(stored.dtype).name || value.shape != stored.shape)
      throw std::runtime_error(name + " is " + words(kind_of(stored.dtype).name, stored.shape) +
                               ", not " + words(value.dtype, value.shape));
    state_->at(name) = Buffer::put(state_->runtime, value.bytes.data(), kind_of(value.dtype), value.shape);
  }

  void seed(uint32_t value) { state_->seed = value, state_->draws = 0; }

  // Write everything with the present state. executables: also those of the programs used so far, for
  // this plugin and kind of processor; they take the place of the ones made for the same target.
  void save(const std::string& path, bool executables = false) {
    const File& file = *state_->file;
    Json manifest = file.manifest;
    manifest.set("writer", "funtorch.hpp");
    std::map<std::string, StoredArray> arrays;
    for (const auto& [name, weight] : file.arrays) {
      std::vector<char> bytes = state(name).bytes;
      arrays[name] = {weight.dtype, weight.shape, std::string(bytes.begin(), bytes.end())};
    }
    Records records = {{"weights.safetensors", safetensors(arrays)}};
    for (const std::string& name : file.names())
      if (name != "manifest.json" && name != "weights.safetensors")
        records.emplace_back(name, file.text(name));
    if (executables) add_executables(manifest, records);
    Json files = Json::object();
    for (const auto& [name, data] : records)
      files.set(name, Json::object({{"bytes", double(data.size())}, {"sha256", sha256(data)}}));
    manifest.set("files", files);
    records.insert(records.begin(), {"manifest.json", manifest.dump()});
    ZipWriter::write(path, records);
  }

 private:
  void add_executables(Json& manifest, Records& records) {
    Json target = target_here(*state_->runtime);
    std::string said = target.dump(), tag = std::to_string(crc32(said.data(), said.size()));
    for (const auto& [name, program] : programs_) {
      Json programs = manifest["programs"], entry = programs[name], codes = Json::list(Shape());
      if (const Json* before = entry.find("exec"))
        for (const Json& code : before->items)
          if (code["target"].dump() != said) codes.items.push_back(code);
      std::string record = "exec/" + name + "." + tag;
      codes.items.push_back(
          Json::object({{"file", record}, {"sizes", Json::object()}, {"target", target}}));
      entry.set("exec", codes), programs.set(name, entry), manifest.set("programs", programs);
      Records kept;
      for (auto& [key, data] : records)
        if (key != record) kept.emplace_back(key, std::move(data));
      kept.emplace_back(record, program->serialized());
      records = std::move(kept);
    }
  }

  std::shared_ptr<State> state_;
  std::map<std::string, std::unique_ptr<Program>> programs_;
};

inline Model load(const std::string& path, const Shared& runtime) {
  return Model(std::make_shared<File>(path), runtime);
}

inline Model load(const std::string& path, const std::string& plugin) {
  return load(path, std::make_shared<Runtime>(plugin));
}

}  // namespace ft
