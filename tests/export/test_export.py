"""torch.export: programs with fixed and symbolic shapes, their signature, files and errors."""

import dataclasses
import io
import json
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

import funtorch as torch
from funtorch.export import ArtifactError, Dim, ShapeError

nn = torch.nn


def image_net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, tokens, mask=None):
        return {"hidden": self.layer(self.embed(tokens)), "length": tokens.shape[1]}


def floats(*shape):
    return lambda n: torch.from_numpy(
        np.random.default_rng(n).normal(size=(n, *shape)).astype("float32")
    )


MODELS = {
    "linear": (lambda: nn.Linear(4, 3), floats(4)),
    "image": (image_net, floats(3, 17, 17)),
    "norms": (lambda: nn.Sequential(nn.LayerNorm(6), nn.GELU(), nn.Softmax(-1)), floats(5, 6)),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.MaxPool1d(2)), floats(2, 12)),
    "recurrent": (lambda: nn.LSTM(4, 6, batch_first=True), floats(5, 4)),
    "views": (lambda: Views(), floats(2, 6)),
}


class Views(nn.Module):
    def forward(self, x):
        flat = x.reshape(x.shape[0] * 2, -1)
        flat = flat - flat.mean(0, keepdim=True)
        again = flat.view(x.shape[0], 2, 6).transpose(0, 1)[:, -1]
        return torch.cat([again, again.new_zeros(2, 6)], 0) + torch.arange(6)


class Causal(nn.Module):
    """Its buffer is a view, and the square of its mask follows the length."""

    def __init__(self):
        super().__init__()
        mask = torch.tril(torch.ones(16, 16)).view(1, 1, 16, 16)
        self.register_buffer("mask", mask, persistent=False)
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        batch, time, _ = x.size()
        q, k, v = self.qkv(x).split(8, dim=2)
        q, k, v = (t.view(batch, time, 2, 4).transpose(1, 2) for t in (q, k, v))
        scores = (q @ k.transpose(-2, -1)) * k.size(-1) ** -0.5
        scores = scores.masked_fill(self.mask[:, :, :time, :time] == 0, float("-inf"))
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).contiguous().view(batch, time, 8)
        return mixed + torch.arange(time, device=x.device).view(1, time, 1)


def test_attention_of_any_length():
    model = Causal()
    sizes = {0: Dim("batch", min=1), 1: Dim("time", min=2, max=16)}
    program = torch.export.export(model, (torch.ones(2, 5, 8),), dynamic_shapes=(sizes,))
    file = io.BytesIO()
    torch.export.save(program, file)
    again = torch.export.load(io.BytesIO(file.getvalue())).module()
    assert "mask" not in again.state_dict() and again.mask.shape == (1, 1, 16, 16)
    x = floats(11, 8)(3)
    np.testing.assert_allclose(again(x).detach(), model(x).detach(), atol=1e-6)
    with pytest.raises(RuntimeError, match="2 <= time <= 16"):
        again(floats(17, 8)(3))


def leaves(result):
    if isinstance(result, torch.Tensor):
        return [result.detach().numpy()]
    return [leaf for part in result for leaf in leaves(part)]


@pytest.mark.parametrize("name", MODELS)
def test_symbolic_batch_survives_a_file(name):
    make, example = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    program = torch.export.export(
        model, (example(4),), dynamic_shapes=({0: Dim("batch", min=1, max=64)},)
    )
    file = io.BytesIO()
    torch.export.save(program, file)
    weights = sum(p.numel() * 4 for p in model.parameters())
    assert len(file.getvalue()) < weights + 100_000
    file.seek(0)
    again = torch.export.load(file).module()
    assert list(again.state_dict()) == list(model.state_dict())
    for n in (2, 7):
        ours, theirs = leaves(again(example(n))), leaves(model(example(n)))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_two_dims_names_and_nested_results():
    model = Attends().eval()
    batch, time = torch.export.dims("batch", "time", min=2, max=50)
    tokens = torch.zeros(3, 5, dtype=torch.int64)
    fixed = torch.export.export(model, (tokens,))
    assert fixed.module()(tokens)["length"] == 5
    with pytest.raises(ShapeError, match="time"):
        # The length is returned as a Python number, which a program cannot do.
        torch.export.export(model, (tokens,), dynamic_shapes={"tokens": {1: time}})
    program = torch.export.export(
        model.layer, (torch.ones(3, 5, 8),), dynamic_shapes={"src": {0: batch, 1: time}}
    )
    x = torch.randn(4, 9, 8)
    np.testing.assert_allclose(
        program.module()(x).detach().numpy(), model.layer(x).detach().numpy(), atol=1e-6
    )
    assert set(program.range_constraints) == {"batch", "time"}


