"""Views: windows on the same storage, and writing through them.

A view op is a pure function for reading, a pure function for writing back, and a rule for strides.
Reading a view applies its chain of steps to the storage's value, once per version. Writing in place
scatters the new contents back through the chain; every other window sees it at its next read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funtorch import hostmem
from funtorch.dispatch import OpInfo, attach, default_grad_name, is_contiguous, read, refresher
from funtorch.grad_mode import mode
from funtorch.lowering import Instance, Op, Value, instance, record
from funtorch.lowering.record import owner
from funtorch.tape import OpNode
from funtorch.tensor import Storage, Tensor, alias, contiguous_strides

Layout = Callable[..., tuple[tuple[int, ...], int]]


class ViewOp:
    """One kind of view.

    lower(x, *args) -> array; write(x, new, *args) -> x with the window replaced (by default through
    an index map, which serves every view); layout(shape, strides, *args) -> (strides, offset).
    The first `n_scalars` args are integers that may become inputs of the program. host(x, *args): the
    same on a NumPy array.
    """

    def __init__(
        self,
        name: str,
        lower: Callable[..., Any],
        layout: Layout,
        write: Callable[..., Any] | None = None,
        n_scalars: int = 0,
        grad_name: str | None = None,
        host: Callable[..., Any] | None = None,
    ) -> None:
        self.name = name
        self.host = host
        self.lower = lower
        self.layout = layout
        self.write = write or self._write_by_index
        self.n_scalars = n_scalars
        self.layouts: dict[Any, tuple[tuple[int, ...] | None, int]] = {}
        self.reading = OpInfo(
            Op(name, self._lower_read, host=None if host is None else self._read_on_host),
            saves=_saves_nothing,
            grad_name=grad_name or default_grad_name(name),
        )
        self.writing = OpInfo(
            Op(f"{name}_write", self._lower_write), saves=_saves_nothing, grad_name="CopySlices"
        )

    def _lower_read(self, inputs: Sequence[Any], scalars: Sequence[Any], statics: Any) -> Any:
        return (self.lower(inputs[0], *scalars, *statics),)

    def _read_on_host(self, inputs: Sequence[Any], scalars: Sequence[Any], statics: Any) -> Any:
        assert self.host is not None
        return (self.host(inputs[0], *scalars, *statics),)

    def _lower_write(self, inputs: Sequence[Any], scalars: Sequence[Any], statics: Any) -> Any:
        base, new = inputs
        return (self.write(base, new, *scalars, *statics),)

    def _write_by_index(self, base: Any, new: Any, *args: Any) -> Any:
        index = self.lower(jnp.arange(base.size).reshape(base.shape), *args)
        return base.reshape(-1).at[index.reshape(-1)].set(new.reshape(-1)).reshape(base.shape)

    def instance(self, info: OpInfo, args: tuple[Any, ...], values: Sequence[Value]) -> Instance:
        """The instance that reads or writes this view of `values[0]`."""
        avals = tuple([v.aval for v in values])
        statics = args[self.n_scalars :]
        key = (statics, avals)
        found = info.memo.get(key)
        if found is None:
            scalars = args[: self.n_scalars]
            found = instance(info.op, statics, scalars, avals, avals[0].place)
            info.memo[key] = found
        return found


class ViewStep:
    """A view op with its arguments: one link of a tensor's chain."""

    __slots__ = ("args", "op", "scalars")

    def __init__(self, op: ViewOp, args: tuple[Any, ...]) -> None:
        self.op = op
        self.args = args
        self.scalars = args[: op.n_scalars]

    def __repr__(self) -> str:
        return f"{self.op.name}{self.args}"

    def read(self, value: Value) -> Value:
        """The window on a value."""
        inst = self.op.instance(self.op.reading, self.args, (value,))
        return record(inst, (value,), self.scalars, value.aval.place)[0]

    def write(self, base: Value, new: Value) -> Value:
        """`base` with the window replaced by `new`."""
        inst = self.op.instance(self.op.writing, self.args, (base, new))
        return record(inst, (base, new), self.scalars, base.aval.place)[0]


def _saves_nothing(statics: Any) -> tuple[tuple[int, ...], bool]:
    return (), False


