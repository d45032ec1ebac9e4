"""torch.distributed in a group of one process, against PyTorch with gloo."""

from __future__ import annotations

import importlib

import pytest

import funtorch
import funtorch.distributed

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


def gathered(t, d, x):
    made = [t.zeros(3)]
    d.all_gather(made, x)
    return made[0].tolist()


def into(name):
    def case(t, d, x):
        made = t.zeros(3)
        work = getattr(d, name)(made, x * 2, async_op=True)
        return work.wait(), made.tolist()

    return case


def listed(name):
    def case(t, d, x):
        made = t.zeros(3)
        getattr(d, name)(made, [x + 1])
        return made.tolist()

    return case


def objects(t, d, x):
    made, sent, scattered, gathered = [None], ["a"], [None], [None]
    d.all_gather_object(made, {"a": 1})
    d.broadcast_object_list(sent, 0)
    d.scatter_object_list(scattered, [(1, 2)], 0)
    d.gather_object(7, gathered, 0)
    return made, sent, scattered, gathered


def reduced(t, d, x):
    ops = d.ReduceOp
    for op in (ops.SUM, ops.AVG, ops.MAX, ops.MIN, ops.PRODUCT):
        d.all_reduce(x, op=op)
    d.reduce(x, 0)
    d.broadcast(x, 0)
    return x.tolist(), d.all_reduce(x, async_op=True).wait()


def facts(t, d, x):
    group = d.new_group([0])
    return (
        d.is_available(),
        d.is_initialized(),
        d.get_rank(),
        d.get_world_size(),
        d.get_backend(),
        d.get_rank(group),
        d.get_world_size(group),
        d.get_global_rank(group, 0),
        d.get_group_rank(group, 0),
        d.get_process_group_ranks(group),
        group.size(),
        d.group.WORLD.rank(),
        d.get_rank(d.GroupMember.NON_GROUP_MEMBER),
        d.Backend("GLOO"),
        d.is_mpi_available(),
    )


def wrapped(t, d, x):
    t.manual_seed(0)
    net = t.nn.parallel.DistributedDataParallel(t.nn.Linear(3, 2))
    with net.no_sync():
        net(x).sum().backward()
    net(x).sum().backward()
    grads = {name: p.grad.tolist() for name, p in net.named_parameters()}
    return grads, list(net.state_dict()), repr(net), net.device_ids, net.device_type


def with_gradients(t, d, x):
    f = importlib.import_module(f"{t.__name__}.distributed.nn.functional")
    leaf = x.requires_grad_()
    made = [
        *(f.all_gather(leaf)[0], f.all_reduce(leaf), f.broadcast(leaf, 0), f.reduce(leaf, 0)),
        *(f.scatter([leaf], 0), f.reduce_scatter(t.zeros(3), [leaf])),
        *(f.all_to_all([t.zeros(3)], [leaf])[0], f.all_to_all_single(t.zeros(3), leaf)),
    ]
    sum(m.sum() * (i + 1) for i, m in enumerate(made)).backward()
    # PyTorch's gradient of gather is wrong for a group of one: only its values are compared.
    made.append(f.gather(leaf, 0)[0])
    return [m.tolist() for m in made], leaf.grad.tolist()


CASES = {
    "with_gradients": with_gradients,
    "facts": facts,
    "gathered": gathered,
    "gather": lambda t, d, x: (made := [t.zeros(3)], d.gather(x, made, 0))[0][0].tolist(),
    "gather_nowhere": lambda t, d, x: d.gather(x, None, 0),
    "into": into("all_gather_into_tensor"),
    "reduce_scatter": listed("reduce_scatter"),
    "reduce_scatter_tensor": into("reduce_scatter_tensor"),
    "to_all": into("all_to_all_single"),
    "scatter": listed("scatter"),
    "reduced": reduced,
    "objects": objects,
    "barrier": lambda t, d, x: (d.barrier(), d.barrier(async_op=True).wait()),
    "too_small": lambda t, d, x: d.all_gather([t.zeros(2)], x),
    "too_many": lambda t, d, x: d.all_gather([t.zeros(3)] * 2, x),
    "other_dtype": lambda t, d, x: d.all_gather([t.zeros(3).long()], x),
    "wrong_root": lambda t, d, x: d.broadcast(x, 1),
    "wrong_member": lambda t, d, x: d.new_group([1]),
    "twice": lambda t, d, x: d.init_process_group("gloo", rank=0, world_size=1),
    "ddp": wrapped,
    "ddp_without_parameters": lambda t, d, x: t.nn.parallel.DistributedDataParallel(t.nn.ReLU()),
}

WITHOUT = {
    "rank": lambda t, d: d.get_rank(),
    "reduce": lambda t, d: d.all_reduce(t.ones(1)),
    "world": lambda t, d: d.group.WORLD,
    "destroy": lambda t, d: d.destroy_process_group(),
    "environment": lambda t, d: d.init_process_group("gloo"),
    "backend": lambda t, d: d.init_process_group("bla", rank=0, world_size=1),
    "nccl": lambda t, d: d.init_process_group("nccl", "tcp://localhost:1", rank=0, world_size=1),
    "sampler": lambda t, d: t.utils.data.DistributedSampler([1, 2]),
    "ddp": lambda t, d: t.nn.parallel.DistributedDataParallel(t.nn.Linear(1, 1)),
}


def outcome(call):
    try:
        return call()
    except Exception as error:
        return type(error)


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    store = f"file://{tmp_path_factory.mktemp('group') / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    funtorch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield
    for library in (torch, funtorch):
        library.distributed.destroy_process_group()
        assert not library.distributed.is_initialized()


@pytest.mark.parametrize("case", WITHOUT)
def test_without_a_group(case: str, monkeypatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    ours, theirs = (outcome(lambda t=t: WITHOUT[case](t, t.distributed)) for t in (funtorch, torch))
    assert ours == theirs


def test_environment(monkeypatch) -> None:
    values = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    d = funtorch.distributed
    d.init_process_group()
    try:
        sampler = funtorch.utils.data.DistributedSampler([1, 2, 3], shuffle=False)
        assert (d.get_world_size(), list(sampler)) == (1, [0, 1, 2])
    finally:
        d.destroy_process_group()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("case", CASES)
def test_collectives(case: str, groups) -> None:
    ours, theirs = (
        outcome(lambda t=t: CASES[case](t, t.distributed, t.tensor([1.0, 2.0, 3.0])))
        for t in (funtorch, torch)
    )
    assert ours == theirs


def test_data_parallel() -> None:
    made = []
    for t in (funtorch, torch):
        t.manual_seed(0)
        net = t.nn.DataParallel(t.nn.Linear(3, 2))
        x = t.ones(4, 3)
        made.append((list(net.state_dict()), net.device_ids, repr(net)))
        assert net(x).tolist() == net.module(x).tolist()
    assert made[0] == made[1]
