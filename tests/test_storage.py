"""Storages against PyTorch's."""

from __future__ import annotations

import ctypes

import numpy as np
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


def peek(x):
    """What lies at a tensor's address."""
    count = x.numel() * x.element_size()
    return bytes((ctypes.c_ubyte * count).from_address(x.data_ptr()))


def addresses(t):
    x = t.arange(6.0).reshape(2, 3)
    held = [peek(x), peek(x[1]), peek(x.bfloat16()), peek(x.to(t.complex64)), peek(x > 2)]
    first, row = x.data_ptr(), x[1].data_ptr()
    x.add_(1)
    nhwc = t.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=t.channels_last)
    numbers = np.ones(4, np.float32)
    return (
        *(held, peek(x), peek(nhwc), row - first, x.data_ptr() == first),
        *(x.t().data_ptr() == first, x.detach().data_ptr() == first, x.clone().data_ptr() == first),
        *(x[1].untyped_storage().data_ptr() == first, x[1:].storage().data_ptr() == first),
        *(t.empty(0).data_ptr(), t.from_numpy(numbers).data_ptr() == numbers.ctypes.data),
        *(hash(x.storage()) == hash(x[1].storage()), x.storage() == x.clone().storage()),
    )


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_elements_lie_at_their_addresses() -> None:
    """Libraries read there, safetensors for one."""
    assert addresses(funtorch) == addresses(torch)


def from_a_file(t, path):
    np.arange(8, dtype=np.float32).tofile(path)
    held = t.UntypedStorage.from_file(path, shared=False, nbytes=32)
    part = t.asarray(held[4:12], dtype=t.uint8).view(t.float32).reshape(2, 1)
    part[0] = 9.0
    fourth = held.untyped()[3]
    shared = t.UntypedStorage.from_file(path, True, 40)
    t.asarray(shared, dtype=t.uint8).view(t.float32)[0] = 5.0
    return part.tolist(), len(held), held[4:12].nbytes(), fourth, np.fromfile(path, np.float32)


def test_storages_of_files(tmp_path) -> None:
    found, expected = (from_a_file(t, str(tmp_path / t.__name__)) for t in (funtorch, torch))
    np.testing.assert_equal(found, expected)
    for t in (funtorch, torch):
        for name, size in ((str(tmp_path / "absent"), 4), (str(tmp_path / "torch"), 400)):
            with pytest.raises(RuntimeError):
                t.UntypedStorage.from_file(name, False, size)


def test_bytes_read_as_another_type_stay_shared() -> None:
    found = []
    for t in (funtorch, torch):
        numbers = np.zeros(4, np.float32)
        x = t.from_numpy(numbers)
        bits = x.view(t.int32)
        bits[0] = 1065353216
        x[1] = 2.0
        found.append((x.tolist(), bits.tolist(), numbers.tolist()))
    assert found[0] == found[1]
