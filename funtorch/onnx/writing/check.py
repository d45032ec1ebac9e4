"""Is what was written right? The schema, the shapes, and the values on the example inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from funtorch.onnx.writing.runtimes import runner
from funtorch.onnx.writing.table import OnnxExporterError

Array = np.ndarray[Any, Any]
WHOLE = 100_000_000  # bytes of weights from which the checker sees the model without them

# (relative to the largest element of the output, relative to the element) by bits of the mantissa
_TOLERANCES = {52: (1e-7, 1e-6), 23: (2e-5, 1e-3), 10: (5e-3, 1e-2), 7: (3e-2, 3e-2)}


class VerificationError(OnnxExporterError):
    """The written model computes something else."""


def checked(program: Any) -> None:
    """Schema and shapes. Raises what onnx's checker and its strict shape inference raise."""
    finished = program._finished
    whole = program.nbytes < WHOLE
    model = finished.model(weights=whole)
    if not whole:  # the checker wants to see every value: as inputs, weights are not copied
        model = finished.model(False, True)
    try:
        onnx.checker.check_model(model, full_check=False)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise VerificationError(f"the written model is not valid: {error}") from error


def compared(
    program: Any,
    feeds: Mapping[str, Array],
    expected: Sequence[Array],
    slack: Sequence[float] = (),
) -> None:
    """Run on these inputs. Raises VerificationError where the outputs differ.

    Outputs of quantised models agree if they do so on average (see `_near`).
    slack: for each output, a difference that is allowed beside that of its dtype.
    """
    found = runner(program)(feeds)
    names = program._finished.outputs
    for i, (value, ours, theirs) in enumerate(zip(names, expected, found, strict=True)):
        more = slack[i] if slack else 0.0
        words = difference(ours, theirs, not program.random, more)
        if words and not (program._finished.quantised and _near(ours, theirs)):
            raise VerificationError(f"output {value.name!r} of the written model {words}")


def difference(ours: Array, theirs: Array, compare: bool = True, slack: float = 0.0) -> str:
    """What differs, in words; nothing if they agree. Sequences: in their first element that does."""
    if isinstance(ours, list):
        if len(ours) != len(theirs):
            return f"has {len(theirs)} elements, funtorch gives {len(ours)}"
        words = (difference(a, b, compare, slack) for a, b in zip(ours, theirs, strict=True))
        return next(filter(None, words), "")
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        return f"has shape {list(theirs.shape)}, funtorch gives {list(ours.shape)}"
    if ours.dtype.kind in "OUS":
        return "" if (ours == theirs).all() else "has other strings"
    if ours.dtype != theirs.dtype and ours.dtype.itemsize != theirs.dtype.itemsize:
        return f"is {theirs.dtype}, funtorch gives {ours.dtype}"
    if not compare or not ours.size:
        return ""
    kind = np.dtype(ours.dtype)
    if kind.kind in "biu" or kind.name.lstrip("u").startswith("int"):
        wrong = int((ours != theirs).sum())
        return f"differs in {wrong} of {ours.size} elements" if wrong else ""
    if theirs.dtype != kind:
        theirs = theirs.view(kind)
    scale, relative = _TOLERANCES.get(_mantissa(kind), (1e-1, 1e-1))
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    finite = a[np.isfinite(a)]
    absolute = scale * max(1.0, float(np.abs(finite).max(initial=0))) + slack
    same = np.isclose(a, b, rtol=relative, atol=absolute, equal_nan=True)
    if same.all():
        return ""
    worst = np.nanmax(np.abs(np.where(same, 0, a - b)))
    return f"differs by {worst:.3g} in {int((~same).sum())} of {ours.size} elements"


def _near(ours: Array, theirs: Array) -> bool:
    """Are they apart by 2 % of their spread on average? Rounding to a grid may fall to another side."""
    if ours.shape != theirs.shape or ours.dtype.kind not in "f" or not np.isfinite(ours).all():
        return False
    return bool(np.abs(ours - theirs).mean() <= 0.02 * np.ptp(ours))


def _mantissa(dtype: Any) -> int:
    import ml_dtypes

    return int(ml_dtypes.finfo(dtype).nmant)
