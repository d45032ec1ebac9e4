"""Sharded models, meshes and states by name in a group of one process, against PyTorch with gloo."""

from __future__ import annotations

import copy
import importlib

import numpy as np
import pytest

import funtorch
import funtorch.distributed

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


@pytest.fixture(scope="module", autouse=True)
def groups(tmp_path_factory):
    store = f"file://{tmp_path_factory.mktemp('group') / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    funtorch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield
    for library in (torch, funtorch):
        library.distributed.destroy_process_group()


def part(t, name):
    return importlib.import_module(f"{t.__name__}.distributed.{name}")


def net(t):
    t.manual_seed(0)
    return t.nn.Sequential(t.nn.Linear(3, 4), t.nn.Sequential(t.nn.Linear(4, 4), t.nn.Tanh()))


def trained(t, model, optimizer):
    x = t.arange(6.0).reshape(2, 3)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(x).float().square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def meshes(t):
    dm = part(t, "device_mesh")
    mesh = dm.init_device_mesh("cpu", (1, 1), mesh_dim_names=("dp", "tp"))
    found = [mesh.shape, mesh.ndim, mesh.size(), mesh.size(0), mesh.mesh.tolist(), mesh["dp"].shape,
             mesh.get_rank(), mesh.get_local_rank("tp"), list(mesh.get_coordinate()),
             mesh.get_group("dp").size(), mesh.mesh_dim_names, mesh.device_type,
             len(mesh.get_all_groups()),
             mesh == dm.init_device_mesh("cpu", (1, 1), mesh_dim_names=("dp", "tp"))]  # fmt: skip
    wrong = [
        lambda: dm.init_device_mesh("cpu", (2,)),
        lambda: mesh["other"],
        lambda: dm.init_device_mesh("cpu", (1,), mesh_dim_names=("a", "b")),
        lambda: dm.init_device_mesh("cpu:0", (1,)),
        mesh.get_group,
    ]
    for call in wrong:
        try:
            found.append(call())
        except (RuntimeError, KeyError) as error:
            found.append(type(error).__name__)
    return found


def states_by_name(t):
    cs = part(t, "checkpoint.state_dict")
    model = net(t)
    optimizer = t.optim.Adam(model.parameters(), 0.1)
    losses = trained(t, model, optimizer)
    own, state = copy.deepcopy(cs.get_state_dict(model, optimizer))
    flat = cs.get_optimizer_state_dict(
        model, optimizer, options=cs.StateDictOptions(flatten_optimizer_state_dict=True)
    )
    other = net(t)
    again = t.optim.Adam(other.parameters(), 0.3)
    told = cs.set_state_dict(other, again, model_state_dict=own, optim_state_dict=state)
    groups = [{k: v for k, v in g.items() if k != "params"} for g in again.param_groups]
    more = [trained(t, model, optimizer), trained(t, other, again)]
    return [losses, more, list(own), state["param_groups"][0]["params"], sorted(flat),
            sorted(state["state"]["0.weight"]), repr(told), groups]  # fmt: skip


def wrapped(t):
    fsdp, wrap = part(t, "fsdp"), part(t, "fsdp.wrap")
    policy = wrap.ModuleWrapPolicy({t.nn.Linear})
    options = {"device_id": t.device("cpu")} if t is torch else {}
    model = fsdp.FullyShardedDataParallel(
        net(t), auto_wrap_policy=policy, use_orig_params=True, **options
    )
    optimizer = t.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    losses = trained(t, model, optimizer)
    kind = fsdp.StateDictType.FULL_STATE_DICT
    config = fsdp.FullStateDictConfig(offload_to_cpu=True, rank0_only=True)
    with fsdp.FullyShardedDataParallel.state_dict_type(model, kind, config):
        state = model.state_dict()
        named = fsdp.FullyShardedDataParallel.optim_state_dict(model, optimizer)
        told = model.load_state_dict(state)
    bare = net(t)
    bare.load_state_dict(state)
    return [losses, list(state), bare(t.ones(1, 3)).tolist(), repr(told), sorted(named["state"]),
            len(fsdp.FullyShardedDataParallel.fsdp_modules(model))]  # fmt: skip


def sharded_in_place(t):
    fsdp = part(t, "fsdp")
    model = net(t)
    policy = fsdp.MixedPrecisionPolicy(param_dtype=t.bfloat16, output_dtype=t.float32)
    mesh = part(t, "device_mesh").init_device_mesh("cpu", (1,))
    fsdp.fully_shard(model, mesh=mesh, mp_policy=policy)
    optimizer = t.optim.SGD(model.parameters(), 0.1)
    losses = trained(t, model, optimizer)
    kinds = {str(p.dtype) for p in model.parameters()}
    return [losses, type(model).__name__, kinds, str(model(t.ones(1, 3)).dtype)]


def redundancy(t):
    model = net(t)
    make = part(t, "optim").ZeroRedundancyOptimizer
    optimizer = make(model.parameters(), t.optim.Adam, lr=0.1)
    losses = trained(t, model, optimizer)
    optimizer.consolidate_state_dict()
    state = optimizer.state_dict()
    again = make(model.parameters(), t.optim.Adam, lr=0.2)
    again.load_state_dict(state)
    return [losses, trained(t, model, again), again.param_groups[0]["lr"]]


CASES = [meshes, states_by_name, wrapped, sharded_in_place, redundancy]


def close(a, b):
    if isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            close(x, y)
    elif isinstance(a, float):
        np.testing.assert_allclose(a, b, rtol=2e-2 if abs(a) < 10 else 1e-5)
    else:
        assert str(a).replace("funtorch", "torch") == str(b)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
@pytest.mark.filterwarnings("ignore")
def test_agrees(case) -> None:
    close(case(funtorch), case(torch))
