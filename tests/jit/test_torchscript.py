"""TorchScript archives that PyTorch wrote, read and run here."""

import io
import warnings
import zipfile

import numpy as np
import pytest

import funtorch
from tests.export.test_modules import GROUPS, arguments, flat, over

torch = pytest.importorskip("torch", reason="real PyTorch writes the files")
warnings.filterwarnings("ignore", category=DeprecationWarning)
nn = torch.nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.last, self.drop = nn.Linear(16, 3), nn.Dropout(0.0)
        self.blocks = nn.ModuleList([nn.Linear(3, 3) for _ in range(1)])
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.scale = 2.0

    @torch.jit.export
    def scaled(self, x, by: float = 3.0):
        return x * by + self.scale

    def forward(self, x, limit: int = 2):
        self.calls += 1
        y = nn.functional.max_pool2d(torch.relu(self.norm(self.first(x))), 2)
        z = self.drop(self.last(y.flatten(1)))
        for block in self.blocks:
            z = nn.functional.gelu(block(z))
        if z.sum() > 0:
            z = z * self.scale
        n = 0
        while n < limit:
            z = z[:, 1:] if n > 5 else z + n
            n += 1
        return {"chances": torch.softmax(z, -1)}, [x.shape[0], n]


def saved(module):
    file = io.BytesIO()
    torch.jit.save(module, file)
    file.seek(0)
    return file


def same(ours, theirs):
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def images():
    return np.random.default_rng(0).normal(size=(5, 1, 4, 4)).astype("float32")


def test_a_scripted_network_trains_on():
    torch.manual_seed(0)
    theirs = torch.jit.script(Net())
    ours = funtorch.jit.load(saved(theirs))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert isinstance(ours, funtorch.jit.ScriptModule) and "torch.softmax" in ours.code
    assert ours.original_name == theirs.original_name == "Net"
    x = images()
    for library, net in ((funtorch, ours), (torch, theirs)):
        optimizer = library.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            net(library.from_numpy(x))[0]["chances"][:, 0].log().mean().backward()
            optimizer.step()
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)
    assert ours.calls.item() == 2
    for net in (ours, theirs):
        net.eval()
    got, want = ours(funtorch.from_numpy(x), limit=4), theirs(torch.from_numpy(x), limit=4)
    same(got[0], want[0])
    assert got[1] == want[1] == [5, 4]
    same(ours.scaled(funtorch.ones(2)), theirs.scaled(torch.ones(2)))
    with pytest.raises(TypeError, match="unknown"):
        ours(funtorch.from_numpy(x), other=1)


def leaves(result):
    """The tensors in a result."""
    return [result] if isinstance(result, torch.Tensor) else [x for r in result for x in leaves(r)]


@pytest.mark.parametrize("group", ["rows", "pairs", "sequences", "attention", "labels", "tokens"])
def test_traced_modules(group):
    torch.manual_seed(0)
    parts, given = nn.ModuleDict(GROUPS[group][1](nn)), arguments(group, 3)
    call = lambda m, *args: tuple(x for p in m.parts.values() for x in leaves(p(*args)))  # noqa: E731
    theirs = over(nn, call, parts=parts).eval()
    inputs = tuple(map(torch.from_numpy, given))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer
        traced = torch.jit.trace(theirs, inputs, check_trace=False, strict=False)
        want = traced(*inputs)
    with funtorch.no_grad():
        same(funtorch.jit.load(saved(traced))(*map(funtorch.from_numpy, given)), want)


def changed(file, edit):
    """The archive with its code edited."""
    made = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, edit(data.decode()).encode() if name.endswith(".py") else data)
    made.seek(0)
    return made


HOSTILE = {
    "torch.save(x, 'stolen')": "line 5: the operator torch.save",
    "x.numpy()": "line 5: the method numpy",
    "self.__class__": "line 5: the attribute __class__",
    "getattr(self, '__dict__')": "line 5: getattr",
    "self._machine": "line 5: the attribute _machine",
    "eval('1')": "line 5: the name eval",
    "[y for y in x]": "line 5: ListComp",
    "lambda: 1": "line 5: Lambda",
    "torch.hub.load(x)": "line 5: the operator torch.hub.load",
}


@pytest.mark.parametrize("code", HOSTILE)
def test_code_reaches_ops_only(code):
    file = saved(torch.jit.trace(nn.Tanh(), torch.ones(2)))

    def edit(text):
        head, _, _ = text.partition("    return ")
        lines = head.splitlines()
        body = [*lines[: next(i for i, n in enumerate(lines) if "->" in n) + 1]]
        body = [n.replace("argument_1", "x").replace("input", "x") for n in body]
        padded = "\n" * max(0, 4 - len(body))
        return padded + "\n".join(body) + f"\n    return {code}\n"

    net = funtorch.jit.load(changed(file, edit))
    with pytest.raises(RuntimeError, match="is not understood here") as found:
        net(funtorch.ones(2))
    assert HOSTILE[code].partition(": ")[2] in str(found.value)


def test_damaged_and_foreign_files(tmp_path):
    file = saved(torch.jit.script(Net()))
    with pytest.raises(RuntimeError, match=r"__torch__.*damaged"):
        funtorch.jit.load(changed(file, lambda text: text + "\n  )"))
    torch.save({"a": torch.ones(2)}, tmp_path / "plain.pt")
    with pytest.raises(RuntimeError, match=r"torch\.load"):
        funtorch.jit.load(tmp_path / "plain.pt")
    (tmp_path / "script.pt").write_bytes(file.getvalue())
    assert funtorch.jit.load(tmp_path / "script.pt")(funtorch.from_numpy(images()))[1] == [5, 2]
    with pytest.raises(RuntimeError, match=r"torch\.jit\.load"):
        funtorch.export.load(tmp_path / "script.pt")
