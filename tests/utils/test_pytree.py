"""Trees of containers against torch.utils._pytree."""

from __future__ import annotations

import importlib
from collections import OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass

import pytest

import funtorch
from funtorch.utils import _pytree as ours

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
theirs = importlib.import_module("torch.utils._pytree")

Pair = namedtuple("Pair", "first second")

TREES = {
    "leaf": 3,
    "none": None,
    "nested": [1, (2, {"b": 3, "a": [4, None]}), "word"],
    "named": Pair(1, [2, Pair(3, 4)]),
    "ordered": OrderedDict(z=1, a=(2,)),
    "default": defaultdict(list, x=[1, 2], a=[3]),
    "deque": deque([1, [2]], maxlen=4),
    "empty": {"a": [], "b": ()},
}
CALLS = {
    "leaves": lambda p, t: p.tree_leaves(t),
    "spec": lambda p, t: repr(p.tree_structure(t)),
    "counts": lambda p, t: [getattr(p.tree_structure(t), f"num_{n}") for n in ("nodes", "leaves")],
    "back": lambda p, t: p.tree_unflatten(*p.tree_flatten(t)),
    "map": lambda p, t: p.tree_map(str, t),
    "two": lambda p, t: p.tree_map(lambda a, b: (a, b), t, t),
    "only": lambda p, t: p.tree_map_only(int, lambda x: x + 1, t),
    "stop": lambda p, t: p.tree_leaves(t, is_leaf=lambda x: isinstance(x, tuple)),
    "paths": lambda p, t: p.tree_map_with_path(lambda path, x: p.keystr(path), t),
    "get": lambda p, t: [p.key_get(t, path) for path, _ in p.tree_leaves_with_path(t)],
    "all": lambda p, t: (p.tree_all(bool, t), p.tree_any_only(int, bool, t)),
    "few": lambda p, t: p.tree_unflatten([1], p.tree_structure([t, t])),
    "other": lambda p, t: p.tree_structure([1, [2]]).flatten_up_to([t, t]),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("tree", TREES)
def test_as_in_pytorch(tree: str, call: str) -> None:
    def outcome(pytree):
        try:
            return CALLS[call](pytree, TREES[tree])
        except (ValueError, TypeError) as error:
            return type(error)

    assert outcome(ours) == outcome(theirs)


def test_sizes_are_nodes() -> None:
    for library, pytree in ((funtorch, ours), (torch, theirs)):
        leaves, spec = pytree.tree_flatten(library.Size([1, 2]))
        assert (leaves, spec.type, spec.unflatten(leaves)) == ([1, 2], library.Size, (1, 2))


def test_what_is_registered_is_a_node_everywhere() -> None:
    @dataclass
    class Box:
        value: object
        label: object = None

    for pytree in (ours, theirs):
        pytree.register_dataclass(Box)
        assert pytree.tree_leaves([Box(1), Box(2, 3)]) == [1, 2, 3]
        assert pytree.tree_map(lambda x: x * 2, Box(1, 2)) == Box(2, 4)
        with pytest.warns(UserWarning, match="already registered"):
            pytree.register_dataclass(Box)
    x = funtorch.ones(2)
    made, tangent = funtorch.func.jvp(lambda b: Box(b.value * 2), (Box(x),), (Box(x),))
    assert made.value.tolist() == tangent.value.tolist() == [2.0, 2.0]