def view(tensor: Tensor, op: ViewOp, *args: Any) -> Tensor:
    """A view of `tensor`: shares its storage, and its place on the tape."""
    value = read(tensor)
    step = ViewStep(op, args)
    inst = op.instance(op.reading, args, (value,))
    made = alias(tensor)
    made._value = record(inst, (value,), step.scalars, value.aval.place)[0]
    made._chain = (*tensor._chain, step)
    made._stride, offset = _layout(op, args, value.aval.shape, tensor._stride, made._value)
    made._offset = tensor._offset + offset
    if mode.captured and not mode.enabled:
        return detached_view(made)
    if mode.enabled:
        base = tensor._base_tensor
        made._base_tensor = tensor if base is None else base
        if tensor._requires and value.aval.dtype.kind in "fcV":
            attach(op.reading, inst, step.args, (tensor,), (value,), step.scalars, (made,))
    return made


@jax.custom_jvp
def _grafted(old: Any, new: Any) -> Any:
    """New elements with the gradient of the old ones: a write that the tape does not see."""
    return new


@_grafted.defjvp
def _grafted_jvp(primals: Any, tangents: Any) -> Any:
    return primals[1], tangents[0]


_detaching = ViewOp(
    "detach",
    lax.stop_gradient,
    lambda shape, strides: (strides, 0),
    _grafted,
)


def detached_view(tensor: Tensor) -> Tensor:
    """The same memory without its history."""
    value = read(tensor)
    made = alias(tensor)
    if mode.captured and value.aval.dtype.kind in "fcV":
        step = ViewStep(_detaching, ())
        made._value = step.read(value)
        made._chain = (*tensor._chain, step)
    return made


def one_of_many(tensor: Tensor) -> Tensor:
    """Mark a view that one call returned together with others."""
    tensor._many = True
    return tensor


def _layout(
    op: ViewOp,
    args: tuple[Any, ...],
    shape: tuple[int, ...],
    stride: tuple[int, ...] | None,
    window: Value,
) -> tuple[tuple[int, ...] | None, int]:
    key = (args, shape, stride)
    found = op.layouts.get(key)
    if found is None:
        strides, offset = op.layout(shape, stride or contiguous_strides(shape), *args)
        found = op.layouts[key] = (normalised(window.aval.shape, strides), offset)
    return found


def refresh(tensor: Tensor) -> Value:
    """Bring a stale tensor up to date: its storage was written since it last looked."""
    storage = tensor._storage
    newest = hostmem.snapshot(storage) if storage.host is not None else storage.value
    base = tensor._base_tensor
    if base is not None and base._storage is storage and _differs_by_base(tensor, base):
        _regenerate(tensor, base)
    else:
        value = newest
        for step in tensor._chain:
            value = step.read(value)
        tensor._value = value
    # A storage shared with the host is never up to date: the host may write at any time.
    tensor._seen = storage.version if storage.host is None else -1
    return tensor._value


def _differs_by_base(tensor: Tensor, base: Tensor) -> bool:
    """May the gradient of a view change with its base? Not that of a leaf, nor that of a view of a
    leaf whose own base takes no part."""
    return not tensor._requires or (tensor._node is not None and base._requires)


def _regenerate(tensor: Tensor, base: Tensor) -> None:
    """A differentiable view of a changed base: read again, so that gradients reach the base."""
    before, mode.enabled = mode.enabled, True
    try:
        fresh = base
        read(base)
        for step in tensor._chain[len(base._chain) :]:
            fresh = view(fresh, step.op, *step.args)
    finally:
        mode.enabled = before
    tensor._value = fresh._value
    tensor._node, tensor._out, tensor._requires = fresh._node, fresh._out, fresh._requires


refresher.append(refresh)


# Writing --------------------------------------------------------------------------------------


def check_writable(tensor: Tensor) -> None:
    """Raise RuntimeError where PyTorch refuses an in-place operation."""
    if tensor._inference and not mode.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed. "
            "You can make a clone to get a normal tensor before doing inplace update."
        )
    if has_overlap(tensor):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation."
        )
    if not mode.enabled:
        return
    read(tensor)
    if tensor._requires and tensor._node is None:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )
    base = tensor._base_tensor
    if tensor._many and tensor._requires:
        raise RuntimeError(
            "This view is the output of a function that returns multiple views. Such functions do "
            "not allow the output views to be modified inplace. You should replace the inplace "
            "operation by an out-of-place one."
        )
    if base is not None and base._requires and base._node is None:
        raise RuntimeError(
            "a view of a leaf Variable that requires grad is being used in an in-place operation."
        )


