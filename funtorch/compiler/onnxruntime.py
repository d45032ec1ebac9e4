"""The backend "onnxruntime" of `torch.compile`: inference on the CPU in onnxruntime's kernels.

A call is written as ONNX (`torch.onnx.export`) once for each shape of its arguments, with the weights
inside; a changed weight means a new session. It has no gradient and changes no state, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from funtorch.bridge import as_tensor
from funtorch.dispatch import read, to_host
from funtorch.export import export
from funtorch.export.program import ProgramModule
from funtorch.export.structure import described, rebuilt
from funtorch.func.stateful import module_state
from funtorch.grad_mode import mode as grad_mode
from funtorch.lowering import Value
from funtorch.nn.module import Module
from funtorch.onnx import export as write_onnx
from funtorch.onnx.stored import runtime, session
from funtorch.tensor import Tensor

SIZE_LIMIT = 2**31 - 1


class Session(NamedTuple):
    """A model in onnxruntime, the weights that it was made with, and how its outputs are nested."""

    running: Any
    inputs: list[tuple[str, int]]  # name, which of the arguments' tensors
    weights: list[Value]
    out_spec: Any


def compiled(module: Module) -> Callable[..., Any]:
    """A function that calls the module in onnxruntime.

    It raises RuntimeError where a gradient would be needed, in training mode, for tensors that are
    not on the CPU, and for modules that change their state or draw random numbers.
    """
    runtime()
    sessions: dict[Any, Session] = {}

    def call(*args: Any, **kwargs: Any) -> Any:
        leaves: list[Tensor] = []
        spec = [described(list(args), leaves, [], "args"), described(kwargs, leaves, [], "kwargs")]
        state = list(module_state(module).values())
        _refuse(module, [*leaves, *state])
        weights = [read(t) for t in state]
        key = (repr(spec), *[read(t).aval for t in leaves])
        found = sessions.get(key)
        if found is None or any(a is not b for a, b in zip(found.weights, weights, strict=True)):
            found = sessions[key] = _made(module, args, kwargs, weights)
        feeds = {name: to_host(leaves[i].detach()) for name, i in found.inputs}
        outs = [as_tensor(a) for a in found.running.run(None, feeds)]
        return rebuilt(found.out_spec, outs)

    return call


def _refuse(module: Module, tensors: Sequence[Tensor]) -> None:
    if module.training:
        raise RuntimeError("backend='onnxruntime' is for inference: call eval() first")
    if grad_mode.enabled and any(t.requires_grad for t in tensors):
        raise RuntimeError(
            "backend='onnxruntime' has no gradients: call the module under torch.no_grad()"
        )
    for tensor in tensors:
        if tensor.device.type != "cpu":
            raise RuntimeError(f"backend='onnxruntime' is for the CPU, not for {tensor.device}")


def _made(module: Module, args: Any, kwargs: Any, weights: list[Value]) -> Session:
    if isinstance(module, ProgramModule):
        return _from_file(module, weights)
    exported = export(module, args, kwargs)
    signature = exported.program.signature
    _refuse_effects(signature)
    program = write_onnx(exported, verify=False)
    if program.nbytes > SIZE_LIMIT:
        raise RuntimeError(f"backend='onnxruntime': {program.nbytes} bytes of weights are too many")
    made = session(program.model_proto.SerializeToString())
    return Session(made, _used(made, program.input_names), weights, signature.out_spec)


def _from_file(module: ProgramModule, weights: list[Value]) -> Session:
    """The ONNX that a loaded artifact holds, with the module's present weights."""
    program = module.program
    if program.onnx is None:
        raise RuntimeError(
            "backend='onnxruntime': the file of this module holds no ONNX: write it with "
            "funtorch.onnx.add_onnx, or funtorch compile --onnx"
        )
    _refuse_effects(program.signature)
    arrays = {name: to_host(t.detach()) for name, t in module.state().items()}
    made = session(program.onnx, arrays)
    names = [i.name for i in made.get_inputs()]
    return Session(made, _used(made, names), weights, program.signature.out_spec)


def _refuse_effects(signature: Any) -> None:
    changed = [leaf.name for leaf in signature.outputs if leaf.role != "output"]
    if changed or any(leaf.role == "rng" for leaf in signature.inputs):
        what = f"changes {', '.join(changed)}" if changed else "draws random numbers"
        raise RuntimeError(f"backend='onnxruntime': the call {what}, which a session cannot")


def _used(made: Any, names: Sequence[str]) -> list[tuple[str, int]]:
    """(name, place among the arguments) of the inputs that the graph reads."""
    used = {i.name for i in made.get_inputs()}
    return [(name, i) for i, name in enumerate(names) if name in used]
