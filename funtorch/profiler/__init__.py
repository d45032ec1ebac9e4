"""torch.profiler: how long named blocks take, the execution that they cause included.

Ops are recorded and run later as one program, so there is no time per op. A block of
`record_function` ends with a barrier while a profiler listens: its time is that of its own work.
For what happens within a program, use `jax.profiler`.
"""

from funtorch.profiler.events import record_function
from funtorch.profiler.session import (
    ProfilerAction,
    ProfilerActivity,
    kineto_available,
    profile,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)

__all__ = [
    "ProfilerAction",
    "ProfilerActivity",
    "kineto_available",
    "profile",
    "record_function",
    "schedule",
    "supported_activities",
    "tensorboard_trace_handler",
]
