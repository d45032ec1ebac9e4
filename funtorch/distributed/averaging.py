"""Gradients become their mean over a group's members."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from funtorch.autograd.engine import listen
from funtorch.distributed.buckets import GradBucket, bucketed, flat, pieces
from funtorch.distributed.collectives import all_reduce
from funtorch.distributed.groups import ProcessGroup
from funtorch.distributed.reducing import ReduceOp
from funtorch.futures import Future
from funtorch.grad_mode import no_grad
from funtorch.ops.creation import zeros_like
from funtorch.ops.from_data import tensor
from funtorch.tensor import Tensor

Hook = Callable[[Any, GradBucket], Future[Tensor]]


class Averaging:
    """The parameters whose gradients a group averages. some: any of them may go without a gradient.

    divisor: what sums are divided by. hook: (state, function) in place of averaging. dtype: in which
    gradients are sent, None for their own.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        group: ProcessGroup,
        megabytes: float = 25.0,
        some: bool = False,
        dtype: Any = None,
    ) -> None:
        self.parameters, self.group, self.some, self.dtype = list(parameters), group, some, dtype
        self.buckets = bucketed(reversed(self.parameters), megabytes * 2**20)
        self.divisor = group.size()
        self.hook: tuple[Any, Hook] | None = None

    def ids(self) -> set[int]:
        """Of all parameters."""
        return {id(p) for p in self.parameters}

    def average(self, grads: Sequence[Tensor | None], came: set[int]) -> None:
        """Set the gradients that came for any member to the mean. grads: this member's."""
        used = self._used_anywhere(came) if self.some else self.ids()
        held = {id(p): g for p, g in zip(self.parameters, grads, strict=True)}
        with no_grad():
            rows = []
            for bucket in self.buckets:
                own = [held[id(p)] for p in bucket]
                rows.append(flat([zeros_like(p) if g is None else g for p, g in zip(bucket, own)]))
            for bucket, row in zip(self.buckets, self._means(rows), strict=True):
                for p, mean in zip(bucket, pieces(row, bucket), strict=True):
                    if id(p) not in used:
                        continue
                    if p.grad is None:
                        p.grad = mean.clone()
                    else:
                        p.grad.copy_(mean)

    def _means(self, rows: list[Tensor]) -> list[Tensor]:
        if self.hook is None:
            sent = [row if self.dtype is None else row.to(self.dtype) for row in rows]
            sent = [row.div(self.divisor) for row in sent]
            works = [all_reduce(row, group=self.group, async_op=True) for row in sent]
            for work in works:
                assert work is not None
                work.wait()
            return sent
        state, hook = self.hook
        futures = [
            hook(state, GradBucket(row, bucket, i, i == len(rows) - 1))
            for i, (row, bucket) in enumerate(zip(rows, self.buckets, strict=True))
        ]
        return [future.wait() for future in futures]

    def _used_anywhere(self, came: set[int]) -> set[int]:
        flags = tensor([int(id(p) in came) for p in self.parameters])
        all_reduce(flags, ReduceOp.MAX, self.group)
        return {id(p) for p, flag in zip(self.parameters, flags.tolist(), strict=True) if flag}


class AverageAlways(Averaging):
    """Averages after every backward pass that brings any of the gradients, while `on`."""

    def __init__(
        self, parameters: Sequence[Tensor], group: ProcessGroup, dtype: Any = None
    ) -> None:
        super().__init__(parameters, group, some=True, dtype=dtype)
        self.on = True
        listen(self)

    def after_backward(self, leaves: Iterable[Tensor]) -> None:
        """The engine calls it."""
        came = self.ids() & {id(leaf) for leaf in leaves}
        if self.on and came:
            self.average([p.grad for p in self.parameters], came)
