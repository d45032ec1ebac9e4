"""Storages against PyTorch's."""

from __future__ import annotations

import pytest

import funtorch
from tests.outcomes import outcome

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


def window(t):
    return t.arange(6.0).reshape(2, 3).t()[1:]


def written(t):
    x = window(t)
    x.storage()[1] = 9.0
    x.untyped_storage()[0] = 0
    return x.tolist(), x.storage().fill_(2).tolist(), x.tolist()


def adopted(t):
    storage = t.FloatStorage([1.0, 2.0, 3.0, 4.0])
    x = t.tensor([0.0]).set_(storage, 1, (2,), (2,))
    x[0] = 7.0
    return x.tolist(), storage.tolist(), t.FloatTensor(storage).tolist(), x.is_set_to(x)


CASES = {
    "elements": lambda t: window(t).storage().tolist(),
    "facts": lambda t: [
        (s.size(), len(s), s.nbytes(), s.element_size(), s.dtype, s.device, s.type(), s.is_cuda)
        for s in (window(t).storage(), t.ones(3, dtype=t.int64).storage())
    ],
    "index": lambda t: [window(t).storage()[i] for i in (0, 5, -1)],
    "too_far": lambda t: window(t).storage()[6],
    "slice": lambda t: window(t).storage()[1:2],
    "written": written,
    "adopted": adopted,
    "kinds": lambda t: [
        isinstance(window(t).storage(), kind) for kind in (t.FloatStorage, t.LongStorage)
    ],
    "casts": lambda t: (window(t).storage().double().dtype, window(t).storage().long().tolist()),
    "is_storage": lambda t: [t.is_storage(window(t)), t.is_storage(window(t).untyped_storage())],
    "bytes": lambda t: window(t).untyped_storage().tolist(),
    "byte_facts": lambda t: [
        (u.nbytes(), len(u), u.element_size(), u.device) for u in (window(t).untyped_storage(),)
    ],
    "shown": lambda t: repr(t.FloatStorage([1.0, 2.0])),
    "shown_bytes": lambda t: repr(t.ones(1).untyped_storage()),
    "copied": lambda t: t.FloatStorage([1.0, 2.0]).copy_(t.FloatStorage([3.0, 4.0])).tolist(),
    "default": lambda t: t.Storage is t.FloatStorage,
}


@pytest.mark.parametrize("case", CASES)
def test_storage(case: str) -> None:
    assert outcome(funtorch, CASES[case]) == outcome(torch, CASES[case])