def test_signature_against_pytorch():
    real = pytest.importorskip("torch", reason="real PyTorch is the oracle")

    def made(lib):
        net = lib.nn.Sequential(lib.nn.Linear(4, 3), lib.nn.BatchNorm1d(3))
        return lib.export.export(net, (lib.ones(2, 4),)).graph_signature

    ours, theirs = made(torch), made(real)
    for field in ("parameters", "buffers", "user_inputs"):
        assert tuple(getattr(ours, field)) == tuple(getattr(theirs, field))
    for field in ("inputs_to_parameters", "inputs_to_buffers"):
        assert getattr(ours, field) == getattr(theirs, field)
    for mine, real_one in zip(ours.input_specs, theirs.input_specs, strict=True):
        assert (mine.kind.name, mine.arg.name) == (real_one.kind.name, real_one.arg.name)
        assert mine.persistent == real_one.persistent


def test_graph_against_pytorch():
    real = pytest.importorskip("torch", reason="real PyTorch is the oracle")

    def made(lib):
        net = lib.nn.Sequential(lib.nn.Conv2d(1, 2, 3), lib.nn.ReLU(), lib.nn.Tanh())
        return lib.export.export(net, (lib.ones(2, 1, 4, 4),)).graph

    ours, theirs = made(torch), made(real)
    assert [(n.op, n.name) for n in ours.nodes] == [(n.op, n.name) for n in theirs.nodes]
    found = next(n for n in ours.nodes if n.name == "conv2d")
    assert found.target is torch.ops.aten.conv2d.default and str(found.args[0]) == "input"
    assert found.meta["val"].shape == (2, 2, 2, 2)


def test_state_is_written_and_gradients_flow():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 4)).astype("float32"))
    program = torch.export.export(model, (x,))
    file = io.BytesIO()
    torch.export.save(program, file)
    again = torch.export.load(io.BytesIO(file.getvalue())).module()
    for net in (model, again):
        net(x).pow(3).sum().backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(again.get_parameter(name).grad, parameter.grad, atol=1e-5)
    np.testing.assert_allclose(again.get_buffer("1.running_var"), model[1].running_var, rtol=1e-6)
    assert again.get_buffer("1.num_batches_tracked").item() == 1


def test_batch_norm_trains_at_any_batch():
    model = nn.BatchNorm2d(3)
    batch = ({0: Dim("batch", min=2)},)
    run = torch.export.export(model, (torch.ones(4, 3, 2, 2),), dynamic_shapes=batch).module()
    own = nn.BatchNorm2d(3)
    run.load_state_dict(own.state_dict())
    for n in (3, 7):
        x = floats(3, 2, 2)(n)
        np.testing.assert_allclose(run(x).detach(), own(x).detach(), atol=1e-6)
    np.testing.assert_allclose(run.running_var, own.running_var, rtol=1e-6)
    assert run.num_batches_tracked.item() == 2


class Branchy(nn.Module):
    def forward(self, x):
        return x.sum(0) if x.shape[0] > 5 else x.mean(0)


