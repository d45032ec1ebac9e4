"""The C++ loader: an exported training step and forward pass run as in Python."""

import subprocess
import zipfile

import numpy as np
import pytest

import funtorch as torch
from funtorch.export import add_executables, add_fixed, export_step, load_step
from tests.lowering.cpp import PLUGIN, ROOT, built, needs_cpp, run

pytestmark = needs_cpp

FORWARD = """
#include <cstdio>
#include "funtorch.hpp"
int main(int, char** argv) try {
  auto model = ft::load(argv[1], argv[2]);
  std::vector<float> x(2 * 3 * 8 * 8);
  for (size_t i = 0; i < x.size(); i++) x[i] = 0.01f * static_cast<float>(i % 97);
  auto shape = argv[3][0] == 'w' ? std::vector<int64_t>{2, 3, 64} : std::vector<int64_t>{2, 3, 8, 8};
  auto y = model["forward"](ft::Tensor::of<float>(shape, x))[0];
  for (size_t i = 0; i < y.size(); i++) std::printf("%.7f\\n", y.data<float>()[i]);
  return 0;
} catch (const std::exception& error) { return std::fprintf(stderr, "%s\\n", error.what()), 1; }
"""


def training():
    """(a training step, its batch of n, {model, optimizer}); one step of six is done."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

    def step(x, t):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), t)
        loss.backward()
        optimizer.step()
        return loss

    def batch(n):
        x = (0.1 * np.arange(4 * n, dtype="float32") - 1).reshape(n, 4)
        return torch.from_numpy(x), torch.arange(n) % 3

    step(*batch(6))
    return step, batch, {"model": model, "optimizer": optimizer}


def step_of(tmp_path):
    """A training step, and the file that holds it."""
    step, batch, made = training()
    path = tmp_path / "train.ftpkg"
    export_step(step, batch(6), **made).save(path)
    return step, batch(6), path


def test_a_hundred_training_steps(tmp_path):
    step, batch, path = step_of(tmp_path)
    found = run(
        built(ROOT / "examples" / "cpp" / "train.cpp", tmp_path / "train"), path, PLUGIN, 100
    )
    assert found.returncode == 0, found.stderr
    want = [step(*batch).item() for _ in range(100)]
    np.testing.assert_allclose([float(w) for w in found.stdout.split()], want, rtol=1e-4)


def test_forward_and_errors(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten()
    ).eval()
    x = torch.from_numpy((0.01 * (np.arange(384) % 97)).astype("float32").reshape(2, 3, 8, 8))
    path = tmp_path / "net.ftpkg"
    torch.export.save(torch.export.export(net, (x,)), path)
    source = tmp_path / "forward.cpp"
    source.write_text(FORWARD)
    program = built(source, tmp_path / "forward")
    found = run(program, path, PLUGIN, "right")
    got = [float(w) for w in found.stdout.split()]
    np.testing.assert_allclose(got, net(x).detach().numpy().ravel(), atol=1e-4)
    assert (
        "float32[2, 3, 64], the program was made for float32[2, 3, 8, 8]"
        in run(program, path, PLUGIN, "w").stderr
    )
    data = bytearray(path.read_bytes())
    data[data.index(b"ML\xefR\rStableHLO_v1.13") + 60] ^= 1
    path.write_bytes(data)
    assert "damaged" in run(program, path, PLUGIN, "right").stderr
    batch = {0: torch.export.Dim("batch")}
    torch.export.save(torch.export.export(net, (x,), dynamic_shapes=(batch,)), path)
    assert "open dimension batch" in run(program, path, PLUGIN, "right").stderr


RESUME = """
#include <cstdio>
#include "funtorch.hpp"
int main(int, char** argv) try {
  auto model = ft::load(argv[1], argv[2]);
  auto& step = model["train"];
  std::vector<float> x(24);
  std::vector<int64_t> t(6);
  for (size_t i = 0; i < x.size(); i++) x[i] = 0.1f * static_cast<float>(i) - 1.0f;
  for (size_t i = 0; i < t.size(); i++) t[i] = static_cast<int64_t>(i % 3);
  for (int i = 0; i < 5; i++) {
    auto loss = step(ft::Tensor::of<float>({6, 4}, x), ft::Tensor::of<int64_t>({6}, t))[0];
    std::printf("%.7f\\n", loss.data<float>()[0]);
  }
  std::fprintf(stderr, "%s\\n", step.stored ? "stored" : "compiled");
  for (const std::string& reason : step.ignored) std::fprintf(stderr, "%s\\n", reason.c_str());
  model.save(argv[3], true);
  return 0;
} catch (const std::exception& error) { return std::fprintf(stderr, "%s\\n", error.what()), 1; }
"""


def test_state_and_executables_are_saved(tmp_path):
    step, batch, path = step_of(tmp_path)
    add_executables(path)
    source = tmp_path / "resume.cpp"
    source.write_text(RESUME)
    program = built(source, tmp_path / "resume")
    want = [step(*batch).item() for _ in range(20)]
    losses, said = [], []
    for _ in range(2):  # the second goes on where the first stopped, without compiling
        found = run(program, path, PLUGIN, path)
        assert found.returncode == 0, found.stderr
        losses += [float(w) for w in found.stdout.split()]
        said.append(found.stderr)
    np.testing.assert_allclose(losses, want[:10], rtol=1e-4)
    assert "compiled" in said[0] and "runtime jaxlib" in said[0] and "stored" in said[1]
    again = load_step(path)  # its own executable is still there, the plugin's is not for Python
    assert "PJRT plugin" in again.program.ignored[0] and len(again.program.ignored) == 1
    np.testing.assert_allclose([again(*batch).item() for _ in range(10)], want[10:], rtol=1e-4)
    with zipfile.ZipFile(path) as made:
        assert sum(n.startswith("exec/train.") for n in made.namelist()) == 2


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return built(ROOT / "tests" / "lowering" / "run.cpp", tmp_path_factory.mktemp("cpp") / "run")


L = torch.linalg
ALGEBRA = {
    "decompositions": lambda x: (
        L.svdvals(x) + L.eigvalsh(x + x.mT), L.qr(x)[1].abs(), L.cholesky(x @ x.mT + torch.eye(34)),
    ),
    "solvers": lambda x: (
        L.solve(x, x.sum(-1)), *L.lu_factor(x[:, :30]), L.det(x[:5, :5].expand(2, 5, 5)), L.inv(x),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ALGEBRA)
def test_linear_algebra_without_lapack(tmp_path, runner, name):
    class Model(torch.nn.Module):
        def forward(self, x):
            return ALGEBRA[name](x)

    model, path = Model(), tmp_path / "algebra.ftpkg"
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(34, 34)).astype("float32"))
    torch.export.save(torch.export.export(model, (x,)), path)
    command = [runner, path, PLUGIN, "forward", "1"]
    done = subprocess.run(command, input=x.numpy().tobytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    want = [part.numpy() for part in model(x)]
    got = np.split(np.frombuffer(done.stdout, "int32"), np.cumsum([w.size for w in want])[:-1])
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a.view(b.dtype), b.ravel(), atol=2e-4, rtol=1e-4)


SIZES = """
#include <cstdio>
#include "funtorch.hpp"
int main(int, char** argv) try {
  auto model = ft::load(argv[1], argv[2]);
  auto& forward = model["forward"];
  for (int64_t n : {6, 1, 2}) try {
      std::vector<float> x(static_cast<size_t>(4 * n));
      for (size_t i = 0; i < x.size(); i++) x[i] = 0.1f * static_cast<float>(i);
      auto y = forward(ft::Tensor::of<float>({n, 4}, x))[0];
      for (size_t i = 0; i < y.size(); i++) std::printf("%.7f\\n", y.data<float>()[i]);
    } catch (const std::exception& error) { std::printf("%s\\n", error.what()); }
  std::printf("%d\\n", forward.stored);
  model.save(argv[1], true);
  return 0;
} catch (const std::exception& error) { return std::fprintf(stderr, "%s\\n", error.what()), 1; }
"""


def digits_example():
    """The classes of examples/digits_cnn.py, with funtorch for torch."""
    names = {"__name__": "digits"}
    source = (ROOT / "examples" / "digits_cnn.py").read_text()
    exec(source.replace("torch", "funtorch"), names)
    return names


def test_the_example_trains_from_cpp(tmp_path, runner):
    pytest.importorskip("sklearn")
    found = digits_example()
    torch.manual_seed(1)
    model = found["Net"]()
    model.dropout.p = 0.0  # C++ draws other numbers
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    def step(x, t):
        optimizer.zero_grad()
        loss = torch.nn.functional.nll_loss(model(x), t)
        loss.backward()
        optimizer.step()
        return loss

    digits = found["load_digits"]()
    x = torch.from_numpy((digits.images[:16] / 16).astype("float32")).unsqueeze(1)
    t = torch.from_numpy(digits.target[:16])
    step(x, t)
    path = tmp_path / "digits.ftpkg"
    made = export_step(step, (x, t), model=model, optimizer=optimizer)
    made.save(path)
    with zipfile.ZipFile(path) as opened:  # old state gives its memory to the new one
        assert b"tf.aliasing_output" in opened.read("programs/train.vhlo")
    held = sum(tensor.numpy().nbytes for tensor in made.state.values())
    assert path.stat().st_size <= held + 100_000
    data = x.numpy().tobytes() + t.numpy().tobytes()
    done = subprocess.run([runner, path, PLUGIN, "train", "100"], input=data, capture_output=True)
    assert done.returncode == 0, done.stderr
    want = [step(x, t).item() for _ in range(100)]
    np.testing.assert_allclose(np.frombuffer(done.stdout, "float32"), want, atol=1e-4, rtol=1e-4)
    again = load_step(path)
    got = [again(x, t).item() for _ in range(100)]
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=1e-4)


def test_files_of_every_version_run(runner):
    golden = sorted((ROOT / "tests" / "export" / "golden").glob("*.ftpkg"))
    golden = [path for path in golden if not torch.export.load(path).range_constraints]
    assert golden
    x = np.array([[0.1, 0.2], [-0.3, 0.4]], "float32")
    want = np.tanh(x @ np.array([[1.0, 3.0], [2.0, 4.0]]) + np.array([0.5, -0.5]))
    for path in golden:
        command = [runner, path, PLUGIN, "forward", "1"]
        done = subprocess.run(command, input=x.tobytes(), capture_output=True)
        assert done.returncode == 0, done.stderr
        np.testing.assert_allclose(np.frombuffer(done.stdout, "float32"), want.ravel(), atol=1e-6)


def test_open_dimensions_at_fixed_sizes(tmp_path, runner):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    path = tmp_path / "net.ftpkg"
    batch = ({0: torch.export.Dim("batch", max=64)},)
    dynamic = torch.export.export(model, (torch.ones(2, 4),), dynamic_shapes=batch)
    torch.export.save(dynamic, path)
    for n in (1, 6, 6):
        assert add_fixed(path, torch.export.export(model, (torch.ones(n, 4),))) == {"batch": n}
    with pytest.raises(ValueError, match="different"):
        add_fixed(path, torch.export.export(model[0], (torch.ones(6, 4),)))
    add_executables(path, {"batch": 6})
    source = tmp_path / "sizes.cpp"
    source.write_text(SIZES)
    program = built(source, tmp_path / "sizes")
    x = torch.from_numpy((0.1 * np.arange(24, dtype="float32")).reshape(6, 4))
    for kind in ("0 compiled", "1 loaded"):
        found = run(program, path, PLUGIN)
        assert found.returncode == 0, found.stderr
        *numbers, error, stored = found.stdout.splitlines()
        want = np.concatenate([model(x).detach().numpy().ravel(), model(x[:1]).detach().numpy()[0]])
        np.testing.assert_allclose(np.array(numbers, "float32"), want, atol=1e-5)
        assert (
            error == "no program takes float32[2, 4]; there are programs for batch = 1; batch = 6"
        )
        assert stored == kind[0]
    x = torch.randn(5, 4)
    np.testing.assert_allclose(
        torch.export.load(path).module()(x).detach(), model(x).detach(), atol=1e-6
    )


STEPS = """
#include <cstdio>
#include "funtorch.hpp"
int main(int, char** argv) try {
  auto model = ft::load(argv[1], argv[2]);
  for (int i = 0; i < 100; i++) {
    int64_t n = i % 5 == 4 ? 3 : 6;  // the last batch of an epoch is smaller
    std::vector<float> x(static_cast<size_t>(4 * n));
    std::vector<int64_t> t(static_cast<size_t>(n));
    for (size_t k = 0; k < x.size(); k++) x[k] = 0.1f * static_cast<float>(k) - 1.0f;
    for (size_t k = 0; k < t.size(); k++) t[k] = static_cast<int64_t>(k % 3);
    auto loss = model["train"](ft::Tensor::of<float>({n, 4}, x), ft::Tensor::of<int64_t>({n}, t))[0];
    std::printf("%.7f\\n", loss.data<float>()[0]);
  }
  model["train"](ft::Tensor("float32", {2, 4}), ft::Tensor("int64", {2}));
} catch (const std::exception& error) { return std::fprintf(stderr, "%s\\n", error.what()), 1; }
"""


def test_training_steps_of_several_sizes(tmp_path):
    step, batch, made = training()
    path = tmp_path / "train.ftpkg"
    dim = {0: torch.export.Dim("batch", min=2)}
    wide = export_step(step, batch(6), **made, dynamic_shapes=(dim, dim))
    wide.save(path)
    for n in (6, 3):
        assert add_fixed(path, export_step(step, batch(n), **made)) == {"batch": n}
    (tmp_path / "steps.cpp").write_text(STEPS)
    found = run(built(tmp_path / "steps.cpp", tmp_path / "steps"), path, PLUGIN)
    want = [step(*batch(3 if i % 5 == 4 else 6)).item() for i in range(100)]
    np.testing.assert_allclose([float(w) for w in found.stdout.split()], want, rtol=2e-4, atol=1e-4)
    assert "there are programs for batch = 6; batch = 3" in found.stderr
    again = load_step(path)  # any size in Python
    got = [again(*batch(3 if i % 5 == 4 else 6)).item() for i in range(10)]
    np.testing.assert_allclose(got, want[:10], rtol=1e-4)
