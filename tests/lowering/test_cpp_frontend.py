"""The C++ front end against PyTorch: primitives with their gradients, training, files for Python."""

import numpy as np
import pytest

import funtorch as torch
from funtorch.export import add_executables, load_step
from tests.lowering.cpp import PLUGIN, ROOT, built, needs_cpp, run

real = pytest.importorskip("torch", reason="real PyTorch is the oracle")
pytestmark = needs_cpp
F = real.nn.functional


def whole(x):
    return (x.abs() * 5).floor().long()


UNARY = {
    "neg": lambda x: -x, "exp": real.exp, "expm1": real.expm1, "log": lambda x: (x + 2).log(),
    "log1p": lambda x: (x * 0.9).log1p(), "tanh": real.tanh, "sigmoid": real.sigmoid,
    "sqrt": lambda x: (x + 2).sqrt(), "rsqrt": lambda x: (x + 2).rsqrt(),
    "cbrt": lambda x: (x + 2) ** (1 / 3), "abs": real.abs, "sin": real.sin, "cos": real.cos,
    "sign": lambda x: x.sign() + x, "floor": lambda x: (x * 3).floor() + x,
    "ceil": lambda x: (x * 3).ceil() + x, "round": lambda x: (x * 3).round() + x,
    "relu": F.relu, "leaky_relu": F.leaky_relu, "silu": F.silu, "softplus": F.softplus,
    "clamp": lambda x: x.clamp(-0.5, 0.25), "elu": lambda x: F.elu(x, 1.5),
    "cumsum": lambda x: x.cumsum(1) * x, "softmax": lambda x: x.softmax(-1),
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "log_softmax": lambda x: x.log_softmax(0), "not": lambda x: (~(x > 0)).float() + x,
    "sum": lambda x: (x * x).sum(), "sum_axis": lambda x: (x * x).sum(0),
    "mean": lambda x: x.mean(-1, keepdim=True), "amax": lambda x: x.amax(1), "amin": real.amin,
    "argmax": lambda x: x.argmax(1).float() + 0 * x.sum(), "reshape": lambda x: x.reshape(2, -1) * 2,
    "transpose": lambda x: x.T, "broadcast": lambda x: x.view(3, 1, 4).expand(2, 3, 5, 4),
    "slice": lambda x: x[0:3:2, 1:4:2], "narrow": lambda x: x.narrow(1, 1, 2),
    "pad": lambda x: padded(x), "reverse": lambda x: x.flip(0, 1), "iota": lambda x: x + real.arange(4),
    "second": lambda x: real.autograd.grad((x.tanh() * x * x).sum(), x, create_graph=True)[0],
}  # fmt: skip
BINARY = {
    "add": real.add, "sub": lambda a, b: 1 - a - b, "mul": real.mul, "div": lambda a, b: a / (b + 2),
    "maximum": real.maximum, "minimum": real.minimum, "ties": lambda a, b: real.maximum(a, a * 1) + b,
    "pow": lambda a, b: (a + 2) ** b, "atan2": real.atan2, "remainder": lambda a, b: a.fmod(0.3) + b,
    "compare": lambda a, b: 1.0 + (a < b).float() + 2 * (a >= b).float() + a * b,
    "logical": lambda a, b: ((a > 0) & (b > 0)).float() + ((a <= 0) | (b > 0)).float()
    + ((a > 0) ^ (b > 0)).float() + a * b,
    "where": lambda a, b: real.where(a > b, a * a, b + a * 0),
    "concatenate": lambda a, b: real.cat([a, b.expand(2, 4)]),
}  # fmt: skip
OTHERS = {
    "matmul": (((3, 4), (4, 5)), real.matmul),
    "batched": (((2, 1, 3, 4), (5, 4, 2)), real.matmul),
    "folded": (((2, 3, 4), (4, 5)), real.matmul),
    "conv2d": (((2, 3, 6, 5), (4, 3, 3, 2)), F.conv2d),
    "conv2d_full": (
        ((2, 4, 9, 8), (6, 2, 3, 2)),
        lambda x, k: F.conv2d(x, k, None, (2, 3), (1, 2), (2, 1), 2),
    ),
    "max_pool2d": (((2, 2, 7, 6),), lambda x: F.max_pool2d(x, (3, 2), (2, 2), (1, 0))),
    "avg_pool2d": (((2, 2, 7, 6),), lambda x: F.avg_pool2d(x, (3, 2), (2, 1), (1, 1))),
    "adaptive_avg_pool2d": (((2, 2, 6, 4),), lambda x: F.adaptive_avg_pool2d(x, (3, 2))),
    "conv1d": (((2, 4, 9), (6, 2, 3)), lambda x, k: F.conv1d(x, k, None, 2, 1, 2, 2)),
    "conv_transpose2d": (
        ((2, 4, 5, 4), (4, 3, 3, 2)),
        lambda x, k: F.conv_transpose2d(x, k, None, (2, 3), (1, 2), (1, 2), 2, (2, 1)),
    ),
    "smooth_l1_loss": (((4, 5), (4, 5)), lambda x, t: F.smooth_l1_loss(x * 2, t)),
    "bce": (((4, 5), (4, 5)), F.binary_cross_entropy_with_logits),
    "take": (((5, 3), (2, 4)), lambda table, i: F.embedding(whole(i), table)),
    "one_hot": (((6,), (6, 5)), lambda i, x: F.one_hot(whole(i), 5) * x),
    "cross_entropy": (((4, 5), (4,)), lambda x, t: F.cross_entropy(x, whole(t))),
    "mse_loss": (((4, 5), (4, 5)), F.mse_loss),
    "l1_loss": (((4, 5), (4, 5)), F.l1_loss),
}
CASES = {
    **{name: (((3, 4),), f) for name, f in UNARY.items()},
    **{name: (((3, 4), (4,)), f) for name, f in BINARY.items()},
    **OTHERS,
}


