"""torch._dynamo, as far as programs touch it: switches, reset, disable."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from funtorch._higher_order_ops import UncapturedHigherOrderOpError
from funtorch.compiler import (
    InvalidBackend,
    OptimizedModule,
    allow_in_graph,
    assume_constant_result,
    disable,
    is_compiling,
    list_backends,
    reset,
)
from funtorch.compiler import compile as _compile
from funtorch.compiler import set_stance as set_stance
from funtorch.compiler.registry import lookup_backend, register_backend
from funtorch.compiler.state import Unsupported


class _Config(ModuleType):
    """Switches that programs set; they are kept, and steer nothing here."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.suppress_errors = False
        self.verbose = False
        self.cache_size_limit = self.recompile_limit = 8
        self.accumulated_cache_size_limit = self.accumulated_recompile_limit = 256
        self.dynamic_shapes = True
        self.assume_static_by_default = True
        self.automatic_dynamic_shapes = True
        self.capture_scalar_outputs = False
        self.capture_dynamic_output_shape_ops = False
        self.optimize_ddp = True
        self.compiled_autograd = False
        self.inline_inbuilt_nn_modules = True
        self.disable = False
        self.skip_fwd_side_effects_in_bwd_under_checkpoint = False


config = _Config("funtorch._dynamo.config")
eval_frame = ModuleType("funtorch._dynamo.eval_frame")
eval_frame.OptimizedModule = OptimizedModule  # type: ignore[attr-defined]
exc = ModuleType("funtorch._dynamo.exc")
exc.InvalidBackend = InvalidBackend  # type: ignore[attr-defined]
exc.UncapturedHigherOrderOpError = UncapturedHigherOrderOpError  # type: ignore[attr-defined]
exc.Unsupported = Unsupported  # type: ignore[attr-defined]
for _module in (config, eval_frame, exc):
    sys.modules[_module.__name__] = _module


def optimize(backend: Any = "inductor", *, nopython: bool = False, **options: Any) -> Any:
    """A decorator: `torch.compile` under its older name."""
    return _compile(backend=backend, fullgraph=nopython)


def graph_break(msg: str = "") -> None:
    """Programs here have no graph breaks: nothing happens."""


def mark_dynamic(t: Any, index: Any, **bounds: Any) -> None:
    """Each shape has a program of its own: nothing to mark."""


maybe_mark_dynamic = mark_static = mark_unbacked = mark_dynamic


def mark_static_address(t: Any, guard: bool = True) -> None:
    """Programs take their inputs wherever those lie: nothing to mark."""
