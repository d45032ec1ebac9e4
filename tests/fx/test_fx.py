"""torch.fx against PyTorch: the same graphs, the same code, the same results."""

import copy
import math
import operator
import pickle
import re

import pytest

import funtorch
import funtorch.fx

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
torch.fx.wrap("helper")
funtorch.fx.wrap("helper")


def helper(x, n):
    return x * n


def make_net(t):
    class Net(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = t.nn.Sequential(t.nn.Linear(4, 4), t.nn.ReLU())
            self.scale = t.nn.Parameter(t.ones(4))
            self.register_buffer("shift", t.zeros(4))

        def forward(self, x, factor: float = 2.0, *, flag=None):
            y = self.layers(x) * self.scale + self.shift
            y = t.relu(y) + t.tanh(y)
            y = t.cat([y, x], dim=1)
            left, right = y.split(4, 1)
            rows = y.shape[0]
            z = -helper(y.view(rows, -1).transpose(0, 1)[0:2, ...], 3) ** 2 / factor
            z += 1
            return {"out": z, "parts": (left, right), "flag": flag}

    t.manual_seed(0)
    return Net()


def code_of(text):
    """Code without the lines that repeat what `wrap` did."""
    return re.sub(r'torch.fx._symbolic_trace.wrap\("\w+"\)\n', "\n", text).strip()


def trace(t, function, *args):
    return code_of(t.fx.symbolic_trace(function, *args).code)


def whole(t):
    net = make_net(t)
    made = t.fx.symbolic_trace(net)
    x = t.arange(8.0).reshape(2, 4)
    assert made(x)["out"].tolist() == net(x)["out"].tolist()
    made.graph.lint()
    return str(made.graph), code_of(made.code), list(made.state_dict()), type(made).__name__


def changed(t):
    made = t.fx.symbolic_trace(make_net(t))
    for node in made.graph.find_nodes(op="call_function", target=t.tanh):
        with made.graph.inserting_after(node):
            new = made.graph.call_function(t.sigmoid, args=node.args)
        node.replace_all_uses_with(new)
        made.graph.erase_node(node)
    made.recompile()
    other = copy.deepcopy(made)
    x = t.ones(2, 4)
    assert other(x)["out"].tolist() == made(x)["out"].tolist()
    assert other.scale is not made.scale
    return code_of(made.code), other.code == made.code


def built(t):
    graph = t.fx.Graph()
    a, b = graph.placeholder("a"), graph.placeholder("b")
    total = graph.call_function(operator.add, (a, b))
    out = graph.call_method("relu", (total,))
    graph.call_function(t.neg, (out,))
    graph.output(out)
    before = str(graph)
    with pytest.raises(RuntimeError):
        graph.erase_node(total)
    dead = graph.eliminate_dead_code()
    module = t.fx.GraphModule(t.nn.Module(), graph)
    given = t.tensor([1.0]), t.tensor([-3.0])
    links = [
        (n.name, n.op, [u.name for u in n.users], [i.name for i in n.all_input_nodes])
        for n in graph.nodes
    ]
    ran = t.fx.Interpreter(module).run(*given).tolist()
    return before, dead, str(graph), module(*given).tolist(), ran, links, code_of(module.code)


def transformed(t):
    class Minus(t.fx.Transformer):
        def call_function(self, target, args, kwargs):
            target = operator.sub if target is operator.add else target
            return super().call_function(target, args, kwargs)

    module = t.fx.symbolic_trace(t.nn.Sequential(t.nn.Linear(2, 2)))
    function = t.fx.symbolic_trace(lambda x, y: t.tanh(x + y))
    return code_of(Minus(function).transform().code), code_of(Minus(module).transform().code)


def no_leaves(t):
    class Deep(t.fx.Tracer):
        def is_leaf_module(self, m, qualified_name):
            return False

    graph = Deep().trace(t.nn.Sequential(t.nn.Flatten(), t.nn.Tanh()))
    return [(n.op, n.name, len(n.args)) for n in graph.nodes]


def missing_target(t):
    graph = t.fx.Graph()
    graph.output(graph.get_attr("nowhere"))
    t.fx.GraphModule(t.nn.Module(), graph)


def out_of_order(t):
    graph = t.fx.Graph()
    x = graph.placeholder("x")
    first = graph.call_function(t.neg, (x,))
    with graph.inserting_before(x):
        graph.call_function(t.neg, (first,))
    graph.lint()


CASES = {
    "whole": whole,
    "changed": changed,
    "built": built,
    "transformed": transformed,
    "no_leaves": no_leaves,
    "missing_target": missing_target,
    "out_of_order": out_of_order,
    "branch": lambda t: trace(t, lambda x: x if x else 1),
    "length": lambda t: trace(t, lambda x: len(x)),
    "loop": lambda t: trace(t, lambda x: [y + 1 for y in x]),
    "stars": lambda t: trace(t, lambda x, *a, k=1, **o: x + a[0] + o["z"] * k),
    "math": lambda t: trace(t, lambda x: math.sqrt(x) + 1),
    "constant": lambda t: trace(t, lambda x: x * t.ones(2)),
    "dtype": lambda t: trace(t, lambda x: x.to(t.float32).sum((0, 1), keepdim=True)),
    "device": lambda t: trace(t, lambda x: t.zeros_like(x, device=t.device("cpu"))),
    "reflected": lambda t: trace(t, lambda x: 3 - x),
    "attribute": lambda t: trace(t, lambda x: x.T.foo.bar(1)),
    "concrete": lambda t: trace(t, lambda x, on: x if on else -x, {"on": True}),
    "names": lambda t: trace(t, lambda input: t.sum(t.sum(t.abs(input)))),
    "sequential": lambda t: trace(t, t.nn.Sequential(t.nn.Linear(2, 2), t.nn.Conv2d(1, 1, 1))),
    "none": lambda t: trace(t, lambda x: None),
}


@pytest.mark.parametrize("case", CASES)
def test_graphs(case: str) -> None:
    made = []
    for library in (funtorch, torch):
        try:
            made.append(CASES[case](library))
        except Exception as error:
            made.append(type(error).__name__)
    assert made[0] == made[1]


def test_pickle_and_text() -> None:
    made = funtorch.fx.symbolic_trace(funtorch.nn.Sequential(funtorch.nn.Linear(2, 2)))
    again = pickle.loads(pickle.dumps(made))
    x = funtorch.ones(1, 2)
    assert again(x).tolist() == made(x).tolist()
    assert "def forward" in made.print_readable(print_output=False)
    assert made.add_submodule("a.b", funtorch.nn.ReLU()) and isinstance(made.a.b, funtorch.nn.ReLU)
    made.delete_all_unused_submodules()
    assert not hasattr(made, "a")
