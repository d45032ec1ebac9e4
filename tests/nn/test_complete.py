"""torch.nn holds every public name of PyTorch's, and what no module database asks for agrees."""

from __future__ import annotations

import importlib
import types
import typing

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

QUANTISED = {"intrinsic", "qat", "quantizable", "quantized"}
ABSENT = {
    "nn": QUANTISED,
    "nn.functional": {
        # machinery of PyTorch's own, and float8 beyond what its CPU has
        "boolean_dispatch", "conv_tbc", "native_channel_shuffle", "scaled_grouped_mm", "scaled_mm",
        "ScalingType", "SwizzleType", "has_torch_function", "has_torch_function_unary",
        "has_torch_function_variadic",
    },
    "nn.init": set(),
    "nn.utils": {"init", "memory_format"},  # files, whose functions are in nn.utils
    "nn.utils.rnn": {"PackedSequence_", "bind"},
    "nn.utils.parametrizations": set(),
    "nn.utils.prune": set(),
    "nn.parallel": {
        "DistributedDataParallelCPU", "comm", "gather", "parallel_apply", "replicate", "scatter",
        "scatter_gather",
    },
    "optim": set(),
    "optim.lr_scheduler": set(),
    "optim.swa_utils": set(),
    "amp": set(),
    "distributions": set(),
}  # fmt: skip


def own(module: types.ModuleType) -> set[str]:
    """Names that a module of PyTorch has of itself: not what it imports from elsewhere."""
    found = set()
    for name, held in vars(module).items():
        home = held.__name__ if isinstance(held, types.ModuleType) else held_in(held)
        inside = home.startswith(module.__name__) or "torch._C" in home
        if not name.startswith("_") and inside and not isinstance(held, typing.TypeVar):
            found.add(name)
    return found


def held_in(held: object) -> str:
    return getattr(held, "__module__", None) or ""


@pytest.mark.parametrize("space", ABSENT)
def test_every_name_is_there(space: str) -> None:
    ours, theirs = (importlib.import_module(f"{t}.{space}") for t in ("funtorch", "torch"))
    assert {name for name in own(theirs) if not hasattr(ours, name)} <= ABSENT[space]


def a(*shape: int) -> list:
    return np.random.default_rng(len(shape)).normal(size=shape).tolist()


def set_submodule(t):
    net = t.nn.Sequential(t.nn.Linear(2, 2), t.nn.Sequential(t.nn.PReLU()))
    net.set_submodule("1.0", t.nn.Identity())
    return str(net)


def dictionary(t):
    one = t.nn.ParameterDict({"a": t.ones(1), "b": t.zeros(2)})
    one.setdefault("c", t.ones(3))
    both = one | t.nn.ParameterDict({"z": t.ones(1)})
    popped = one.popitem()[0]
    made = [list(both.keys()), popped, one.get("q"), str(one.copy()), list(reversed(one))]
    one.clear()
    return [*made, len(one), str(one.fromkeys("xy", t.ones(1)))]


def global_hooks(t):
    hooks = importlib.import_module(f"{t.__name__}.nn.modules.module")
    net, seen = t.nn.Sequential(t.nn.Linear(2, 2)), []
    handles = [
        hooks.register_module_forward_pre_hook(lambda m, x: seen.append(len(x))),
        hooks.register_module_forward_hook(lambda m, x, k, y: seen.append(k), with_kwargs=True),
        hooks.register_module_full_backward_hook(lambda m, i, o: seen.append(type(m).__name__)),
    ]
    net(t.ones(1, 2, requires_grad=True)).sum().backward()
    for handle in handles:
        handle.remove()
    net(t.ones(1, 2))
    return seen


def formats(t):
    utils = t.nn.utils
    made = utils.convert_conv2d_weight_memory_format(t.nn.Conv2d(2, 3, 3), t.channels_last)
    return made.weight.stride(), tuple(utils.skip_init(t.nn.Linear, 3, 2).weight.shape)


def convolution_gradients(t):
    grad = importlib.import_module(f"{t.__name__}.nn.grad")
    x, w, g = t.tensor(a(2, 4, 8)), t.tensor(a(6, 2, 3)), t.tensor(a(2, 6, 4))
    options = {"stride": 2, "padding": 1, "groups": 2}
    return [
        grad.conv1d_input((2, 4, 8), w, g, **options).tolist(),
        grad.conv1d_weight(x, (6, 2, 3), g, **options).tolist(),
    ]


def groups(t):
    F, ends = t.nn.functional, t.tensor([4, 8], dtype=t.int32)
    rows, columns = F.grouped_mm, t.tensor(a(2, 4, 8))
    return [
        rows(t.tensor(a(8, 4)), columns, offs=ends).tolist(),
        rows(t.tensor(a(4, 8)), t.tensor(a(8, 8)), offs=ends).tolist(),
        rows(t.tensor(a(2, 8, 4)), t.tensor(a(4, 8)), offs=ends).tolist(),
    ]


def factory(t):
    return t.nn.factory_kwargs({"device": "cpu", "factory_kwargs": {"dtype": 1}})


def packed_types(t):
    packed = t.nn.utils.rnn.pack_sequence([t.ones(3), t.ones(2)])
    return [str(getattr(packed, kind)().data.dtype) for kind in ("double", "half", "int", "byte")]


def swapped(t):
    """An optimiser acts on a copy, and is as before afterwards."""
    one, other = (t.nn.Parameter(t.ones(2)) for _ in range(2))
    optimizer = t.optim.SGD([one], 0.5, momentum=0.9)
    optimizer_module = importlib.import_module(f"{t.__name__}.optim.optimizer")
    seen: list[int] = []
    hook = optimizer_module.register_optimizer_step_pre_hook(lambda o, a, k: seen.append(1))
    one.grad = other.grad = t.ones(2)
    optimizer.step()
    state = optimizer.state_dict()
    with t.optim.swap_in_optimizer_params_and_state(optimizer, {"p": other}, state):
        optimizer.step()
    hook.remove()
    optimizer.step()
    return one.tolist(), other.tolist(), len(seen)


CASES = [set_submodule, dictionary, global_hooks, formats, convolution_gradients, groups, factory,
         packed_types, swapped]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_agrees(case) -> None:
    ours, theirs = case(funtorch), case(torch)
    if case in (convolution_gradients, groups):
        for x, y in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    else:
        assert ours == theirs
