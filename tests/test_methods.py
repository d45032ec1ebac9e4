"""Methods of Tensor from older days, and names of the torch namespace, against PyTorch."""

from __future__ import annotations

import pytest

import funtorch
from tests.outcomes import outcome

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


def default_type(t):
    try:
        t.set_default_tensor_type("torch.DoubleTensor")
        return t.ones(1).dtype, t.get_default_dtype()
    finally:
        t.set_default_tensor_type(t.FloatTensor)


CASES = {
    "flags": lambda t: [
        getattr(t.ones(1), f"is_{n}")
        for n in ["ipu", "maia", "mkldnn", "mps", "mtia", "vulkan", "xla", "xpu"]
    ],
    "odd": lambda t: [t.ones(1).name, t.ones(1).volatile, t.ones(1).is_distributed()],
    "is_nonzero": lambda t: [t.ones(1).is_nonzero(), t.zeros(1, 1).is_nonzero()],
    "is_nonzero_many": lambda t: t.ones(2).is_nonzero(),
    "is_same_size": lambda t: [t.ones(2).is_same_size(t.ones(n)) for n in (2, 3)],
    "dim_order": lambda t: [
        t.ones(2, 3).t().dim_order(),
        t.ones(2, 3, 4, 4).to(memory_format=t.channels_last).dim_order(),
    ],
    "new": lambda t: [
        t.ones(2, dtype=t.int32).new([1, 2]).tolist(),
        t.ones(2).double().new(2, 3).shape,
        t.ones(2).new(t.Size([3])).dtype,
        t.ones(2).new((1, 2)).tolist(),
        t.ones(2).new().shape,
    ],
    "resize": lambda t: t.arange(6).resize(3, 2).tolist(),
    "resize_as": lambda t: t.arange(6).resize_as(t.ones(2, 3)).tolist(),
    "resize_wrong": lambda t: t.ones(2).resize(3),
    "as_subclass_wrong": lambda t: t.ones(2).as_subclass(int),
    "as_subclass": lambda t: type(t.ones(2).as_subclass(t.nn.Parameter)).__name__,
    "adjoint": lambda t: t.tensor([[1j, 2.0]]).adjoint().tolist(),
    "adjoint_vector": lambda t: t.ones(2).adjoint(),
    "dequantize": lambda t: [t.ones(2, dtype=t.int8).dequantize().dtype, t.ones(1).dequantize()],
    "apply": lambda t: t.arange(3).apply_(lambda x: x * 2 + 1).tolist(),
    "apply_view": lambda t: t.arange(6.0).view(2, 3).t().apply_(lambda x: x + 0.5).tolist(),
    "apply_grad": lambda t: t.ones(2, requires_grad=True).apply_(abs),
    "map": lambda t: t.ones(2, 2).map_(t.arange(2.0), lambda a, b: a + b).tolist(),
    "map_type": lambda t: t.ones(2).map_(t.ones(2).double(), lambda a, b: a + b),
    "map_shape": lambda t: t.ones(2).map_(t.ones(3), lambda a, b: a + b),
    "map2": lambda t: t.ones(2).map2_(t.ones(2), t.ones(2), lambda a, b, c: a + b * c).tolist(),
    "fill_diagonal": lambda t: [
        t.ones(*s).fill_diagonal_(5, wrap=w).tolist()
        for s in ((3, 3), (2, 4), (7, 2), (2, 2, 2))
        for w in (False, True)
    ],
    "fill_diagonal_flat": lambda t: t.ones(2).fill_diagonal_(1),
    "fill_diagonal_uneven": lambda t: t.ones(2, 3, 2).fill_diagonal_(1),
    "fill_diagonal_view": lambda t: t.zeros(4, 4)[1:, 1:].t().fill_diagonal_(1).tolist(),
    "method_only": lambda t: t.add_(t.ones(1), 1),
    "function_too": lambda t: t.relu_(t.tensor([-1.0, 1.0])).tolist(),
    "celu": lambda t: t.ones(1).celu_(),
    "default_type": default_type,
    "default_device": lambda t: t.get_default_device(),
    "default_type_wrong": lambda t: t.set_default_tensor_type(t.LongTensor),
    "device_modules": lambda t: [t.get_device_module(d).__name__[-3:] for d in ("cpu", "xpu")],
    "device_module_wrong": lambda t: t.get_device_module("foo"),
    "debug_mode": lambda t: [t.get_deterministic_debug_mode(), t.is_warn_always_enabled()],
    "vmap": lambda t: t.vmap(lambda x: x.sum())(t.ones(2, 3)).tolist(),
    "variable": lambda t: [
        t.autograd.Variable(t.ones(1), requires_grad=True).requires_grad,
        t.autograd.Variable(t.ones(1, requires_grad=True)).requires_grad,
        isinstance(t.ones(1), t.autograd.Variable),
        isinstance(3, t.autograd.Variable),
    ],
    "set": lambda t: t.ones(1).set_(t.arange(6.0), 1, (2, 2), (1, 2)).tolist(),
}


@pytest.mark.parametrize("case", CASES)
def test_case(case: str) -> None:
    assert outcome(funtorch, CASES[case]) == outcome(torch, CASES[case])


def test_gumbel_softmax_is_straight_through() -> None:
    results = []
    for t in (funtorch, torch):
        t.manual_seed(0)
        logits = t.arange(6.0).reshape(2, 3).requires_grad_()
        soft = t.nn.functional.gumbel_softmax(logits, tau=0.5, dim=0)
        hard = t.nn.functional.gumbel_softmax(logits, hard=True)
        (hard * t.arange(3.0)).sum().backward()
        results.append((soft.detach().numpy(), hard.detach().numpy(), logits.grad.numpy()))
    for ours, theirs in zip(*results):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