def padded(x):
    spread = F.pad(
        real.stack([x, x.new_full(x.shape, 0.5)], 1).reshape(6, 4)[:5], (-1, 2), value=0.5
    )
    return F.pad(spread, (0, 0, 1, 0), value=0.5)


def values(shape, which):
    flat = np.sin(1.3 * np.arange(int(np.prod(shape))) + which).astype("float32")
    return real.from_numpy(flat.reshape(shape)).requires_grad_()


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    program = tmp_path_factory.mktemp("cpp") / "primitives"
    built(ROOT / "tests" / "lowering" / "primitives.cpp", program)
    found = run(program, PLUGIN)
    assert found.returncode == 0, found.stderr
    rows = (line.split() for line in found.stdout.splitlines())
    return {row[0]: np.array(row[1:], "float64") for row in rows}


def test_all_primitives_are_tested(printed):
    assert set(printed) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_primitive(printed, name):
    shapes, function = CASES[name]
    given = [values(shape, i) for i, shape in enumerate(shapes)]
    result = function(*given).reshape(-1)
    loss = (result * real.arange(len(result)).cos()).sum()
    grads = real.autograd.grad(loss, given, allow_unused=True)
    parts = [result, *(real.zeros_like(x) if g is None else g for x, g in zip(given, grads))]
    want = real.cat([p.detach().reshape(-1) for p in parts])
    np.testing.assert_allclose(printed[name], want, rtol=1e-4, atol=1e-5)


# Training ---------------------------------------------------------------------------------------


def losses(model, optimizer, loss_of, steps=100):
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def spiral():
    i = np.arange(96)
    angle = 4 * i / 96 + 2.0943951 * (i % 3)
    x = (i / 96)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return x.astype("float32"), i % 3


def test_an_mlp_and_its_file(tmp_path):
    nn = real.nn
    real.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)
    )
    x, t = spiral()
    loss_of = lambda m: F.cross_entropy(m(real.from_numpy(x)), real.from_numpy(t))  # noqa: E731
    optimizer = real.optim.AdamW(model.parameters(), lr=0.01)
    want = losses(model, optimizer, loss_of, 120)
    path = tmp_path / "mlp.ftpkg"
    program = built(ROOT / "examples" / "cpp" / "mlp.cpp", tmp_path / "mlp")
    found = run(program, PLUGIN, 100, path)
    assert found.returncode == 0, found.stderr
    np.testing.assert_allclose([float(w) for w in found.stdout.split()], want[:100], rtol=1e-4)
    assert path.stat().st_size < 3 * 4 * sum(p.numel() for p in model.parameters()) + 100_000
    # The file goes on in Python, also with an executable, also written again by Python.
    inputs = torch.from_numpy(x), torch.from_numpy(t)
    again = torch.export.load(path).module()
    assert list(again.state_dict()) == list(model.state_dict())
    for _ in range(2):
        step = load_step(path)
        got = [step(*inputs).item() for _ in range(20)]
        np.testing.assert_allclose(got, want[100:], rtol=1e-4)
        assert add_executables(path) == {}


