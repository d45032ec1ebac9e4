"""From tensors to the recorder and back: the one way every op takes.

`call` reads the newest values of its inputs, finds the op's instance, records it, wraps the outputs,
and leaves a node on the tape. It is the hot path: five microseconds for everything.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import lax

from funtorch import anomaly, hostmem, saving
from funtorch.grad_mode import mode
from funtorch.lowering import Instance, Op, Value, instance, record, residual_instance
from funtorch.lowering.record import owner
from funtorch.tape import OpNode, gradient_edge, node_class
from funtorch.tensor import Tensor, contiguous_strides, wrap

Saves = Callable[[Any], tuple[tuple[int, ...], bool]]


class OpInfo:
    """What the facade knows of an op beside its lowering.

    saves(statics) -> (indices of the tensor inputs whose values the gradient needs, whether
    PyTorch saves the result instead of an input).
    undefined: the output requires grad, but its gradient ends here: inputs get None, not zeros.
    """

    __slots__ = ("differentiable", "memo", "name", "node", "op", "pointwise", "saves", "undefined")

    def __init__(
        self,
        op: Op,
        *,
        saves: Saves | None = None,
        grad_name: str | None = None,
        differentiable: bool = True,
        pointwise: bool = False,
        undefined: bool = False,
    ) -> None:
        self.op = op
        self.name = op.name
        self.saves = saves
        self.node = node_class(grad_name or default_grad_name(op.label))
        self.differentiable = differentiable
        self.pointwise = pointwise
        self.undefined = undefined
        self.memo: dict[Any, Instance] = {}


def default_grad_name(name: str) -> str:
    """'log_softmax' -> 'LogSoftmaxBackward0'."""
    return "".join(part.capitalize() for part in name.split("_")) + "Backward0"


def exact(number: Any) -> Any:
    """A number as the recorder keeps it: -0.0, which equals 0.0, gets a type of its own."""
    if number == 0 and type(number) is float and math.copysign(1.0, number) < 0:
        return np.float64(number)
    return number


refresher: list[Callable[[Tensor], Value]] = []
"""How a stale tensor gets its newest value; `views`, which stands above, puts it here."""


def read(tensor: Tensor) -> Value:
    """The newest value of a tensor."""
    if tensor._seen == tensor._storage.version:
        return tensor._value
    return refresher[0](tensor)


def call(
    info: OpInfo, statics: Any, tensors: Sequence[Tensor], scalars: Sequence[Any]
) -> list[Tensor]:
    """Record `info` on these tensors; returns its outputs, taped if need be."""
    values = [t._value if t._seen == t._storage.version else refresher[0](t) for t in tensors]
    avals = tuple([v.aval for v in values])
    key = (statics, avals, *[type(s) for s in scalars]) if scalars else (statics, avals)
    inst = info.memo.get(key)
    if inst is None:
        inst = info.memo[key] = _miss(info, statics, scalars, avals)
    taped = False
    if mode.enabled and info.differentiable:
        for tensor in tensors:
            if tensor._requires:
                taped = True
                break
    if taped:
        outs = record_taped(info, inst, statics, tensors, values, scalars)
    else:
        made = record(inst, values, scalars, inst.out_avals[0].place)
        outs = [wrap(value) for value in made]
        if mode.captured and not (mode.enabled and info.differentiable):
            outs = [wrap(detached(value)) for value in made]
    if info.pointwise:
        for tensor in tensors:
            if tensor._stride is not None:
                keep_strides(outs, tensors)
                break
    if mode.inference:
        for out in outs:
            out._inference = True
    return outs


def _stopped(inputs: Sequence[Any], scalars: Sequence[Any], statics: Any) -> tuple[Any, ...]:
    return (lax.stop_gradient(inputs[0]),)


_detach = OpInfo(Op("detach", _stopped))


def detached(value: Value) -> Value:
    """A value without gradient, for functions whose gradient JAX takes."""
    aval = value.aval
    if aval.dtype.kind not in "fcV":
        return value
    inst = _detach.memo.get(aval)
    if inst is None:
        inst = _detach.memo[aval] = instance(_detach.op, (), (), (aval,), aval.place)
    return record(inst, (value,), (), aval.place)[0]


def _miss(info: OpInfo, statics: Any, scalars: Sequence[Any], avals: tuple[Any, ...]) -> Instance:
    return instance(info.op, statics, scalars, avals, common_place(info.name, avals))


def common_place(name: str, avals: Sequence[Any]) -> Any:
    """The one device of all inputs. Raises RuntimeError if they live on several."""
    place = avals[0].place
    for aval in avals:
        if aval.place is not place:
            from_each = sorted({str(a.place) for a in avals})
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{' and '.join(from_each)}! (when calling {name})"
            )
    return place


def record_taped(
    info: OpInfo,
    inst: Instance,
    statics: Any,
    tensors: Sequence[Tensor],
    values: list[Value],
    scalars: Sequence[Any],
) -> list[Tensor]:
    """Record and leave a node on the tape, to which the floating-point outputs belong."""
    place = inst.out_avals[0].place
    if inst.op.residuals and not saving.hooks:
        wrt = tuple(i for i, t in enumerate(tensors) if t._requires)
        everything = record(residual_instance(inst, wrt), values, scalars, place)
        made = everything[: len(inst.out_avals)]
        residuals = (wrt, everything[len(inst.out_avals) :])
    else:
        made = record(inst, values, scalars, place)
        residuals = None
    outs = [wrap(value) for value in made]
    attach(info, inst, statics, tensors, values, scalars, outs, residuals)
    return outs


def attach(
    info: OpInfo,
    inst: Instance,
    statics: Any,
    tensors: Sequence[Tensor],
    values: Sequence[Value],
    scalars: Sequence[Any],
    outs: Sequence[Tensor],
    residuals: tuple[tuple[int, ...], list[Value]] | None = None,
) -> None:
    """Make `outs` the outputs of a new tape node."""
    transform = owner().capture
    if transform is not None:
        # A function under transformation reads taped tensors from outside: remember which, so
        # that gradients find their way to them through the transformed op.
        for tensor, value in zip(tensors, values, strict=True):
            if value.trace is not transform and tensor._requires:
                transform.origins.setdefault(value, tensor)
    edges = [None if info.undefined else gradient_edge(t) for t in tensors]
    node: OpNode = info.node(tuple(edges), inst.out_avals)
    node.inst = inst
    node.scalars = scalars
    if info.saves is None or residuals is not None:
        saved, result = tuple(range(len(values))), False
    else:
        saved, result = info.saves(statics)
    node.saved = saved
    node.values = [values[i] for i in saved]
    node.residuals = residuals
    node.sources = None
    if result:
        node.versions = [(out._storage, out._storage.version, -1) for out in outs]
    else:
        node.versions = [(tensors[i]._storage, tensors[i]._storage.version, i) for i in saved]
    if saving.hooks:
        _pack(node, tensors)
    if anomaly.state.enabled:
        anomaly.remember(node)
    for index, out in enumerate(outs):
        if inst.out_avals[index].dtype.kind in "fcV":
            out._node = node
            out._out = index
            out._requires = True


def _pack(node: OpNode, tensors: Sequence[Tensor]) -> None:
    """Give what a node saves to the hooks, and keep what they return in its place."""
    assert node.values is not None
    given = [wrap(value) for value in node.values]
    for tensor, index in zip(given, node.saved, strict=True):
        tensor._requires = tensors[index]._requires
    node.values, node.versions = [], ()  # what hooks keep cannot be told from what was changed
    node.noted("packed", lambda: saving.Packed(given))


# Strides ------------------------------------------------------------------------------------


def keep_strides(outs: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    """Lay outputs of an elementwise op out as PyTorch's TensorIterator would.

    An input of full shape gives its order of dimensions in memory if it is the first; if that one
    is broadcast, all have a say.
    """
    first = tensors[0]
    for out in outs:
        shape = out._value.aval.shape
        if first._value.aval.shape == shape:
            if first._stride is not None:
                out._stride = out._storage.layout = dense_like(shape, first._stride)
            continue
        given = tuple([(t._value.aval.shape, t._stride) for t in tensors])
        lay_out(out, _order_of_broadcast(shape, given))


@functools.lru_cache(maxsize=1024)
def _order_of_broadcast(shape: tuple[int, ...], given: Any) -> Sequence[int] | None:
    """The order of dimensions of a result, from the (shape, strides) of its operands; None if they
    are not of its shape (losses, which may be reduced)."""
    operands = []
    for own, strides in given:
        added = len(shape) - len(own)
        if added < 0 or any(n not in (1, m) for n, m in zip(own, shape[added:], strict=True)):
            return None
        steps = zip(own, strides or contiguous_strides(own), shape[added:], strict=True)
        kept = [0 if n == 1 and wide != 1 else step for n, step, wide in steps]
        operands.append([0] * added + kept)
    return iteration_order(shape, operands)


def iteration_order(shape: Sequence[int], operands: Sequence[Sequence[int]]) -> list[int]:
    """The dimensions from the slowest to the fastest, as PyTorch's TensorIterator sorts them.

    operands: strides of each, zero where it is broadcast. By insertion; a pair is compared by the
    first operand that has no zero stride there and is not undecided.
    """
    order: list[int] = []
    for d in range(len(shape) - 1, -1, -1):  # the fastest first
        order.append(d)
        here = len(order) - 1
        for other in range(here - 1, -1, -1):
            sign = _compared(shape, operands, order[other], order[here])
            if sign < 0:
                break
            if sign > 0:
                order[other], order[here] = order[here], order[other]
                here = other
    return order[::-1]


def _compared(shape: Sequence[int], operands: Sequence[Sequence[int]], one: int, other: int) -> int:
    for stride in operands:
        if stride[one] and stride[other]:
            if stride[one] != stride[other]:
                return 1 if stride[one] > stride[other] else -1
            if shape[one] > shape[other]:
                return 1
    return 0


def dense_like(shape: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...] | None:
    """Dense strides with the memory order of `stride`; None if that is contiguous."""
    return _dense(shape, sorted(range(len(shape)), key=lambda d: (-stride[d], d)))


def lay_out(tensor: Tensor, order: Sequence[int] | None) -> None:
    """Give a fresh tensor dense strides with its dimensions in this order, slowest first."""
    if order is not None:
        tensor._stride = tensor._storage.layout = _dense(tensor._value.aval.shape, order)


def _dense(shape: tuple[int, ...], order: Sequence[int]) -> tuple[int, ...] | None:
    dense, step = [0] * len(shape), 1
    for d in reversed(order):
        dense[d] = step
        step *= max(shape[d], 1)
    made = tuple(dense)
    return None if is_contiguous(shape, made) else made


def is_contiguous(shape: tuple[int, ...], stride: tuple[int, ...] | None) -> bool:
    """C-contiguous, as PyTorch says it: extents of one do not matter, empty tensors are."""
    if stride is None:
        return True
    expected = 1
    if 0 in shape:
        return True
    for extent, step in zip(reversed(shape), reversed(stride), strict=True):
        if extent != 1:
            if step != expected:
                return False
            expected *= extent
    return True


# Reading on the host ---------------------------------------------------------------------------


def to_host(tensor: Tensor) -> np.ndarray[Any, Any]:
    """The elements as a read-only NumPy array; waits until they are there."""
    return hostmem.as_numpy(read(tensor))


def create(info: OpInfo, statics: Any, scalars: Sequence[Any], place: Any) -> Tensor:
    """Record an op that has no tensor inputs: its output is made within the program."""
    scalars = [exact(s) for s in scalars]
    key = (statics, place, *[type(s) for s in scalars])
    inst = info.memo.get(key)
    if inst is None:
        inst = info.memo[key] = instance(info.op, statics, scalars, (), place)
    made = wrap(record(inst, (), scalars, place)[0])
    made._inference = mode.inference
    return made
