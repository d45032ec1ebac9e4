"""Many tensors as few flat ones, for collectives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from funtorch.distributed.collectives import broadcast
from funtorch.distributed.groups import ProcessGroup
from funtorch.grad_mode import no_grad
from funtorch.ops.joining import cat
from funtorch.tensor import Tensor, dtype_of


def bucketed(tensors: Iterable[Tensor], most: float) -> list[list[Tensor]]:
    """Tensors in groups of one dtype and at most so many bytes (or of a single one)."""
    made: list[list[Tensor]] = []
    filling: dict[object, tuple[list[Tensor], int]] = {}
    for tensor in tensors:
        key, size = (dtype_of(tensor), tensor.device), tensor.numel() * tensor.element_size()
        bucket, held = filling.get(key, ([], 0))
        if not bucket or held + size > most:
            bucket, held = [], 0
            made.append(bucket)
        bucket.append(tensor)
        filling[key] = bucket, held + size
    return made


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All elements in a row."""
    return cat([tensor.reshape(-1) for tensor in tensors])


def pieces(row: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """A row of elements in the shapes of these tensors."""
    parts = row.split([tensor.numel() for tensor in like])
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def broadcast_all(tensors: Sequence[Tensor], root: int, group: ProcessGroup) -> None:
    """Every member's tensors become those of the member `root`."""
    with no_grad():
        buckets = bucketed(tensors, float("inf"))
        rows = [flat(bucket) for bucket in buckets]
        works = [broadcast(row, group_src=root, group=group, async_op=True) for row in rows]
        for work, row, bucket in zip(works, rows, buckets, strict=True):
            assert work is not None
            work.wait()
            if group.rank() != root:
                for tensor, piece in zip(bucket, pieces(row, bucket), strict=True):
                    tensor.copy_(piece)


class GradBucket:
    """Gradients of some parameters in a row, as a hook for communication gets them."""

    def __init__(self, row: Tensor, parameters: Sequence[Tensor], index: int, last: bool) -> None:
        self._row, self._parameters, self._index, self._last = row, parameters, index, last

    def buffer(self) -> Tensor:
        """The row. [n]"""
        return self._row

    def set_buffer(self, tensor: Tensor) -> None:
        """Another row in its place."""
        self._row = tensor

    def gradients(self) -> list[Tensor]:
        """The gradients, as parts of the row."""
        return pieces(self._row, self._parameters)

    def parameters(self) -> list[Tensor]:
        """The parameters."""
        return list(self._parameters)

    def index(self) -> int:
        """Which bucket."""
        return self._index

    def is_last(self) -> bool:
        """Is it the last one of this backward pass?"""
        return self._last
