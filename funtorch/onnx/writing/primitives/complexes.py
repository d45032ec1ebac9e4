"""Complex numbers, which ONNX has no arithmetic for: a real and an imaginary part, each a value of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funtorch.onnx.writing.primitives import windows
from funtorch.onnx.writing.shapes import reversed_along
from funtorch.onnx.writing.table import PRIMITIVES, NoRule, complex_primitive
from funtorch.onnx.writing.values import Pair, Val

# What moves numbers about, adds and scales them by reals does the same to both parts.
_PARTWISE = (
    "broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "rev", "concatenate",
    "slice", "dynamic_slice", "dynamic_update_slice", "pad", "gather", "select_n", "split", "stack",
    "unstack", "tile", "neg", "add", "add_any", "sub", "reduce_sum", "cumsum", "copy", "copy_p",
    "stop_gradient", "optimization_barrier", "scatter", "scatter-add", "scatter_add",
)  # fmt: skip


def _partwise(name: str) -> None:
    @complex_primitive(name)
    def write(g: Any, eqn: Any, *xs: Val) -> Any:
        real, imag = (
            PRIMITIVES[name](g, eqn, *[getattr(x, part) if isinstance(x, Pair) else x for x in xs])
            for part in ("re", "im")
        )
        if isinstance(real, Val):
            return Pair(real, imag)
        return [Pair(a, b) for a, b in zip(real, imag, strict=True)]


for _name in _PARTWISE:
    _partwise(_name)


@complex_primitive("complex")
def complex_(g: Any, eqn: Any, re: Val, im: Val) -> Any:
    return Pair(re, im)


@complex_primitive("real")
def real(g: Any, eqn: Any, x: Pair) -> Any:
    return x.re


@complex_primitive("imag")
def imag(g: Any, eqn: Any, x: Pair) -> Any:
    return x.im


@complex_primitive("conj")
def conj(g: Any, eqn: Any, x: Val) -> Any:
    return Pair(x.re, g.op("Neg", x.im)) if isinstance(x, Pair) else _lifted(g, x)


def _lifted(g: Any, x: Val) -> Pair:
    return Pair(x, g.const(np.zeros([1] * x.ndim, x.dtype)).broadcast(x.shape))


@complex_primitive("convert_element_type")
def convert_element_type(g: Any, eqn: Any, x: Val) -> Any:
    wanted = np.dtype(eqn.params["new_dtype"])
    if wanted.kind != "c":
        return g.cast(x.re if isinstance(x, Pair) else x, wanted)
    part = np.zeros(0, wanted).real.dtype
    if isinstance(x, Pair):
        return Pair(g.cast(x.re, part), g.cast(x.im, part))
    return _lifted(g, g.cast(x, part))


def _is_real(x: Pair) -> bool:
    return x.im.array is not None and not x.im.array.any()


@complex_primitive("mul")
def mul(g: Any, eqn: Any, x: Pair, y: Pair) -> Any:
    return product(g, x, y, lambda a, b: g.op("Mul", a, b))


def product(g: Any, x: Pair, y: Pair, times: Callable[[Val, Val], Val]) -> Pair:
    """(a + bi)(c + di), by real products."""
    for this, other, order in ((x, y, 1), (y, x, -1)):
        if _is_real(this):  # a number that only scales
            pair = [(this.re, part)[::order] for part in (other.re, other.im)]
            return Pair(*(times(a, b) for a, b in pair))
    re = g.op("Sub", times(x.re, y.re), times(x.im, y.im))
    return Pair(re, g.op("Add", times(x.re, y.im), times(x.im, y.re)))


@complex_primitive("dot_general")
def dot_general(g: Any, eqn: Any, x: Pair, y: Pair) -> Any:
    (cx, cy), (bx, by) = eqn.params["dimension_numbers"]
    out = eqn.outvars[0].aval.shape
    return product(g, x, y, lambda a, b: windows.product(g, a, b, cx, cy, bx, by, out))


@complex_primitive("div")
def div(g: Any, eqn: Any, x: Pair, y: Pair) -> Any:
    if _is_real(y):
        return Pair(g.op("Div", x.re, y.re), g.op("Div", x.im, y.re))
    size = _squares(g, y)
    above = product(g, x, Pair(y.re, g.op("Neg", y.im)), lambda a, b: g.op("Mul", a, b))
    return Pair(g.op("Div", above.re, size), g.op("Div", above.im, size))


def _squares(g: Any, x: Pair) -> Any:
    return g.op("Add", g.op("Mul", x.re, x.re), g.op("Mul", x.im, x.im))


@complex_primitive("abs")
def abs_(g: Any, eqn: Any, x: Pair) -> Any:
    return g.op("Sqrt", _squares(g, x))


@complex_primitive("square")
def square(g: Any, eqn: Any, x: Pair) -> Any:
    return mul(g, eqn, x, x)


@complex_primitive("integer_pow")
def integer_pow(g: Any, eqn: Any, x: Pair) -> Any:
    n = eqn.params["y"]
    if not 0 < n <= 4:
        raise NoRule(f"complex numbers to the power of {n} are not written")
    made = x
    for _ in range(n - 1):
        made = mul(g, eqn, made, x)
    return made


@complex_primitive("exp")
def exp(g: Any, eqn: Any, x: Pair) -> Any:
    size = g.op("Exp", x.re)
    return Pair(g.op("Mul", size, g.op("Cos", x.im)), g.op("Mul", size, g.op("Sin", x.im)))


@complex_primitive("log")
def log(g: Any, eqn: Any, x: Pair) -> Any:
    return Pair(g.op("Log", abs_(g, eqn, x)), PRIMITIVES["atan2"](g, eqn, x.im, x.re))


@complex_primitive("sign")
def sign(g: Any, eqn: Any, x: Pair) -> Any:
    """x / |x|, and zero for zero."""
    size = abs_(g, eqn, x)
    zero = g.const(0, x.re.dtype)
    safe = g.where(g.op("Equal", size, zero), g.const(1, x.re.dtype), size)
    return Pair(g.op("Div", x.re, safe), g.op("Div", x.im, safe))


@complex_primitive("eq")
def eq(g: Any, eqn: Any, x: Pair, y: Pair) -> Any:
    return g.op("And", g.op("Equal", x.re, y.re), g.op("Equal", x.im, y.im))


@complex_primitive("ne")
def ne(g: Any, eqn: Any, x: Pair, y: Pair) -> Any:
    return g.op("Not", eq(g, eqn, x, y))


# Fourier transforms -----------------------------------------------------------------------------


@complex_primitive("fft")
def fft(g: Any, eqn: Any, x: Val) -> Any:
    """Over the last dimensions, one after another. ONNX's DFT wants pairs in a last dimension."""
    kind, lengths = eqn.params["fft_type"].name, eqn.params["fft_lengths"]
    if not all(isinstance(n, int) for n in lengths):
        raise NoRule("a transform over a dimension of any size is not written")
    rank = x.ndim
    axes = list(range(rank - len(lengths), rank))
    if kind == "RFFT":
        made = _joined(g, _dft(g, g.unsqueeze(x, [rank]), axes.pop(), onesided=1))
        return _chain(g, made, axes, 0)
    assert isinstance(x, Pair)
    if kind == "IRFFT":
        last, count = axes.pop(), lengths[-1]
        whole = _mirrored(g, _chain(g, x, axes, 1), last, count)
        return _chain(g, whole, [last], 1).re
    return _chain(g, x, axes, int(kind == "IFFT"))


