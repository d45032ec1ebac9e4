"""torch.autograd.functional and torch.autograd.graph against PyTorch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import funtorch
from funtorch.autograd import functional as ours
from funtorch.autograd import graph as our_graph

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
theirs, their_graph = torch.autograd.functional, torch.autograd.graph


def plain(made):
    if isinstance(made, tuple):
        return [plain(m) for m in made]
    return made.detach().numpy(), made.requires_grad


def same(one, other):
    if isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other):
            same(a, b)
    else:
        np.testing.assert_allclose(one[0], other[0], rtol=1e-6)
        assert one[1] == other[1]


def number(x):
    return (x.exp() * x).sum()


def two_numbers(x, y):
    return (x * y.sum()).pow(3).sum()


def vector(x):
    return x.sin() * x.sum()


def pair(x, y):
    return x * y.sum(), (x.sum() * y**2).reshape(1, 2)


def first_only(x, y):
    return (x * 2,)


CASES = {
    "vjp": lambda f, x, y: f.vjp(vector, x, x + 1),
    "vjp_number": lambda f, x, y: f.vjp(number, x),
    "vjp_pair": lambda f, x, y: f.vjp(pair, (x, y), (x, y.reshape(1, 2)), create_graph=True),
    "vjp_without_v": lambda f, x, y: f.vjp(vector, x),
    "vjp_size": lambda f, x, y: f.vjp(vector, x, y),
    "vjp_strict": lambda f, x, y: f.vjp(first_only, (x, y), x, strict=True),
    "vjp_unused": lambda f, x, y: f.vjp(first_only, (x, y), x),
    "not_a_tensor": lambda f, x, y: f.vjp(vector, 3.0),
    "jvp": lambda f, x, y: f.jvp(pair, (x, y), (x, y)),
    "jvp_graph": lambda f, x, y: f.jvp(vector, x, x, create_graph=True),
    "jvp_unused": lambda f, x, y: f.jvp(first_only, (x, y), (x, y)),
    "vhp": lambda f, x, y: f.vhp(two_numbers, (x, y), (x, y)),
    "hvp": lambda f, x, y: f.hvp(two_numbers, (x, y), (x, y)),
    "hvp_one": lambda f, x, y: f.hvp(number, x, x, create_graph=True),
    "hvp_of_vector": lambda f, x, y: f.hvp(vector, x, x),
    "jacobian": lambda f, x, y: f.jacobian(vector, x),
    "jacobian_pair": lambda f, x, y: f.jacobian(pair, (x, y)),
    "jacobian_graph": lambda f, x, y: f.jacobian(vector, x, create_graph=True),
    "jacobian_vectorized": lambda f, x, y: f.jacobian(pair, (x, y), vectorize=True),
    "jacobian_forward": lambda f, x, y: f.jacobian(
        vector, x, strategy="forward-mode", vectorize=True
    ),
    "jacobian_strict": lambda f, x, y: f.jacobian(first_only, (x, y), strict=True),
    "jacobian_strict_vectorized": lambda f, x, y: f.jacobian(vector, x, False, True, True),
    "jacobian_strategy": lambda f, x, y: f.jacobian(vector, x, strategy="sideways"),
    "hessian": lambda f, x, y: f.hessian(number, x),
    "hessian_pair": lambda f, x, y: f.hessian(two_numbers, (x, y)),
    "hessian_vectorized": lambda f, x, y: f.hessian(two_numbers, (x, y), vectorize=True),
    "hessian_of_vector": lambda f, x, y: f.hessian(vector, x),
}


@pytest.mark.parametrize("case", CASES)
def test_functional(case: str) -> None:
    results = []
    for library, functional in ((funtorch, ours), (torch, theirs)):
        x = library.tensor([0.5, -1.0, 2.0], dtype=library.float64, requires_grad=True)
        y = library.tensor([1.5, 0.25], dtype=library.float64, requires_grad=True)
        try:
            results.append(plain(CASES[case](functional, x, y)))
        except Exception as error:
            results.append(type(error))
    if isinstance(results[1], type):
        assert results[0] is results[1]
    else:
        same(*results)


def hooked(t, graph, mode):
    """What a hook on three leaves hears in three backward passes."""
    heard = []
    x, y, z = (t.ones(1, requires_grad=True) for _ in range(3))

    def hook(grads):
        grads = grads if isinstance(grads, list) else [grads]
        heard.append([None if g is None else g.tolist() for g in grads])

    handle = graph.register_multi_grad_hook((x, y, z), hook, mode=mode)
    (x * 2 + y * 3).sum().backward()
    (x * y * z).sum().backward()
    handle.remove()
    x.sum().backward()
    return heard


@pytest.mark.parametrize("mode", ["all", "any"])
def test_multi_grad_hook(mode: str) -> None:
    heard, expected = hooked(funtorch, our_graph, mode), hooked(torch, their_graph, mode)
    if mode == "any":  # which leaf comes first is nobody's promise
        assert len(heard) == len(expected)
    else:
        assert heard == expected


def edges(t, graph):
    x = t.ones(2, requires_grad=True)
    y = (x * 2).sum()
    edge = graph.get_gradient_edge(y)
    return edge.node is y.grad_fn, edge.output_nr, edge.node.name()


def test_edges_and_versions() -> None:
    assert edges(funtorch, our_graph) == edges(torch, their_graph)
    with pytest.raises(RuntimeError):
        our_graph.get_gradient_edge(funtorch.ones(1))
    x = funtorch.ones(2, requires_grad=True)
    y = x.exp()
    z = y.sin()
    our_graph.increment_version(y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


class Cubed(NamedTuple):
    """A function of one's own that saves its input, for either library."""

    t: Any

    def __call__(self, x):
        class Cube(self.t.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x, None)
                return x**3

            @staticmethod
            def backward(ctx, grad):
                return 3 * grad * ctx.saved_tensors[0] ** 2

        return Cube.apply(x)


