"""torch.onnx.ops: nodes of one's own in a model that is to be exported.

Outside of an export there is nobody to compute them: their values are zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx

from funtorch.dispatch import OpInfo, call
from funtorch.lowering import Op
from funtorch.ops.creation import zeros
from funtorch.tensor import Tensor

__all__ = ["symbolic", "symbolic_multi_out"]


def _lower(arrays: Sequence[Any], numbers: Sequence[Any], statics: Any) -> tuple[Any, ...]:
    return tuple(jnp.zeros(shape, np.dtype(kind)) for shape, kind in statics[-1])


_INFO = OpInfo(Op("onnx_symbolic", _lower), differentiable=False)


def symbolic(
    domain_op: str,
    /,
    inputs: Sequence[Tensor | None],
    attrs: Mapping[str, Any] | None = None,
    *,
    dtype: Any,
    shape: Sequence[int],
    version: int | None = None,
    metadata_props: Mapping[str, str] | None = None,
) -> Tensor:
    """The output of a node `domain::Op` with these inputs and attributes.

    dtype: a torch.dtype or ONNX's number for one. Raises ValueError for what is no `domain::Op`.
    """
    made = symbolic_multi_out(
        domain_op, inputs, attrs, dtypes=(dtype,), shapes=(shape,), version=version,
        metadata_props=metadata_props,
    )  # fmt: skip
    return made[0]


def symbolic_multi_out(
    domain_op: str,
    /,
    inputs: Sequence[Tensor | None],
    attrs: Mapping[str, Any] | None = None,
    *,
    dtypes: Sequence[Any],
    shapes: Sequence[Sequence[int]],
    version: int | None = None,
    metadata_props: Mapping[str, str] | None = None,
) -> list[Tensor]:
    """`symbolic` with several outputs."""
    domain, found, name = domain_op.partition("::")
    if not found or not name:
        raise ValueError(f"expected 'domain::Op', not {domain_op!r}")
    kinds = [_numpy(d) for d in dtypes]
    outs = [(tuple(int(n) for n in s), k.name) for s, k in zip(shapes, kinds, strict=True)]
    given = tuple(x is not None for x in inputs)
    settled = tuple((k, _plain(v)) for k, v in (attrs or {}).items())
    props = tuple((metadata_props or {}).items())
    statics = (domain, name, version or 1, settled, given, props, tuple(outs))
    tensors = [x for x in inputs if x is not None] or [zeros(0)]
    return call(_INFO, statics, tensors, ())


def _numpy(dtype: Any) -> np.dtype[Any]:
    if isinstance(dtype, int):
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(dtype))
    return np.dtype(dtype.numpy)


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value
