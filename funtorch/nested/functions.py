"""What functions that are not elementwise do with jagged tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from funtorch import dtypes
from funtorch.nested.kernels import padded, unpadded
from funtorch.nested.tensors import NestedTensor, RaggedSize, Rows, handles, nested
from funtorch.ops._declare import TABLE
from funtorch.ops.memory import convert, parse_to
from funtorch.sparse.kernels import segment_softmax, segment_sum
from funtorch.tensor import Tensor, device_of_tensor, dtype_of, size_of

# Between components, padded and jagged ----------------------------------------------------------


def to_padded(self: NestedTensor, fill: Any, length: int | None = None) -> Tensor:
    """The ragged dimension second: [count, length, *others]. Reads the offsets."""
    segments, positions = self._rows.places
    longest = max(self._rows.lengths, default=0) if length is None else length
    return padded(self._inner, segments, positions, self._rows.count, longest, fill)


def from_padded(full: Tensor, rows: Rows, ragged: int) -> NestedTensor:
    """The opposite of `to_padded`."""
    return nested(unpadded(full, *rows.places), rows, ragged)


@handles("to_padded_tensor")
def _to_padded_tensor(self: NestedTensor, padding: float, output_size: Any = None) -> Tensor:
    """[count, ..., longest, ...]; a larger output_size is filled up too."""
    full = to_padded(self, padding).movedim(1, self._ragged)
    if output_size is None:
        return full
    wanted = tuple(output_size)
    if len(wanted) != full.ndim or any(w < n for w, n in zip(wanted, size_of(full), strict=True)):
        raise RuntimeError(
            f"to_padded_tensor: output_size {list(wanted)} must be at least {list(full.shape)}"
        )
    ends = [(0, w - n) for w, n in zip(wanted, size_of(full), strict=True)]
    return TABLE["pad"].facade(
        full, [n for end in reversed(ends) for n in end], "constant", padding
    )


@handles("unbind")
def _unbind(self: NestedTensor, dim: int = 0) -> tuple[Tensor, ...]:
    if self._dim(dim):
        raise RuntimeError("unbind(): only supported for NestedTensor on dim=0")
    parts = self._inner.split(self._rows.lengths)
    at = self._ragged - 1
    return tuple(part.movedim(0, at) if at else part for part in parts)


@handles("select")
def _select(self: NestedTensor, dim: int, index: int) -> Any:
    dim = self._dim(dim)
    if dim == 0:
        return _unbind(self)[index]
    _not_ragged(self, "select", dim)
    return _without(self, self._inner.select(self._inner_dim(dim), index), (dim,))


def _not_ragged(self: NestedTensor, name: str, *dims: int) -> None:
    if 0 in dims:
        raise RuntimeError(f"{name}(): not supported for NestedTensor on dim=0")
    if self._ragged in dims:
        raise RuntimeError(f"{name}(): not supported for NestedTensor on ragged dim")


def _without(self: NestedTensor, inner: Tensor, gone: Sequence[int]) -> NestedTensor:
    """The same rows with fewer dimensions."""
    return nested(inner, self._rows, self._ragged - sum(d < self._ragged for d in gone))


# Copies -----------------------------------------------------------------------------------------


def _of_values(name: str) -> Callable[..., Any]:
    function = TABLE[name].facade
    return lambda self, *args, **kwargs: self._with(function(self._inner, *args, **kwargs))


@handles("to")
def _to(self: NestedTensor, *args: Any, **kwargs: Any) -> NestedTensor:
    dtype, device, options = parse_to(*args, **kwargs)
    inner = convert(self._inner, dtype, device, copy=options["copy"])
    if inner is self._inner:
        return self
    where = device_of_tensor(inner)
    if where == device_of_tensor(self._rows.offsets):
        return self._with(inner)
    rows = Rows.of(convert(self._rows.offsets, None, where), self._rows.total)
    return nested(inner, rows, self._ragged)


def _cast_to(dtype: dtypes.dtype) -> Callable[..., Any]:
    return lambda self, memory_format=None: _to(self, dtype)


@handles("cpu")
def _cpu(self: NestedTensor, memory_format: Any = None) -> NestedTensor:
    return _to(self, "cpu")


@handles("cuda")
def _cuda(self: NestedTensor, device: Any = None, **_: Any) -> NestedTensor:
    return _to(self, "cuda" if device is None else device)


@handles("contiguous")
def _contiguous(self: NestedTensor, memory_format: Any = None) -> NestedTensor:
    return self._with(self._inner.contiguous())


@handles("copy_")
def _copy(self: NestedTensor, src: NestedTensor, non_blocking: bool = False) -> NestedTensor:
    if not isinstance(src, NestedTensor) or src._rows is not self._rows:
        raise RuntimeError("copy_(): expected a nested tensor of the same structure")
    self._inner.copy_(src._inner)
    return self


# Dimensions -------------------------------------------------------------------------------------


@handles("permute")
def _permute(self: NestedTensor, *dims: Any) -> NestedTensor:
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims
    order = [self._dim(d) for d in given]
    if sorted(order) != list(range(self.ndim)):
        raise RuntimeError(f"permute(): invalid or repeated dims {tuple(given)}")
    if order[0] != 0:
        raise ValueError("Permute is not supported on the batch dimension for jagged NT")
    ragged = order.index(self._ragged)
    others = [self._inner_dim(d) for d in order[1:] if d != self._ragged]
    return nested(self._inner.permute(0, *others), self._rows, ragged)


@handles("transpose", "swapaxes", "swapdims")
def _transpose(self: NestedTensor, dim0: int, dim1: int) -> NestedTensor:
    one, other = self._dim(dim0), self._dim(dim1)
    if one != other and 0 in (one, other):
        raise ValueError("Transpose is not supported on the batch dimension for jagged NT")
    order = list(range(self.ndim))
    order[one], order[other] = order[other], order[one]
    return _permute(self, *order)


@handles("unsqueeze")
def _unsqueeze(self: NestedTensor, dim: int) -> NestedTensor:
    at = dim % (self.ndim + 1)
    if at == 0:
        raise RuntimeError("unsqueeze(): not supported for NestedTensor on dim=0")
    ragged = self._ragged + (at <= self._ragged)
    inner = self._inner.unsqueeze(at if at < ragged else at - 1)
    return nested(inner, self._rows, ragged)


@handles("squeeze")
def _squeeze(self: NestedTensor, dim: Any = None) -> NestedTensor:
    if dim is None:
        raise RuntimeError("squeeze(): dim must be given for a NestedTensor")
    dims = [self._dim(d) for d in ((dim,) if isinstance(dim, int) else dim)]
    _not_ragged(self, "squeeze", *dims)
    gone = [d for d in dims if size_of(self._inner)[self._inner_dim(d)] == 1]
    inner = self._inner.squeeze(tuple(self._inner_dim(d) for d in gone)) if gone else self._inner
    return _without(self, inner, gone)


@handles("view", "reshape")
def _view(self: NestedTensor, *shape: Any) -> NestedTensor:
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    inside = list(sizes[1:])
    symbols = [i for i, n in enumerate(inside) if isinstance(n, RaggedSize)]
    at = symbols[0] if symbols else self._ragged - 1
    kept = sizes[0] in (-1, self._rows.count) and len(inside) > at
    if not kept or at != self._ragged - 1 or not (symbols or inside[at] == -1):
        raise RuntimeError(
            f"view(): cannot view shape {tuple(self.shape)} as {tuple(sizes)}: the batch and the "
            "ragged dimension must stay"
        )
    if at and inside[:at] != list(size_of(self._inner)[1 : at + 1]):
        raise RuntimeError("view(): dimensions before the ragged one must stay")
    if at:
        lead = size_of(self._inner)[1 : at + 1]
        return nested(self._inner.reshape(-1, *lead, *inside[at + 1 :]), self._rows, self._ragged)
    return nested(self._inner.reshape(self._rows.total, *inside[1:]), self._rows, 1)


@handles("flatten")
def _flatten(self: NestedTensor, start_dim: int = 0, end_dim: int = -1) -> NestedTensor:
    start, end = self._dim(start_dim), self._dim(end_dim)
    if start <= self._ragged <= end and start != end:
        raise RuntimeError("flatten(): not supported for NestedTensor on ragged dim")
    inner = self._inner.flatten(self._inner_dim(start), self._inner_dim(end))
    ragged = self._ragged - (end - start if end < self._ragged else 0)
    return nested(inner, self._rows, ragged)


@handles("unflatten")
def _unflatten(self: NestedTensor, dim: int, sizes: Sequence[int]) -> NestedTensor:
    at = self._dim(dim)
    _not_ragged(self, "unflatten", at)
    inner = self._inner.unflatten(self._inner_dim(at), tuple(sizes))
    more = len(sizes) - 1 if at < self._ragged else 0
    return nested(inner, self._rows, self._ragged + more)


def _pieces(name: str) -> Callable[..., Any]:
    def cut(self: NestedTensor, how: Any, dim: int = 0) -> tuple[NestedTensor, ...]:
        at = self._dim(dim)
        if at == 0 and name == "chunk":
            return _chunked_batch(self, how)
        _not_ragged(self, name, at)
        parts = TABLE[name].facade(self._inner, how, self._inner_dim(at))
        return tuple(self._with(part) for part in parts)

    return cut


def _chunked_batch(self: NestedTensor, chunks: int) -> tuple[NestedTensor, ...]:
    lengths = self._rows.lengths
    size = -(-len(lengths) // chunks)
    groups = [lengths[at : at + size] for at in range(0, len(lengths), size)]
    parts = self._inner.split([sum(group) for group in groups])
    where = device_of_tensor(self)
    return tuple(
        nested(part, Rows.of_lengths(group, where), self._ragged)
        for part, group in zip(parts, groups, strict=True)
    )


@handles("narrow")
def _narrow(self: NestedTensor, dim: int, start: int, length: int) -> NestedTensor:
    at = self._dim(dim)
    _not_ragged(self, "narrow", at)
    return self._with(self._inner.narrow(self._inner_dim(at), start, length))


@handles("cat", "concat", "concatenate", "stack")
def _cat(tensors: Sequence[Any], dim: int = 0) -> NestedTensor:
    like = tensors[0]
    at = like._dim(dim)
    _not_ragged(like, "cat", at)
    if any(not isinstance(t, NestedTensor) or t._rows is not like._rows for t in tensors):
        raise RuntimeError("cat(): expected nested tensors of one structure")
    inner = TABLE["cat"].facade([t._inner for t in tensors], like._inner_dim(at))
    return like._with(inner)


# Reductions -------------------------------------------------------------------------------------

_NEUTRAL = {
    "sum": lambda kind: 0,
    "mean": lambda kind: 0,
    "prod": lambda kind: 1,
    "any": lambda kind: 0,
    "all": lambda kind: 1,
    "amax": lambda kind: -math.inf if kind.is_floating_point else -(2 ** (8 * kind.itemsize - 1)),
    "amin": lambda kind: math.inf if kind.is_floating_point else 2 ** (8 * kind.itemsize - 1) - 1,
}
"""What padding does not change the result of a reduction."""


def _reduction(name: str) -> Callable[..., Any]:
    function = TABLE[name].facade

    def reduce(self: NestedTensor, dim: Any = None, keepdim: bool = False, **how: Any) -> Any:
        if dim is None or (not isinstance(dim, int) and not tuple(dim)):
            return function(self._inner, **how)
        many = not isinstance(dim, int)
        dims = sorted({self._dim(d) for d in (dim if many else (dim,))})
        if 0 in dims and self._ragged not in dims:
            raise RuntimeError(
                f"{name}(): reducing along the batch dimension but not the ragged dimension is not "
                "supported for nested tensors"
            )
        if 0 in dims:
            inside = tuple(self._inner_dim(d) for d in dims if d)
            made = function(self._inner, inside if many else inside[0], keepdim, **how)
            return made.unsqueeze(0).movedim(1, self._ragged) if keepdim else made
        if self._ragged in dims:
            return _over_ragged(self, dims, keepdim, how)
        inside = tuple(self._inner_dim(d) for d in dims)
        inner = function(self._inner, inside if many else inside[0], keepdim, **how)
        return self._with(inner) if keepdim else _without(self, inner, dims)

    def _over_ragged(self: NestedTensor, dims: list[int], keepdim: bool, how: Any) -> Tensor:
        if name in ("sum", "mean"):
            values = convert(self._inner, how.get("dtype"), None)
            made = segment_sum(values, self._rows.places[0], self._rows.count).unsqueeze(1)
        else:
            full = to_padded(self, _NEUTRAL[name](dtype_of(self)))
            made = function(full, 1, True, **how)
        if name == "mean":
            steps = self._rows.offsets.diff().reshape(-1, *[1] * (made.ndim - 1))
            made = made / steps.to(made.dtype)
        made = made.movedim(1, self._ragged)
        for d in reversed([d for d in dims if d != self._ragged]):
            made = function(made, d, True, **how)
        return made if keepdim else made.squeeze(tuple(dims))

    return reduce


def _extreme(name: str) -> Callable[..., Any]:
    function = TABLE[name].facade

    def best(self: NestedTensor, dim: int | None = None, keepdim: bool = False) -> Any:
        if dim is None:
            return function(self._inner)
        at = self._dim(dim)
        if at == self._ragged:
            least = "amax" if name in ("max", "argmax") else "amin"
            full = to_padded(self, _NEUTRAL[least](dtype_of(self))).movedim(1, at)
            return function(full, at, keepdim)
        _not_ragged(self, name, at)
        made = function(self._inner, self._inner_dim(at), keepdim)
        gone = () if keepdim else (at,)
        if isinstance(made, tuple):
            return type(made)(*[_without(self, part, gone) for part in made])
        return _without(self, made, gone)

    return best


def _softmax(name: str) -> Callable[..., Any]:
    log = name == "log_softmax"
    function = TABLE[name].facade

    def apply(self: NestedTensor, dim: int, *ignored: Any, dtype: Any = None, **_: Any) -> Any:
        at = self._dim(dim)
        if at == 0:
            raise RuntimeError(f"{name}(): not supported when reducing across the batch dimension")
        inner = convert(self._inner, dtype, None)
        if at == self._ragged:
            segments = self._rows.places[0]
            return self._with(segment_softmax(inner, segments, self._rows.count, log))
        return self._with(function(inner, self._inner_dim(at)))

    return apply


# Layers -----------------------------------------------------------------------------------------


def _by_rows(name: str) -> Callable[..., Any]:
    """A function of the last dimensions only."""
    function = TABLE[name].facade

    def apply(self: Any, *args: Any, **kwargs: Any) -> NestedTensor:
        if not isinstance(self, NestedTensor):
            raise NotImplementedError(f"{name}: the first argument must be the nested one")
        last = len(args[0]) if args and isinstance(args[0], tuple | list) else 1
        if self._ragged >= self.ndim - last:
            raise RuntimeError(f"{name}(): not supported for NestedTensor on ragged dim")
        return self._with(function(self._inner, *args, **kwargs))

    return apply


@handles("embedding")
def _embedding(input: Any, weight: Tensor, *args: Any, **how: Any) -> NestedTensor:
    return input._with(TABLE["embedding"].facade(input._inner, weight, *args, **how))


@handles("matmul", "bmm")
def _matmul(self: Any, other: Any) -> NestedTensor:
    if not isinstance(self, NestedTensor) or self._ragged == self.ndim - 1:
        raise RuntimeError("matmul(): not supported between inputs of these shapes")
    if isinstance(other, NestedTensor):
        raise RuntimeError(
            f"matmul(): not supported between inputs of shapes {tuple(self.shape)} and "
            f"{other.shape}"
        )
    if other.ndim <= 2:
        return self._with(self._inner @ other)
    if self.ndim != other.ndim or self.ndim != 3:
        raise NotImplementedError("matmul of a nested tensor takes a matrix, or one per component")
    return from_padded(to_padded(self, 0) @ other, self._rows, 1)


@handles("scaled_dot_product_attention")
def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> NestedTensor:
    """[count, heads, ragged, d] each; components attend to their own keys only."""
    if attn_mask is not None:
        raise RuntimeError("attn_mask is not supported for nested tensors")
    if any(
        not isinstance(t, NestedTensor) or t.ndim != 4 or t._ragged != 2
        for t in (query, key, value)
    ):
        raise RuntimeError("scaled_dot_product_attention: expected [count, heads, ragged, d] each")
    q, k, v = (to_padded(t, 0).transpose(1, 2) for t in (query, key, value))
    where, lengths = device_of_tensor(query), key._rows.offsets.diff()
    places = TABLE["arange"].facade(size_of(k)[2], device=where)
    # A component without keys would have no weights at all; its rows do not reach the result.
    seen = (places < lengths.unsqueeze(1)) | (lengths == 0).unsqueeze(1)
    mask = seen.reshape(-1, 1, 1, size_of(k)[2])
    if is_causal:
        rows = TABLE["arange"].facade(size_of(q)[2], device=where)
        mask = mask & (places <= rows.unsqueeze(1))
    how = {"dropout_p": dropout_p, "scale": scale, "enable_gqa": enable_gqa}
    out = TABLE["scaled_dot_product_attention"].facade(q, k, v, mask, **how)
    return from_padded(out.transpose(1, 2), query._rows, 2)


_FAMILIES: tuple[tuple[Callable[[str], Callable[..., Any]], tuple[str, ...]], ...] = (
    (_of_values, ("clone", "detach", "zeros_like", "ones_like", "empty_like", "full_like")),
    (_of_values, ("rand_like", "randn_like")),
    (_pieces, ("chunk", "split")),
    (_reduction, tuple(_NEUTRAL)),
    (_extreme, ("max", "min", "argmax", "argmin")),
    (_softmax, ("softmax", "log_softmax")),
    (_by_rows, ("linear", "layer_norm", "rms_norm")),
)


def enter() -> None:
    """Enter the families of functions that are made alike into the table."""
    for make, names in _FAMILIES:
        for name in names:
            handles(name)(make(name))
    for name, dtype in [*dtypes.ALIASES.items(), ("bfloat16", dtypes.bfloat16)]:
        handles(name)(_cast_to(dtype))
