"""Small functions of the torch namespace against PyTorch."""

from __future__ import annotations

import operator
import weakref

import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

FLOATS = ["float16", "bfloat16", "float32", "float64", "complex64"]
INTS = ["uint8", "int8", "int16", "int32", "int64"]


@pytest.mark.parametrize("name", FLOATS)
def test_finfo(name: str) -> None:
    ours, theirs = (m.finfo(getattr(m, name)) for m in (funtorch, torch))
    for fact in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype"):
        assert getattr(ours, fact) == getattr(theirs, fact), fact
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("name", INTS)
def test_iinfo(name: str) -> None:
    ours, theirs = (m.iinfo(getattr(m, name)) for m in (funtorch, torch))
    assert (ours.bits, ours.min, ours.max) == (theirs.bits, theirs.min, theirs.max)
    assert repr(ours) == repr(theirs)


CALLS = {
    "is_tensor": lambda t: [t.is_tensor(t.ones(1)), t.is_tensor([1])],
    "is_floating_point": lambda t: [t.is_floating_point(t.ones(1)), t.is_complex(t.ones(1))],
    "typename": lambda t: [t.typename(t.ones(1)), t.typename(3), t.typename(t.ones(1).long())],
    "numel": lambda t: t.numel(t.ones(2, 3)),
    "can_cast": lambda t: [t.can_cast(t.float32, t.int64), t.can_cast(t.int64, t.float16)],
    "split": lambda t: t.split(tensor=t.arange(6), split_size_or_sections=[2, 4], dim=0),
    "legacy": lambda t: [t.LongTensor([1, 2**40]).tolist(), t.FloatTensor(2, 3).shape == (2, 3)],
    "legacy_is": lambda t: [isinstance(t.ones(1), t.FloatTensor), t.FloatTensor([1]).dtype],
    "constants": lambda t: [t.pi, t.e, t.inf, t.newaxis],
    "iinfo_of_float": lambda t: t.iinfo(t.float32),
    "finfo_of_int": lambda t: t.finfo(t.int32),
    "precision": lambda t: t.get_float32_matmul_precision(),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(name: str) -> None:
    results = []
    for module in (funtorch, torch):
        try:
            results.append(repr(CALLS[name](module)))
        except Exception as error:
            results.append(type(error))
    assert results[0] == results[1]


PAIRS = {
    "same": lambda t: (t.ones(3), t.ones(3)),
    "near": lambda t: (t.ones(3), t.ones(3) + 1e-6),
    "far": lambda t: (t.ones(3), t.ones(3) + 1e-3),
    "shape": lambda t: (t.ones(3), t.ones(1, 3)),
    "dtype": lambda t: (t.ones(3), t.ones(3, dtype=t.float64)),
    "ints": lambda t: (t.tensor([1, 2]), t.tensor([1, 3])),
    "nan": lambda t: (t.tensor([t.nan]), t.tensor([t.nan])),
    "inf": lambda t: (t.tensor([t.inf]), t.tensor([t.inf])),
    "opposite_inf": lambda t: (t.tensor([t.inf]), t.tensor([-t.inf])),
    "bools": lambda t: (t.tensor([True]), t.tensor([False])),
    "large_ints": lambda t: (t.tensor([2**62]), t.tensor([2**62 + 1])),
    "half": lambda t: (t.ones(2).half(), t.ones(2).half() + 1e-3),
    "numbers": lambda t: (1.0, 1.0 + 1e-9),
    "nested": lambda t: ({"a": [t.ones(2)]}, {"a": [t.ones(2)]}),
    "nested_far": lambda t: ({"a": [t.ones(2)]}, {"a": [t.zeros(2)]}),
    "keys": lambda t: ({"a": 1}, {"b": 1}),
    "strings": lambda t: (t.ones(1), "text"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_assert_close(name: str) -> None:
    outcomes = []
    for module in (funtorch, torch):
        try:
            module.testing.assert_close(*PAIRS[name](module))
            outcomes.append(None)
        except Exception as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]


def test_nan_equal_on_request() -> None:
    both = funtorch.tensor([funtorch.nan, 1.0])
    funtorch.testing.assert_close(both, both.clone(), equal_nan=True)


def test_questions_about_what_is_below() -> None:
    assert funtorch.backends.mps.is_available() is False
    assert funtorch.cuda.is_available() == (funtorch.cuda.device_count() > 0)
    funtorch.backends.cudnn.benchmark = False
    assert funtorch.backends.cuda.matmul.allow_tf32 is False
    assert funtorch.version.__version__ == funtorch.__version__


def test_choosing_a_gpu() -> None:
    if not funtorch.cuda.is_available():
        with pytest.raises(RuntimeError):
            funtorch.cuda.set_device(0)
        with funtorch.cuda.device(-1):
            return
    funtorch.cuda.set_device(0)
    assert funtorch.ones(1, device="cuda").device == funtorch.device("cuda", 0)
    assert funtorch.cuda.current_device() == 0


def test_small_functions() -> None:
    found = []
    for t in (funtorch, torch):
        x, net = t.ones(2), t.nn.Sequential(t.nn.BatchNorm1d(2))
        t.func.replace_all_batch_norm_modules_(net)
        found.append(
            [t.get_device(x), t.is_neg(x), t.is_same_size(x, x), t.is_distributed(x),
             t.detach_(x.requires_grad_() * 2).requires_grad, t.GradScaler.__name__, repr(net),
             t.func.functionalize(lambda a: a.clone().add_(1))(x).tolist(), net[0].running_mean]
        )  # fmt: skip
        with pytest.raises(RuntimeError, match="positive integer"):
            t.set_num_interop_threads(0)
    assert found[0] == found[1]


def outcome(call, t):
    try:
        return call(t)
    except Exception as error:
        return type(error), str(error).split("(Could")[0]


VERSIONS = [
    *("2.13.0", "2.13", "2.6", "2.13.0+cpu", "2.13.0+cpu.2", "2.14.0a1", "2.13.0.dev20", "2.13rc1"),
    *("2.13.0.post1", "1!0.1", "2.13.0-1", "2.13.0a1.dev2", "parrot", (2, 6), (2, 14), 3),
]


def comparisons(t):
    """How every two versions compare, in every way."""
    kind = type(t.__version__)
    texts = [v for v in VERSIONS if isinstance(v, str)]
    ways = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
    return [
        outcome(lambda _, o=o, a=a, b=b: o(kind(a), b), t)
        for a in texts
        for b in VERSIONS
        for o in ways
    ]


def test_versions_compare() -> None:
    assert comparisons(funtorch) == comparisons(torch)
    assert funtorch.__version__ >= (2, 13)


class Mixed:
    """Another base of a module, which wants an argument."""

    def __init__(self, size):
        self.size = size


def super_init(t):
    """Modules with a second base: its __init__ is called by them if they say so."""

    class Both(t.nn.Linear, Mixed):
        def __init__(self):
            t.nn.Linear.__init__(self, 2, 2)

    class Calling(t.nn.Module, Mixed):
        call_super_init = True

        def __init__(self):
            super().__init__(5)

    return hasattr(Both(), "size"), Calling().size


CHECKS = {
    "fails": lambda t: t._check(False),
    "message": lambda t: t._check(False, lambda: "said so"),
    "text": lambda t: t._check(False, "said so"),
    "tensor": lambda t: t._check(t.tensor(True)),
    "number": lambda t: t._check(1),
    "with": lambda t: t._check_with(KeyError, False, lambda: "a"),
    "index": lambda t: t._check_index(False),
    "value": lambda t: t._check_value(False),
    "type": lambda t: t._check_type(False),
    "not_implemented": lambda t: t._check_not_implemented(False),
    "all": lambda t: t._check_tensor_all(t.tensor([True, False])),
    "all_of": lambda t: t._check_tensor_all([True]),
    "fine": lambda t: (t._check(True), t._check_tensor_all(t.tensor([True]))),
    "sym_max": lambda t: (t.sym_max(1, 2.0), t.sym_max(2.0, 1), t.sym_max(True, False)),
    "sym_min": lambda t: (t.sym_min(1, 2.0), t.sym_min(2, True)),
    "sym_casts": lambda t: (t.sym_int(-2.7), t.sym_float(3), t.sym_not(3), t.sym_sum([1, 2])),
    "sym_ite": lambda t: t.sym_ite(True, 1, 2),
    "sym_ite_number": lambda t: t.sym_ite(1, 1, 2),
    "sym_ite_types": lambda t: t.sym_ite(True, 1, 2.0),
    "sizes": lambda t: isinstance(t.ones(2).shape[0], t.SymInt),
    "macos": lambda t: t.backends.mps.is_macos_or_newer(14, 0),
    "capturing": lambda t: isinstance(t.cuda.CUDAGraph, type) and isinstance(t.cuda.graph, type),
    "devices": lambda t: [repr(t.device(n)) for n in ("mps", "xpu:1", "xla", "hpu", "meta")],
    "no_device": lambda t: t.device("npu"),
    "on_mps": lambda t: type(outcome(lambda t: t.ones(1, device="mps"), t)[0]),
    "on_xpu": lambda t: t.ones(1, device="xpu"),
    "module_argument": lambda t: t.nn.Module(3),
    "module_keyword": lambda t: t.nn.Module(size=3),
    "super_init": lambda t: super_init(t),
    "fan": lambda t: t.nn.init._calculate_correct_fan(t.ones(2, 3, 4), "fan_in"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_checks_and_symbols(name: str) -> None:
    assert outcome(CHECKS[name], funtorch) == outcome(CHECKS[name], torch)


def test_swapped_tensors() -> None:
    seen = []
    for t in (funtorch, torch):
        a, b = t.nn.Parameter(t.ones(2)), t.tensor([3.0, 4.0, 5.0])
        b.tag = "b"
        t.utils.swap_tensors(a, b)
        (b * 2).sum().backward()
        seen.append((type(a).__name__, a.tolist(), a.tag, type(b).__name__, b.grad.tolist()))
        held = weakref.ref(a)
        with pytest.raises(RuntimeError, match="weakref"):
            t.utils.swap_tensors(a, b)
        del held
    assert seen[0] == seen[1]
