"""torch.cond, while_loop, scan, map, associative_scan: PyTorch's results, gradients and errors."""

import numpy as np
import pytest

import funtorch
from funtorch import _higher_order_ops as ours

real = pytest.importorskip("torch", reason="real PyTorch is the oracle")
from torch import _higher_order_ops as theirs  # noqa: E402

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], np.float32)
W = np.array([0.5, 1.5, -0.5], np.float32)


def branches(lib, ops, x, w):
    def yes(a, d):
        return a.sin() * w, {"s": d["k"].sum()}

    def no(a, d):
        return a.cos(), {"s": d["k"].prod()}

    out, named = ops.cond(x.sum() > 1, yes, no, (x, {"k": w}))
    other, _ = ops.cond(x.sum() > 100, yes, no, (x, {"k": w}))
    return out, named["s"], other


def nested_branches(lib, ops, x, w):
    def inner(a):
        return ops.cond(a[0, 0] > 0, lambda b: b * w, lambda b: b - w, (a,))

    return ops.cond(x.sum() > 0, inner, lambda a: a.exp(), (x,))


def until(lib, ops, x, w):
    def body(i, a):
        return i + 1, a * w + a.sin()

    return ops.while_loop(lambda i, a: i < 7, body, (lib.tensor(0), x))


def running(lib, ops, x, w):
    def step(carry, x):
        new = {"c": carry["c"] * w + x["a"]}
        return new, (new["c"].sin() + x["b"], x["b"].exp())

    return ops.scan(step, {"c": w}, {"a": x, "b": x * 2})


def backwards(lib, ops, x, w):
    def step(carry, row):
        return carry + row, (carry * row).sin()

    return ops.scan(step, x[:, 0].clone(), x, dim=1, reverse=True)


def mapped(lib, ops, x, w):
    return ops.map(lambda row, scale: (row["r"] * scale, row["q"].exp()), {"r": x, "q": x * 2}, w)


def products(lib, ops, x, w):
    return ops.associative_scan(
        lambda a, b: {"m": a["m"] * b["m"], "v": a["v"] * b["m"] + b["v"]},
        {"m": x, "v": x.sin()}, 1, combine_mode="generic",
    )  # fmt: skip


CASES = [branches, nested_branches, until, running, backwards, mapped, products]


def flat(lib, value):
    if isinstance(value, lib.Tensor):
        return [value]
    if isinstance(value, dict):
        value = [value[k] for k in sorted(value)]
    return [t for v in value for t in flat(lib, v)]


def arrays(lib, case, ops):
    x, w = (lib.tensor(a, requires_grad=True) for a in (X, W))
    outs = flat(lib, case(lib, ops, x, w))
    loss = sum((t * t).sum() for t in outs if t.is_floating_point())
    found = lib.autograd.grad(loss, (x, w), allow_unused=True)
    grads = [lib.zeros_like(t) if g is None else g for t, g in zip((x, w), found, strict=True)]
    return [t.detach().numpy() for t in (*outs, *grads)]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_values_and_gradients(case):
    found, wanted = arrays(funtorch, case, ours), arrays(real, case, theirs)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_export_with_a_changing_size(case):
    """torch.export keeps the control flow; so does ONNX, where its nodes are looked at."""

    class Net(funtorch.nn.Module):
        def forward(self, x, w):
            return tuple(flat(funtorch, case(funtorch, ours, x, w)))

    def tensors(rows):
        return funtorch.tensor(np.tile(X, (rows, 1))), funtorch.tensor(W)

    rows = {running: 2, backwards: 2, mapped: 2}.get(case, 1)
    spec = ({0: "rows"} if case is not products else {}, {})
    node = {branches: "If", nested_branches: "If", products: None,
            until: "Loop"}.get(case, "Scan")  # fmt: skip
    program = funtorch.onnx.export(Net(), tensors(rows), dynamic_shapes=spec)
    assert node is None or any(n.op_type == node for n in program.model_proto.graph.node)
    larger = tensors(3 if spec[0] else rows)
    exported = funtorch.export.export(
        Net(), tensors(rows), dynamic_shapes=funtorch.onnx.writing.exporter.with_dims(spec, {})
    )
    wanted = Net()(*larger)
    for made in (program(*larger), exported.module()(*larger)):
        for a, b in zip(made, wanted, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5, atol=1e-6)


