"""Rules of ops that came from ONNX: those of loaded models, and nodes that a model names itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch.onnx.writing.table import rule
from funtorch.onnx.writing.values import Val


@rule("_onnx_cast")
def cast(g: Any, x: Val, name: str, saturate: bool, round_mode: str) -> Any:
    dtype = np.dtype(name)
    if not name.startswith("float8") or x.dtype == dtype:
        return NotImplemented
    extra: dict[str, Any] = {"saturate": int(saturate)}
    if name == "float8_e8m0fnu":
        if g.opset < 24:
            return NotImplemented
        extra["round_mode"] = round_mode
    return g.op("Cast", x, to=dtype, dtype=dtype, shape=x.shape, **extra)


@rule("_onnx_mod")
def mod(g: Any, a: Val, b: Val, fmod: int) -> Any:
    if not fmod and a.dtype.kind not in "iu":
        return NotImplemented
    return g.op("Mod", a, b, fmod=fmod)


@rule("_onnx__transform")
def transform(g: Any, x: Val, length: int | None, axis: int, inverse: bool, onesided: bool) -> Any:
    """DFT, whose axis the op counts without the last dimension (real and imaginary part)."""
    if g.opset < 20:
        return NotImplemented
    out = g.inst.out_avals[0]
    count = None if length is None else g.const(length, np.int64)
    at = g.const(axis - 1 + x.ndim if axis < 0 else axis, np.int64)
    return g.op(
        "DFT", x, count, at, inverse=int(inverse), onesided=int(onesided), shape=tuple(out.shape)
    )


@rule("_onnx__stft_of")
def stft(g: Any, x: Val, window: Val | None, size: int, hop: int, onesided: bool) -> Any:
    """STFT."""
    out = g.inst.out_avals[0]
    length = g.const(size, np.int64)
    return g.op(
        "STFT", x, g.const(hop, np.int64), window, length, onesided=int(onesided),
        shape=tuple(out.shape),
    )  # fmt: skip


@rule("onnx_symbolic")
def symbolic(g: Any, *args: Any) -> Any:
    """What `torch.onnx.ops.symbolic` asked for."""
    *inputs, domain, name, version, attrs, given, props, outs = args
    values = iter(inputs)
    g.domains.setdefault(domain, version)
    made = g.op(
        name, *[next(values) if there else None for there in given], n=len(outs), domain=domain,
        dtype=np.dtype(outs[0][1]), **dict(attrs),
    )  # fmt: skip
    made = [made] if isinstance(made, Val) else list(made)
    for out, (shape, kind) in zip(made, outs, strict=True):
        out.dtype, out.shape, out.held = np.dtype(kind), tuple(shape), tuple(shape)
    g.block.nodes[-1] = g.block.nodes[-1]._replace(metadata=dict(props))
    return made