class Rounds(nn.Module):
    def forward(self, x):
        return x[: x.shape[0] // 2]


@pytest.mark.parametrize("model", [Branchy(), Rounds()])
def test_what_no_program_can_say(model):
    with pytest.raises(ShapeError, match="rows"):
        torch.export.export(model, (torch.ones(4, 2),), dynamic_shapes=({0: Dim("rows")},))


def test_errors_name_input_and_constraint():
    batch = Dim("batch", min=2, max=8)
    net = torch.export.export(nn.Linear(4, 3), (torch.ones(3, 4),), dynamic_shapes=({0: batch},))
    run = net.module()
    for bad, words in (
        (torch.ones(9, 4), r"input.shape\[0\] = batch is 9.*2 <= batch <= 8"),
        (torch.ones(3, 5), r"input.shape\[1\] is 5.*made for 4"),
        (torch.ones(3, 4, dtype=torch.float64), "float64.*float32"),
        (torch.ones(3), r"shape \[3\].*\[batch, 4\]"),
        (3.0, "input is 3.0.*a tensor"),
    ):
        with pytest.raises(RuntimeError, match=words):
            run(bad)
    with pytest.raises(TypeError, match="missing"):
        run()
    with pytest.raises(RuntimeError, match="Unable to call"):
        net(torch.ones(3, 4))
    with pytest.raises(ValueError, match="range"):
        torch.export.export(nn.Linear(4, 3), (torch.ones(9, 4),), dynamic_shapes=({0: batch},))
    with pytest.raises(ValueError, match="at once"):
        torch.export.export(
            nn.Bilinear(2, 2, 2),
            (torch.ones(3, 2), torch.ones(4, 2)),
            dynamic_shapes=({0: batch}, {0: batch}),
        )


class Adds(nn.Module):
    def forward(self, x, y):
        return x + y


def test_related_and_unnamed_dims():
    rows = Dim("rows", min=1)
    pair = (torch.ones(4, 3), torch.ones(4, 3))
    auto = ({0: Dim.AUTO, 1: Dim.AUTO}, {0: Dim.AUTO, 1: Dim.AUTO})
    program = torch.export.export(Adds(), pair, dynamic_shapes=auto)
    assert len(program.range_constraints) == 2  # those of equal size became one
    assert program.module()(torch.ones(2, 5), torch.ones(2, 5)).shape == (2, 5)
    with pytest.raises(RuntimeError, match="at once"):
        program.module()(torch.ones(2, 5), torch.ones(2, 4))
    fixed = torch.export.export(Branchy(), (torch.ones(4, 2),), dynamic_shapes=({0: Dim.AUTO},))
    assert not fixed.range_constraints
    with pytest.raises(ShapeError):
        torch.export.export(Branchy(), (torch.ones(4, 2),), dynamic_shapes=({0: Dim.DYNAMIC},))
    double = torch.export.export(
        nn.CosineSimilarity(0),
        (torch.ones(3), torch.ones(3)),
        dynamic_shapes=({0: rows}, {0: rows}),
    )
    assert double.module()(torch.ones(7), torch.ones(7)).item() == pytest.approx(1)
    joined = torch.export.export(
        Joins(), (torch.ones(4), torch.ones(8)), dynamic_shapes=({0: rows}, {0: 2 * rows})
    )
    assert joined.module()(torch.ones(3), torch.ones(6)).shape == (9,)
    with pytest.raises(RuntimeError, match=r"not 2\*rows for any whole rows"):
        joined.module()(torch.ones(3), torch.ones(7))


class Joins(nn.Module):
    def forward(self, x, y):
        return torch.cat([x, y])


def saved(tmp_path):
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(nn.Linear(4, 3), (torch.ones(2, 4),)), path)
    return path


def test_file_is_aligned_leaks_no_path_and_holds_no_pickle(tmp_path):
    path = saved(tmp_path)
    data = path.read_bytes()
    assert b"site-packages" not in data and b"test_export" not in data
    with zipfile.ZipFile(path) as made:
        names = made.namelist()
        program = zlib.decompress(made.read("programs/forward.jaxexport"))
        assert b"site-packages" not in program and b"test_export" not in program
        for info in made.infolist():
            start = info.header_offset
            extra = int.from_bytes(data[start + 28 : start + 30], "little")
            name = int.from_bytes(data[start + 26 : start + 28], "little")
            assert (start + 30 + name + extra) % 64 == 0
    assert "programs/forward.vhlo" in names and not any(n.endswith(".pkl") for n in names)
    assert list(tmp_path.iterdir()) == [path]