def has_overlap(tensor: Tensor) -> bool:
    """Do two elements surely share memory (an expanded dimension)?"""
    stride = tensor._stride
    if stride is None:
        return False
    shape = tensor._value.aval.shape
    return any(s == 0 and n > 1 for s, n in zip(stride, shape, strict=True))


_GRAFT = OpInfo(Op("detach_write", lambda arrays, scalars, statics: (_grafted(*arrays),)))


def _with_gradient_of(old: Value, new: Value) -> Value:
    """What a write without gradient leaves: the new elements, which for the tape are the old ones."""
    if old.aval != new.aval or new.aval.dtype.kind not in "fcV":
        return new
    avals = old.aval, new.aval
    inst = _GRAFT.memo.get(avals)
    if inst is None:
        inst = _GRAFT.memo[avals] = instance(_GRAFT.op, (), (), avals, new.aval.place)
    return record(inst, (old, new), (), new.aval.place)[0]


def adopt(tensor: Tensor, result: Tensor) -> Tensor:
    """Write `result` (same shape and dtype) into `tensor` in place, tape included."""
    value = read(result)
    if not mode.enabled:
        store(tensor, _with_gradient_of(read(tensor), value) if mode.captured else value)
        return tensor
    base = tensor._base_tensor
    if base is not None and (result._requires or base._requires):
        written = _written_base(base, tensor._chain[len(base._chain) :], result)
        store(base, written._value)
        base._node, base._out, base._requires = written._node, written._out, written._requires
        refresh(tensor)
        return tensor
    store(tensor, value)
    if result._requires or tensor._node is not None:
        tensor._node, tensor._out = result._node, result._out
        tensor._requires = result._requires
    return tensor


def overwrite(tensor: Tensor, result: Tensor) -> Tensor:
    """`adopt` what an op made of the tensor itself, whose gradient may need the values before."""
    node, made_in = result._node, result._storage
    adopt(tensor, result)
    if isinstance(node, OpNode):
        _rewatch(node, tensor._storage, made_in)
    return tensor


def _rewatch(node: OpNode, own: Storage, result: Storage) -> None:
    """Versions after an in-place op: the old values are kept aside, the result lives in `own`."""
    kept = [entry for entry in node.versions if entry[0] is not own and entry[0] is not result]
    if any(entry[0] is result for entry in node.versions):
        kept.append((own, own.version, -1))
    node.versions = tuple(kept)


def _written_base(base: Tensor, steps: Sequence[ViewStep], new: Tensor) -> Tensor:
    """`base` with the window at the end of `steps` replaced by `new`, on the tape."""
    parents = [base]
    for step in steps[:-1]:
        parents.append(view(parents[-1], step.op, *step.args))
    for step, parent in zip(reversed(steps), reversed(parents), strict=True):
        new = _write_taped(step, parent, new)
    return new


def _write_taped(step: ViewStep, parent: Tensor, new: Tensor) -> Tensor:
    from_values = (read(parent), read(new))
    written = alias(parent)
    inst = step.op.instance(step.op.writing, step.args, from_values)
    written._value = record(inst, from_values, step.scalars, inst.out_avals[0].place)[0]
    tensors = (parent, new)
    if parent._requires or new._requires:
        info = step.op.writing
        attach(info, inst, step.args, tensors, from_values, step.scalars, (written,))
    return written


def store(tensor: Tensor, value: Value) -> None:
    """Write a value (of the tensor's shape) through its chain into its storage."""
    storage = tensor._storage
    if storage.host is not None:
        hostmem.snapshot(storage)
    transform = owner().capture
    if transform is not None and transform.written is not None:
        transform.written.setdefault(storage, (storage.value, storage.version))
    if not tensor._chain:
        storage.value = value
    else:
        parents = [storage.value]
        for step in tensor._chain[:-1]:
            parents.append(step.read(parents[-1]))
        written = value
        for step, parent in zip(reversed(tensor._chain), reversed(parents), strict=True):
            written = step.write(parent, written)
        storage.value = written
    storage.version += 1
    tensor._value = value
    tensor._seen = storage.version
    if storage.host is not None:
        hostmem.write_back(storage)
        tensor._seen = -1


def normalised(shape: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...] | None:
    """None for contiguous strides, so that the common case is quick to recognise."""
    return None if is_contiguous(shape, stride) and stride == contiguous_strides(shape) else stride
