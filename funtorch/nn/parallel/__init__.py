"""torch.nn.parallel: wrappers that spread a batch over devices; here over one."""

from funtorch.nn.parallel.data_parallel import DataParallel, data_parallel
from funtorch.nn.parallel.distributed import DistributedDataParallel

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel"]
