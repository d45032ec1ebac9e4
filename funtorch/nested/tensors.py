"""The jagged layout: tensors of one number of dimensions that differ in the length of one of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funtorch.composed import Composed
from funtorch.dispatch import to_host
from funtorch.layouts import jagged
from funtorch.nested.kernels import rows_in
from funtorch.ops._declare import TABLE
from funtorch.ops.joining import cat
from funtorch.overrides import override, overriding
from funtorch.size import Size
from funtorch.tensor import Tensor, device_of_tensor, from_host, size_of

HANDLERS: dict[str, Callable[..., Any]] = {}
"""What functions do with nested tensors, by name; elementwise ones need no entry."""


def handles(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into `HANDLERS`."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        HANDLERS.update(dict.fromkeys(names, function))
        return function

    return enter


class RaggedSize:
    """The extent of the ragged dimension: a symbol, equal only to itself."""

    __slots__ = ("factor", "number")
    _numbers = itertools.count(1)

    def __init__(self, number: int | None = None, factor: int = 1) -> None:
        self.number = next(self._numbers) if number is None else number
        self.factor = factor

    def __repr__(self) -> str:
        return f"j{self.number}" if self.factor == 1 else f"{self.factor}*j{self.number}"

    def __mul__(self, other: int) -> RaggedSize:
        return RaggedSize(self.number, self.factor * other)

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, RaggedSize) and self.number == other.number
        return same and self.factor == other.factor  # type: ignore[union-attr]

    def __hash__(self) -> int:
        return hash((self.number, self.factor))

    def __index__(self) -> int:
        raise RuntimeError(f"the ragged size {self!r} is no number: components differ in it")


class Rows:
    """Where components lie among the rows of the values. Shared by all tensors made of one another.

    offsets: [count + 1] of int64. `segments` and `positions`: see `kernels`.
    """

    def __init__(self, offsets: Tensor, total: int) -> None:
        self.offsets = offsets
        self.count = size_of(offsets)[0] - 1
        self.total = total
        self.size = RaggedSize()
        self._places: Any = None
        self._lengths: list[int] | None = None

    @classmethod
    def of(cls, offsets: Tensor, total: int) -> Rows:
        """The one object for an offsets tensor, so that equal offsets give equal shapes."""
        found = offsets.__dict__.get("_rows")
        if found is None or found.total != total:
            found = offsets.__dict__["_rows"] = cls(offsets, total)
        return found

    @classmethod
    def of_lengths(cls, lengths: Sequence[int], device: Any) -> Rows:
        """From numbers that are known: nothing will have to be read."""
        ends = np.cumsum([0, *lengths]).astype(np.int64)
        made = cls.of(from_host(ends, device=device), int(ends[-1]))
        made._lengths = list(lengths)
        return made

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        """(segments [total], positions [total])"""
        if self._places is None:
            self._places = rows_in(self.offsets, self.total)
        return self._places

    @property
    def lengths(self) -> list[int]:
        """The length of each component; reads the offsets, once."""
        if self._lengths is None:
            self._lengths = np.diff(np.asarray(to_host(self.offsets))).tolist()
        return self._lengths


class NestedTensor(Composed, watched=False):
    """A tensor of layout jagged: [count, ..., ragged, ...].

    _inner: [total, *others], the ragged dimension of all components first. _ragged: where it stands
    in the shape.
    """

    _kind = jagged
    handlers = HANDLERS
    way_out = "Use .unbind() or .to_padded_tensor() first."
    _rows: Rows
    _ragged: int

    def _with(self, inner: Tensor) -> NestedTensor:
        return nested(inner, self._rows, self._ragged)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The table of the layout; elementwise functions act on all components alike."""
        if func.__name__.removesuffix("_") in ELEMENTWISE:
            return on_rows(func, args, kwargs or {})
        return super().__torch_function__(func, types, args, kwargs)

    def _parts(self) -> dict[str, Tensor]:
        return {"offsets": self._rows.offsets, "values": self._inner}

    # Sizes --------------------------------------------------------------------------------------

    @property
    def shape(self) -> Any:  # type: ignore[override]
        """The extents, one of them a symbol."""
        full = list(size_of(self._inner)[1:])
        full.insert(self._ragged - 1, self._rows.size)  # type: ignore[arg-type]
        return Size((self._rows.count, *full))

    def size(self, dim: int | None = None) -> Any:
        """All extents, or one."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """Number of elements of all components."""
        return int(self._inner.numel())

    nelement = numel

    def __len__(self) -> int:
        return self._rows.count

    def stride(self, dim: int | None = None) -> Any:
        """Steps in memory of the values, with a symbol for the batch."""
        steps: list[Any] = list(self.values().stride())
        steps.insert(0, steps[0] * self._rows.size)
        return tuple(steps) if dim is None else steps[dim]

    @property
    def is_nested(self) -> bool:  # type: ignore[override]
        """Always."""
        return True

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Do the components lie one after the other, the ragged dimension outermost?"""
        return self._ragged == 1

    # Parts --------------------------------------------------------------------------------------

    def values(self) -> Tensor:
        """The elements of all components, differentiable: [..., total, ...]"""
        inner = self._inner
        if inner._node is None and inner._requires:
            inner = inner.view_as(inner)  # a leaf stays the caller's own
        return inner if self._ragged == 1 else inner.movedim(0, self._ragged - 1)

    def offsets(self) -> Tensor:
        """Where components begin: [count + 1]"""
        return self._rows.offsets

    def lengths(self) -> None:
        """None: components follow one another without gaps."""
        return

    @property
    def _ragged_idx(self) -> int:
        return self._ragged

    def _inner_dim(self, dim: int) -> int:
        """The dimension of `_inner` for one of this tensor that is not the batch."""
        return 0 if dim == self._ragged else dim if dim < self._ragged else dim - 1

    def _dim(self, dim: int) -> int:
        ndim = self._inner.ndim + 1
        if not -ndim <= dim < ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}], but "
                f"got {dim})"
            )
        return dim % ndim

    def __getitem__(self, key: Any) -> Any:
        found = overriding((key,), {})
        if found is not None:
            return override(type(self).__getitem__, found, (self, key), {})
        keys = key if isinstance(key, tuple) else (key,)
        if isinstance(keys[0], int | np.integer):
            component = self.unbind()[int(keys[0])]
            return component[keys[1:]] if keys[1:] else component
        if Ellipsis in keys[:1]:
            keys = (slice(None),) * (self.ndim - len(keys) + 1) + keys[1:]
        if self._ragged == 1 and all(k == slice(None) for k in keys[:2]):
            return nested(self._inner[(slice(None), *keys[2:])], self._rows, 1)
        raise self._unsupported("index", (self,), {})

    def __iter__(self) -> Any:
        return iter(self.unbind())

    def tolist(self) -> Any:
        """Raises RuntimeError, as in PyTorch."""
        raise RuntimeError(".tolist() is not supported for tensor subclasses, got NestedTensor")

    def numpy(self, *, force: bool = False) -> Any:
        """Raises RuntimeError, as in PyTorch."""
        raise RuntimeError(".numpy() is not supported for tensor subclasses.")

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        node = self.grad_fn
        history = f", grad_fn={node}" if node is not None else ""
        if node is None and self.requires_grad:
            history = ", requires_grad=True"
        return (
            f"NestedTensor(size={tuple(self.shape)}, offsets={self.offsets()!r}{history}, "
            f"contiguous={self.is_contiguous()})"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            inner = self._inner.detach().clone().requires_grad_(self.requires_grad)
            memo[id(self)] = self._with(inner)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        given = (self._inner.detach(), self._rows.lengths, self._ragged)
        return _rebuild, (*given, self.requires_grad and self.is_leaf)


def _rebuild(inner: Tensor, lengths: list[int], ragged: int, grad: bool) -> NestedTensor:
    rows = Rows.of_lengths(lengths, device_of_tensor(inner))
    return nested(inner.requires_grad_(grad), rows, ragged)


def nested(inner: Tensor, rows: Rows, ragged: int) -> NestedTensor:
    """A tensor from its parts. inner: [total, *others]"""
    made: NestedTensor = NestedTensor._made(inner, (rows.count, *size_of(inner)))
    made._rows = rows
    made._ragged = ragged
    return made


def from_components(components: Sequence[Tensor]) -> NestedTensor:
    """Components of one number of dimensions that differ in one extent; on their tape."""
    if not components:
        raise RuntimeError("Cannot construct a nested tensor from an empty tensor list")
    shapes = [size_of(c) for c in components]
    if len({len(s) for s in shapes}) > 1:
        raise RuntimeError(
            "When constructing a nested tensor, all tensors in list must have the same dim"
        )
    if not shapes[0]:
        raise RuntimeError("Cannot construct a nested tensor from a list of zero-dim tensors")
    differ = [d for d, extents in enumerate(zip(*shapes, strict=True)) if len(set(extents)) > 1]
    if len(differ) > 1:
        raise RuntimeError(
            "When constructing a nested tensor, all tensors in list must have the same size in all "
            "dimensions but one (the ragged one)"
        )
    at = differ[0] if differ else 0
    rows = Rows.of_lengths([s[at] for s in shapes], device_of_tensor(components[0]))
    moved = [c.movedim(at, 0) if at else c for c in components]
    return nested(cat(moved, 0), rows, at + 1)


# Elementwise functions --------------------------------------------------------------------------

_COMPOSITES = """
    bernoulli celu clamp_max clamp_min div dropout elu fill floor_divide hardshrink hardsigmoid
    hardswish hardtanh leaky_relu masked_fill mish nan_to_num positive relu6 rrelu selu silu
    threshold true_divide where zero
"""
_OTHERS = {"_sort", "_index_put", "_index_fill", "put", "flip", "fliplr", "flipud", "prelu"}
ELEMENTWISE = set(_COMPOSITES.split()) | {
    name
    for name, declared in TABLE.items()
    if not declared.composite and declared.facade.info.pointwise and name not in _OTHERS
}
"""Functions that see one element of each tensor at a time."""


def on_rows(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An elementwise function of tensors of one structure; strided ones are broadcast to it."""
    given = [v for v in (*args, *kwargs.values()) if isinstance(v, NestedTensor)]
    like = given[0]
    if any(v._rows is not like._rows or v._ragged != like._ragged for v in given):
        shapes = " and ".join(str(tuple(v.shape)) for v in given)
        raise RuntimeError(
            f"cannot call binary pointwise function {func.__name__} with inputs of shapes {shapes}"
        )
    result = func(
        *[_rows_of(like, v) for v in args], **{k: _rows_of(like, v) for k, v in kwargs.items()}
    )
    if isinstance(args[0], NestedTensor) and result is args[0]._inner:
        return args[0]
    return like._with(result)


def _rows_of(like: NestedTensor, value: Any) -> Any:
    """What stands beside the rows of a nested tensor: [total, *others] or a part to broadcast."""
    if isinstance(value, NestedTensor):
        if value.ndim != like.ndim:
            raise RuntimeError(
                f"nested tensors of {like.ndim} and {value.ndim} dimensions do not broadcast"
            )
        return value._inner
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    ndim, ragged = like.ndim, like._ragged
    full = value.reshape((1,) * (ndim - value.ndim) + size_of(value)).movedim(ragged, 1)
    batch, length = size_of(full)[:2]
    if value.ndim > ndim or length != 1 or batch not in (1, like._rows.count):
        raise RuntimeError(
            f"a strided tensor of shape {list(size_of(value))} does not broadcast to "
            f"{tuple(like.shape)}: its ragged dimension must be 1"
        )
    rows = full.squeeze(1)
    return rows if batch == 1 else rows.index_select(0, like._rows.places[0])
