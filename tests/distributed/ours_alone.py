"""What two processes do that has no oracle: failing, and SyncBatchNorm on CPUs."""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta

import funtorch as t
import funtorch.distributed as d


def told(call) -> str:
    try:
        call()
    except d.DistBackendError as error:
        return str(error)
    return "nothing"


def normalised(rank: int) -> str:
    """SyncBatchNorm on halves of a batch is BatchNorm on the whole."""
    whole = (t.arange(48.0).reshape(6, 2, 4) * 0.7).sin()
    found = []
    for kind, x in ((t.nn.BatchNorm1d, whole), (t.nn.SyncBatchNorm, [whole[:2], whole[2:]][rank])):
        layer = kind(2)
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        (y * y * y.detach().cos()).sum().backward()
        own = slice(0, 2) if rank == 0 else slice(2, 6)
        part = own if kind is t.nn.BatchNorm1d else slice(None)
        found.append([y[part], leaf.grad[part], layer.running_mean, layer.running_var])
    same = [t.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True)]
    return f"SyncBatchNorm {same}"


def main(rank: int, folder: str) -> None:
    limit = timedelta(seconds=60)
    d.init_process_group("gloo", f"file://{folder}/store", limit, world_size=2, rank=rank)
    try:
        t.nn.parallel.DistributedDataParallel(t.nn.Linear(3, 2 + rank))
    except RuntimeError as error:
        print(error)
    print(normalised(rank))
    short = d.new_group(timeout=timedelta(seconds=0.3))
    if rank == 0:
        print(told(lambda: d.monitored_barrier(timeout=timedelta(seconds=0.3))))
        print(told(lambda: d.all_reduce(t.ones(2), group=short)))
        print(told(lambda: d.irecv(t.ones(2), 1, group=short).wait()))
        d.barrier()
        print(told(lambda: d.recv(t.ones(3), 1)))
        print(told(lambda: d.all_gather_object([None, None], 1)))
        print(told(lambda: d.recv(t.ones(3))))
    else:
        d.barrier()
        d.send(t.ones(4), 0)
        time.sleep(0.1)
        os._exit(3)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