def rewritten(path, change):
    with zipfile.ZipFile(path) as made:
        records = {n: made.read(n) for n in made.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w") as made:
        for name, data in records.items():
            made.writestr(name, data)


def newer(records):
    manifest = json.loads(records["manifest.json"])
    manifest["version"] = 99
    records["manifest.json"] = json.dumps(manifest).encode()


def larger(records):
    manifest = json.loads(records["manifest.json"])
    manifest["files"]["programs/forward.jaxexport"]["unpacked"] += 1
    records["manifest.json"] = json.dumps(manifest).encode()


def elsewhere(records):
    manifest = json.loads(records["manifest.json"])
    manifest["programs"]["forward"]["platforms"] = ["tpu"]
    records["manifest.json"] = json.dumps(manifest).encode()


def flipped(records):
    data = bytearray(records["weights.safetensors"])
    data[-1] ^= 1
    records["weights.safetensors"] = bytes(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (newer, "newer funtorch"),
        (flipped, "damaged"),
        (larger, "not as large"),
        (lambda r: r.pop("programs/forward.jaxexport"), "damaged"),
        (lambda r: r.pop("manifest.json"), "manifest"),
    ],
)
def test_bad_files_say_so(tmp_path, change, words):
    path = saved(tmp_path)
    rewritten(path, change)
    with pytest.raises(ArtifactError, match=words):
        torch.export.load(path)


def test_cut_foreign_and_misplaced_files(tmp_path):
    path = saved(tmp_path)
    cut = tmp_path / "cut"
    cut.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ArtifactError, match="damaged"):
        torch.export.load(cut)
    torch.save({"a": 1}, cut)
    with pytest.raises(ArtifactError, match=r"torch\.save"):
        torch.export.load(cut)
    rewritten(path, elsewhere)
    with pytest.raises(ArtifactError, match="tpu"):
        torch.export.load(path).module()(torch.ones(2, 4))


def test_reload_where_the_source_is_not(tmp_path):
    (tmp_path / "secret_model.py").write_text(
        "import funtorch as torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = torch.nn.Linear(4, 2)\n"
        "    def forward(self, x, scale=1.0):\n"
        "        return torch.tanh(self.fc(x)) * scale\n"
    )
    write = (
        "import funtorch as torch, secret_model, numpy as np\n"
        "torch.manual_seed(0)\n"
        "net = secret_model.Net()\n"
        "torch.export.save(torch.export.export(net, (torch.ones(3, 4),), {'scale': 2.0}), 'n.pt2')\n"
        "np.save('want.npy', net(torch.ones(3, 4), 2.0).detach().numpy())\n"
    )
    use = (
        "import sys, funtorch as torch, numpy as np\n"
        "net = torch.export.load('n.pt2').module()\n"
        "assert 'secret_model' not in sys.modules\n"
        "got = net(torch.ones(3, 4), scale=2.0).detach().numpy()\n"
        "np.testing.assert_allclose(got, np.load('want.npy'), atol=1e-6)\n"
        "assert list(net.state_dict()) == ['fc.weight', 'fc.bias']\n"
    )
    python = [sys.executable, "-P"]
    known = os.environ.get("PYTHONPATH", "")
    env = {**os.environ, "PYTHONPATH": f"{known}{os.pathsep}{tmp_path}"}
    subprocess.run([*python, "-c", write], cwd=tmp_path, env=env, check=True)
    (tmp_path / "secret_model.py").unlink()
    subprocess.run([*python, "-c", use], cwd=tmp_path, env=env, check=True)


