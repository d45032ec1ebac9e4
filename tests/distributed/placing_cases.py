"""What two processes do with DTensors and checkpoints. Each: (library, its `distributed`, rank)."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from tests.distributed.rpc_cases import calls


def part(t, name):
    return importlib.import_module(f"{t.__name__}.distributed.{name}")


def spread(t):
    dt = part(t, "tensor")
    return dt, dt.init_device_mesh("cpu", (2,))


def shown(x):
    return [x.to_local(), str(x.placements), list(x.shape)]


def moved(t, d, rank):
    dt, mesh = spread(t)
    x = t.arange(15.0).reshape(5, 3)  # uneven: three rows and two
    kinds = [dt.Shard(0), dt.Shard(1), dt.Replicate()]
    found = [repr(k) + str(k.is_shard(0)) for k in (*kinds, dt.Partial())]
    for old in kinds:
        made = dt.distribute_tensor(x, mesh, [old])
        found += [shown(made.redistribute(mesh, [new])) for new in kinds]
        found.append(made.full_tensor())
    sums = dt.DTensor.from_local(t.ones(4, 2) * (rank + 1), mesh, [dt.Partial()])
    found += [shown(sums.redistribute(mesh, [k])) for k in kinds[1:]]
    found += [shown(sums), shown(dt.zeros(4, 2, device_mesh=mesh, placements=[dt.Shard(0)]))]
    return found


def computed(t, d, rank):
    dt, mesh = spread(t)
    x = dt.distribute_tensor(t.arange(12.0).reshape(4, 3) / 7, mesh, [dt.Shard(0)])
    w = dt.distribute_tensor(t.arange(6.0).reshape(3, 2) / 5, mesh, [dt.Replicate()])
    columns = dt.distribute_tensor(t.arange(6.0).reshape(3, 2) / 5, mesh, [dt.Shard(1)])
    across = x.redistribute(mesh, [dt.Shard(1)])
    rows = dt.distribute_tensor(t.arange(6.0).reshape(3, 2) / 5, mesh, [dt.Shard(0)])
    whole = x.redistribute(mesh, [dt.Replicate()])
    made = [
        x + 1,
        x * x,
        (x - 2).relu(),
        x @ w,
        whole @ columns,
        across @ rows,
        x.sum(),
        whole.exp(),
    ]
    found = [shown(m) for m in made]
    found += [m.full_tensor() for m in (x.softmax(0), x.mean(), x.t(), x.max(), x.cumsum(0))]
    try:
        x + t.ones(4, 3)
    except RuntimeError as error:
        found.append("mixed torch.Tensor and DTensor" in str(error))
    return found


def differentiated(t, d, rank):
    dt, mesh = spread(t)

    def leaf(values, placed):
        return dt.distribute_tensor(values.requires_grad_(), mesh, [placed])

    x = leaf(t.arange(12.0).reshape(4, 3) / 7, dt.Shard(0))
    w = leaf(t.arange(6.0).reshape(3, 2) / 5, dt.Replicate())
    b = leaf(t.arange(2.0), dt.Replicate())
    ((x @ w + b).sigmoid() ** 2).sum().backward()
    local = t.ones(2, 2, requires_grad=True)
    grown = dt.DTensor.from_local(local, mesh, [dt.Shard(0)]).redistribute(mesh, [dt.Replicate()])
    (grown.to_local() * t.arange(8.0).reshape(4, 2)).sum().backward()
    return [g.full_tensor() for g in (x.grad, w.grad, b.grad)], str(x.grad.placements), local.grad


def parallel(t, d, rank):
    _, mesh = spread(t)
    tp = part(t, "tensor.parallel")
    t.manual_seed(0)
    net = t.nn.Sequential(t.nn.Linear(3, 4), t.nn.ReLU(), t.nn.Linear(4, 2))
    plan = {"0": tp.ColwiseParallel(), "2": tp.RowwiseParallel()}
    tp.parallelize_module(net, mesh, plan)
    optimizer = t.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    found = []
    for _ in range(2):
        optimizer.zero_grad()
        y = net(t.arange(6.0).reshape(2, 3))
        y.square().sum().backward()
        optimizer.step()
        found.append(y + 0)
    found += [shown(p) for p in net.parameters()]
    return [*found, [p.grad.to_local() for p in net.parameters()]]


def state(t, rank, filled):
    dt, mesh = spread(t)
    whole = t.arange(15.0).reshape(5, 3) if filled else t.zeros(5, 3)
    one = float(filled)
    return {
        "cut": dt.distribute_tensor(whole, mesh, [dt.Shard(0 if filled else 1)]),
        "plain": t.arange(3.0) * one,
        "nested": {"list": [t.ones(2).double() * one, 5 * filled], "text": "x" * filled},
        "small": t.tensor(2.5 * one).to(t.bfloat16),
    }


def saved(t, d, rank):
    cp = part(t, "checkpoint")
    folder = os.environ["PAIR_FOLDER"]
    cp.save(state(t, rank, True), checkpoint_id=folder)
    empty = state(t, rank, False)
    cp.load(empty, checkpoint_id=folder)
    found = [
        sorted(path.name for path in Path(folder).iterdir()),
        empty["plain"],
        empty["nested"],
        empty["small"],
    ]
    try:
        cp.load({"other": t.zeros(1)}, checkpoint_id=folder)
    except cp.CheckpointException as error:
        found.append(type(error).__name__)
    return [*found, shown(empty["cut"])]


def trained(t, d, rank):
    cp, cs = part(t, "checkpoint"), part(t, "checkpoint.state_dict")
    folder, found = os.environ["PAIR_FOLDER"] + "-model", []
    for _ in range(2):
        t.manual_seed(0)
        model = t.nn.Linear(3, 2)
        optimizer = t.optim.Adam(model.parameters(), 0.1)
        model(t.ones(2, 3)).sum().backward()
        optimizer.step()
        own, opt = cs.get_state_dict(model, optimizer)
        if not found:
            writer = cp.FileSystemWriter(folder)
            cp.save({"model": own, "optim": opt}, storage_writer=writer)
            optimizer.step()
            own, opt = cs.get_state_dict(model, optimizer)
        cp.load({"model": own, "optim": opt}, storage_reader=cp.FileSystemReader(folder))
        cs.set_state_dict(model, optimizer, model_state_dict=own, optim_state_dict=opt)
        optimizer.step()
        found.append([model.weight, optimizer.state[model.weight]["exp_avg"]])
    return found


CASES = {f.__name__: f for f in (moved, computed, differentiated, parallel, saved, trained, calls)}
