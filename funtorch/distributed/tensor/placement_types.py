"""How a DTensor lies on one dimension of a mesh of processes: cut, the same everywhere, or summands."""

from __future__ import annotations

from typing import Any

__all__ = ["Partial", "Placement", "Replicate", "Shard"]


class Placement:
    """Of one dimension of the mesh."""

    def is_shard(self, dim: int | None = None) -> bool:
        """Is the tensor cut (along this dimension)?"""
        return isinstance(self, Shard) and dim in (None, self.dim)

    def is_replicate(self) -> bool:
        """Does every process hold the same?"""
        return isinstance(self, Replicate)

    def is_partial(self, reduce_op: str | None = None) -> bool:
        """Is the tensor the sum (or what else is named) of what the processes hold?"""
        return isinstance(self, Partial) and reduce_op in (None, self.reduce_op)

    def _key(self) -> tuple[Any, ...]:
        return (type(self),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Placement) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


class Shard(Placement):
    """Each process holds a chunk along `dim`, as `torch.chunk` cuts it; the last may be smaller."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    @staticmethod
    def local_shard_size_and_offset(
        curr_local_size: int, num_chunks: int, rank: int
    ) -> tuple[int, int]:
        """(extent, begin) of the chunk of one process."""
        chunk = -(-curr_local_size // num_chunks)
        begin = min(curr_local_size, chunk * rank)
        return min(curr_local_size, begin + chunk) - begin, begin

    def _key(self) -> tuple[Any, ...]:
        return Shard, self.dim

    def __repr__(self) -> str:
        return f"Shard(dim={self.dim})"

    def __str__(self) -> str:
        return f"S({self.dim})"


class _StridedShard(Placement):
    """Chunks of chunks along `dim`. Nothing here places a tensor so; programs ask whether one is."""

    def __init__(self, dim: int, *, split_factor: int) -> None:
        self.dim, self.split_factor = dim, split_factor

    def _key(self) -> tuple[Any, ...]:
        return _StridedShard, self.dim, self.split_factor

    def __repr__(self) -> str:
        return f"_StridedShard(dim={self.dim}, sf={self.split_factor})"


class Replicate(Placement):
    """Every process holds the whole tensor."""

    def __repr__(self) -> str:
        return "Replicate()"

    def __str__(self) -> str:
        return "R"


class Partial(Placement):
    """The tensor is the sum of what the processes hold, or its 'avg', 'product', 'max' or 'min'."""

    def __init__(self, reduce_op: str = "sum") -> None:
        self.reduce_op = reduce_op

    def _key(self) -> tuple[Any, ...]:
        return Partial, self.reduce_op

    def __repr__(self) -> str:
        return f"Partial({self.reduce_op})"

    def __str__(self) -> str:
        return f"P({self.reduce_op})"