def test_files_of_every_version_open():
    golden = sorted((Path(__file__).parent / "golden").glob("*.ftpkg"))
    assert golden
    for path in golden:  # tanh([[1, 2], [3, 4]] x + [0.5, -0.5])
        program = torch.export.load(path)
        net = program.module()
        if path.stem == "v2":
            assert "aten.linear(" in program.graph_module.code
        x = np.array([[0.1, 0.2], [-0.3, 0.4]], "float32")
        want = np.tanh(x @ np.array([[1.0, 3.0], [2.0, 4.0]]) + np.array([0.5, -0.5]))
        np.testing.assert_allclose(net(torch.from_numpy(x)).detach(), want, atol=1e-6)


def test_dictionaries_keep_their_order():
    """JAX sorts the keys of dicts; arguments and results here come in the order they were given."""

    class Pair(nn.Module):
        def forward(self, given, *, last, first):
            return {"z": given["b"] * 2 + first, "a": given["a"] - last}

    given = {"b": torch.ones(2, 3), "a": torch.zeros(4)}
    kwargs = {"last": torch.tensor(1.0), "first": torch.full((3,), 5.0)}
    found = torch.export.export(Pair(), (given,), kwargs).module()(given, **kwargs)
    assert list(found) == ["z", "a"]
    assert found["z"].tolist() == [[7.0] * 3] * 2 and found["a"].tolist() == [-1.0] * 4


@dataclasses.dataclass
class Point:
    x: object
    y: object
    name: str = "p"


class Box:
    def __init__(self, held):
        self.held = held


class Moves(nn.Module):
    def forward(self, point, box):
        again = {"b": point.y * 2, "a": box.held["z"] + box.held["c"]}
        return Point(point.x + 1, again), Box({"z": point.x, "c": point.y.sum(0)})


def test_classes_as_arguments_and_results():
    torch.export.register_dataclass(Point)
    torch.utils._pytree.register_pytree_node(
        Box, lambda b: ([b.held], None), lambda parts, _: Box(*parts), serialized_type_name="tests.Box"
    )
    given = Point(torch.zeros(2, 3), torch.ones(2, 3)), Box({"z": torch.ones(3), "c": torch.zeros(3)})
    sizes = {"point": {"x": {0: Dim("n")}, "y": {0: Dim("n")}}, "box": None}
    with pytest.raises(TypeError, match="registered"):
        torch.export.export(nn.Identity(), (object(),))
    program = torch.export.export(Moves(), given, dynamic_shapes=sizes)
    file = io.BytesIO()
    torch.export.save(program, file)
    for known in (True, False):
        file.seek(0)
        net = torch.export.load(file).module()
        if not known:  # a process without these classes
            spec = net.program.signature.out_spec
            for node in spec["tuple"]:
                node["type"] = "elsewhere.Unknown"
        point, box = net(Point(torch.ones(5, 3), torch.ones(5, 3)), given[1])
        assert isinstance(point, Point) == known
        assert point.x.tolist() == [[2.0] * 3] * 5 and list(point.y) == ["b", "a"]
        assert point.y["b"].shape == (5, 3) and point.name == "p"
        held = box.held if known else box["0"]
        assert held["c"].tolist() == [5.0] * 3
    with pytest.raises(RuntimeError, match=r"point.name is 'q', the program was made for 'p'"):
        net(Point(torch.ones(5, 3), torch.ones(5, 3), "q"), given[1])


def test_dimensions_by_tensor_and_by_example():
    x, net = torch.ones(4, 3), nn.Linear(3, 2)
    shapes = torch.export.ShapesCollection()
    shapes[x] = {0: Dim("rows", min=2)}
    more = torch.export.AdditionalInputs()
    more.add((torch.ones(7, 3),))
    for given in (shapes, more):
        program = torch.export.export(net, (x,), dynamic_shapes=given)
        assert program.module()(torch.ones(9, 3)).shape == (9, 2)
        assert len(program.range_constraints) == 1
    more.verify(program)
    more.add((torch.ones(7, 2),))
    with pytest.raises(RuntimeError):
        more.verify(program)
    shapes[torch.ones(1)] = {0: Dim("other")}
    with pytest.raises(ValueError, match="not among the arguments"):
        torch.export.export(net, (x,), dynamic_shapes=shapes)
