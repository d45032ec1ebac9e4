"""What a graph under construction is made of: values, nodes, blocks of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[Any, ...]  # whole numbers and JAX's symbolic dimensions


class Val:
    """One value of the graph. `shape` is what it stands for, `held` what its tensor has.

    The two differ where a broadcast has not been written, since whoever reads the value may
    broadcast by itself: then `held` has ones. array: its contents, if it is a constant.
    """

    __slots__ = ("array", "dtype", "graph", "held", "name", "shape")

    def __init__(
        self,
        graph: Any,
        name: str,
        dtype: Any,
        shape: Shape | None,
        array: np.ndarray[Any, Any] | None = None,
    ) -> None:
        self.graph = graph
        self.name = name
        self.dtype = np.dtype(dtype)
        self.shape = shape
        self.held = shape
        self.array = array

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        if self.shape is None:
            raise RuntimeError(f"the shape of {self.name} was not worked out")
        return len(self.shape)

    @property
    def partial(self) -> bool:
        """Is there a broadcast that was not written yet?"""
        return self.held is not self.shape and self.held != self.shape

    def astype(self, dtype: Any) -> Val:
        """Cast; a promotion rule calls this as it would on an array."""
        made: Val = self.graph.cast(self, dtype)
        return made

    def broadcast(self, shape: Shape) -> Val:
        """The same tensor, standing for a larger one of as many dimensions."""
        made = Val(self.graph, self.name, self.dtype, shape, self.array)
        made.held = self.held
        return made

    def __repr__(self) -> str:
        return f"%{self.name}:{self.dtype.name}{list(self.shape) if self.shape is not None else ''}"


class Pair(Val):
    """A complex value: its real and its imaginary part. Nothing of it is in the graph but these."""

    __slots__ = ("im", "re")

    def __init__(self, re: Val, im: Val) -> None:
        super().__init__(re.graph, "", np.result_type(re.dtype, np.complex64), re.shape)
        self.re, self.im = re, im


class Node(NamedTuple):
    """One node; inputs may be None where ONNX leaves one out. attrs may hold Blocks.

    metadata: entries of its own, beside those that its origin gives.
    """

    op: str
    domain: str
    inputs: tuple[Val | None, ...]
    outputs: tuple[Val, ...]
    attrs: dict[str, Any]
    origin: Any
    metadata: dict[str, str] = {}  # noqa: RUF012  (never changed)


class Block:
    """Nodes in order, with the inputs and outputs of a subgraph; the main graph is one too."""

    def __init__(self, parent: Block | None = None) -> None:
        self.parent = parent
        self.nodes: list[Node] = []
        self.inputs: list[Val] = []
        self.outputs: list[Val] = []
        self.seen: dict[Any, tuple[Val, ...]] = {}


def merged(shapes: Sequence[Shape]) -> Shape:
    """Broadcast shape of these."""
    rank = max(map(len, shapes), default=0)
    made: list[Any] = [1] * rank
    for shape in shapes:
        for i, size in enumerate(shape, rank - len(shape)):
            if not is_one(size):
                made[i] = size
    return tuple(made)


def is_one(size: Any) -> bool:
    """Is this dimension 1 whatever the symbolic ones are?"""
    return isinstance(size, int) and size == 1


def static(shape: Shape | None) -> bool:
    """Are all dimensions known?"""
    return shape is not None and all(isinstance(n, int) for n in shape)
