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

inline Shape shape_of(const Json& list) {
  Shape made;
  for (const Json& extent : list.items) made.push_back(static_cast<int64_t>(extent.number));
  return made;
}

// One array that a program takes or returns. Where a dimension is open, the shape is that of no
// program: see Variant.
struct Leaf {
  std::string name, dtype, role, target, open;
  Shape shape;

  explicit Leaf(const Json& entry)
      : name(entry["name"].text),
        dtype(entry["dtype"].text),
        role(entry["role"].text),
        target(entry["target"].text),
        shape(shape_of(entry["shape"])) {
    for (const Json& extent : entry["shape"].items)
      if (extent.kind != Json::Number) open = extent.text;
  }
};

// A program at fixed sizes of its dimensions: the only one, or one of several.
struct Variant {
  std::string record;
  Json sizes = Json::object();
  std::vector<Shape> inputs, outputs;
  std::unique_ptr<Executable> executable;

  std::string words() const {
    std::string made;
    for (const auto& [name, size] : sizes.fields)
      made += (made.empty() ? "" : ", ") + name + " = " + size.dump();
    return made;
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
      : state_(std::move(state)), entry_(entry) {
    for (const Json& leaf : entry["inputs"].items) inputs.emplace_back(leaf);
    for (const Json& leaf : entry["outputs"].items) outputs.emplace_back(leaf);
    for (const auto& field : entry["numbers"].fields) numbers_[field.first] = field.second.number;
    find_variants(name);
    if (entry["dims"].fields.empty()) executable_of(variants_[0]);
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
    Variant& variant = variant_for(given);
    const Executable& executable = executable_of(variant);
    std::vector<Array> in;
    size_t next = 0;
    for (size_t i = 0; i < inputs.size(); i++)
      in.push_back(input(inputs[i], variant.inputs[i], given, next));
    if (next != given.size()) throw std::runtime_error("too many arguments");
    std::vector<Array> out = executable(in, outputs.size());
    std::vector<Tensor> results;
    for (size_t i = 0; i < outputs.size(); i++) {
      if (outputs[i].role == "output") {
        results.emplace_back(outputs[i].dtype, variant.outputs[i]);
        out[i]->get(results.back().bytes.data(), results.back().bytes.size());
      } else if (outputs[i].role != "input") {
        state_->at(outputs[i].target) = out[i];
      }
    }
    return results;
  }

  // The variants that have been used, as (sizes, executable).
  std::vector<std::pair<Json, std::string>> serialized() const {
    std::vector<std::pair<Json, std::string>> made;
    for (const Variant& variant : variants_)
      if (variant.executable) made.emplace_back(variant.sizes, variant.executable->serialized());
    return made;
  }

  std::vector<Leaf> inputs, outputs;
  // Does it run a stored executable? For those that it could not load, why.
  bool stored = false;
  std::vector<std::string> ignored;

 private:
  void find_variants(const std::string& name) {
    const File& file = *state_->file;
    if (entry_["dims"].fields.empty()) {
      Variant only;
      std::string vhlo = "programs/" + name + ".vhlo", text = "programs/" + name + ".stablehlo";
      only.record = file.has(vhlo) || !file.has(text) ? vhlo : text;
      for (const Leaf& leaf : inputs) only.inputs.push_back(leaf.shape);
      for (const Leaf& leaf : outputs) only.outputs.push_back(leaf.shape);
      variants_.push_back(std::move(only));
      return;
    }
    if (const Json* fixed = entry_.find("fixed"))
      for (const Json& item : fixed->items) {
        Variant one;
        one.record = item["file"].text, one.sizes = item["sizes"];
        for (const Json& shape : item["inputs"].items) one.inputs.push_back(shape_of(shape));
        for (const Json& shape : item["outputs"].items) one.outputs.push_back(shape_of(shape));
        variants_.push_back(std::move(one));
      }
    for (const Leaf& leaf : inputs)
      if (variants_.empty() && !leaf.open.empty())
        throw std::runtime_error(leaf.name + " has the open dimension " + leaf.open +
                                 ": export with fixed shapes for C++, or funtorch compile --fixed");
  }

  // The variant that takes arguments of these shapes; what is wrong otherwise is said by `input`.
  Variant& variant_for(const std::vector<const Tensor*>& given) {
    if (variants_.size() == 1) return variants_[0];
    std::string known;
    for (Variant& variant : variants_) {
      size_t next = 0, fitting = 0;
      for (size_t i = 0; i < inputs.size(); i++)
        if (inputs[i].role == "input" && next < given.size())
          fitting += given[next++]->shape == variant.inputs[i];
      if (next == fitting) return variant;
      known += (known.empty() ? "" : "; ") + variant.words();
    }
    std::string shown;
    for (const Tensor* tensor : given)
      shown += (shown.empty() ? "" : ", ") + words(tensor->dtype, tensor->shape);
    throw std::runtime_error("no program takes " + shown + "; there are programs for " + known);
  }

  const Executable& executable_of(Variant& variant) {
    if (!variant.executable) load_into(variant);
    if (!variant.executable)
      variant.executable =
          std::make_unique<Executable>(state_->runtime, state_->file->text(variant.record));
    return *variant.executable;
  }

  void load_into(Variant& variant) {
    const Json* codes = entry_.find("exec");
    if (!codes || codes->items.empty()) return;
    Json here = target_here(*state_->runtime);
    for (const Json& code : codes->items) {
      if (code["sizes"].dump() != variant.sizes.dump()) continue;
      std::string reason = unfit(code["target"], here);
      if (reason.empty()) try {
          variant.executable =
              Executable::load(state_->runtime, state_->file->text(code["file"].text));
          stored = true;
          return;
        } catch (const std::exception& error) {
          reason = error.what();
        }
      ignored.push_back(reason);
    }
  }

  Array input(const Leaf& leaf, const Shape& shape, const std::vector<const Tensor*>& given,
              size_t& next) {
    const Kind& kind = kind_of(leaf.dtype);
    if (leaf.role == "input") {
      if (next >= given.size())
        throw std::runtime_error("the argument " + leaf.name + " is missing");
      const Tensor& tensor = *given[next++];
      if (tensor.dtype != leaf.dtype || tensor.shape != shape)
        throw std::runtime_error(leaf.name + " is " + words(tensor.dtype, tensor.shape) +
                                 ", the program was made for " + words(leaf.dtype, shape));
      return Buffer::put(state_->runtime, tensor.bytes.data(), kind, shape);
    }
    if (leaf.role == "rng") {
      uint32_t key[2] = {state_->seed, state_->draws++};
      return Buffer::put(state_->runtime, key, kind, shape);
    }
    if (leaf.role == "lr" && leaf.target.empty()) {
      double value = numbers_.at(leaf.name);
      return Buffer::put(state_->runtime, &value, kind, shape);
    }
    return state_->at(leaf.target);
  }

  std::shared_ptr<State> state_;
  Json entry_;
  std::map<std::string, double> numbers_;
  std::vector<Variant> variants_;
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
    state_->at(name) =
        Buffer::put(state_->runtime, value.bytes.data(), kind_of(value.dtype), value.shape);
  }

