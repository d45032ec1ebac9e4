"""Files in both directions with PyTorch, bad files, pickle and deepcopy."""

from __future__ import annotations

import copy
import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "float8_e4m3fn",
    "float8_e5m2",
]

OBJECTS = {
    "scalar": lambda t: t.tensor(3.5),
    "matrix": lambda t: t.arange(6.0).view(2, 3),
    "transposed": lambda t: t.arange(6.0).view(2, 3).t(),
    "part": lambda t: t.arange(12).view(3, 4)[1:, 1:3],
    "expanded": lambda t: t.ones(1, 3).expand(4, 3),
    "channels_last": lambda t: t.ones(2, 3, 4, 5).to(memory_format=t.channels_last),
    "empty": lambda t: t.empty(0, 3),
    "leaf": lambda t: t.ones(2, requires_grad=True),
    "parameter": lambda t: t.nn.Parameter(t.ones(2, 2)),
    "frozen": lambda t: t.nn.Parameter(t.ones(2), requires_grad=False),
    "meta": lambda t: t.empty(2, 3, device="meta"),
    "size": lambda t: t.Size([2, 3]),
    "dtype": lambda t: [t.float32, t.bfloat16, t.bool],
    "device": lambda t: t.device("cpu"),
    "ordered": lambda t: OrderedDict(a=t.ones(2), b=None),
    "plain": lambda t: {"x": [1, 2.5, "s", True, (None, b"bytes")], "s": {1, 2}, "c": 1 + 2j},
    "state": lambda t: t.nn.BatchNorm1d(3).state_dict(),
}


def _through(obj, writer, reader, **options):
    file = io.BytesIO()
    writer.save(obj, file)
    file.seek(0)
    return reader.load(file, **options)


def _strides(obj):
    if isinstance(obj, funtorch.Tensor | torch.Tensor):
        return [(tuple(obj.stride()), obj.storage_offset(), obj.requires_grad, type(obj).__name__)]
    inner = obj.values() if isinstance(obj, dict) else obj if isinstance(obj, list) else ()
    return [fact for each in inner for fact in _strides(each)]


@pytest.mark.parametrize("name", OBJECTS)
def test_both_ways(name: str) -> None:
    ours, theirs = OBJECTS[name](funtorch), OBJECTS[name](torch)
    for made in (_through(ours, funtorch, torch), _through(theirs, torch, funtorch)):
        assert repr(made) == repr(theirs)
        assert _strides(made) == _strides(theirs)


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype(name: str) -> None:
    theirs = torch.tensor([0, 1, 1, 0]).to(getattr(torch, name))
    ours = _through(theirs, torch, funtorch)
    assert ours.dtype is getattr(funtorch, name)
    back = _through(ours, funtorch, torch)
    assert back.dtype == theirs.dtype
    assert back.view(torch.uint8).tolist() == theirs.view(torch.uint8).tolist()


@pytest.mark.parametrize("writer, reader", [(funtorch, torch), (torch, funtorch)])
def test_views_stay_shared(writer, reader) -> None:
    base = writer.arange(12.0).view(3, 4)
    made = _through({"row": base[1], "all": base, "turned": base.t()}, writer, reader)
    made["row"][2] = 99
    assert made["all"][1, 2].item() == made["turned"][2, 1].item() == 99


def test_older_format() -> None:
    base = torch.arange(6.0).view(2, 3)
    theirs = {"a": base, "b": base[1], "u": torch.tensor([7], dtype=torch.uint16)}
    file = io.BytesIO()
    torch.save(theirs, file, _use_new_zipfile_serialization=False)
    file.seek(0)
    ours = funtorch.load(file)
    assert repr(ours) == repr(theirs)
    ours["b"][0] = 50
    assert ours["a"][1, 0].item() == 50


def test_paths_and_mmap(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    funtorch.save({"w": funtorch.ones(1000)}, path)
    assert torch.load(path, mmap=True)["w"].sum().item() == 1000
    assert funtorch.load(str(path), mmap=True)["w"].sum().item() == 1000
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]
    with pytest.raises(RuntimeError, match="does not exist"):
        funtorch.save(1, tmp_path / "missing" / "net.pt")


def test_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    funtorch.save(1, path)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        funtorch.save(lambda: None, path)
    assert funtorch.load(path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]


@pytest.mark.parametrize(
    "where",
    [
        None,
        "cpu",
        {"cuda:0": "cpu", "cpu": "cpu"},
        lambda storage, location: storage,
        lambda storage, location: storage.cpu(),
        lambda storage, location: None,
        funtorch.device("cpu"),
    ],
)
def test_map_location(where) -> None:
    made = _through(torch.ones(2), torch, funtorch, map_location=where)
    assert made.device == funtorch.device("cpu")
    assert made.tolist() == [1.0, 1.0]


def test_map_location_meta() -> None:
    assert _through(torch.ones(2), torch, funtorch, map_location="meta").is_meta


def _bytes(obj) -> bytes:
    file = io.BytesIO()
    funtorch.save(obj, file)
    return file.getvalue()


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


BAD_FILES = {
    "empty": (b"", EOFError),
    "text": (b"hello, this is no file of torch", pickle.UnpicklingError),
    "cut": (_bytes(funtorch.ones(1000))[:3000], RuntimeError),
    "flipped": (_flipped(_bytes(funtorch.ones(1000))), RuntimeError),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name: str) -> None:
    data, error = BAD_FILES[name]
    with pytest.raises(error):
        funtorch.load(io.BytesIO(data))


class Config:
    """A class that a checkpoint may hold."""

    def __init__(self, depth: int) -> None:
        self.depth = depth


class Attack:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.system, ("exit 3",)


def test_only_data_by_default() -> None:
    data = _bytes({"config": Config(3)})
    with pytest.raises(pickle.UnpicklingError, match="add_safe_globals"):
        funtorch.load(io.BytesIO(data))
    with funtorch.serialization.safe_globals([Config]):
        assert funtorch.load(io.BytesIO(data))["config"].depth == 3
    assert funtorch.serialization.get_safe_globals() == []
    assert funtorch.load(io.BytesIO(data), weights_only=False)["config"].depth == 3
    with pytest.raises(pickle.UnpicklingError):
        funtorch.load(io.BytesIO(_bytes(Attack())))


def test_whole_module_with_trust() -> None:
    net = funtorch.nn.Sequential(funtorch.nn.Linear(2, 3), funtorch.nn.ReLU())
    made = funtorch.load(io.BytesIO(_bytes(net)), weights_only=False)
    x = funtorch.ones(1, 2)
    assert made(x).tolist() == net(x).tolist()
    theirs = torch.nn.Linear(2, 3)
    ours = _through(theirs, torch, funtorch, weights_only=False)
    assert ours(x).tolist()[0] == pytest.approx(theirs(torch.ones(1, 2)).tolist()[0], abs=1e-6)


@pytest.mark.parametrize("name", [n for n in OBJECTS if n not in ("plain",)])
def test_pickle_and_deepcopy(name: str) -> None:
    made = OBJECTS[name](funtorch)
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert repr(again) == repr(made)
        assert _strides(again) == _strides(made)


def test_deepcopy_keeps_sharing_and_refuses_results() -> None:
    base = funtorch.arange(4.0)
    both = copy.deepcopy([base, base[1:]])
    both[0].add_(10)
    assert both[1].tolist() == [11.0, 12.0, 13.0]
    assert base.tolist() == [0.0, 1.0, 2.0, 3.0]
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(funtorch.ones(2, requires_grad=True) * 2)
