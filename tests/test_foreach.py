"""torch._foreach_*: every op on lists against PyTorch, with each kind of operand."""

from __future__ import annotations

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

NAMES = sorted(n for n in dir(torch) if n.startswith("_foreach_"))
OPERANDS = {
    "none": lambda t, xs: ((), {}),
    "number": lambda t, xs: ((1.5,), {}),
    "numbers": lambda t, xs: (([1.5, 2.0],), {}),
    "list": lambda t, xs: (([x + 1 for x in xs],), {}),
    "tensor": lambda t, xs: ((t.tensor(2.0),), {}),
    "alpha": lambda t, xs: ((xs,), {"alpha": 3}),
    "two lists": lambda t, xs: ((xs, [x + 2 for x in xs]), {}),
    "value": lambda t, xs: ((xs, [x + 2 for x in xs]), {"value": 0.5}),
    "values": lambda t, xs: ((xs, [x + 2 for x in xs], [0.5, 3.0]), {}),
    "scalars": lambda t, xs: ((xs, [x + 2 for x in xs], t.tensor([0.5, 3.0])), {}),
    "weight": lambda t, xs: ((xs, 0.25), {}),
    "short": lambda t, xs: ((xs[:1],), {}),
}


def outcome(t, name: str, operands: str):
    xs = [t.tensor([[0.5, 0.25], [0.125, 0.75]]), t.tensor([[0.3, 0.2], [0.6, 0.1]])]
    args, options = OPERANDS[operands](t, xs)
    try:
        made = getattr(t, name)(xs, *args, **options)
    except (RuntimeError, TypeError) as error:
        return type(error)
    assert (made is xs) == name.endswith("_")
    return np.stack([m.numpy() for m in made])


@pytest.mark.parametrize("name", NAMES)
def test_as_in_pytorch(name: str) -> None:
    for operands in OPERANDS:
        ours, theirs = (outcome(t, name, operands) for t in (funtorch, torch))
        if isinstance(theirs, type):
            assert isinstance(ours, type), f"{operands}: PyTorch raises {theirs.__name__}"
        else:
            np.testing.assert_allclose(ours, theirs, rtol=3e-6, atol=1e-7, err_msg=operands)


def test_one_base_for_all_and_gradients() -> None:
    def results(t):
        xs = [t.ones(2, requires_grad=True), t.full((3,), 2.0, requires_grad=True)]
        made = t._foreach_mul(t._foreach_pow(2.0, xs), xs)
        sum(m.sum() for m in made).backward()
        packet = t.ops.aten._foreach_add(xs, 1)
        return [x.grad.tolist() for x in xs], [m.tolist() for m in packet]

    np.testing.assert_allclose(results(funtorch)[0][1], results(torch)[0][1], rtol=1e-6)
    assert results(funtorch)[1] == results(torch)[1]
    with pytest.raises(RuntimeError, match="at least one tensor"):
        funtorch._foreach_add([], 1)
