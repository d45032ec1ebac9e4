"""What PyTorch's own layers call below `nn.functional`: native norms, and small leftovers."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch import dtypes
from funtorch.ops import joining, view_ops
from funtorch.ops._declare import TABLE, Array, composite, op
from funtorch.ops.creation import empty
from funtorch.ops.nn_norm import batch_norm, group_norm, layer_norm
from funtorch.tensor import Tensor, dtype_of, from_host, size_of

# Norms with their statistics --------------------------------------------------------------------


def _mean_and_rstd(self: Array, axes: Any, eps: float) -> tuple[Array, Array]:
    """(mean, 1 / standard deviation) over some axes."""
    mean = self.mean(axes)
    var = jnp.square(self - self.mean(axes, keepdims=True)).mean(axes)
    return mean, lax.rsqrt(var + eps)


_statistics = op(name="_statistics", function=False, differentiable=False)(_mean_and_rstd)
_group_statistics = op(name="_group_statistics", function=False)(_mean_and_rstd)


@composite()
def native_layer_norm(
    self: Tensor, normalized_shape: Any, weight: Any, bias: Any, eps: float
) -> tuple[Tensor, ...]:
    """(layer_norm, mean, reciprocal standard deviation)."""
    out = layer_norm(self, tuple(normalized_shape), weight, bias, eps)
    count = len(normalized_shape)
    mean, rstd = _statistics(self, tuple(range(self.ndim - count, self.ndim)), eps)
    kept = (*size_of(self)[: self.ndim - count], *(1,) * count)
    return out, mean.reshape(kept), rstd.reshape(kept)


@composite()
def native_group_norm(
    self: Tensor, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float
) -> tuple[Tensor, ...]:
    """(group_norm, mean, reciprocal standard deviation), the last two [N, group]."""
    out = group_norm(self, group, weight, bias, eps)
    rows = self.reshape(N, group, C // group * HxW)
    mean, rstd = _group_statistics(rows, (2,), eps)
    return out, mean, rstd


def _native_batch_norm(
    self: Tensor,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, ...]:
    out = batch_norm(self, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training:
        return out, self.new_empty((0,)), self.new_empty((0,))
    mean, rstd = _statistics(self, (0, *range(2, self.ndim)), eps)
    return out, mean, rstd


@composite()
def native_batch_norm(
    self: Tensor,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, ...]:
    """(batch_norm, mean of the batch, its reciprocal standard deviation)."""
    return _native_batch_norm(
        self, weight, bias, running_mean, running_var, training, momentum, eps
    )


@composite()
def _native_batch_norm_legit(
    self: Tensor, weight: Any, bias: Any, *rest: Any, **how: Any
) -> tuple[Tensor, ...]:
    """`native_batch_norm`, also without running statistics."""
    if len(rest) == 3 or (len(rest) + len(how) == 3):
        names = ("training", "momentum", "eps")
        how = {**dict(zip(names, rest, strict=False)), **how}
        return _native_batch_norm(self, weight, bias, None, None, **how)
    return _native_batch_norm(self, weight, bias, *rest, **how)


@composite()
def _batch_norm_with_update(
    self: Tensor,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    momentum: float,
    eps: float,
) -> tuple[Tensor, ...]:
    """`native_batch_norm` in training, which updates the running statistics; and an empty reserve."""
    running = (running_mean, running_var, True)
    made = _native_batch_norm(self, weight, bias, *running, momentum, eps)
    return *made, empty(0, dtype=dtypes.uint8, device=self.device)


@composite()
def _batch_norm_no_update(
    self: Tensor,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    momentum: float,
    eps: float,
) -> tuple[Tensor, ...]:
    """`native_batch_norm` by the running statistics; and an empty reserve."""
    running = (running_mean, running_var, False)
    made = _native_batch_norm(self, weight, bias, *running, momentum, eps)
    return *made, empty(0, dtype=dtypes.uint8, device=self.device)


@composite(function=False)
def native_dropout_backward(grad_output: Tensor, mask: Tensor, scale: float) -> Tensor:
    """The gradient of dropout. [...], [...] -> [...]"""
    return grad_output * (mask.to(grad_output.dtype) * scale)


@composite()
def _softmax_backward_data(
    grad_output: Tensor, output: Tensor, dim: int, input_dtype: Any
) -> Tensor:
    """The gradient of softmax from its output. [...], [...] -> [...]"""
    inner = (grad_output * output).sum(dim, keepdim=True)
    return (output * (grad_output - inner)).to(input_dtype).contiguous()


@composite()
def _safe_softmax(self: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """softmax, with zeros where everything is masked. [...] -> [...]"""
    masked = (self == -math.inf).all(dim, keepdim=True)
    # Zeros in place of what is masked, before and after: derivatives meet no NaN.
    return self.masked_fill(masked, 0).softmax(dim, dtype=dtype).masked_fill(masked, 0)


# Fresh and resized tensors ----------------------------------------------------------------------


@composite()
def constant_pad_nd(self: Tensor, pad: Any, value: float = 0) -> Tensor:
    """`nn.functional.pad` with a constant."""
    if len(pad) % 2:
        raise RuntimeError(f"Length of pad must be even but instead it equals {len(pad)}")
    return TABLE["pad"].facade(self, tuple(pad), "constant", value)


@composite()
def empty_permuted(size: Any, physical_layout: Any, **how: Any) -> Tensor:
    """An empty tensor whose dimensions lie in memory in this order, slowest first."""
    order = [int(d) for d in physical_layout]
    if len(order) != len(size):
        raise RuntimeError(
            "Number of dimensions in size does not match the length of the physical_layout; i.e. "
            f"len(size) = {len(size)} is not equal to len(physical_layout) = {len(order)}"
        )
    if sorted(order) != list(range(len(size))):
        raise RuntimeError(f"Found duplicate or invalid dimensions in physical_layout: {order}")
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return empty([size[d] for d in order], **how).permute(*inverse)


@composite()
def resize_as_(self: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """`self.resize_as_(the_template)`."""
    return self.resize_as_(the_template, memory_format=memory_format)


@composite("method")
def resolve_neg(self: Tensor) -> Tensor:
    """The tensor itself: there are no lazily negated tensors here."""
    return self


@composite()
def resolve_conj(self: Tensor) -> Tensor:
    """The tensor with its conjugation, if it is lazy, carried out."""
    return self.resolve_conj()


@composite("method")
def adjoint(self: Tensor) -> Tensor:
    """Conjugate and transposed. [..., m, n] -> [..., n, m]"""
    if self.ndim < 2:
        raise RuntimeError(
            "tensor.adjoint() is only supported on matrices or batches of matrices. Got "
            f"{self.ndim}-D tensor."
        )
    return self.mH


# Indices ------------------------------------------------------------------------------------------


@op("method", differentiable=False)
def nonzero_static(self: Array, *, size: int, fill_value: int = -1) -> Array:
    """The first `size` places of non-zero elements, padded. [...] -> [size, ndim]"""
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    if not self.size or not self.ndim:
        return jnp.full((size, self.ndim), fill_value, jnp.int64)
    return jnp.argwhere(self, size=size, fill_value=fill_value).astype(jnp.int64)


@composite()
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """Flat indices as coordinates. [...] -> [...] for each dimension of `shape`"""
    kind = dtype_of(indices) if isinstance(indices, Tensor) else None
    if kind is None or kind.category != 1:
        raise ValueError(
            f"torch.unravel_index(): expected 'indices' to be integer dtype, but got {kind}"
        )
    if not isinstance(shape, int | tuple | list | Tensor):
        raise ValueError(
            f"torch.unravel_index(): expected 'shape' to be int or sequence of ints, but got "
            f"{type(shape).__name__}"
        )
    extents = [shape] if isinstance(shape, int) else [int(n) for n in shape]
    if any(n < 0 for n in extents):
        raise ValueError(
            f"torch.unravel_index(): 'shape' cannot have negative values, but got {extents}"
        )
    if not extents:
        return ()
    steps = [max(math.prod(extents[i + 1 :]), 1) for i in range(len(extents))]
    each, most = (
        from_host(np.array(numbers, np.int64), device=indices.device)
        for numbers in (steps, [max(n, 1) for n in extents])
    )
    found = indices.long().unsqueeze(-1).div(each, rounding_mode="floor") % most
    return found.unbind(-1)


@composite()
def _unsafe_masked_index(self: Tensor, mask: Tensor, indices: Any, fill: Any) -> Tensor:
    """self[indices] where the mask holds, else `fill`."""
    safe = [
        None if i is None else i.clamp(0, n - 1) for i, n in zip(indices, self.shape, strict=False)
    ]
    picked = self[tuple(slice(None) if i is None else i for i in safe)]
    return picked.masked_fill(~mask, fill)


@composite()
def _unsafe_masked_index_put_accumulate(
    self: Tensor, mask: Tensor, indices: Any, values: Tensor
) -> Tensor:
    """self with values added at indices where the mask holds."""
    safe = [
        None if i is None else i.clamp(-n, n - 1) for i, n in zip(indices, self.shape, strict=False)
    ]
    return self.index_put(safe, values.masked_fill(~mask, 0), accumulate=True)


@composite(out="cast")
def _chunk_cat(tensors: Any, dim: int, num_chunks: int) -> Tensor:
    """Each tensor padded and split into chunks along dim; the chunks, flattened, side by side."""
    rows = []
    if not tensors:
        raise RuntimeError("_chunk_cat expects a non-empty input tensor list")
    if any(dtype_of(t) is not dtype_of(tensors[0]) for t in tensors):
        raise RuntimeError("_chunk_cat expects all input tensors with the same dtype")
    if any(not t.numel() for t in tensors):
        raise RuntimeError("_chunk_cat expects non-empty tensor")
    if num_chunks < 1:
        raise RuntimeError(f"_chunk_cat expects positive num_chunks, got {num_chunks}")
    if dim < 0 and any(t.ndim != tensors[0].ndim for t in tensors):
        raise RuntimeError(
            "_chunk_cat expects non-negative dim when input tensors have different ndims"
        )
    if any(dim >= t.ndim for t in tensors):
        raise RuntimeError("_chunk_cat expects dim < ndim for all input tensors")
    dim = view_ops.wrap_dim(dim, tensors[0].ndim)
    for t in tensors:
        n = t.shape[dim]
        size = -(-n // num_chunks)
        lacking = size * num_chunks - n
        if lacking:
            pad = [0, 0] * (t.ndim - 1 - dim) + [0, lacking]
            t = constant_pad_nd(t, pad, 0)
        rows.append(t.reshape(*t.shape[:dim], num_chunks, -1))
    return joining.cat(rows, dim + 1)
