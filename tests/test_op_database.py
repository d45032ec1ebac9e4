"""A fixed share of PyTorch's own op database: values, and gradients where the op has them."""

import functools
import zlib

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
pytest.importorskip("expecttest", reason="PyTorch's op database needs it")
op_db = pytest.importorskip("torch.testing._internal.common_methods_invocations").op_db

SHARE = 6  # every sixth entry
SAMPLES = 2
RANDOM = (
    "rand",
    "normal",
    "bernoulli",
    "multinomial",
    "dropout",
    "empty",
    "uniform",
    "exponential",
)
APART = {
    # Their results are not values to compare, or are not unique.
    "hash_tensor",  # absent: see the limits
    "cholesky",  # samples are functions of their inputs, made positive-definite outside
    "svd_lowrank",
    "pca_lowrank",
    "nn.functional.rrelu",
    "nn.functional.alpha_dropout",
    "cauchy",
    "geometric",
    "log_normal",
    "linalg.svd",
    "svd",
    "linalg.eig",
    "linalg.eigh",
    "linalg.eigvals",
    "linalg.lstsq",
    "nn.functional.scaled_dot_product_attention",
    "nn.functional.fractional_max_pool2d",
    "nn.functional.fractional_max_pool3d",
    "to_sparse",
    "sparse.mm",
    "sparse.sampled_addmm",
}


def public(name, root):
    return functools.reduce(getattr, name.split("."), root)


def chosen():
    seen = set()
    for op in op_db:
        apart = op.name in APART or any(word in op.name for word in RANDOM)
        if apart or op.name in seen or zlib.crc32(op.name.encode()) % SHARE:
            continue
        try:
            found = public(op.name, torch)
        except AttributeError:
            continue
        if isinstance(found, torch.dtype):  # an entry for a method: x.bool()
            continue
        if torch.float32 in op.dtypes:
            seen.add(op.name)
            yield op


def converted(value):
    """The same value for funtorch."""
    if isinstance(value, torch.Tensor):
        array = value.detach().resolve_conj().resolve_neg().numpy()
        made = funtorch.tensor(np.ascontiguousarray(array)).reshape(value.shape)
        return made.requires_grad_(value.requires_grad) if value.requires_grad else made
    if isinstance(value, torch.dtype | torch.memory_format):
        return getattr(funtorch, str(value).removeprefix("torch."))
    if isinstance(value, dict):
        return {k: converted(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(converted(v) for v in value)
    return value


def tensors(value):
    if isinstance(value, torch.Tensor | funtorch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors(part)


def agree(ours, theirs):
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert str(ours.dtype) == str(theirs.dtype)
    found = torch.from_numpy(np.array(ours.detach().numpy()))
    torch.testing.assert_close(
        found.reshape(theirs.shape), theirs.detach(), rtol=1e-4, atol=1e-4, equal_nan=True
    )


@pytest.mark.filterwarnings("ignore:torch")  # the oracle's own deprecations
@pytest.mark.parametrize("op", list(chosen()), ids=lambda op: op.name)
def test_entry(op):
    grad = op.supports_autograd
    samples = op.sample_inputs("cpu", torch.float32, requires_grad=grad)
    for _, sample in zip(range(SAMPLES), samples, strict=False):
        inputs = (sample.input, *sample.args)
        ours_in, ours_kw = converted(inputs), converted(sample.kwargs)
        theirs = list(tensors(public(op.name, torch)(*inputs, **sample.kwargs)))
        ours = list(tensors(public(op.name, funtorch)(*ours_in, **ours_kw)))
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            agree(a, b)
        if grad and theirs and theirs[0].requires_grad and theirs[0].dtype is torch.float32:
            check_gradients(ours, theirs, ours_in, inputs)


def check_gradients(ours, theirs, ours_in, theirs_in):
    assert ours[0].requires_grad
    leaves = [t for t in tensors(theirs_in) if t.requires_grad]
    own = [t for t in tensors(ours_in) if t.requires_grad]
    expected = torch.autograd.grad(theirs[0].sum(), leaves, allow_unused=True)
    found = funtorch.autograd.grad(ours[0].sum(), own, allow_unused=True)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            agree(a, b)
