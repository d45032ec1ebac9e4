"""What two workers ask of each other. Each case: (library, its `distributed`, rank) -> values."""

from __future__ import annotations

import importlib


class Counter:
    """Something with a state."""

    def __init__(self, start):
        self.value = start

    def add(self, amount=1):
        self.value += amount
        return self.value


def double(x, plus=0):
    return x * 2 + plus


def fails(x):
    raise ValueError(f"no {x}")


def relayed(rref):
    return rref.to_here() + 1


def calls(t, d, rank):
    rpc = importlib.import_module(f"{t.__name__}.distributed.rpc")
    folder = importlib.import_module("os").environ["PAIR_FOLDER"]
    options = rpc.TensorPipeRpcBackendOptions(init_method=f"file://{folder}-rpc")
    if t.__name__ == "torch":
        options.num_worker_threads = 4
    rpc.init_rpc(f"worker{rank}", rank=rank, world_size=2, rpc_backend_options=options)
    other, found = f"worker{1 - rank}", []
    found.append(rpc.rpc_sync(other, double, (t.ones(2) * rank,), {"plus": 1}))
    found += [f.wait() for f in [rpc.rpc_async(other, double, args=(i,)) for i in range(4)]]
    found += [rpc.rpc_sync(1 - rank, t.add, args=(t.ones(2), 3)), rpc.get_worker_info().name]
    found += [rpc.get_worker_info(other).id, rpc.rpc_sync(f"worker{rank}", double, (5,))]
    try:
        rpc.rpc_sync(other, fails, (3,))
    except ValueError as error:
        found.append("no 3" in str(error))
    rref = rpc.remote(other, double, (t.ones(2),))
    found += [rref.to_here(), rref.owner().name, rref.is_owner()]
    counter = rpc.remote(other, Counter, (5,))
    found += [counter.rpc_sync().add(2), counter.rpc_async().add().wait()]
    found += [counter.remote().add(amount=3).to_here(), counter.to_here().value]
    own = rpc.RRef(7)
    found += [rpc.rpc_sync(other, relayed, (own,)), own.local_value(), own.is_owner()]
    then = rpc.rpc_async(other, double, (4,)).then(lambda future: future.wait() + 1)
    found += [then.wait(), t.futures.wait_all([rpc.rpc_async(other, double, (i,)) for i in (1, 2)])]
    try:
        rpc.rpc_sync("nobody", double, (1,))
    except Exception as error:
        found.append(isinstance(error, RuntimeError | ValueError))
    rpc.shutdown()
    return found


CASES = {"calls": calls}
