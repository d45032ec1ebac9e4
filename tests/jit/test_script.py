"""torch.jit: the same functions under PyTorch's script and ours, called, captured and reloaded."""

import io
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import funtorch
from funtorch.jit import ControlFlowError

real = pytest.importorskip("torch", reason="real PyTorch is the oracle")
warnings.filterwarnings("ignore", category=DeprecationWarning)


def doubled_until(x, limit: float):
    n = 0
    while x.sum() < limit:
        x = x * 2
        n += 1
    return x, n


def sign_of_sum(x):
    if x.sum() > 0:
        y = x + 1
    elif x.sum() < -5:
        y = x - 1
    else:
        y = x * 0
    return y


def early(x):
    if x.mean() > 1:
        return x
    y = x * 2
    if y.sum() > 0 and not (y.sum() > 4):
        return y + 100
    return -y


def nested(x):
    total = x * 0
    for i in range(3):
        if x[i] > 0:
            total = total + x * i
        k = 0
        while total.sum() < k:
            k += 2
    return total


def one_sided(x):
    if x.sum() > 0:
        x = x * 2
    return x + (x if x.max() > 3 else -x)


def static(x, flag: bool = True, n: int = 2):
    assert x.dim() == 1
    if flag:
        for _ in range(n):
            x = x + 1
    i = 0
    while i < n:
        x = x * 2
        i += 1
        if i > 5:
            break
    return x


def breaks(x):
    n = 0
    while n < 10:
        x = x * 2
        if x.abs().sum() > 50:
            break
        n += 1
    for k in range(3):
        if x[k] < 0:
            break
        x = x - 1
    return x, n


def continues(x):
    total = x * 0
    for i in range(3):
        if x[i] < 0:
            total = total - 1
            continue
        if x[i] > 1.5:
            if x.sum() > 5:
                continue
            total = total + 10
        total = total + x[i]
    return total


def returns(x):
    for i in range(3):
        y = x[i] * 2
        if y > 3:
            return y
        for k in range(2):
            if x[k] + i < -1.5:
                return x.sum() * k
    n = 0
    while x.sum() < 10:
        x = x.abs() * 2
        n += 1
        if x.max() > 7:
            return x.max() + n
    return x.min()


CASES = [
    (breaks, ()),
    (continues, ()),
    (returns, ()),
    (doubled_until, (100.0,)),
    (sign_of_sum, ()),
    (early, ()),
    (nested, ()),
    (one_sided, ()),
    (static, ()),
]
INPUTS = ([1.0, 2.0, 3.0], [-1.0, -2.0, -4.0], [0.25, 0.25, -0.5], [0.5, 0.5, 0.5])


