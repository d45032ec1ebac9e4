"""An ordinary program for torchrun, started by `test_launcher.py`."""

import os
import sys

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record


@record
def main():
    dist.init_process_group()
    x = torch.ones(2) * (dist.get_rank() + 1)
    dist.all_reduce(x)
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    told = " ".join(os.environ[name] for name in names)
    line = f"{torch.__name__} {x.tolist()} {dist.is_torchelastic_launched()} {told} {sys.argv[1:]}"
    dist.barrier()
    os.write(1, f"{line}\n".encode())  # at once: the other rank writes to the same pipe
    if "fail" in sys.argv and dist.get_rank() == 1 and told.endswith("0"):
        sys.exit(5)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
