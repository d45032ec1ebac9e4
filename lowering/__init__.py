"""What a compiler person sees: recorded graphs, their lowering to pure JAX functions, execution."""

if __name__ == "lowering":
    raise ImportError(
        "import this package as funtorch.lowering: its bare name would be a second copy"
    )

from funtorch.lowering.allocator import keep_freed_memory
from funtorch.lowering.aval import META, Aval, aval_of
from funtorch.lowering.backward import (
    residual_instance,
    residual_vjp_instance,
    sum_instance,
    vjp_dependencies,
    vjp_instance,
)
from funtorch.lowering.capture import Captured, capture
from funtorch.lowering.compile import cache
from funtorch.lowering.execute import OutOfMemoryError
from funtorch.lowering.forked import ForkedError, forbid
from funtorch.lowering.op import Instance, Op, instance, platform
from funtorch.lowering.record import Block, flush, record, record_block
from funtorch.lowering.scoping import scope, within
from funtorch.lowering.settings import MODES, execution_mode, settings
from funtorch.lowering.stats import stats
from funtorch.lowering.value import HostValue, Value, aligned, aligned_copy, constant, moved

keep_freed_memory()

__all__ = [
    "META",
    "MODES",
    "Aval",
    "Block",
    "Captured",
    "ForkedError",
    "HostValue",
    "Instance",
    "Op",
    "OutOfMemoryError",
    "Value",
    "aligned",
    "aligned_copy",
    "aval_of",
    "cache",
    "capture",
    "constant",
    "execution_mode",
    "flush",
    "forbid",
    "instance",
    "moved",
    "platform",
    "record",
    "record_block",
    "residual_instance",
    "residual_vjp_instance",
    "scope",
    "settings",
    "stats",
    "sum_instance",
    "vjp_dependencies",
    "vjp_instance",
    "within",
]
