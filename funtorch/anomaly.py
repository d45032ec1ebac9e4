"""detect_anomaly: find the forward op whose gradient is NaN."""

from __future__ import annotations

import traceback
import warnings
from typing import Any

import numpy as np

Node = Any  # a tape node; this file stands below the tape
Tensor = Any


class _State:
    enabled = False
    check_nan = True


state = _State()


class detect_anomaly:  # noqa: N801
    """While open, forward ops remember where they were called, and NaN gradients raise."""

    def __init__(self, check_nan: bool = True) -> None:
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should "
            "only be enabled for debugging.",
            UserWarning,
            stacklevel=2,
        )
        self._wanted = (True, check_nan)

    def __enter__(self) -> None:
        self._before = (state.enabled, state.check_nan)
        state.enabled, state.check_nan = self._wanted

    def __exit__(self, *exc: object) -> None:
        state.enabled, state.check_nan = self._before


class set_detect_anomaly(detect_anomaly):  # noqa: N801
    """The same as a switch; usable in `with` too."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = (state.enabled, state.check_nan)
        self._wanted = (mode, check_nan)
        state.enabled, state.check_nan = self._wanted

    def __enter__(self) -> None:
        pass


def is_anomaly_enabled() -> bool:
    """Is anomaly detection on?"""
    return state.enabled


def is_anomaly_check_nan_enabled() -> bool:
    """Does it look for NaN?"""
    return state.check_nan


def remember(node: Node) -> None:
    """Note where the user called the forward op."""
    frames = [f for f in traceback.extract_stack() if "/funtorch/" not in f.filename]
    node.noted("origin", lambda: "".join(traceback.format_list(frames)))


def forward_origin(node: Node) -> str:
    """Words about where the forward op was called, if that is known."""
    origin = node.note("origin")
    return f"\nThe forward call was made here:\n{origin}" if origin else ""


def check_gradients(node: Node, grads: list[Tensor | None]) -> None:
    """Raise RuntimeError if a gradient holds NaN, naming the node (only under detection)."""
    if not (state.enabled and state.check_nan):
        return
    for index, grad in enumerate(grads):
        if grad is not None and _has_nan(grad):
            raise RuntimeError(
                f"Function '{node.name()}' returned nan values in its {index}th output."
                f"{forward_origin(node)}"
            )


def _has_nan(grad: Any) -> bool:
    array = np.asarray(grad._value.concrete())
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    return array.dtype.kind in "fc" and bool(np.isnan(array).any())