PAIRS = {
    "kept": (lambda t, x: x, lambda t, x: x),
    "doubled": (lambda t, x: x * 2, lambda t, x: x),
    "numpy": (lambda t, x: x.detach().numpy(), lambda t, x: t.from_numpy(x)),
    "no_tensor": (lambda t, x: x, lambda t, x: 3),
}
HOOKED = {
    "mul": lambda t, x: x * t.full((3,), 2.0),
    "linear": lambda t, x: t.nn.functional.linear(t.ones(2, 3), x.reshape(1, 3)),
    "layer_norm": lambda t, x: t.nn.functional.layer_norm(x, (3,)).exp(),
    "function": lambda t, x: Cubed(t)(x),
}


def gradient_through(t, graph, pair, call):
    """The gradient of a function whose saved tensors go through hooks, and what outer hooks heard."""
    pack, unpack = PAIRS[pair]
    heard = []
    x = t.tensor([0.5, 2.0, 3.0], requires_grad=True)
    with (
        graph.saved_tensors_hooks(lambda s: heard.append(s), lambda s: s),
        graph.saved_tensors_hooks(lambda s: pack(t, s), lambda s: unpack(t, s)),
    ):
        y = HOOKED[call](t, x)
    try:
        y.sum().backward()
    except TypeError as error:
        return str(error)
    return x.grad.tolist(), heard


@pytest.mark.parametrize("call", HOOKED)
@pytest.mark.parametrize("pair", PAIRS)
def test_saved_tensors_go_through_hooks(pair: str, call: str) -> None:
    if (pair, call) == ("doubled", "layer_norm"):
        pytest.skip("PyTorch saves the mean and the deviation too, and doubles them")
    found, expected = (
        gradient_through(t, graph, pair, call)
        for t, graph in ((funtorch, our_graph), (torch, their_graph))
    )
    if isinstance(expected, str):
        assert found == expected
    else:
        assert found[0] == pytest.approx(expected[0], rel=1e-5)
        assert found[1] == expected[1] == []


def test_pack_hooks_may_not_write() -> None:
    for t, graph in ((funtorch, our_graph), (torch, their_graph)):
        x = t.ones(2, requires_grad=True)
        with (
            pytest.raises(RuntimeError, match="modifying its input in place"),
            graph.saved_tensors_hooks(lambda s: s.add_(1), lambda s: s),
        ):
            x.sin()


def test_saving_on_the_host_and_barred_hooks() -> None:
    for t, graph in ((funtorch, our_graph), (torch, their_graph)):
        x = t.ones(2, requires_grad=True)
        with graph.save_on_cpu():
            y = x.sin()
        (slope,) = t.autograd.grad(y.sum(), x, create_graph=True)
        slope.sum().backward()
        assert x.grad.tolist() == pytest.approx((-x.sin()).tolist())
        with (
            graph.disable_saved_tensors_hooks("not now"),
            pytest.raises(RuntimeError, match="not now"),
            graph.save_on_cpu(),
        ):
            pass
