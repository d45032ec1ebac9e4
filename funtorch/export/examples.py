"""Other ways to say which dimensions are dynamic: by tensor, and by further examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funtorch.export.dims import Dim, per_axis
from funtorch.tensor import Tensor

Leaves = Callable[[tuple[Any, ...], dict[str, Any]], list[Tensor]]


class ShapesCollection:
    """Entries of `dynamic_shapes` by tensor: `shapes[x] = {0: batch}`. The same objects have to be
    among the arguments of `export`."""

    def __init__(self) -> None:
        self._shapes: dict[int, tuple[Tensor, Any]] = {}

    def __setitem__(self, tensor: Tensor, shape: Any) -> None:
        if not isinstance(tensor, Tensor):
            raise ValueError(f"ShapesCollection: keys are tensors, not {type(tensor).__name__}")
        known = self._shapes.setdefault(id(tensor), (tensor, shape))[1]
        if known != shape:
            raise ValueError(f"ShapesCollection: the tensor has the entry {known}, not {shape}")

    def __getitem__(self, tensor: Tensor) -> Any:
        return self._shapes.setdefault(id(tensor), (tensor, {}))[1]

    def __len__(self) -> int:
        return len(self._shapes)

    def axes(self, given: Sequence[Tensor], leaves: Leaves) -> list[dict[int, Dim]]:
        """{axis: Dim} for each of the tensors given. Raises ValueError if one is not among them."""
        if not self._shapes.keys() <= {id(t) for t in given}:
            raise ValueError("ShapesCollection: a tensor with an entry is not among the arguments")
        none = (None, None)
        entries = [self._shapes.get(id(t), none)[1] for t in given]
        return [per_axis(s, t.ndim, "a tensor") for s, t in zip(entries, given, strict=True)]


class AdditionalInputs:
    """Further arguments that the program is to take: the dimensions that differ are dynamic."""

    def __init__(self) -> None:
        self._examples: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def add(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        """Add arguments as `export` takes them."""
        if type(args) is not tuple:
            raise AssertionError(f"Representative args {args} must be a tuple")
        self._examples.append((args, kwargs or {}))

    def axes(self, given: Sequence[Tensor], leaves: Leaves) -> list[dict[int, Dim]]:
        """{axis: Dim} for each of the tensors given. Raises ValueError if the trees differ."""
        others = [leaves(args, kwargs) for args, kwargs in self._examples]
        found = []
        for i, tensor in enumerate(given):
            shapes = [other[i].shape for other in others if len(other) == len(given)]
            if len(shapes) < len(others) or any(len(s) != tensor.ndim for s in shapes):
                raise ValueError("AdditionalInputs: arguments differ in more than sizes")
            differ = (n for n, size in enumerate(tensor.shape) if any(s[n] != size for s in shapes))
            found.append(per_axis(dict.fromkeys(differ, Dim.DYNAMIC), tensor.ndim, "a tensor"))
        return found

    def verify(self, ep: Any) -> None:
        """Raise RuntimeError if the program does not take one of the examples."""
        for args, kwargs in self._examples:
            ep.program.check(args, kwargs)
