"""DTensor, functional collectives and safetensors checkpoints against PyTorch, with one process."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
LIBRARIES = (funtorch, torch)


@pytest.fixture(scope="module", autouse=True)
def groups(tmp_path_factory):
    """Groups of one process in both libraries."""
    for t in LIBRARIES:
        store = tmp_path_factory.mktemp(t.__name__) / "store"
        _of(t, "distributed").init_process_group(
            "gloo", init_method=f"file://{store}", rank=0, world_size=1
        )
    yield
    for t in LIBRARIES:
        _of(t, "distributed").destroy_process_group()


def _of(t, name):
    return importlib.import_module(f"{t.__name__}.{name}")


def sharded(t, dim=0, requires_grad=False):
    """A DTensor cut along a dimension, its module, and its mesh."""
    dt = _of(t, "distributed.tensor")
    mesh = _of(t, "distributed.device_mesh").init_device_mesh("cpu", (1,))
    x = t.arange(6.0).reshape(2, 3).requires_grad_(requires_grad)
    return dt.distribute_tensor(x, mesh, [dt.Shard(dim)]), dt, mesh


def gradients(t):
    d, _dt, _mesh = sharded(t, requires_grad=True)
    (d * 2 + d.sin()).sum().backward()
    return d.grad.full_tensor(), d.is_leaf, type(d.grad).__name__


def writing(t):
    d, _dt, _mesh = sharded(t)
    kept = d.add_(1) is d
    return d.to_local(), kept, d.requires_grad, d.dtype == t.float32


def layer(t):
    _d, dt, mesh = sharded(t)
    net = t.nn.Linear(3, 2)
    for name in ("weight", "bias"):
        value = t.arange(6.0).reshape(2, 3) if name == "weight" else t.ones(2)
        setattr(net, name, t.nn.Parameter(dt.distribute_tensor(value, mesh, [dt.Shard(0)])))
    out = net(dt.DTensor.from_local(t.ones(1, 3), mesh, [dt.Replicate()]))
    out.sum().backward()
    t.optim.SGD(net.parameters(), lr=0.5).step()
    weight = net.weight
    is_one = isinstance(weight, t.nn.Parameter), type(weight).__name__
    return out.full_tensor(), weight.full_tensor(), is_one, len(list(net.parameters()))


def placed(t):
    d, dt, mesh = sharded(t, dim=-1)
    moved = d.redistribute(placements=[dt.Replicate()])
    words = [str(p) + repr(p) for p in (dt.Shard(1), dt.Replicate(), dt.Partial("avg"))]
    equal = dt.Shard(0) == dt.Shard(0), dt.Shard(0) == dt.Shard(1), hash(dt.Shard(1)) != 0
    where = _of(t, "distributed.tensor._utils").compute_local_shape_and_global_offset(
        (5, 3), mesh, [dt.Shard(0)]
    )
    chunks = [dt.Shard.local_shard_size_and_offset(5, 4, r) for r in range(4)]
    return moved.to_local(), d.placements, moved.placements, words, equal, where, chunks


def functional(t):
    c = _of(t, "distributed._functional_collectives")
    x = t.arange(4.0).reshape(2, 2)
    group = _of(t, "distributed").group.WORLD
    made = [
        c.all_reduce(x, "sum", group),
        c.all_gather_tensor(x, 1, group),
        c.reduce_scatter_tensor(x, "sum", 1, group),
        c.broadcast(x, 0, group),
        c.all_to_all_single(x, [2], [2], group),
    ]
    return [c.wait_tensor(m) for m in made]


def plain(found):
    """Results of either library as plain lists and words."""
    if isinstance(found, list | tuple):
        return [plain(part) for part in found]
    if hasattr(found, "tolist"):
        return found.detach().tolist()
    return found if isinstance(found, bool | int | float | str) else str(found)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [gradients, writing, layer, placed, functional])
def test_as_in_pytorch(case) -> None:
    np.testing.assert_equal(plain(case(funtorch)), plain(case(torch)))


def state(t, fill):
    made = {"a": t.arange(6.0).reshape(2, 3), "b.c": t.ones(2, dtype=t.bfloat16), "n": t.tensor(3)}
    return {name: (value if fill else t.zeros_like(value)) for name, value in made.items()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("writer", LIBRARIES, ids=lambda t: t.__name__)
def test_either_reads_the_others_checkpoints(tmp_path, writer, own) -> None:
    pytest.importorskip("safetensors", reason="the format's library")
    dcp = _of(writer, "distributed.checkpoint")
    files = _of(writer, "distributed.checkpoint.hf_storage")
    storage = files.HuggingFaceStorageWriter(path=str(tmp_path), save_distributed=own)
    dcp.save(state(writer, True), storage_writer=storage)
    index = tmp_path / "model.safetensors.index.json"
    assert index.exists() is not own
    if not own:
        assert json.loads(index.read_text())["metadata"] == {"total_size": 36}
    for t in LIBRARIES:
        reader = _of(t, "distributed.checkpoint.hf_storage").HuggingFaceStorageReader(str(tmp_path))
        target = state(t, False)
        _of(t, "distributed.checkpoint").load(target, storage_reader=reader)
        assert plain(list(target.values())) == plain(list(state(t, True).values()))
        for partial in (True, False):
            plan = _of(t, "distributed.checkpoint.default_planner").DefaultLoadPlanner(
                allow_partial_load=partial
            )
            more = {**target, "q": t.ones(1)}
            call = _of(t, "distributed.checkpoint").load
            if partial:
                call(more, storage_reader=reader, planner=plan)
                continue
            with pytest.raises(BaseException) as caught:
                call(more, storage_reader=reader, planner=plan)
            assert type(caught.value).__name__ == "CheckpointException"
