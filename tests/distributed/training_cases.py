"""What two processes do when they train together. Each: (library, its `distributed`, rank) -> values."""

from __future__ import annotations

import importlib


def part(t, name):
    return importlib.import_module(f"{t.__name__}.distributed.{name}")


def net(t, rank, norm=False):
    t.manual_seed(rank)  # other weights on every rank: construction has to make them equal
    middle = t.nn.BatchNorm1d(4) if norm else t.nn.Tanh()
    return t.nn.Sequential(t.nn.Linear(3, 4), middle, t.nn.Linear(4, 2))


def batch(t, rank, step=0):
    return (t.arange(6.0).reshape(2, 3) * 0.3 - rank + 0.1 * step).sin()


def state(model):
    return dict(model.state_dict())


def averaged(t, d, rank):
    model = t.nn.parallel.DistributedDataParallel(net(t, rank, norm=True), bucket_cap_mb=0.0001)
    optimizer = t.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    losses = []
    for step in range(3):
        optimizer.zero_grad()
        loss = model(batch(t, rank, step)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, state(model), model.module[0].weight.grad


def accumulated(t, d, rank):
    model = t.nn.parallel.DistributedDataParallel(net(t, rank))
    found = []
    with model.no_sync():
        model(batch(t, rank)).sum().backward()
    found.append(model.module[0].weight.grad.clone())
    for step in range(2):
        model(batch(t, rank, step)).sum().backward()
        found.append(model.module[0].weight.grad.clone())
    return found


class Branches:
    """Two layers, of which a rank may leave out one."""

    @staticmethod
    def make(t):
        class Net(t.nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.c = (t.nn.Linear(3, 2) for _ in range(3))

            def forward(self, x, both):
                y = self.a(x)
                return {"y": [y + self.b(x) if both else y]}

        return Net()


def unused(t, d, rank):
    t.manual_seed(0)
    model = t.nn.parallel.DistributedDataParallel(Branches.make(t), find_unused_parameters=True)
    found = []
    for both in (rank == 0, False, True):
        model(batch(t, rank), both)["y"][0].sum().backward()
        found.append({n: str(p.grad is None) for n, p in model.module.named_parameters()})
        found.append([p.grad for p in (model.module.a.weight, model.module.b.weight)])
    return found


def unfinished(t, d, rank):
    t.manual_seed(0)
    model = t.nn.parallel.DistributedDataParallel(Branches.make(t))
    model(batch(t, rank), False)["y"][0].sum().backward()
    try:
        model(batch(t, rank), False)
    except RuntimeError as error:
        return "Expected to have finished reduction" in str(error)
    return "nothing"


def hooked(t, d, rank):
    hooks = part(t, "algorithms.ddp_comm_hooks.default_hooks")
    found = []
    for hook in (hooks.allreduce_hook, hooks.fp16_compress_hook):
        model = t.nn.parallel.DistributedDataParallel(net(t, rank))
        model.register_comm_hook(None, hook)
        model(batch(t, rank)).sum().backward()
        found.append(model.module[0].weight.grad)

    def own(seen, bucket):
        seen.append([bucket.index(), bucket.is_last(), len(bucket.parameters())])
        work = d.all_reduce(bucket.buffer(), async_op=True)
        return work.get_future().then(lambda future: future.value()[0] * 10)

    seen = []
    model = t.nn.parallel.DistributedDataParallel(net(t, rank))
    model.register_comm_hook(seen, own)
    model(batch(t, rank)).sum().backward()
    return found, seen, model.module[0].weight.grad


def uneven(t, d, rank):
    model = t.nn.parallel.DistributedDataParallel(net(t, rank, norm=True))
    optimizer = t.optim.SGD(model.parameters(), 0.1)
    with model.join():
        for step in range(2 + rank):
            optimizer.zero_grad()
            model(batch(t, rank, step)).square().mean().backward()
            optimizer.step()
    return state(model)


def sampled(t, d, rank):
    data = t.utils.data.TensorDataset(t.arange(7))
    sampler = t.utils.data.DistributedSampler(data, shuffle=True, seed=3)
    sampler.set_epoch(2)
    loader = t.utils.data.DataLoader(data, batch_size=2, sampler=sampler)
    return [x for (x,) in loader], len(sampler)


def redundancy(t, d, rank):
    model = t.nn.parallel.DistributedDataParallel(net(t, rank))
    make = part(t, "optim").ZeroRedundancyOptimizer
    optimizer = make(model.parameters(), t.optim.Adam, lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        model(batch(t, rank, step)).square().mean().backward()
        optimizer.step()
    own = len(optimizer.optim.state)
    optimizer.consolidate_state_dict(0)
    saved = [None]
    if rank == 0:
        saved = [{str(k): v["exp_avg"] for k, v in optimizer.state_dict()["state"].items()}]
    return state(model), own, saved[0]


def sharded(t, d, rank):
    fsdp, wrap = part(t, "fsdp"), part(t, "fsdp.wrap")
    t.manual_seed(0)
    inner = t.nn.Sequential(t.nn.Linear(3, 4), t.nn.Sequential(t.nn.Linear(4, 4), t.nn.Tanh()))
    options = {"device_id": t.device("cpu")} if t.__name__ == "torch" else {}
    model = fsdp.FullyShardedDataParallel(
        inner,
        auto_wrap_policy=wrap.ModuleWrapPolicy({t.nn.Linear}),
        use_orig_params=True,
        **options,
    )
    optimizer = t.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    losses, norms = [], []
    for step in range(3):
        optimizer.zero_grad()
        loss = model(batch(t, rank, step)).square().mean()
        loss.backward()
        norms.append(float(model.clip_grad_norm_(0.05)))
        optimizer.step()
        losses.append(loss.item())
    with t.no_grad():  # PyTorch's full state on CPUs ends the process: outputs instead
        return losses, norms, model(batch(t, 0))


def sharded_in_place(t, d, rank):
    fsdp, dm = part(t, "fsdp"), part(t, "device_mesh")
    t.manual_seed(0)
    model = t.nn.Sequential(t.nn.Linear(3, 4), t.nn.Tanh(), t.nn.Linear(4, 2))
    mesh = dm.init_device_mesh("cpu", (2,))
    fsdp.fully_shard(model[0], mesh=mesh)
    fsdp.fully_shard(model, mesh=mesh)
    optimizer = t.optim.Adam(model.parameters(), 0.1)
    losses = []
    for step in range(2):
        optimizer.zero_grad()
        loss = model(batch(t, rank, step)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in model.parameters()]
    return losses, whole


def meshes(t, d, rank):
    mesh = part(t, "device_mesh").init_device_mesh("cpu", (2, 1), mesh_dim_names=("dp", "tp"))
    x = t.ones(1) * (rank + 1)
    d.all_reduce(x, group=mesh.get_group("dp"))
    d.all_reduce(x, group=mesh.get_group("tp"))
    facts = [mesh.shape, mesh.get_local_rank("dp"), mesh.get_local_rank("tp"), mesh["tp"].mesh]
    return x, facts, mesh["dp"].mesh, list(mesh.get_coordinate()), mesh["dp"].size()


CASES = {
    f.__name__: f for f in (averaged, accumulated, unused, hooked, uneven, sampled, redundancy)
} | {f.__name__: f for f in (unfinished, sharded, sharded_in_place, meshes)}
