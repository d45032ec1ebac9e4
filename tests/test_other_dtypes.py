"""Ops in dtypes that are not float32 or int64, against PyTorch."""

from __future__ import annotations

import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


def ints(t, *shape):
    return t.arange(1, 1 + int(t.ones(shape).numel()), dtype=t.int32).reshape(shape)


def bools(t):
    return t.tensor([True, False, True])


def symmetric(t, kind):
    made = t.tensor([[2.0, 1.0, 0.5], [1.0, 3.0, 0.0], [0.5, 0.0, 1.0]], dtype=kind)
    return made + 1j * (made.tril(-1) - made.triu(1)) if kind is t.complex128 else made


def solved(t, kind):
    factors = t.linalg.ldl_factor(symmetric(t, kind), hermitian=True)
    return t.linalg.ldl_solve(*factors, t.ones(3, 1, dtype=kind), hermitian=True)


CASES = {
    "sign": lambda t: [t.sign(ints(t, 3) - 2), t.sgn(t.tensor([200, 0], dtype=t.uint8))],
    "sign_bool": lambda t: t.sign(bools(t)),
    "square_bool": lambda t: t.square(bools(t)),
    "addmv": lambda t: t.addmv(ints(t, 2), ints(t, 2, 2), ints(t, 2), beta=0.5, alpha=2.5),
    "baddbmm": lambda t: t.baddbmm(
        ints(t, 1, 2, 2), ints(t, 1, 2, 2), ints(t, 1, 2, 2), beta=1.5, alpha=0.5
    ),
    "einsum": lambda t: [
        *(t.einsum(e, ints(t, 2, 2)) for e in ("ij->i", "ii->i", "ii", "ij->ji", "ij")),
        t.einsum("...ik,...j->ij", ints(t, 1, 2, 3), ints(t, 3)),
        t.einsum("ij,jk->ik", ints(t, 2, 2), ints(t, 2, 2)),
    ],
    "scalar_tensor": lambda t: t.scalar_tensor(-5, dtype=t.uint8),
    "clamp_bool": lambda t: [t.clamp_min(bools(t), ~bools(t)), t.clamp_max(bools(t), bools(t))],
    "clamp_bool_number": lambda t: t.clamp(bools(t), min=True),
    "index_add_bool": lambda t: t.zeros(2, dtype=t.bool).index_add(
        0, t.tensor([0, 0, 1]), bools(t)
    ),
    "index_put_bool": lambda t: t.zeros(2, dtype=t.bool).index_put(
        (t.tensor([0, 0, 1]),), bools(t), accumulate=True
    ),
    "put_bool": lambda t: t.zeros(2, dtype=t.bool).put(
        t.tensor([0, 1, 1]), bools(t), accumulate=True
    ),
    "scatter_bool": lambda t: [
        t.zeros(3, dtype=t.bool).scatter_add(0, t.tensor([0, 0, 1]), bools(t)),
        t.zeros(3, dtype=t.bool).scatter_reduce(0, t.tensor([0, 0, 1]), bools(t), "sum"),
        t.ones(3, dtype=t.bool).scatter_reduce(0, t.tensor([0, 0, 1]), bools(t), "prod"),
    ],
    "scatter_number": lambda t: t.zeros(2, dtype=t.int8).scatter(
        0, t.tensor([1]), -2.5, reduce="add"
    ),
    "kron_bool": lambda t: t.kron(bools(t), bools(t)),
    "masked": lambda t: [
        t.masked.cumsum(ints(t, 3), 0),
        t.masked.cumprod(ints(t, 3), 0),
        t.masked.logsumexp(ints(t, 3), 0),
        t.masked.var(t.tensor([1, 2j, 3]), 0),
    ],
    "sum_to_size": lambda t: [ints(t, 2).sum_to_size(n) for n in ((), (1,), (2,))],
    "unsorted": lambda t: [
        t.searchsorted(t.tensor(rows), t.tensor([1.0, 2.5, float("nan")]), right=right)
        for rows in ([3.0, 1.0, float("nan"), 2.0, 0.0], [0.0, 1.0, 2.5, 2.5])
        for right in (False, True)
    ],
    "unravel_index": lambda t: t.unravel_index(ints(t, 2), (2, 2)),
    "tensordot": lambda t: t.tensordot(ints(t, 1, 1), ints(t, 2, 3), dims=[[0], [0]]),
    "half": lambda t: [
        f(t.tensor([0.3, 1.7], dtype=kind))
        for kind in (t.float16, t.bfloat16)
        for f in (t.sinc, t.special.ndtr, lambda x: t.special.polygamma(2, x))
    ],
    "half_norm": lambda t: t.linalg.vector_norm(t.tensor([20.0, 30.0]).half(), 6),
    "ldl": lambda t: [solved(t, kind) for kind in (t.float32, t.float64, t.complex128)],
    "margin_ranking": lambda t: [
        t.nn.functional.margin_ranking_loss(
            *(t.tensor(v, dtype=kind) for v in ([1, 2], [2, 1], [1, 1])), margin=m, reduction=how
        )
        for kind in (t.int32, t.uint8)
        for m in (0.0, 0.5)
        for how in ("none", "mean")
    ],
    "distances": lambda t: [
        t.nn.functional.pairwise_distance(ints(t, 2, 3), ints(t, 2, 3).to(kind) * 2)
        for kind in (t.int32, t.uint8)
    ],
    "poisson": lambda t: [
        t.nn.functional.poisson_nll_loss(ints(t, 3), ints(t, 3), log_input=log, reduction="sum")
        for log in (False, True)
    ],
    "lu_solve": lambda t: [
        t.linalg.lu_solve(*t.linalg.lu_factor(a), a + 1, left=left, adjoint=adjoint)
        for a in [t.eye(3, dtype=t.complex128) * 2 + t.arange(9.0).reshape(3, 3) * 1j]
        for left in (True, False)
        for adjoint in (True, False)
    ],
    "host": lambda t: t.linalg.ldl_factor(t.eye(3, dtype=t.float64) + 0.5)[0],
    "bessel": lambda t: [
        getattr(t.special, name)(t.tensor([0.5, 3.0, 9.0], dtype=t.float64))
        for name in ("airy_ai", "bessel_y1", "modified_bessel_k0", "scaled_modified_bessel_k1")
    ],
}


def outcome(t, case):
    try:
        made = case(t)
    except Exception as error:
        return type(error)
    made = made if isinstance(made, list | tuple) else [made]
    return [(str(m.dtype), m.to(t.complex128).resolve_conj().numpy()) for m in made]


@pytest.mark.parametrize("case", CASES)
def test_other_dtypes(case: str) -> None:
    ours, theirs = outcome(funtorch, CASES[case]), outcome(torch, CASES[case])
    if isinstance(theirs, type):
        assert ours is theirs
        return
    assert [kind for kind, _ in ours] == [kind for kind, _ in theirs]
    for (kind, one), (_, other) in zip(ours, theirs, strict=True):
        tolerance = {"torch.float16": 1e-3, "torch.bfloat16": 8e-3, "torch.float64": 1e-9}
        assert one == pytest.approx(other, rel=tolerance.get(kind, 1e-5), abs=1e-6)
