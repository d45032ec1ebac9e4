"""torch.compile with a function as backend, beside PyTorch's; fullgraph."""

import copy

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
POWER = 2.0


def make(lib):
    lib.manual_seed(0)
    layers = lib.nn.Linear(4, 6, bias=False), lib.nn.BatchNorm1d(6), lib.nn.Tanh(), lib.nn.Linear(6, 2)
    return lib.nn.Sequential(*layers)


class Recorder:
    """A backend that runs the graph as it is, and remembers what it was given."""

    def __init__(self):
        self.graphs = []

    def __call__(self, graph, inputs, **options):
        self.graphs.append((graph, [tuple(i.shape) for i in inputs], options))
        return graph.forward


def test_a_module_trains_through_a_backend():
    backend, net = Recorder(), make(funtorch)
    plain = copy.deepcopy(net)
    fast = funtorch.compile(net, backend=backend)
    x = funtorch.randn(5, 4)
    for _ in range(3):
        for model in (plain, fast):
            model.zero_grad()
            model(x).pow(2).sum().backward()
    for (name, a), b in zip(plain.named_parameters(), net.parameters(), strict=True):
        np.testing.assert_allclose(b.grad, a.grad, rtol=1e-4, atol=1e-5, err_msg=name)
    for (name, a), b in zip(plain.named_buffers(), net.buffers(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-6, err_msg=name)
    assert len(backend.graphs) == 1
    graph, shapes, _ = backend.graphs[0]
    assert isinstance(graph, funtorch.fx.GraphModule)
    assert len(shapes) == sum(n.op == "placeholder" for n in graph.graph.nodes) == 9
    assert "aten.linear(" in graph.code and "aten.tanh(" in graph.code
    fast.eval()(x[:3]), fast(x)
    assert len(backend.graphs) == 3
    np.testing.assert_allclose(fast(x).detach(), plain.eval()(x).detach(), rtol=1e-4, atol=1e-5)


def cases(lib):
    weight = lib.ones(3, requires_grad=True)

    def closes_over(x):
        return (x * weight) ** POWER

    def changes_its_argument(x):
        x.add_(1)
        return x * 2

    def nested(x, *, y):
        return {"a": [x + y, (x - y,)], "b": 3}

    def detaches(x):
        return x * x.detach()

    return {
        "closure": (closes_over, lambda x: ((x,), {}), weight),
        "in place": (changes_its_argument, lambda x: ((x,), {}), None),
        "nested": (nested, lambda x: ((x,), {"y": x + 1}), None),
        "detach": (detaches, lambda x: ((x.requires_grad_(),), {}), None),
    }


def flat(result):
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, list | tuple):
        return [leaf for part in result for leaf in flat(part)]
    return [result if isinstance(result, int) else result.detach().tolist()]


@pytest.mark.parametrize("name", cases(torch))
def test_functions(name):
    found = []
    for lib in (torch, funtorch):
        function, arguments, weight = cases(lib)[name]
        fast = lib.compile(function, backend=Recorder())
        for _ in range(2):
            x = lib.tensor([1.0, 2.0, 3.0])
            args, kwargs = arguments(x)
            result = fast(*args, **kwargs)
            found.append((flat(result), flat(x)))
            if weight is not None or x.requires_grad:
                leaf = x if weight is None else weight
                leaf.grad = None
                result.sum().backward()
                found.append(flat(leaf.grad))
    half = len(found) // 2
    assert found[:half] == found[half:]


def product(x, y):
    return (x @ y).relu().sum(0)


def test_dynamic_shapes_and_options():
    backend = Recorder()
    fast = funtorch.compile(product, backend=backend, dynamic=True, options={"a": 1})
    for n in (2, 4, 7):
        x, y = funtorch.ones(n, n + 1), funtorch.ones(n + 1, 8)
        assert fast(x, y).tolist() == product(x, y).tolist()
    assert [options for *_, options in backend.graphs] == [{"options": {"a": 1}}]
    with pytest.raises(TypeError, match="cannot be called"):
        funtorch.compile(product, backend=lambda graph, inputs: 3)(x, y)


def test_names():
    name = "a_backend_of_this_test"
    for lib in (torch, funtorch):
        lib._dynamo.register_backend(lambda graph, inputs: graph.forward, name=name)
        assert name in lib._dynamo.list_backends()
        assert lib.compile(lambda x: x + 1, backend=name)(lib.ones(1)).item() == 2
        with pytest.raises(AssertionError, match="duplicate"):
            lib._dynamo.register_backend(lambda graph, inputs: graph, name=name)
        with pytest.raises(lib._dynamo.exc.InvalidBackend):
            lib.compile(lambda x: x, backend="no_such_backend")


def branches(x):
    return x + 1 if x.sum() > 0 else x


@pytest.mark.parametrize("backend", ["inductor", lambda graph, inputs: graph.forward])
def test_fullgraph(backend):
    ones = funtorch.ones(2) * 1
    assert funtorch.compile(branches, backend=backend)(ones).tolist() == [2, 2]
    if backend == "inductor" and funtorch.lowering.settings.mode == "eager":
        return
    with pytest.raises(funtorch._dynamo.exc.Unsupported):
        funtorch.compile(branches, backend=backend, fullgraph=True)(funtorch.ones(2) * 1)
    assert funtorch.compile(product, backend=backend, fullgraph=True)(ones[None], ones[:, None]) == 2
