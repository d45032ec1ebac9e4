// From recorded functions to a Model: programs, their signatures and initial state, as in a file.
#pragma once

#include "ft_grad.hpp"
#include "ft_model.hpp"
#include "ft_optim.hpp"

namespace ft {

// An argument of a program.
struct Input {
  std::string name, dtype;
  Shape shape;
};

using Body = std::function<Var(const Vars&)>;

// Initial values of a module's parameters and buffers from an artifact, by name.
inline void load_state(Module& net, const std::string& path) {
  File file(path);
  for (const auto& p : net.parameters()) {
    auto found = file.arrays.find(p->name);
    if (found == file.arrays.end()) throw std::runtime_error(path + " holds no " + p->name);
    const Weight& stored = found->second;
    std::string mine = words(p->initial.dtype, p->initial.shape);
    std::string theirs = words(kind_of(stored.dtype).name, stored.shape);
    if (mine != theirs)
      throw std::runtime_error(p->name + " is " + mine + ", in " + path + " " + theirs);
    std::copy_n(stored.bytes.data, p->initial.bytes.size(), p->initial.bytes.data());
  }
}

// Records programs of one module:
//
//   ft::Builder build(net);
//   build.forward({{"x", "float32", {32, 4}}});
//   build.training({{"x", "float32", {32, 4}}, {"t", "int64", {32}}}, optimizer,
//                  [&](const ft::Vars& in) { return ft::cross_entropy(net(in[0]), in[1]); });
//   ft::Model model = build.model(plugin);
class Builder {
 public:
  explicit Builder(Module& net) : net_(net), parameters_(net.parameters()) {
    for (const auto& p : parameters_) {
      arrays_[p->name] = stored(p->initial);
      Json entry = Json::object({{"role", p->trained ? "param" : "buffer"}});
      if (p->trained) entry.set("requires_grad", Json::truth(true));
      state_.set(p->name, entry);
    }
  }

  // The module's call, in the mode that it is in.
  void forward(const std::vector<Input>& inputs, const std::string& name = "forward") {
    program(name, inputs, [&](const Vars& in) { return net_(in.at(0)); });
  }

  // Any function of the arguments and the module's parameters.
  void program(const std::string& name, const std::vector<Input>& inputs, const Body& body) {
    Draft draft(*this, inputs);
    draft.call(body);
    finish(name, draft, Json::object());
  }

  // A whole step: the loss that `body` returns, its gradients, and the optimiser's update. The
  // learning rate is a number of the program: model["train"].set("lr", 0.01).
  void training(const std::vector<Input>& inputs, const Optimizer& optimizer, const Body& body,
                const std::string& name = "train") {
    Draft draft(*this, inputs);
    Var loss = draft.call(body);
    Vars leaves;
    Parameters trained;
    for (const auto& p : parameters_)
      if (p->trained) trained.push_back(p), leaves.push_back(p->var);
    Vars grads = gradients(loss, leaves);
    Var lr = leaf("lr", {"float64", {}});
    for (size_t i = 0; i < trained.size(); i++) {
      const Parameter& p = *trained[i];
      std::vector<std::string> names = {p.name};
      Vars slots;
      for (const Slot& slot : optimizer.slots(p)) {
        names.push_back("optimizer." + p.name + "." + slot.key);
        arrays_.emplace(names.back(), stored(slot.initial));
        state_.set(names.back(), Json::object({{"role", "optimizer"}}));
        slots.push_back(leaf(names.back(), {slot.initial.dtype, slot.initial.shape}));
        draft.take(names.back(), slots.back(), "optimizer", names.back());
      }
      Vars made = optimizer.update(p.var, grads[i], slots, convert(lr, p.var.dtype()));
      for (size_t k = 0; k < made.size(); k++)
        draft.leave(names[k], made[k], k ? "optimizer" : "param", names[k]);
    }
    draft.take("lr", lr, "lr");
    finish(name, draft, Json::object({{"lr", optimizer.lr}}));
  }

  // The programs with their initial state, ready to be called and saved.
  Model model(const Shared& runtime) const {
    Json manifest =
        Json::object({{"format", "funtorch-artifact"},
                      {"version", 1.0},
                      {"writer", "funtorch_nn.hpp"},
                      {"kind", programs_.find("train") ? "training_step" : "exported_program"},
                      {"about", Json::object()},
                      {"programs", programs_},
                      {"state", state_},
                      {"files", Json::object()}});
    Records records = {{"manifest.json", manifest.dump()},
                       {"weights.safetensors", safetensors(arrays_)}};
    records.insert(records.end(), texts_.begin(), texts_.end());
    return Model(std::make_shared<File>(std::move(records)), runtime);
  }