def test_transforms():
    x, w = funtorch.tensor(X), funtorch.tensor(W)
    for case in (branches, until):

        def loss(a, case=case):
            outs = flat(funtorch, case(funtorch, ours, a, w))
            return sum((t * t).sum() for t in outs if t.is_floating_point())

        own = funtorch.func.grad(loss)
        both = funtorch.stack([x, x * 0.5 - 1])
        wanted = [own(b) for b in both]
        made = funtorch.func.vmap(own)(both)
        np.testing.assert_allclose(
            made.numpy(), np.stack([t.numpy() for t in wanted]), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("steps", [1, 3, 300])
def test_the_way_back_through_many_steps(steps, monkeypatch):
    """Against a loop in Python; with three slots most states are computed again."""
    monkeypatch.setattr("funtorch.func.loops.SLOTS", 4)
    x = funtorch.tensor([0.3, -0.2 / steps], requires_grad=True)
    w = funtorch.tensor(0.9, requires_grad=True)

    def body(i, a):
        return i + 1, (a * w + 0.01 * i).sin()

    _, end = funtorch.while_loop(lambda i, a: i < steps, body, (funtorch.tensor(0), x))
    found = funtorch.autograd.grad(end.sum(), (x, w))
    a, b = (real.tensor(t.detach().numpy(), requires_grad=True) for t in (x, w))
    y = a
    for i in range(steps):
        y = (y * b + 0.01 * i).sin()
    for ours_, theirs_ in zip(found, real.autograd.grad(y.sum(), (a, b)), strict=True):
        np.testing.assert_allclose(ours_.numpy(), theirs_.numpy(), rtol=1e-4, atol=1e-6)


def test_every_step_draws_anew_and_the_seed_decides():
    def drawn():
        funtorch.manual_seed(3)
        zeros = funtorch.zeros(5, 4)
        _, scanned = ours.scan(lambda c, x: (c + 1, x + funtorch.rand(4)), funtorch.zeros(1), zeros)
        mapped = ours.map(lambda x: x + funtorch.rand_like(x), zeros)
        _, looped = funtorch.while_loop(
            lambda i, a: i < 2, lambda i, a: (i + 1, a * 2 + funtorch.rand(4)),
            (funtorch.tensor(0), zeros[0]),
        )  # fmt: skip
        return [t.numpy() for t in (scanned, mapped, looped)]

    once, again = drawn(), drawn()
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(np.unique(once[0])) == 20
    assert len(np.unique(once[1])) == 20


def test_whole_numbers_become_tensors():
    for lib in (funtorch, real):
        x = lib.ones(3)
        out, n = lib.cond(x.sum() > 5, lambda a: (a * 2, 2), lambda a: (a * 3, 3), (x,))
        assert (out.tolist(), int(n)) == ([3.0] * 3, 3)
    ones = funtorch.ones(3)
    end, _ = funtorch.while_loop(lambda i, a: 2 * i < 7, lambda i, a: (i + 1, a + i), (0, ones))
    assert int(end) == 4


def test_a_loop_without_steps_is_the_identity():
    """PyTorch's gradient of it is that of one step."""
    x = funtorch.tensor(X, requires_grad=True)
    (same,) = funtorch.while_loop(lambda a: a.sum() > 1000, lambda a: (a * 3,), (x,))
    (grad,) = funtorch.autograd.grad(same.sum(), x)
    np.testing.assert_array_equal(same.detach().numpy(), X)
    np.testing.assert_array_equal(grad.numpy(), np.ones_like(X))


def test_writing_in_place_without_gradients():
    for lib in (funtorch, real):
        y = lib.ones(3)
        with lib.no_grad():
            out = lib.cond(lib.tensor(True), lambda a: a.mul_(3) + 1, lambda a: a.cos(), (y,))
        assert (out.tolist(), y.tolist()) == ([4.0] * 3, [3.0] * 3)


class Guarded(funtorch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = funtorch.nn.Linear(3, 3)

    def forward(self, x):
        return funtorch.cond(x.sum() > 0, self.inner, lambda a: a.clone(), (x,))


def test_parameters_read_within_a_branch():
    net = Guarded()
    net(funtorch.ones(2, 3)).sum().backward()
    np.testing.assert_allclose(net.inner.weight.grad.numpy(), np.full((3, 3), 2.0))


ERRORS = [
    lambda lib, ops, x: ops.cond(lib.tensor(True), lambda a: a.sum(), lambda a: a.cos(), (x,)),
    lambda lib, ops, x: ops.cond(lib.tensor(True), lambda a: a, lambda a: a.cos(), (x,)),
    lambda lib, ops, x: ops.cond(lib.tensor(True), lambda a: a.sin_(), lambda a: a.cos(), (x,)),
    lambda lib, ops, x: ops.cond(lib.tensor(True), lambda a: 0.5, lambda a: 1.5, (x,)),
    lambda lib, ops, x: ops.cond(lib.tensor([True, False]), lambda a: a * 1, lambda a: a * 2, (x,)),
    lambda lib, ops, x: ops.cond(lib.tensor(True), 1, lambda a: a * 2, (x,)),
    lambda lib, ops, x: ops.cond(lib.tensor(True), lambda a: a * 1, lambda a: a * 2, x),
    lambda lib, ops, x: ops.cond(lib.tensor(True), lambda a, b: a, lambda a, b: a * 2, (x, 1)),
    lambda lib, ops, x: ops.cond("a", lambda a: a * 1, lambda a: a * 2, (x,)),
    lambda lib, ops, x: ops.while_loop(lambda a: a.sum() > 9, lambda a: (a.sum(),), (x,)),
    lambda lib, ops, x: ops.while_loop(lambda a: a.sum() > 9, lambda a: (a.double(),), (x,)),
    lambda lib, ops, x: ops.while_loop(lambda a: a.sum() > 9, lambda a: (a * 2, a * 3), (x,)),
    lambda lib, ops, x: ops.while_loop(lambda a: a.sum(), lambda a: (a * 2,), (x,)),
    lambda lib, ops, x: ops.while_loop(lambda a: a < 9, lambda a: (a + 1,), (0.5,)),
    lambda lib, ops, x: ops.while_loop(1, lambda a: (a + 1,), (x,)),
    lambda lib, ops, x: ops.scan(lambda c, a: (c.sum(), a * 2), x[0], x),
    lambda lib, ops, x: ops.scan(lambda c, a: c + a, x[0], x),
    lambda lib, ops, x: ops.scan(lambda c, a: (c + a, c), x[0], x),
    lambda lib, ops, x: ops.scan(lambda c, a: (c, a * 2), [], x),
    lambda lib, ops, x: ops.scan(lambda c, a: (c + a, a * 2), 1.0, x),
    lambda lib, ops, x: ops.scan(lambda c, a: (c + a, a * 2), x[0], x[:0]),
    lambda lib, ops, x: ops.scan(lambda c, a: (c + a, a * 2), x[0], x, dim=5),
    lambda lib, ops, x: ops.map(lambda a: a * 2, x[:0]),
    lambda lib, ops, x: ops.map(lambda a: 3, x),
    lambda lib, ops, x: ops.map(lambda a: a[0], [x, x[:1]]),
    lambda lib, ops, x: ops.map(lambda a: a, 3),
    lambda lib, ops, x: ops.associative_scan(lambda a, b: a + b, x, 0),
    lambda lib, ops, x: ops.associative_scan(lambda a, b: (a + b).sum(), x, 0, False, "generic"),
    lambda lib, ops, x: ops.associative_scan(
        lambda a, b: a["u"] + b["u"], {"u": x, "v": x}, 0, False, "generic"
    ),
    lambda lib, ops, x: ops.associative_scan(lambda a, b: a + b, x, 0, combine_mode="other"),
    lambda lib, ops, x: ops.associative_scan(lambda a, b: a + b, [], 0, combine_mode="generic"),
]


def builtin_of(error):
    """PyTorch's own kinds of errors count as the built-in ones that they are."""
    return next(c for c in error.__mro__ if c.__module__ == "builtins")


@pytest.mark.parametrize("case", ERRORS, ids=range(len(ERRORS)))
def test_errors(case):
    with pytest.raises(Exception) as wanted:
        case(real, theirs, real.tensor(X).tile(2, 1))
    with pytest.raises(builtin_of(wanted.type)):
        case(funtorch, ours, funtorch.tensor(X).tile(2, 1))
