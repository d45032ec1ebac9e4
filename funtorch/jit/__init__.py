"""torch.jit: modules and functions as programs that run without their source."""

from funtorch.compiler.state import is_scripting
from funtorch.futures import Future
from funtorch.jit.api import (
    Attribute,
    Final,
    LoadedModule,
    RecursiveScriptModule,
    TopLevelTracedModule,
    TracedModule,
    annotate,
    export,
    fork,
    freeze,
    ignore,
    interface,
    is_tracing,
    isinstance_,
    load,
    optimize_for_inference,
    save,
    script,
    script_if_tracing,
    script_method,
    trace,
    trace_module,
    unused,
    wait,
)
from funtorch.jit.api import isinstance_ as isinstance
from funtorch.jit.api import overload as _overload
from funtorch.jit.api import overload as _overload_method
from funtorch.jit.api import script_if_tracing as _script_if_tracing
from funtorch.jit.control import ControlFlowError
from funtorch.jit.modules import ScriptFunction, ScriptModule


class TracerWarning(Warning):
    """What PyTorch's tracer warns with. This one raises ControlFlowError instead."""


__all__ = [
    "Attribute",
    "ControlFlowError",
    "Final",
    "Future",
    "LoadedModule",
    "RecursiveScriptModule",
    "ScriptFunction",
    "ScriptModule",
    "TopLevelTracedModule",
    "TracedModule",
    "TracerWarning",
    "annotate",
    "export",
    "fork",
    "freeze",
    "ignore",
    "interface",
    "is_scripting",
    "is_tracing",
    "isinstance",
    "load",
    "optimize_for_inference",
    "save",
    "script",
    "script_if_tracing",
    "script_method",
    "trace",
    "trace_module",
    "unused",
    "wait",
]
