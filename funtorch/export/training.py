"""A whole training step as a program: forward, backward, and the optimiser's update.

    step = export_step(train, (x, t), model=model, optimizer=optimizer)
    step.save("train.ftpkg")
    step = load_step("train.ftpkg")        # elsewhere, without the model's source
    for x, t in batches:
        loss = step(x, t, lr=0.01)

Parameters, buffers and the optimiser's state are inputs and outputs by name; the learning rate is an
input; random numbers come from a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from funtorch.export.artifact import Artifact, ArtifactError, read, write
from funtorch.export.build import Built, Request, argument_names, axes_of, build
from funtorch.export.program import assembled, split_state
from funtorch.export.runtime import Program, constants_of, entries_of
from funtorch.func.stateful import module_state
from funtorch.grad_mode import no_grad
from funtorch.nn.module import Module
from funtorch.tensor import Tensor


class ExportedStep:
    """A training step with its state. Call it with the step's arguments; the state is updated.

    lr: another learning rate than the one at export, for all parameter groups, or a dict by name.
    """

    def __init__(
        self,
        program: Program,
        state: Mapping[str, Tensor],
        entries: Mapping[str, Any],
        constants: Mapping[str, Tensor],
        built: Built | None = None,
    ) -> None:
        self.program = program
        self.state = dict(state)
        self._entries = dict(entries)
        self._constants = dict(constants)
        self._built = built

    def __call__(self, *args: Any, lr: Any = None, **kwargs: Any) -> Any:
        numbers = lr if isinstance(lr, dict) else {}
        if isinstance(lr, int | float):
            numbers = dict.fromkeys(self.program.signature.numbers, float(lr))
        with no_grad():
            return self.program.call({**self._constants, **self.state}, args, kwargs, numbers)

    def state_dict(self) -> dict[str, Tensor]:
        """The model's parameters and persistent buffers, for `load_state_dict` of the model."""
        entries = self._entries
        return {
            n: t.detach()
            for n, t in self.state.items()
            if entries[n]["role"] in ("param", "buffer") and entries[n].get("persistent", True)
        }

    def artifact(self, extra_files: Mapping[str, Any] | None = None) -> Artifact:
        """What `save` writes."""
        if self._built is None:
            raise RuntimeError("this step was loaded: only the process that exported it can save")
        built = {"train": self._built}
        return assembled(
            "training_step", built, self.state, self._entries, self._constants, extra_files or {}
        )

    def save(self, f: Any, *, extra_files: Mapping[str, Any] | None = None) -> None:
        """Write the step with its present state to a path or binary file object."""
        write(self.artifact(extra_files), f)


def step_request(
    step: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    model: Module,
    optimizer: Any,
    locate: Callable[[], Any] | None = None,
) -> tuple[Request, dict[str, Any]]:
    """(what to record of a training step, what is said of each tensor of its state).

    The request's state is the model's and the optimiser's; recording changes neither.
    """
    names = {id(p): n for n, p in model.named_parameters()}
    state, entries = module_state(model), entries_of(model)
    for param, key, value in _optimizer_state(optimizer):
        name = f"optimizer.{names.get(id(param), 'unknown')}.{key}"
        state[name] = value
        entries[name] = {"role": "optimizer"}
    roles = {n: e["role"] for n, e in entries.items()}

    def checked(*given: Any, **named: Any) -> Any:
        before = _snapshot(optimizer)
        try:
            result = step(*given, **named)
        except BaseException:
            _restore(optimizer, before)
            raise
        changed = _restore(optimizer, before)
        if changed:
            raise RuntimeError(changed)
        return result

    arguments = argument_names(step, args, kwargs)
    rates = _rates(optimizer)
    request = Request(checked, args, kwargs, state, roles, arguments, numbers=rates, locate=locate)
    request = request._replace(gradient=False)
    return request, entries


def export_step(
    step: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    model: Module,
    optimizer: Any,
    dynamic_shapes: Any = None,
) -> ExportedStep:
    """The function `step(*args)`, which trains `model` with `optimizer`, as a program.

    The step is captured, not executed. The optimiser must have its state already (run one step
    first) and keep it in tensors; learning rates change from outside, not within the step.
    """
    request, entries = step_request(step, args, kwargs or {}, model, optimizer)
    state = request.state
    built = build(request, axes_of(request, dynamic_shapes))
    own = {n: _owned(t) for n, t in state.items() if "alias_of" not in entries[n]}
    own.update({n: own[e["alias_of"]] for n, e in entries.items() if "alias_of" in e})
    return ExportedStep(Program.from_built(built), own, entries, constants_of(built), built)


def _owned(tensor: Tensor) -> Tensor:
    """A copy: the step has a state of its own, the model keeps its."""
    return tensor.detach().clone()


def _optimizer_state(optimizer: Any) -> list[tuple[Any, str, Tensor]]:
    return [
        (param, key, value)
        for param, entry in optimizer.state.items()
        if isinstance(entry, dict)
        for key, value in entry.items()
        if isinstance(value, Tensor)
    ]


def _rates(optimizer: Any) -> dict[str, Any]:
    groups = [g for g in optimizer.param_groups if not isinstance(g["lr"], Tensor)]
    single = len(groups) == 1

    def setter(group: Any) -> Callable[[float], None]:
        return lambda value: group.__setitem__("lr", value)

    return {
        "lr" if single else f"lr.{i}": (group["lr"], setter(group))
        for i, group in enumerate(groups)
    }


def _snapshot(optimizer: Any) -> Any:
    entries = {p: dict(e) for p, e in optimizer.state.items() if isinstance(e, dict)}
    return entries, [dict(g) for g in optimizer.param_groups]


def _restore(optimizer: Any, before: Any) -> str:
    """Put the optimiser's dictionaries back; says what the step changed that it must not."""
    entries, groups = before
    words = ""
    for param, entry in list(optimizer.state.items()):
        old = entries.get(param, {})
        if not isinstance(entry, dict):
            continue
        if set(entry) != set(old):
            words = (
                "the optimiser has no state yet for some parameters: run one step before exporting"
            )
        elif any(entry[k] is not old[k] and entry[k] != old[k] for k in old if _plain(old[k])):
            words = "the optimiser counts in Python, which a program cannot do"
        if old:
            entry.clear()
            entry.update(old)
        else:
            del optimizer.state[param]
    for group, old_group in zip(optimizer.param_groups, groups, strict=True):
        if group["lr"] is not old_group["lr"] and group["lr"] != old_group["lr"]:
            words = "the step changes the learning rate: step the scheduler outside of it"
        group.update(old_group)
    return words


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | bool | str)


def load_step(f: Any, device: Any = None) -> ExportedStep:
    """Read what `ExportedStep.save` wrote; the step goes on where it was saved."""
    found = read(f)
    if "train" not in found.programs:
        raise ArtifactError(f"{f} holds no training step, but {sorted(found.programs)}")
    state, constants, entries = split_state(found, device)
    plain = {n: t.detach() for n, t in state.items()}
    program = Program.from_stored(found.programs["train"], "train")
    return ExportedStep(program, plain, entries, constants)


__all__ = ["ExportedStep", "export_step", "load_step"]
