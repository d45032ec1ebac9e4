"""Printed tensors against PyTorch's own text, character by character."""

from __future__ import annotations

import numpy as np
import pytest

import funtorch
from funtorch import printing

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

NAN, INF = float("nan"), float("inf")


def _wave(*size: int) -> np.ndarray:
    return np.sin(np.arange(np.prod(size), dtype=np.float64)).reshape(size).astype(np.float32)


ARRAYS = {
    "scalar": np.float32(1.5),
    "scalar_whole": np.float32(3.0),
    "scalar_int": np.int64(-7),
    "scalar_bool": np.bool_(True),
    "scalar_small": np.float32(1e-7),
    "empty": np.zeros(0, np.float32),
    "empty_int": np.zeros(0, np.int64),
    "empty_2d": np.zeros((0, 3), np.float32),
    "empty_half": np.zeros((2, 0), np.float16),
    "whole": np.arange(6, dtype=np.float32).reshape(2, 3),
    "whole_nan": np.array([1, NAN, -INF, 20], np.float32),
    "nan_only": np.array([NAN, INF, 0], np.float32),
    "zeros": np.zeros(4, np.float32),
    "minus_zero": np.array([-0.0, 1.5], np.float32),
    "mixed": np.array([1.5, NAN, INF, -2.25, 1000], np.float32),
    "ratio": np.array([0.01, 100], np.float32),
    "wide_ratio": np.array([0.001, 1000], np.float32),
    "large_whole": np.array([1, 2e9], np.float32),
    "large": np.array([1.5e8, 2.5e9], np.float64),
    "tiny": np.array([[1e-5, 2e-5], [3e-5, 0]], np.float32),
    "double": np.linspace(0, 1, 7),
    "ints": np.array([[1, -20], [300, 4]]),
    "int8": np.arange(-3, 3, dtype=np.int8),
    "uint8": np.arange(250, 256, dtype=np.uint8),
    "uint16": np.array([1, 65535], np.uint16),
    "bools": np.array([[True, False], [False, False]]),
    "half": np.array([0.1, 65504, -2], np.float16),
    "complex": np.array([1 + 2j, -3.5 - 4j, 0.25j], np.complex64),
    "complex_whole": np.array([[1 + 2j, -3 - 40j]], np.complex64),
    "complex128": np.array([1e-6 + 2j, NAN + 1j * INF], np.complex128),
    "complex_scalar": np.complex64(1 - 2.5j),
    "long_line": _wave(30),
    "three": _wave(2, 3, 4),
    "four": _wave(2, 2, 2, 3),
    "summary": np.arange(2000),
    "summary_2d": _wave(40, 40),
    "summary_3d": _wave(10, 12, 14),
    "summary_complex": (_wave(1200) + 1j * _wave(1200)).astype(np.complex64),
    "long_complex": (_wave(20) + 1j * _wave(20)).astype(np.complex64),
    "summary_mixed": np.where(np.arange(3000) == 1500, 1e10, 1.0).astype(np.float32),
}

SETTINGS = {
    "default": {},
    "short": {"profile": "short"},
    "precise": {"precision": 8, "linewidth": 120},
    "sci": {"sci_mode": True},
    "plain": {"sci_mode": False},
    "narrow": {"linewidth": 30},
    "edges": {"threshold": 5, "edgeitems": 2},
    "no_edges": {"threshold": 5, "edgeitems": 0},
    "full": {"profile": "full"},
}


@pytest.fixture(autouse=True)
def _restore():
    yield
    for module in (funtorch, torch):
        module.set_printoptions(profile="default")


@pytest.mark.parametrize("setting", SETTINGS)
def test_text_of_arrays(setting: str) -> None:
    for module in (funtorch, torch):
        module.set_printoptions(**SETTINGS[setting])
    for name, array in ARRAYS.items():
        if setting == "full" and array.size > 2000:
            continue
        ours, theirs = funtorch.tensor(array), torch.tensor(array)
        assert repr(ours) == repr(theirs), name


MADE = {
    "leaf": lambda t: t.tensor([1.0, 2.0], requires_grad=True),
    "grad_fn": lambda t: t.tensor([1.0, 2.0], requires_grad=True) * 2,
    "long_tail": lambda t: (t.arange(24.0).view(4, 6).requires_grad_() + 0.5).exp(),
    "meta": lambda t: t.empty(2, 3, device="meta"),
    "meta_int": lambda t: t.empty(2, dtype=t.int64, device="meta"),
    "bfloat16": lambda t: t.tensor([0.1, 2.0, -3.0], dtype=t.bfloat16),
    "bfloat16_whole": lambda t: t.tensor([1.0, 2.0], dtype=t.bfloat16),
    "float8": lambda t: t.tensor([0.1, 2.0]).to(t.float8_e4m3fn),
    "transposed": lambda t: t.arange(6).view(2, 3).t(),
    "conj": lambda t: t.tensor([1 + 2j]).conj(),
    "parameter": lambda t: t.nn.Parameter(t.ones(2, 2)),
    "frozen": lambda t: t.nn.Parameter(t.ones(2), requires_grad=False),
    "size": lambda t: t.ones(2, 3).shape,
    "dtype": lambda t: t.ones(2).to(t.float16).dtype,
    "device": lambda t: t.ones(2).device,
    "nested_list": lambda t: [t.ones(2), {"a": t.tensor(1)}],
}


@pytest.mark.parametrize("name", MADE)
def test_text_of_made(name: str) -> None:
    assert repr(MADE[name](funtorch)) == repr(MADE[name](torch))
    assert str(MADE[name](funtorch)) == str(MADE[name](torch))
    assert f"{MADE[name](funtorch)}" == f"{MADE[name](torch)}"


def test_default_dtype_goes_without_saying() -> None:
    texts = []
    for module in (funtorch, torch):
        module.set_default_dtype(module.float64)
        try:
            made = [module.ones(2), module.ones(2).float(), module.ones(2, dtype=module.complex128)]
            texts.append([repr(t) for t in made])
        finally:
            module.set_default_dtype(module.float32)
    assert texts[0] == texts[1]


def test_options_return_after_context() -> None:
    before = printing.get_printoptions()
    with printing.printoptions(precision=1, sci_mode=True):
        assert repr(funtorch.tensor([0.55])) == "tensor([5.5e-01])"
    assert printing.get_printoptions() == before
