"""Hooks on what the tape saves: `autograd.graph.saved_tensors_hooks`.

While a pair of hooks is open, what a node needs for its gradient goes through `pack` and is kept as
that returned it; the backward pass gets it through `unpack`. Such a tape is walked node by node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funtorch.grad_mode import no_grad
from funtorch.tensor import Tensor

Pack = Callable[[Tensor], Any]
Unpack = Callable[[Any], Tensor]

hooks: list[tuple[Pack, Unpack]] = []
"""The open pairs; the innermost, which is last, is the one that counts."""

barred: list[str] = []
"""Why no pair may be opened, if so: `disable_saved_tensors_hooks`."""


class Packed:
    """What `pack` made of saved tensors, for `unpack`."""

    __slots__ = ("kept", "unpack")

    def __init__(self, tensors: Sequence[Tensor | None]) -> None:
        pack, self.unpack = hooks[-1]
        outside, hooks[:] = hooks[:], []  # what the hooks themselves do is not packed
        try:
            with no_grad():
                self.kept = [None if t is None else _packed(pack, t) for t in tensors]
        finally:
            hooks[:] = outside

    def tensors(self) -> list[Tensor | None]:
        """The tensors again. Raises TypeError where `unpack` returns something else."""
        return [None if kept is None else self._unpacked(kept[0]) for kept in self.kept]

    def _unpacked(self, kept: Any) -> Tensor:
        tensor = self.unpack(kept)
        if not isinstance(tensor, Tensor):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                f"{type(tensor).__name__}"
            )
        return tensor


def _packed(pack: Pack, tensor: Tensor) -> tuple[Any]:
    """In a tuple of its own, since a hook may return None."""
    storage, version = tensor._storage, tensor._storage.version
    made = pack(tensor)
    if storage.writes_since(version):
        raise RuntimeError(
            "A saved tensor pack hook is modifying its input in place. Tensors provided as input to "
            "pack hook cannot be modified by in-place operations as this can lead to unexpected "
            "side-effects. Please open an issue if you need to perform in-place operations on the "
            "input to a pack hook."
        )
    return (made,)