@pytest.mark.parametrize(("function", "rest"), CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_control_flow(function, rest):
    theirs = real.jit.script(function)
    ours = funtorch.jit.script(function)
    inputs = [i for i in INPUTS if function is not doubled_until or sum(i) > 0]
    for values in inputs[:1]:
        ours(funtorch.tensor(values), *rest)
    loaded = funtorch.jit.load(io.BytesIO(ours.save_to_buffer()))
    for values in inputs:
        want = theirs(real.tensor(values), *rest)
        for run in (ours, loaded):
            got = run(funtorch.tensor(values), *rest)
            pairs = zip(want, got, strict=True) if isinstance(want, tuple) else [(want, got)]
            for a, b in pairs:
                np.testing.assert_allclose(np.asarray(b), np.asarray(a), rtol=1e-6)


def test_what_cannot_be_captured_names_the_line():
    def otherwise(x):
        while x.sum() < 0:
            x = x + 1
        else:
            x = x * 2
        return x

    def changes_shape(x):
        if x.sum() > 0:
            x = x[:1]
        return x

    def grows(x):
        while x.sum() < 3:
            x = x.double() + 1
        return x

    for function in (otherwise, changes_shape, grows):
        scripted = funtorch.jit.script(function)
        scripted(funtorch.zeros(2))
        first = function.__code__.co_firstlineno
        with pytest.raises(ControlFlowError, match=rf"line {first + 1}"):
            scripted.save_to_buffer()


class Net(funtorch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = funtorch.nn.Linear(4, 4)
        self.norm = funtorch.nn.BatchNorm1d(4)
        self.drop = funtorch.nn.Dropout(0.5)
        self.tied = self.first

    def folded(self, x):
        if x.sum() > 0:
            return x
        return -x

    def forward(self, x):
        return self.tied(self.drop(self.norm(self.folded(self.first(x)))))

    @funtorch.jit.export
    def encode(self, x):
        return self.first(x)


def test_module_state_modes_and_methods():
    funtorch.manual_seed(0)
    net = Net()
    scripted = funtorch.jit.script(net)
    assert isinstance(scripted, funtorch.jit.ScriptModule)
    assert list(scripted.state_dict()) == list(net.state_dict())
    assert scripted.original_name == "Net" and "folded" in scripted.code
    scripted.eval()
    assert not net.training
    x = funtorch.from_numpy(np.random.default_rng(0).normal(size=(6, 4)).astype("float32"))
    scripted(x), scripted.encode(x)
    extra = {"note": "hello"}
    file = io.BytesIO()
    funtorch.jit.save(scripted, file, _extra_files=extra)
    extra = {"note": ""}
    file.seek(0)
    loaded = funtorch.jit.load(file, _extra_files=extra)
    assert extra["note"] == b"hello"
    assert not loaded.training and loaded.first.weight is loaded.tied.weight
    for n in (6, 3):  # evaluation works for any batch
        np.testing.assert_allclose(loaded(x[:n]).detach(), net(x[:n]).detach(), atol=1e-6)
    np.testing.assert_allclose(loaded.encode(x).detach(), net.encode(x).detach(), atol=1e-6)
    loaded.train()
    one, two = loaded(x), loaded(x)
    assert not np.array_equal(one.detach().numpy(), two.detach().numpy())
    assert loaded.norm.num_batches_tracked.item() == 2
    one.sum().backward()
    assert loaded.first.weight.grad is not None
    again = funtorch.jit.load(io.BytesIO(loaded.eval().save_to_buffer()))
    np.testing.assert_allclose(again(x).detach(), loaded(x).detach(), atol=1e-6)


def test_compiled_never_runs_python_again():
    calls = []

    class Counted(funtorch.nn.Linear):
        def forward(self, x):
            calls.append(1)
            return super().forward(x)

    net = Counted(3, 2)
    compiled = funtorch.jit.script(net).compile(funtorch.ones(2, 3))
    n = len(calls)
    np.testing.assert_allclose(
        compiled(funtorch.ones(2, 3)).detach(), net(funtorch.ones(2, 3)).detach()
    )
    assert len(calls) == n + 1  # the second call above, of the module itself
    with pytest.raises(RuntimeError, match="made for 2"):
        compiled(funtorch.ones(5, 3))


def test_trace():
    net = funtorch.nn.Sequential(funtorch.nn.Linear(3, 4), funtorch.nn.ReLU())
    traced = funtorch.jit.trace(net, funtorch.ones(2, 3))
    assert isinstance(traced, funtorch.jit.TopLevelTracedModule)
    assert "relu" in traced.graph and "float32[2,4]" in traced.graph
    x = funtorch.randn(5, 3)
    np.testing.assert_array_equal(traced(x).detach(), net(x).detach())
    loaded = funtorch.jit.load(io.BytesIO(traced.save_to_buffer()))
    np.testing.assert_allclose(loaded(x).detach(), net(x).detach(), atol=1e-6)
    function = funtorch.jit.trace(lambda a, b: a @ b, (funtorch.ones(2, 3), funtorch.ones(3, 4)))
    assert function(funtorch.ones(2, 3), funtorch.ones(3, 4)).tolist() == [[3.0] * 4] * 2


def test_decorators_and_questions():
    seen = []

    @funtorch.jit.script
    def f(x):
        seen.append(funtorch.jit.is_scripting())
        return funtorch.jit.annotate(int, 3) * x

    assert f(funtorch.ones(1)).item() == 3 and seen == [True]
    assert not funtorch.jit.is_scripting()
    assert funtorch.jit.script(f) is f and funtorch.jit.interface(Net) is Net
    assert funtorch.jit.isinstance([1], list[int])
    with pytest.raises(RuntimeError, match="call it once"):
        funtorch.jit.script(Net()).save_to_buffer()


def test_gradient_through_a_scripted_branch():
    ours = funtorch.jit.script(sign_of_sum)
    x = funtorch.ones(3, requires_grad=True)
    (ours(x) * 2).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]
    gradient = funtorch.func.grad(lambda v: (ours(v) * v).sum())(funtorch.ones(3))
    assert gradient.tolist() == [3, 3, 3]


def test_load_where_the_source_is_not(tmp_path):
    (tmp_path / "hidden.py").write_text(
        "import funtorch as torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = torch.nn.Linear(3, 2)\n"
        "    def forward(self, x):\n"
        "        while x.abs().max() > 1:\n"
        "            x = x / 2\n"
        "        return self.fc(x)\n"
    )
    write = (
        "import funtorch as torch, hidden, numpy as np\n"
        "net = torch.jit.script(hidden.Net())\n"
        "want = net(torch.full((2, 3), 9.0))\n"
        "net.save('n.pt')\n"
        "np.save('want.npy', want.detach().numpy())\n"
    )
    use = (
        "import sys, funtorch as torch, numpy as np\n"
        "net = torch.jit.load('n.pt')\n"
        "got = net(torch.full((2, 3), 9.0)).detach().numpy()\n"
        "np.testing.assert_allclose(got, np.load('want.npy'), atol=1e-6)\n"
        "assert 'hidden' not in sys.modules\n"
    )
    known = os.environ.get("PYTHONPATH", "")
    env = {**os.environ, "PYTHONPATH": f"{known}{os.pathsep}{tmp_path}"}
    python = [sys.executable, "-P", "-c"]
    subprocess.run([*python, write], cwd=tmp_path, env=env, check=True)
    (tmp_path / "hidden.py").unlink()
    subprocess.run([*python, use], cwd=tmp_path, env=env, check=True)


def test_trace_module_and_fork():
    torch = funtorch
    nn = torch.nn

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.full((2,), 3.0))

        def forward(self, x):
            return x * self.weight

        def other(self, x, y):
            return torch.jit.wait(torch.jit.fork(torch.add, x, y)) + self.weight

    ones = torch.ones(2)
    traced = torch.jit.trace_module(Two(), {"forward": ones, "other": (ones, ones)})
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    again = torch.jit.load(file)
    for net in (traced, again):
        assert net(ones).tolist() == [3.0, 3.0] and net.other(ones, ones).tolist() == [5.0, 5.0]
    assert isinstance(torch.jit.fork(torch.neg, ones), torch.jit.Future)
