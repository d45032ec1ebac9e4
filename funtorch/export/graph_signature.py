"""What PyTorch calls a program's graph signature: which inputs and outputs are what."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from funtorch.export.artifact import Leaf, Signature
from funtorch.export.graph import node_name


class InputKind(enum.Enum):
    """What an input is."""

    USER_INPUT = enum.auto()
    PARAMETER = enum.auto()
    BUFFER = enum.auto()
    CONSTANT_TENSOR = enum.auto()
    CUSTOM_OBJ = enum.auto()
    TOKEN = enum.auto()


class OutputKind(enum.Enum):
    """What an output is."""

    USER_OUTPUT = enum.auto()
    LOSS_OUTPUT = enum.auto()
    BUFFER_MUTATION = enum.auto()
    GRADIENT_TO_PARAMETER = enum.auto()
    GRADIENT_TO_USER_INPUT = enum.auto()
    USER_INPUT_MUTATION = enum.auto()
    TOKEN = enum.auto()


class TensorArgument(NamedTuple):
    """A node of the graph."""

    name: str


class InputSpec(NamedTuple):
    """One input: its kind, its node, and the state it stands for."""

    kind: InputKind
    arg: TensorArgument
    target: str | None
    persistent: bool | None = None


class OutputSpec(NamedTuple):
    """One output: its kind, its node, and the state that it replaces."""

    kind: OutputKind
    arg: TensorArgument
    target: str | None


class GraphSignature(NamedTuple):
    """Which inputs and outputs of a program are what, by name as PyTorch names them."""

    input_specs: list[InputSpec]
    output_specs: list[OutputSpec]

    def _inputs(self, kind: InputKind) -> list[InputSpec]:
        return [s for s in self.input_specs if s.kind is kind]

    def _outputs(self, kind: OutputKind) -> list[OutputSpec]:
        return [s for s in self.output_specs if s.kind is kind]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(self.inputs_to_parameters.values())

    @property
    def buffers(self) -> tuple[str, ...]:
        """Names of the buffers."""
        return tuple(self.inputs_to_buffers.values())

    @property
    def non_persistent_buffers(self) -> tuple[str, ...]:
        """Names of the buffers that no state dict holds."""
        found = self._inputs(InputKind.BUFFER)
        return tuple(str(s.target) for s in found if s.persistent is False)

    @property
    def user_inputs(self) -> tuple[str, ...]:
        """Nodes of the arguments."""
        return tuple(s.arg.name for s in self._inputs(InputKind.USER_INPUT))

    @property
    def user_outputs(self) -> tuple[str, ...]:
        """Nodes of the results."""
        return tuple(s.arg.name for s in self._outputs(OutputKind.USER_OUTPUT))

    @property
    def inputs_to_parameters(self) -> dict[str, str]:
        """Node -> parameter."""
        return {s.arg.name: str(s.target) for s in self._inputs(InputKind.PARAMETER)}

    @property
    def inputs_to_buffers(self) -> dict[str, str]:
        """Node -> buffer."""
        return {s.arg.name: str(s.target) for s in self._inputs(InputKind.BUFFER)}

    @property
    def buffers_to_mutate(self) -> dict[str, str]:
        """Node -> the buffer that it replaces."""
        return {s.arg.name: str(s.target) for s in self._outputs(OutputKind.BUFFER_MUTATION)}

    @property
    def user_inputs_to_mutate(self) -> dict[str, str]:
        """Node -> the argument that it replaces."""
        return {s.arg.name: str(s.target) for s in self._outputs(OutputKind.USER_INPUT_MUTATION)}


_INPUTS = {"param": InputKind.PARAMETER, "buffer": InputKind.BUFFER, "input": InputKind.USER_INPUT}
_OUTPUTS = {
    "param": OutputKind.BUFFER_MUTATION,
    "buffer": OutputKind.BUFFER_MUTATION,
    "input": OutputKind.USER_INPUT_MUTATION,
}


def graph_signature(
    signature: Signature, entries: Mapping[str, Any], nodes: Sequence[Any] | None
) -> GraphSignature:
    """PyTorch's view of a signature. nodes: those that the graph returns, if there is one."""
    leaves = [
        *(Leaf(n, "", [], e["role"], n) for n, e in entries.items() if e["role"] in _INPUTS),
        *(leaf for leaf in signature.inputs if leaf.role == "input"),
    ]
    inputs = []
    for leaf in leaves:
        persistent = entries[leaf.name].get("persistent", True) if leaf.role == "buffer" else None
        argument = TensorArgument(node_name(leaf))
        inputs.append(InputSpec(_INPUTS[leaf.role], argument, leaf.target, persistent))
    outs = [o for o in signature.outputs if o.role != "output"]
    outs += [o for o in signature.outputs if o.role == "output"]
    names = [node_name(o) for o in outs] if nodes is None else [n.name for n in nodes]
    outputs = [
        OutputSpec(_OUTPUTS.get(o.role, OutputKind.USER_OUTPUT), TensorArgument(n), o.target)
        for n, o in zip(names, outs, strict=True)
    ]
    return GraphSignature(inputs, outputs)