def _chain(g: Any, x: Pair, axes: list[int], inverse: int) -> Pair:
    for axis in axes:
        pairs = g.concat([g.unsqueeze(part, [x.ndim]) for part in (x.re, x.im)], x.ndim)
        x = _joined(g, _dft(g, pairs, axis, inverse=inverse))
    return x


def _joined(g: Any, pairs: Val) -> Pair:
    assert pairs.shape is not None
    at = pairs.ndim - 1
    parts = (
        g.op("Gather", pairs, g.const(i, np.int64), axis=at, shape=pairs.shape[:-1]) for i in (0, 1)
    )
    return Pair(*parts)


def _dft(g: Any, x: Val, axis: int, inverse: int = 0, onesided: int = 0) -> Val:
    """x: [..., 1 or 2]; runtimes want a dimension in front of the one that is transformed."""
    lifted = g.unsqueeze(x, [0]) if axis == 0 else x
    at = axis + (axis == 0)
    n = lifted.shape[at]
    shape = (*lifted.shape[:at], n // 2 + 1 if onesided else n, *lifted.shape[at + 1 : -1], 2)
    told = {"inverse": inverse, "onesided": onesided, "shape": shape}
    if g.opset < 20:
        made = g.op("DFT", lifted, axis=at, **told)
    else:
        made = g.op("DFT", lifted, None, g.const(at, np.int64), **told)
    return g.squeeze(made, [0]) if axis == 0 else made  # type: ignore[no-any-return]


def _mirrored(g: Any, half: Pair, axis: int, n: int) -> Pair:
    """All n frequencies from those that are not negative; the others are their conjugates."""
    rest = (n - 1) // 2
    parts = []
    for part, mirror in ((half.re, lambda v: v), (half.im, lambda v: g.op("Neg", v))):
        kept = g.slice(part, axis, 0, n // 2 + 1, size=n // 2 + 1)
        if rest:
            other = g.slice(part, axis, 1, rest + 1, size=rest)
            kept = g.concat([kept, mirror(reversed_along(g, other, [axis]))], axis)
        parts.append(kept)
    return Pair(*parts)