  Model model(const std::string& plugin) const { return model(std::make_shared<Runtime>(plugin)); }

  // The StableHLO of a program, to read.
  std::string text(const std::string& name) const {
    for (const auto& [record, found] : texts_)
      if (record == "programs/" + name + ".stablehlo") return found;
    throw std::runtime_error("there is no program " + name);
  }

 private:
  // A program while it is recorded: its leaves in order, with what the manifest says of them.
  struct Draft {
    Draft(Builder& builder, const std::vector<Input>& inputs) : state(builder.parameters_) {
      for (const auto& p : state) take(p->name, p->var, p->trained ? "param" : "buffer", p->name);
      for (const Input& input : inputs) {
        arguments.push_back(leaf(input.name, {input.dtype, input.shape}));
        names.push_back(input.name);
      }
    }

    Var call(const Body& body) {
      Recording now;
      recording() = &now;
      Var result;
      try {
        result = body(arguments);
      } catch (...) {
        recording() = nullptr;
        throw;
      }
      recording() = nullptr;
      key = now.key;
      leave("output_0", result, "output");
      for (const auto& p : state)
        if (now.assigned.count(p.get()))
          leave(p->name, now.assigned.at(p.get()), "buffer", p->name);
      return result;
    }

    void take(const std::string& name, const Var& var, const std::string& role,
              const std::string& target = "") {
      ins.push_back(var);
      inputs.items.push_back(entry(name, var, role, target));
    }

    void leave(const std::string& name, const Var& var, const std::string& role,
               const std::string& target = "") {
      outs.push_back(var);
      outputs.items.push_back(entry(name, var, role, target));
    }

    static Json entry(const std::string& name, const Var& var, const std::string& role,
                      const std::string& target) {
      return Json::object({{"name", name},
                           {"dtype", var.dtype()},
                           {"shape", Json::list(var.shape())},
                           {"role", role},
                           {"target", target.empty() ? Json() : Json(target)}});
    }

    const Parameters& state;
    Vars ins, outs, arguments;
    std::vector<std::string> names;
    Json inputs = Json::list(Shape()), outputs = Json::list(Shape());
    Var key;
  };

  static StoredArray stored(const Tensor& tensor) {
    return {kind_of(tensor.dtype).stored, tensor.shape,
            std::string(tensor.bytes.begin(), tensor.bytes.end())};
  }

  void finish(const std::string& name, Draft& draft, const Json& numbers) {
    if (draft.key) draft.take("rng", draft.key, "rng");
    Json args = Json::list(Shape());
    for (size_t i = 0; i < draft.arguments.size(); i++) {
      draft.take(draft.names[i], draft.arguments[i], "input");
      args.items.push_back(Json::object({{"leaf", double(i)}}));
    }
    // State that comes out takes over the memory of the state that went in.
    std::map<size_t, size_t> aliases;
    Json pairs = Json::list(Shape());
    for (size_t i = 0; i < draft.ins.size(); i++)
      for (size_t k = 0; k < draft.outs.size(); k++) {
        const std::string& target = draft.outputs.items[k]["target"].text;
        if (target.empty() || draft.inputs.items[i]["target"].text != target) continue;
        aliases[i] = k;
        pairs.items.push_back(Json::list(std::vector<double>{double(i), double(k)}));
      }
    Json spec = Json::object(
        {{"args", args}, {"kwargs", Json::list(Shape())}, {"names", Json::list(draft.names)}});
    programs_.set(name,
                  Json::object({{"inputs", draft.inputs},
                                {"outputs", draft.outputs},
                                {"dims", Json::object()},
                                {"in_spec", spec},
                                {"out_spec", Json::object({{"leaf", 0.0}})},
                                {"platforms", Json::list(std::vector<std::string>{"cpu", "cuda"})},
                                {"vjp_order", 0.0},
                                {"donate", pairs},
                                {"ops", Json::object()},
                                {"numbers", numbers}}));
    texts_.emplace_back("programs/" + name + ".stablehlo",
                        ft::text(draft.ins, draft.outs, aliases));
  }

  Module& net_;
  Parameters parameters_;
  std::map<std::string, StoredArray> arrays_;
  Json state_ = Json::object(), programs_ = Json::object();
  Records texts_;
};

}  // namespace ft
