"""Rules of products, normalisations, attention and embeddings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funtorch.onnx.writing.primitives.structure import counted
from funtorch.onnx.writing.table import rule
from funtorch.onnx.writing.values import Val, merged

_PRODUCTS = ("float16", "bfloat16", "float32", "float64", "int32", "int64", "uint32", "uint64")


def turned(g: Any, x: Val) -> Val:
    """The last two dimensions swapped."""
    n = x.ndim
    return g.transpose(x, [*range(n - 2), n - 1, n - 2])  # type: ignore[no-any-return]


def product(g: Any, a: Val, b: Val) -> Any:
    """MatMul, for whatever numbers of dimensions."""
    if a.dtype.name not in _PRODUCTS:
        return NotImplemented
    sa: Any = a.shape
    sb: Any = b.shape
    if len(sa) == 1 or len(sb) == 1:
        shape = (*sa[:-1], *(() if len(sb) == 1 else (*sb[:-2], sb[-1])))
    else:
        shape = (*merged([sa[:-2], sb[:-2]]), sa[-2], sb[-1])
    return g.op("MatMul", a, b, shape=shape)


@rule("linear")
def linear(g: Any, self: Val, weight: Val, bias: Val | None) -> Any:
    if self.ndim == 2 and bias is not None and self.dtype.kind == "f":
        shape = (self.shape[0], weight.shape[0])  # type: ignore[index]
        return g.op("Gemm", self, weight, bias, transB=1, shape=shape)
    made = product(g, self, g.transpose(weight, [1, 0]) if weight.ndim == 2 else weight)
    return made if made is NotImplemented or bias is None else g.op("Add", made, bias)


@rule("matmul", "mm", "bmm", "mv", "dot")
def matmul(g: Any, self: Val, other: Val) -> Any:
    return product(g, self, other)


@rule("addmm", "baddbmm", "addmv")
def addmm(g: Any, self: Val, first: Val, second: Val, beta: Any, alpha: Any) -> Any:
    if beta == 0:
        return NotImplemented
    made = product(g, first, second)
    if made is NotImplemented:
        return made
    scaled = made if alpha == 1 else g.op("Mul", made, g.like(alpha, made))
    base = self if beta == 1 else g.op("Mul", self, g.like(beta, self))
    return g.op("Add", base, scaled)


@rule("outer")
def outer(g: Any, self: Val, vec2: Val) -> Any:
    return g.op("Mul", g.unsqueeze(self, [1]), g.unsqueeze(vec2, [0]))


@rule("_einsum")
def einsum(g: Any, equation: str, operands: Any) -> Any:
    plain = "".join(equation.split())
    if operands[0].dtype.name not in ("float32", "float64") or "->" not in plain:
        return NotImplemented
    return g.op("Einsum", *operands, equation=plain, shape=tuple(g.inst.out_avals[0].shape))


# Normalisation --------------------------------------------------------------------------------


def vector(g: Any, given: Val | None, size: Any, fill: float, dtype: Any) -> Val:
    """A weight, or what stands for none."""
    return given if given is not None else g.const(np.full(size, fill, dtype))


@rule("_batch_norm_eval")
def batch_norm_eval(
    g: Any, self: Val, mean: Val, var: Val, weight: Val | None, bias: Val | None, eps: float
) -> Any:
    channels = self.shape[1]  # type: ignore[index]
    scale = vector(g, weight, channels, 1, mean.dtype)
    shift = vector(g, bias, channels, 0, mean.dtype)
    return g.op(
        "BatchNormalization", self, scale, shift, mean, var, epsilon=float(eps), shape=self.shape
    )


@rule("layer_norm")
def layer_norm(
    g: Any, self: Val, shape: Any, weight: Val | None, bias: Val | None, eps: float, _: bool
) -> Any:
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    scale = vector(g, weight, sizes, 1, self.dtype)
    return g.op(
        "LayerNormalization", self, scale, bias, axis=-len(sizes), epsilon=float(eps),
        shape=self.shape,
    )  # fmt: skip


@rule("rms_norm")
def rms_norm(g: Any, self: Val, shape: Any, weight: Val | None, eps: float | None) -> Any:
    if g.opset < 23:
        return NotImplemented
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    scale = vector(g, weight, sizes, 1, self.dtype)
    tiny = float(np.finfo(self.dtype).eps) if eps is None else float(eps)
    return g.op("RMSNormalization", self, scale, axis=-len(sizes), epsilon=tiny, shape=self.shape)


def across(g: Any, x: Val, given: Val) -> Val:
    """A vector per channel, shaped to go with [N, C, ...]."""
    return g.reshape(given, (*given.shape, *([1] * (x.ndim - 2))))  # type: ignore[misc, no-any-return]


@rule("group_norm")
def group_norm(
    g: Any, self: Val, groups: int, weight: Val | None, bias: Val | None, eps: float
) -> Any:
    channels = self.shape[1]  # type: ignore[index]
    if g.opset >= 21:
        scale = vector(g, weight, channels, 1, self.dtype)
        shift = vector(g, bias, channels, 0, self.dtype)
        return g.op("GroupNormalization", self, scale, shift, num_groups=groups,
                    epsilon=float(eps), shape=self.shape)  # fmt: skip
    flat = g.reshape(self, (self.shape[0], groups, _rest(self, groups)))  # type: ignore[index]
    ones, zeros = g.const(np.ones(groups, self.dtype)), g.const(np.zeros(groups, self.dtype))
    made = g.op("InstanceNormalization", flat, ones, zeros, epsilon=float(eps), shape=flat.shape)
    made = g.reshape(made, self.shape)
    if weight is not None:
        made = g.op("Mul", made, across(g, self, weight))
    return made if bias is None else g.op("Add", made, across(g, self, bias))


def _rest(x: Val, groups: int) -> Any:
    return math.prod(x.shape[1:]) // groups  # type: ignore[index]


@rule("_instance_norm")
def instance_norm(g: Any, self: Val, weight: Val | None, bias: Val | None, eps: float) -> Any:
    channels = self.shape[1]  # type: ignore[index]
    scale = vector(g, weight, channels, 1, self.dtype)
    shift = vector(g, bias, channels, 0, self.dtype)
    out = g.op("InstanceNormalization", self, scale, shift, epsilon=float(eps), shape=self.shape)
    space = range(2, self.ndim)
    mean = g.reduce("ReduceMean", self, space, True)
    centred = g.op("Sub", self, mean)
    var = g.reduce("ReduceMean", g.op("Mul", centred, centred), space, True)
    flat = [g.reduce("ReduceMean", g.squeeze(v, space), [0], False) for v in (mean, var)]
    return [out, *flat]


@rule("local_response_norm")
def local_response_norm(g: Any, self: Val, size: int, alpha: float, beta: float, k: float) -> Any:
    if size % 2 == 0 or self.ndim != 4:
        return NotImplemented  # even windows lie differently there
    return g.op("LRN", self, size=size, alpha=float(alpha), beta=float(beta), bias=float(k),
                shape=self.shape)  # fmt: skip


# Attention and embeddings ---------------------------------------------------------------------


@rule("_attention_weights")
def attention_weights(
    g: Any, query: Val, key: Val, mask: Val | None, causal: bool, scale: float | None
) -> Any:
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale  # type: ignore[index]
    scaled = g.op("Mul", query, g.like(factor, query))
    scores = product(g, scaled, turned(g, key))
    least = g.const(-np.inf, query.dtype)
    if causal:
        rows, columns = scores.shape[-2:]
        before = g.op(
            "GreaterOrEqual",
            g.unsqueeze(counted(g, rows), [1]),
            g.unsqueeze(counted(g, columns), [0]),
        )
        scores = g.where(before, scores, least)
    if mask is not None:
        known = mask.dtype == np.bool_
        scores = g.where(mask, scores, least) if known else g.op(
            "Add", scores, g.cast(mask, scores.dtype))  # fmt: skip
    weights = g.op("Softmax", scores, axis=-1, shape=scores.shape)
    if mask is None:
        return weights
    # A row in which nothing may be attended to gives zeros, not NaN.
    blocked = g.op("Equal", g.reduce("ReduceMax", scores, [-1], True), least)
    return g.where(blocked, g.const(0, weights.dtype), weights)


@rule("_attention")
def attention(
    g: Any, query: Val, key: Val, value: Val, mask: Val | None, causal: bool, scale: float | None
) -> Any:
    return product(g, attention_weights(g, query, key, mask, causal, scale), value)


@rule("_embedding")
def embedding(g: Any, self: Val, indices: Val, padding: int | None, by_frequency: bool) -> Any:
    shape = (*indices.shape, self.shape[1])  # type: ignore[misc, index]
    return g.op("Gather", self, g.index(indices), axis=0, shape=shape)


@rule("_one_hot")
def one_hot(g: Any, self: Val, classes: int) -> Any:
    if classes < 0:
        return NotImplemented
    values = g.const(np.array([0, 1], np.int64))
    if self.ndim == 0:
        return g.squeeze(one_hot(g, g.unsqueeze(self, [0]), classes), [0])
    shape = (*self.shape, classes)  # type: ignore[misc]
    return g.op("OneHot", self, g.const(classes, np.int64), values, axis=-1, dtype=np.int64,
                shape=shape)  # fmt: skip
