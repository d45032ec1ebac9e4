"""Quantised tensors against PyTorch's."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
pytestmark = pytest.mark.filterwarnings("ignore:.*quantize.*")
X = (np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 11.5) * 0.3


def whole(t, dtype="quint8", scale=0.2, zero=30):
    return t.quantize_per_tensor(t.tensor(X), scale, zero, getattr(t, dtype))


def parts(t, axis=1):
    scales = t.tensor([0.1, 0.05, 0.2, 0.5])[: X.shape[axis]]
    zeros = t.tensor([0, 3, -7, 1])[: X.shape[axis]]
    return t.quantize_per_channel(t.tensor(X), scales, zeros, axis, t.qint8)


CASES = {
    "int8": lambda t: whole(t, "qint8", 0.05, -3),
    "int32": lambda t: whole(t, "qint32", 1e-3, 7),
    "tensors": lambda t: whole(t, "quint8", t.tensor(0.3), t.tensor(40)),
    "channels": lambda t: parts(t),
    "last": lambda t: parts(t, 2),
    "slice": lambda t: whole(t)[1, :, 1:3],
    "view": lambda t: whole(t).view(6, 4).t(),
    "permute": lambda t: whole(t).permute(2, 0, 1).contiguous(),
    "relu": lambda t: t.relu(whole(t)),
    "clamp": lambda t: whole(t).clamp(-1, 0.5),
    "hardtanh": lambda t: t.nn.functional.hardtanh(whole(t)),
    "pool": lambda t: t.nn.functional.max_pool2d(whole(t), 2),
    "cat": lambda t: t.cat([whole(t), whole(t, scale=0.1, zero=50)], 1),
    "max": lambda t: whole(t).max(),
    "clone": lambda t: parts(t).clone(),
    "copy": lambda t: whole(t).copy_(t.tensor(X) * 0.5),
    "made": lambda t: t._make_per_tensor_quantized_tensor(whole(t).int_repr(), 0.5, 3),
    "deep": lambda t: copy.deepcopy(parts(t)),
}


@pytest.mark.parametrize("name", CASES)
def test_tensors(name: str) -> None:
    ours, theirs = (CASES[name](t) for t in (funtorch, torch))
    assert repr(ours) == repr(theirs)
    assert ours.is_quantized
    assert (ours.stride(), ours.type()) == (theirs.stride(), theirs.type())
    np.testing.assert_array_equal(ours.int_repr().numpy(), theirs.int_repr().numpy())
    values = (q.dequantize().numpy() for q in (ours, theirs))
    np.testing.assert_allclose(*values, rtol=1e-6, atol=1e-7)


ANSWERS = {
    "grid": lambda t: (whole(t).q_scale(), t.q_zero_point(whole(t)), str(whole(t).qscheme())),
    "axis": lambda t: (parts(t).q_per_channel_axis(), str(parts(t).qscheme())),
    "scales": lambda t: (parts(t).q_per_channel_scales().tolist(), parts(t).element_size()),
    "equal": lambda t: (
        t.equal(whole(t), whole(t)),
        (whole(t) > 0).tolist(),
        whole(t)[0, 0, 0].item(),
    ),
    "topk": lambda t: [v.dequantize().tolist() for v in whole(t).flatten().topk(3)],
    "list": lambda t: [v.tolist() for v in t.dequantize([whole(t), t.ones(2)])],
    "add": lambda t: whole(t) + whole(t),
    "scale of channels": lambda t: parts(t).q_scale(),
    "strided": lambda t: t.ones(2).int_repr(),
    "numpy": lambda t: whole(t).numpy(),
    "other": lambda t: t.quantize_per_tensor(t.ones(2).double(), 0.1, 0, t.qint8),
    "bound": lambda t: whole(t, zero=300),
    "length": lambda t: t.quantize_per_channel(t.ones(3), t.ones(2), t.zeros(2), 0, t.qint8),
    "turned": lambda t: parts(t).permute(2, 1, 0),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_and_refusals(name: str) -> None:
    found = []
    for t in (funtorch, torch):
        try:
            found.append(ANSWERS[name](t))
        except Exception as error:
            found.append(type(error))
    if isinstance(found[1], type):
        assert isinstance(found[0], type)
        assert issubclass(found[0], found[1])
    else:
        assert found[0] == found[1]
