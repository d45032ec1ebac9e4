"""torch.autograd.profiler: what `torch.profiler` is built on."""

from funtorch.profiler.events import EventList, record_function

__all__ = ["EventList", "record_function"]
