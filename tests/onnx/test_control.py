"""Control flow: folded into the program where it can be, with the same values as in Python."""

import numpy as np
import pytest

import funtorch as torch

onnx = pytest.importorskip("onnx")
from onnx import numpy_helper, parser  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from funtorch.onnx import folding  # noqa: E402

RNG = np.random.default_rng(0)
HEAD = '<ir_version: 10, opset_import: ["" : 20]>\n'
SCAN = """g (float[5,3] x, float[3] h0) => (float[3] h, float[5,3] ys) {
    h, ys = Scan <num_scan_inputs = 1, scan_input_directions = [%d], body = b (float[3] s, float[3] v)
        => (float[3] t, float[3] y) {
        a = MatMul(s, w)
        c = Add(a, v)
        t = Tanh(c)
        y = Identity(t)
    }> (h0, x)
}"""
LOOP = """g (float[3] x) => (float[3] y, float[6,3] all) {
    n = Constant <value = int64 {6}> ()
    yes = Constant <value = bool {1}> ()
    y, all = Loop <body = b (int64 i, bool on, float[3] s) => (bool more, float[3] t, float[3] u) {
        more = Identity(on)
        k = Cast <to = 1> (i)
        a = Add(s, k)
        c = MatMul(a, w)
        t = Tanh(c)
        u = Identity(t)
    }> (n, yes, x)
}"""
WHILE = """g (float[3] x) => (float[3] y) {
    n = Constant <value = int64 {100}> ()
    yes = Constant <value = bool {1}> ()
    y = Loop <body = b (int64 i, bool on, float[3] s) => (bool more, float[3] t) {
        two = Constant <value = float {2.0}> ()
        limit = Constant <value = float {50.0}> ()
        t = Mul(s, two)
        total = ReduceSum <keepdims = 0> (t)
        size = Abs(total)
        more = Less(size, limit)
    }> (n, yes, x)
}"""
COUNTED = """g (float[3] x) => (float[3] y, float[4,3] all) {
    n = Constant <value = int64 {9223372036854775807}> ()
    yes = Constant <value = bool {1}> ()
    begin = Constant <value = int32 {1}> ()
    end = Constant <value = int32 {9}> ()
    y, last, all = Loop <body = b (int64 i, bool on, float[3] s, int32 at)
            => (bool more, float[3] t, int32 next, float[3] u) {
        two = Constant <value = int32 {2}> ()
        next = Add(at, two)
        more = Less(next, end)
        a = MatMul(s, w)
        t = Tanh(a)
        u = Identity(t)
    }> (n, yes, x, begin)
}"""
IF = """g (float[3] x) => (float[3] y) {
    zero = Constant <value = float {0.0}> ()
    total = ReduceSum <keepdims = 0> (x)
    positive = Greater(total, zero)
    y = If (positive) <then_branch = t () => (float[3] a) { a = MatMul(x, w) },
                       else_branch = e () => (float[3] b) { b = Neg(x) }>
}"""


def model_of(text):
    model = parser.parse_model(HEAD + text)
    weight = RNG.normal(size=(3, 3)).astype(np.float32) / 2
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return model


@pytest.fixture
def folds(monkeypatch):
    """Which of the folding functions succeeded."""
    done = []

    def counted(name, function):
        def call(*args):
            result = function(*args)
            done.append(name)
            return result

        return call

    for name in ("scan", "loop", "choose"):
        monkeypatch.setattr(folding, name, counted(name, getattr(folding, name)))
    return done


def gradients(model, feeds):
    loaded = torch.onnx.load(model)
    inputs = [torch.tensor(v, requires_grad=True) for v in feeds.values()]
    outputs = loaded(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum((o * o).sum() for o in outputs).backward()
    leaves = (*inputs, *loaded.parameters())
    # The branch that was not taken: no gradient in Python, zeros in one program.
    grads = [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in leaves]
    return [o.detach().numpy() for o in outputs], grads


def expected(text, model, feeds):
    if "directions = [1]" not in text:
        return ReferenceEvaluator(model).run(None, feeds)
    # The reference evaluator only scans forwards, so give it the steps the other way round.
    forwards = onnx.ModelProto.FromString(model.SerializeToString())
    (node,) = forwards.graph.node
    del node.attribute[[a.name for a in node.attribute].index("scan_input_directions")]
    return ReferenceEvaluator(forwards).run(None, {**feeds, "x": feeds["x"][::-1]})


@pytest.mark.parametrize(
    ("text", "which", "shapes"),
    [
        (SCAN % 0, ["scan"], {"x": (5, 3), "h0": (3,)}),
        (SCAN % 1, ["scan"], {"x": (5, 3), "h0": (3,)}),
        (LOOP, ["loop"], {"x": (3,)}),
        (COUNTED, ["loop"], {"x": (3,)}),
        (IF, ["choose"], {"x": (3,)}),
    ],
    ids=["scan", "scan backwards", "loop", "loop that counts", "if"],
)
def test_folded_as_in_python(folds, monkeypatch, text, which, shapes):
    model = model_of(text)
    feeds = {n: RNG.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    wanted = expected(text, model, feeds)
    values, grads = gradients(model, feeds)
    assert folds == which
    for value, right in zip(values, wanted, strict=True):
        np.testing.assert_allclose(value, right, rtol=1e-5, atol=1e-6)

    def refuse(*args):
        raise folding.NeedsHost

    for name in ("scan", "loop", "choose"):
        monkeypatch.setattr(folding, name, refuse)
    values_in_python, grads_in_python = gradients(model, feeds)
    for ours, theirs in zip([*values, *grads], [*values_in_python, *grads_in_python], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_computed_condition(folds):
    model = model_of(WHILE)
    x = np.array([0.1, 0.2, 0.4], np.float32)
    (wanted,) = ReferenceEvaluator(model).run(None, {"x": x})
    loaded = torch.onnx.load(model)
    with torch.no_grad():
        np.testing.assert_allclose(loaded(torch.tensor(x)).numpy(), wanted, rtol=1e-6)
    assert folds == ["loop"]
    leaf = torch.tensor(x, requires_grad=True)
    y = loaded(leaf)
    y.sum().backward()
    assert folds == ["loop", "loop"]
    np.testing.assert_allclose(leaf.grad.numpy(), wanted / x, rtol=1e-6)


def test_both_branches_of_if():
    model = model_of(IF)
    loaded = torch.onnx.load(model)
    for x in (np.ones(3, np.float32), -np.ones(3, np.float32)):
        (wanted,) = ReferenceEvaluator(model).run(None, {"x": x})
        np.testing.assert_allclose(loaded(torch.tensor(x)).detach().numpy(), wanted, rtol=1e-6)
