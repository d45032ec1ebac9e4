"""A fixed share of PyTorch's op database in every form: what `make conformance` measures in full."""

import zlib

import pytest

import funtorch
from tests.test_op_database import agree, chosen, converted, public, tensors

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
opinfo = pytest.importorskip("torch.testing._internal.opinfo.core")

SHARE = 24  # one entry of 24, of those that test_op_database takes
ERRORS = 6
PAIRS = (("float32", "int64"), ("uint8", "float64"), ("bool", "int32"), ("float64", "complex64"))
CORNERS = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e30)


def outcome(function, *args, **kwargs):
    """What a call returns, or the type of what it raises."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return type(error)


def compare(ours, theirs):
    if isinstance(theirs, type):
        assert isinstance(ours, type) and issubclass(ours, theirs), f"{ours}, not {theirs}"
        return
    found, wanted = list(tensors(ours)), list(tensors(theirs))
    assert len(found) == len(wanted), ours
    for a, b in zip(found, wanted, strict=True):
        agree(a, b)


def first_sample(op, dtype=torch.float32, requires_grad=False):
    return next(iter(op.sample_inputs("cpu", dtype, requires_grad=requires_grad)))


def same(ours, theirs, sample, **more):
    """Both functions on a sample: equal results, or the same exception."""
    given, keywords = converted((sample.input, *sample.args)), converted(sample.kwargs)
    wanted = outcome(theirs, sample.input, *sample.args, **sample.kwargs, **more)
    compare(outcome(ours, *given, **keywords, **converted(more)), wanted)
    return given


def method(op):
    name = op.method_variant.__name__
    same(getattr(funtorch.Tensor, name), op.method_variant, first_sample(op))


def inplace(op):
    sample = first_sample(op)
    name = op.inplace_variant.__name__
    given = same(getattr(funtorch.Tensor, name), op.inplace_variant, sample)
    compare(given[0], sample.input)


def out(op):
    sample = first_sample(op)
    if not isinstance(op.op(sample.input, *sample.args, **sample.kwargs), torch.Tensor):
        return
    for made in (torch.empty(0), torch.empty(0, dtype=torch.float64)):
        same(public(op.name, funtorch), public(op.name, torch), sample, out=made)


def aliases(op):
    for alias in op.aliases:
        same(public(alias.name, funtorch), alias.op, first_sample(op))


def strides_and_views(op):
    sample = first_sample(op)
    given = converted((sample.input, *sample.args))
    theirs = next(tensors(op.op(sample.input, *sample.args, **sample.kwargs)), None)
    if theirs is None:
        return
    ours = next(tensors(public(op.name, funtorch)(*given, **converted(sample.kwargs))))
    assert all(n < 2 or a == b for n, a, b in zip(theirs.shape, ours.stride(), theirs.stride()))
    if theirs._is_view() and theirs._base is sample.input:
        outcome(theirs.zero_), outcome(ours.zero_)
        compare(given[0], sample.input)


def errors(op):
    for _, error in zip(range(ERRORS), op.error_inputs("cpu"), strict=False):
        same(public(op.name, funtorch), op.op, error.sample_input)


def promotion(op):
    function = public(op.name, funtorch)
    for names in PAIRS:
        pair = [torch.tensor([1, 0, 1]).to(getattr(torch, name)) for name in names]
        compare(outcome(function, *converted(pair)), outcome(op.op, *pair))


def extremal(op):
    corners = torch.tensor(CORNERS)
    count = 1 if isinstance(op, opinfo.UnaryUfuncInfo) else 2
    given = torch.meshgrid([corners] * count, indexing="ij")
    compare(outcome(public(op.name, funtorch), *converted(given)), outcome(op.op, *given))


def of_the_first(function, args, kwargs):
    """The first result, as a function of the first argument."""
    return lambda x: next(tensors(function(x, *args, **kwargs)))


def jvp(op):
    sample = first_sample(op)
    if not isinstance(sample.input, torch.Tensor):
        return
    x = sample.input
    theirs = of_the_first(op.op, sample.args, sample.kwargs)
    ours = of_the_first(public(op.name, funtorch), converted(sample.args), converted(sample.kwargs))
    wanted = outcome(torch.func.jvp, theirs, (x,), (torch.ones_like(x),))
    if not isinstance(wanted, type):
        mine = converted(x)
        compare(funtorch.func.jvp(ours, (mine,), (funtorch.ones_like(mine),)), wanted)


def vmap(op):
    sample = first_sample(op)
    if not isinstance(sample.input, torch.Tensor):
        return
    theirs = of_the_first(op.op, sample.args, sample.kwargs)
    ours = of_the_first(public(op.name, funtorch), converted(sample.args), converted(sample.kwargs))
    stacked = torch.stack((sample.input, sample.input * 0.5))
    wanted = outcome(torch.func.vmap(theirs), stacked)
    if not isinstance(wanted, type):
        compare(funtorch.func.vmap(ours)(converted(stacked)), wanted)


def gradgrad(op):
    sample = first_sample(op, torch.float64, requires_grad=True)
    given = converted((sample.input, *sample.args))

    def second(library, function, inputs, kwargs):
        total = (next(tensors(function(*inputs, **kwargs))) ** 2).sum()
        (first,) = library.autograd.grad(total, inputs[0], create_graph=True)
        return library.autograd.grad((first**2).sum(), inputs[0])

    wanted = outcome(second, torch, op.op, (sample.input, *sample.args), sample.kwargs)
    if not isinstance(wanted, type):
        function = public(op.name, funtorch)
        compare(second(funtorch, function, given, converted(sample.kwargs)), wanted)


def has(variant):
    return getattr(torch.Tensor, getattr(variant, "__name__", ""), None) is not None


ASPECTS = {
    method: lambda op: has(op.method_variant),
    inplace: lambda op: has(op.inplace_variant),
    out: lambda op: op.supports_out,
    aliases: lambda op: op.aliases,
    strides_and_views: lambda op: True,
    errors: lambda op: op.error_inputs_func is not None,
    promotion: lambda op: isinstance(op, opinfo.BinaryUfuncInfo),
    extremal: lambda op: isinstance(op, opinfo.UnaryUfuncInfo | opinfo.BinaryUfuncInfo),
    jvp: lambda op: op.supports_forward_ad,
    vmap: lambda op: True,
    gradgrad: lambda op: op.supports_gradgrad,
}


def cases():
    for op in chosen():
        if zlib.crc32(op.name.encode()) // 6 % (SHARE // 6) == 0:
            for aspect, applies in ASPECTS.items():
                if applies(op):
                    yield pytest.param(op, aspect, id=f"{op.name}-{aspect.__name__}")


@pytest.mark.filterwarnings("ignore")  # the oracle's own deprecations, resized outputs
@pytest.mark.parametrize(("op", "aspect"), list(cases()))
def test_form(op, aspect):
    aspect(op)