class Net(real.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = real.nn.Conv2d(1, 8, 3, padding=1)
        self.second = real.nn.Conv2d(8, 16, 3)
        self.last = real.nn.Linear(16, 2)

    def forward(self, x):
        x = F.max_pool2d(self.first(x).relu(), 2)
        return self.last(F.avg_pool2d(self.second(x).relu(), 2, 1).flatten(1))


def test_a_convolutional_network(tmp_path):
    real.manual_seed(0)
    model = Net()
    i, row, column = np.ogrid[:16, :9, :9]
    x = np.sin(0.9 * np.where(i % 2, row, column) + 0.7 * i).astype("float32")[:, None]
    t = real.arange(16) % 2
    optimizer = real.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    want = losses(model, optimizer, lambda m: F.cross_entropy(m(real.from_numpy(x)), t))
    program = built(ROOT / "examples" / "cpp" / "cnn.cpp", tmp_path / "cnn")
    found = run(program, PLUGIN, 100)
    assert found.returncode == 0, found.stderr
    np.testing.assert_allclose([float(w) for w in found.stdout.split()], want, rtol=1e-4, atol=1e-6)


IMAGES = """
#include <cstdio>
#include "funtorch_nn.hpp"
int main(int, char** argv) try {
  ft::Sequential net;
  net.add<ft::Conv2d>(1, 4, 3).add<ft::BatchNorm>(4).add(ft::relu);
  net.add<ft::ConvTranspose2d>(4, 6, 2, ft::Window{{2, 2}}).add<ft::GroupNorm>(3, 6);
  net.add(ft::flatten).add([](const ft::Var& x) { return ft::reshape(x, {8, 6, 36}); });
  net.add<ft::Conv1d>(6, 4, 3, 2).add<ft::BatchNorm>(4).add(ft::flatten).add<ft::Linear>(68, 1);
  ft::load_state(net, argv[2]);
  ft::Builder build(net);
  ft::Input x{"x", "float32", {8, 1, 5, 5}};
  build.training({x}, ft::AdamW(0.01), [&](const ft::Vars& in) {
    return ft::mean(ft::square(net(in[0]) - 1.0));
  });
  net.eval();
  build.forward({x});
  ft::Model model = build.model(argv[1]);
  std::vector<float> values;
  for (int i = 0; i < 200; i++) values.push_back(static_cast<float>(std::sin(0.7 * i)));
  auto given = ft::Tensor::of<float>(x.shape, values);
  for (int i = 0; i < 100; i++) std::printf("%.7g\\n", model["train"](given)[0].data<float>()[0]);
  std::printf("%.7g\\n", model["forward"](given)[0].data<float>()[3]);
  model.save(argv[3]);
} catch (const std::exception& error) { return std::fprintf(stderr, "%s\\n", error.what()), 1; }
"""


def images(nn):
    """The network of IMAGES."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 6, 2, 2),
        nn.GroupNorm(3, 6), nn.Flatten(), nn.Unflatten(1, (6, 36)), nn.Conv1d(6, 4, 3, 2),
        nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(68, 1),
    )  # fmt: skip


def test_running_statistics_and_weights_from_python(tmp_path):
    real.manual_seed(5)
    theirs, ours = images(real.nn), images(torch.nn)
    ours.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    x = np.sin(0.7 * np.arange(200)).astype("float32").reshape(8, 1, 5, 5)
    given, path = tmp_path / "given.ftpkg", tmp_path / "images.ftpkg"
    torch.export.save(torch.export.export(ours.eval(), (torch.from_numpy(x),)), given)
    optimizer = real.optim.AdamW(theirs.parameters(), lr=0.01)
    loss_of = lambda m: (m(real.from_numpy(x)) - 1).square().mean()  # noqa: E731
    want = losses(theirs, optimizer, loss_of)
    (tmp_path / "images.cpp").write_text(IMAGES)
    program = built(tmp_path / "images.cpp", tmp_path / "images")
    found = run(program, PLUGIN, given, path)
    assert found.returncode == 0, found.stderr
    *got, value = map(float, found.stdout.split())
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    with real.no_grad():
        np.testing.assert_allclose(value, theirs.eval()(real.from_numpy(x))[3].item(), rtol=1e-3)
    again = torch.export.load(path).module()  # in Python: the same names, statistics and values
    assert list(again.state_dict()) == list(theirs.state_dict())
    for name in ("1.running_var", "8.running_var", "8.num_batches_tracked"):
        np.testing.assert_allclose(again.state_dict()[name], theirs.state_dict()[name], rtol=1e-3)
    np.testing.assert_allclose(again(torch.from_numpy(x))[3].item(), value, rtol=1e-5)
    step = load_step(path)
    got = [step(torch.from_numpy(x)).item() for _ in range(5)]
    want = losses(theirs.train(), optimizer, loss_of, 5)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
    assert step.state_dict()["1.num_batches_tracked"].item() == 105
    other = torch.export.export(
        torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3)), (torch.ones(1, 1, 5, 5),)
    )
    torch.export.save(other, given)
    assert "0.weight is float32[4, 1, 3, 3], in" in run(program, PLUGIN, given, path).stderr


WORDS = """
#include <cstdio>
#include "funtorch_nn.hpp"
int main(int, char** argv) try {
  ft::manual_seed(3);
  ft::Sequential net;
  net.add<ft::Embedding>(11, 16).add<ft::LayerNorm>(16).add<ft::Dropout>(0.25);
  net.add([](const ft::Var& x) { return ft::mean(x, {1}); }).add<ft::Linear>(16, 1, false);
  bool dropping = argv[2][0] == 'd';
  net.train(dropping);
  ft::Builder build(net);
  build.training({{"x", "int64", {4, 5}}}, ft::SGD(0.1, 0.9, 0, true), [&](const ft::Vars& in) {
    ft::Var y = net(in[0]);
    return ft::mse_loss(y, ft::full_like(y, 0.5));
  });
  ft::Dropout half;
  build.program("kept", {{"x", "float32", {100, 100}}}, [&](const ft::Vars& in) { return half(in[0]); });
  ft::Model model = build.model(argv[1]);
  std::vector<int64_t> words;
  for (int i = 0; i < 20; i++) words.push_back(i * 7 % 11);
  auto x = ft::Tensor::of<int64_t>({4, 5}, words);
  model["train"].set("lr", 0.05);
  for (int i = 0; i < 20; i++) std::printf("%.7f\\n", model["train"](x)[0].data<float>()[0]);
  ft::Tensor ones = ft::Tensor::of<float>({100, 100}, std::vector<float>(10000, 1));
  for (int i = 0; i < 3; i++) {
    if (i == 2) model.seed(0);
    ft::Tensor kept = model["kept"](ones)[0];
    double sum = 0;
    for (int k = 0; k < 10000; k++) sum += kept.data<float>()[k] * (k % 7 + 1);
    std::fprintf(stderr, "%.1f %.0f\\n", sum, kept.data<float>()[0] + kept.data<float>()[1]);
  }
  model["train"](ones);
} catch (const std::exception& error) { return std::fprintf(stderr, "%s\\n", error.what()), 1; }
"""


def test_embedding_layer_norm_dropout_and_errors(tmp_path):
    nn = real.nn
    real.manual_seed(3)
    table, norm, last = nn.Embedding(11, 16), nn.LayerNorm(16), nn.Linear(16, 1, bias=False)
    parameters = [*table.parameters(), *norm.parameters(), *last.parameters()]
    words = (real.arange(20) * 7 % 11).reshape(4, 5)
    optimizer = real.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True)
    loss_of = lambda _: (last(norm(table(words)).mean(1)) - 0.5).square().mean()  # noqa: E731
    want = losses(None, optimizer, loss_of, 20)
    (tmp_path / "words.cpp").write_text(WORDS)
    program = built(tmp_path / "words.cpp", tmp_path / "words")
    found, dropped = run(program, PLUGIN, "eval"), run(program, PLUGIN, "dropping")
    got, other = ([float(w) for w in f.stdout.split()] for f in (found, dropped))
    np.testing.assert_allclose(got, want, rtol=1e-4)
    assert len(other) == 20 and not np.allclose(other, want, rtol=1e-2)
    *sums, error = found.stderr.splitlines()
    first, second, again = (float(s.split()[0]) for s in sums)
    assert first != second and first == again  # by the seed and the number of the draw
    assert all(abs(s - 40_000) < 1_500 for s in (first, second))
    assert error == "x is float32[100, 100], the program was made for int64[4, 5]"