  void seed(uint32_t value) { state_->seed = value, state_->draws = 0; }

  // Write everything with the present state. executables: also those of the programs used so far,
  // for this plugin and kind of processor; they take the place of the ones made for the same
  // target.
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
    for (const auto& [name, data] : records) {
      Json entry = Json::object({{"bytes", double(data.size())}, {"sha256", sha256(data)}});
      const Json* known = file.manifest["files"].find(name);
      if (known != nullptr && known->find("unpacked") != nullptr)  // it is copied as it is
        entry.set("unpacked", (*known)["unpacked"]);
      files.set(name, entry);
    }
    manifest.set("files", files);
    records.insert(records.begin(), {"manifest.json", manifest.dump()});
    ZipWriter::write(path, records);
  }

 private:
  void add_executables(Json& manifest, Records& records) {
    Json target = target_here(*state_->runtime);
    for (const auto& [name, program] : programs_) {
      Json programs = manifest["programs"], entry = programs[name];
      for (const auto& [sizes, bytes] : program->serialized()) {
        Json codes = Json::list(Shape());
        std::string what = sizes.dump() + target.dump();
        std::string record = "exec/" + name + "." + std::to_string(crc32(what.data(), what.size()));
        if (const Json* before = entry.find("exec"))
          for (const Json& code : before->items)
            if (code["sizes"].dump() + code["target"].dump() != what) codes.items.push_back(code);
        codes.items.push_back(
            Json::object({{"file", record}, {"sizes", sizes}, {"target", target}}));
        entry.set("exec", codes);
        Records kept;
        for (auto& [key, data] : records)
          if (key != record) kept.emplace_back(key, std::move(data));
        kept.emplace_back(record, bytes);
        records = std::move(kept);
      }
      programs.set(name, entry), manifest.set("programs", programs);
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
