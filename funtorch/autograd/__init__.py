"""Automatic differentiation: `torch.autograd`."""

from importlib import import_module as _import_module

from funtorch.anomaly import detect_anomaly, set_detect_anomaly
from funtorch.autograd import graph, variable
from funtorch.autograd.calls import backward, grad
from funtorch.autograd.function import Function
from funtorch.autograd.gradcheck import gradcheck, gradgradcheck
from funtorch.autograd.variable import Variable
from funtorch.grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled

_LAZY = ["forward_ad", "functional", "profiler"]
"""They stand above `funtorch.func` and the compiler."""

__all__ = [
    "Function",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "function",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
    "variable",
]


def _profiler_enabled() -> bool:
    """Does a profiler listen?"""
    return bool(_import_module("funtorch.profiler.events").listeners)


def _disable_profiler() -> None:
    """Stop the profiler that began to listen last."""
    _import_module("funtorch.profiler.events").listeners.pop()


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return _import_module(f"funtorch.autograd.{name}")
    raise AttributeError(f"module 'funtorch.autograd' has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    return [*__all__, *_LAZY]
