"""What two processes do with collectives. Each case: (library, its `distributed`, rank) -> values."""

from __future__ import annotations

import importlib
import tempfile
from datetime import timedelta


def attempt(call):
    """What it gives, or the type of its error."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def reductions(t, d, rank):
    found = []
    for name in ("SUM", "AVG", "PRODUCT", "MIN", "MAX", "BAND", "BOR", "BXOR"):
        for kind in ("float32", "float64", "bfloat16", "int64", "uint8", "bool", "complex64"):

            def case(name=name, kind=kind):
                x = t.tensor([1 + rank, 3, 2 * rank]).to(getattr(t, kind))
                d.all_reduce(x, getattr(d.ReduceOp, name))
                return str(x.tolist())

            found.append([name, kind, attempt(case)])
    return found


def large(t, d, rank):
    x = t.arange(20000.0).reshape(100, 200) * (rank + 1)
    work = d.all_reduce(x, async_op=True)
    y = t.ones(30000, dtype=t.int64) * rank
    d.all_reduce(y, d.ReduceOp.MAX)
    done = work.wait()
    return x[::17, ::31], y[:3], done, work.is_completed()


def windows(t, d, rank):
    turned = t.arange(6.0).reshape(2, 3).t() + rank
    d.broadcast(turned, 1)
    scalar, empty = t.tensor(2.5 * rank), t.zeros(0)
    d.all_reduce(scalar)
    d.all_reduce(empty)
    leaf = t.ones(2, requires_grad=True)
    with t.no_grad():
        d.all_reduce(leaf)
    return turned, turned.stride(), scalar, empty.shape, leaf, leaf.requires_grad


def gathers(t, d, rank):
    x = t.arange(4.0) + 10 * rank
    listed = [t.zeros(2, 2) for _ in range(2)]
    d.all_gather(listed, x.reshape(2, 2).t())
    whole, stacked = t.zeros(8), t.zeros(2, 4)
    d.all_gather_into_tensor(whole, x)
    d.all_gather_into_tensor(stacked, x.reshape(1, 4), async_op=True).wait()
    at_one = [t.zeros(4) for _ in range(2)] if rank == 1 else None
    d.gather(x, at_one, dst=1)
    part, flags = t.zeros(2), [t.zeros(2, dtype=t.bool) for _ in range(2)]
    d.scatter(part, [t.ones(2) * 3, t.ones(2) * 4] if rank == 0 else None, src=0)
    d.all_gather(flags, t.tensor([True, rank == 1]))
    return listed, whole, stacked, at_one, part, flags


def scattered_sums(t, d, rank):
    x = t.arange(4.0) + rank
    one, whole, mean, most = t.zeros(2), t.zeros(2), t.zeros(2), t.zeros(2)
    d.reduce_scatter(one, [x[:2], x[2:]])
    d.reduce_scatter_tensor(whole, x)
    d.reduce_scatter_tensor(mean, x, d.ReduceOp.AVG)
    d.reduce_scatter(most, [x[:2], x[2:]], d.ReduceOp.MAX)
    y = t.ones(3) * (rank + 1)
    d.reduce(y, 1)
    return one, whole, mean, most, y if rank == 1 else None


def to_all(t, d, rank):
    sizes = [[1, 2], [2, 1]][rank]
    uneven, even = t.zeros(3), t.zeros(2, 2)
    d.all_to_all_single(uneven, t.arange(3.0) + 10 * rank, sizes, sizes)
    d.all_to_all_single(even, t.arange(4.0).reshape(2, 2) + 10 * rank)
    listed = [t.zeros(2), t.zeros(2)]
    d.all_to_all(listed, [t.ones(2) * rank, t.ones(2) * rank + 5])
    return uneven, even, listed


def messages(t, d, rank):
    other, found = 1 - rank, []
    if rank:
        d.send(t.ones(3) * 7, 0, tag=3)
        d.send(t.ones(3) * 8, 0)
    else:
        a, b = t.zeros(3), t.zeros(3)
        found += [d.recv(b, tag=3), b, d.recv(a, 1), a]
    x, y = t.ones(2) * rank, t.zeros(2)
    ops = [d.P2POp(d.isend, x, other), d.P2POp(d.irecv, y, other)]
    for work in d.batch_isend_irecv(ops):
        work.wait()
    z = t.zeros(2)
    works = [d.irecv(z, other, tag=1), d.isend(x + 5, other, tag=1)]
    found += [[work.wait() for work in works], y, z]
    if rank:
        d.send_object_list([{"a": t.ones(1).tolist()}, 2], 0)
    else:
        listed = [None, None]
        found += [d.recv_object_list(listed, 1), listed]
    return found


def objects(t, d, rank):
    made, sent, scattered = [None] * 2, ["a", rank], [None]
    d.all_gather_object(made, {"rank": rank, "tensor": (t.ones(2) * rank).tolist()})
    d.broadcast_object_list(sent, 1)
    d.scatter_object_list(scattered, [(1, 2), "b"] if rank == 0 else None, 0)
    gathered = [None] * 2 if rank == 1 else None
    d.gather_object(["x", rank], gathered, 1)
    return made, sent, scattered, gathered


def groups(t, d, rank):
    alone, both = d.new_group([1]), d.new_group([1, 0])
    unsorted = d.new_group([1, 0], sort_ranks=False)
    x, y, z = t.ones(1), t.ones(1), t.ones(1) * rank
    d.all_reduce(x, group=alone)
    d.all_reduce(y, group=both)
    d.broadcast(z, group_src=0, group=unsorted)
    own, every = d.new_subgroups(1)
    facts = [d.get_rank(alone), d.get_world_size(alone), d.get_rank(both), d.get_rank(unsorted)]
    facts += [d.get_process_group_ranks(unsorted), d.get_global_rank(unsorted, 0)]
    facts += [d.get_rank(own), len(every), d.get_backend(), d.get_rank(), d.get_world_size()]
    facts += [own.size(), d.group.WORLD.size()]
    return x, y, z, facts


def futures(t, d, rank):
    work = d.all_reduce(t.ones(2) * (rank + 1), async_op=True)
    then = work.get_future().then(lambda future: future.value()[0] * 2)
    work.wait()
    return then.wait(), d.barrier(async_op=True).wait()


def wrong(t, d, rank):
    x = t.ones(2)
    calls = [
        lambda: d.all_gather([t.zeros(2)], x),
        lambda: d.all_gather([t.zeros(2), t.zeros(3)], x),
        lambda: d.all_gather([t.zeros(2).long(), t.zeros(2)], x),
        lambda: d.gather(x, [t.zeros(2)] * 2 if rank else None, 0),
        lambda: d.send(x, rank),
        lambda: d.new_group([2]),
        lambda: d.new_group([0, 0]),
        lambda: d.init_process_group("gloo"),
        lambda: d.P2POp(d.all_reduce, x, 0),
        lambda: d.batch_isend_irecv([]),
        lambda: d.get_global_rank(d.group.WORLD, 3),
        lambda: d.get_group_rank(d.group.WORLD, 3),
    ]
    return [attempt(call) for call in calls]


def with_gradients(t, d, rank):
    f = importlib.import_module(f"{t.__name__}.distributed.nn.functional")
    leaf = (t.arange(4.0) + rank).requires_grad_()
    made = [
        *f.all_gather(leaf),
        f.all_reduce(leaf),
        f.broadcast(leaf, 0),
        f.reduce_scatter(t.zeros(4), [leaf, leaf * 2]),
        *f.all_to_all([t.zeros(4), t.zeros(4)], [leaf, leaf * 3]),
        f.all_to_all_single(t.zeros(4), leaf),
    ]
    sum((m * m).sum() * (i + 1 + rank) for i, m in enumerate(made)).backward()
    return made, leaf.grad


def stores(t, d, rank):
    store = d.PrefixStore("mine", d.FileStore(f"{tempfile.mkdtemp()}/store", -1))
    facts = [store.add(f"count{rank}", 2), store.add(f"count{rank}", 3)]
    store.set("a", "b")
    facts += [store.get("a").decode(), store.check(["a", "none"]), store.check(["a"])]
    store = d.HashStore()
    store.set("x", b"1")
    facts += [store.compare_set("x", "1", "2").decode(), store.compare_set("x", "1", "3").decode()]
    facts += [store.num_keys(), store.delete_key("x"), store.delete_key("x")]
    facts.append(attempt(lambda: store.wait(["never"], timedelta(milliseconds=20))))
    port = [None]
    if rank == 0:
        served = d.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        port = [served.port]
    d.broadcast_object_list(port, 0)
    if rank == 1:
        served = d.TCPStore("localhost", port[0])
        served.set("key", "from one")
    facts += [served.get("key").decode(), served.add("n", 0)]
    d.barrier()
    return facts


CASES = {
    f.__name__: f
    for f in (reductions, large, windows, gathers, scattered_sums, to_all, messages, objects)
} | {f.__name__: f for f in (groups, futures, wrong, with_gradients, stores)}
