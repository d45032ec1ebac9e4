"""Alias probes: each kind of view, written from both sides, beside real PyTorch."""

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

VIEWS = {
    "view": lambda x: x.view(16),
    "view3": lambda x: x.view(2, 2, 4),
    "reshape": lambda x: x.reshape(8, 2),
    "t": lambda x: x.t(),
    "transpose": lambda x: x.transpose(0, 1),
    "permute": lambda x: x.permute(1, 0),
    "select": lambda x: x.select(0, 1),
    "getitem": lambda x: x[2],
    "column": lambda x: x[:, 1],
    "slice": lambda x: x[1:3],
    "step": lambda x: x[::2, 1::2],
    "narrow": lambda x: x.narrow(1, 1, 2),
    "chunk": lambda x: x.chunk(2)[1],
    "split": lambda x: x.split([1, 3], 1)[1],
    "unbind": lambda x: x.unbind(1)[3],
    "diagonal": lambda x: x.diagonal(),
    "offdiagonal": lambda x: x.diagonal(1),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "squeeze": lambda x: x.unsqueeze(0).squeeze(0),
    "flatten": lambda x: x.flatten(),
    "unflatten": lambda x: x.unflatten(0, (2, 2)),
    "unfold": lambda x: x.unfold(0, 2, 2),
    "movedim": lambda x: x.movedim(0, 1),
    "as_strided": lambda x: x.as_strided((3, 2), (4, 1), 1),
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data,
    "view_as": lambda x: x.view_as(x),
    "of_a_view": lambda x: x.t()[1:3].t(),
    "deep": lambda x: x.view(2, 8)[1].view(4, 2).t()[0],
    "bits": lambda x: x.view(dtype_of(x, "int32")),
}


def dtype_of(x, name):
    return getattr(funtorch if isinstance(x, funtorch.Tensor) else torch, name)


def both():
    data = np.arange(16, dtype=np.float32).reshape(4, 4)
    return funtorch.tensor(data), torch.tensor(data)


def same(ours, theirs):
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_array_equal(ours.detach().numpy(), theirs.detach().numpy())


@pytest.mark.parametrize("name", VIEWS)
def test_write_to_the_view(name):
    for x in (pair := both()):
        VIEWS[name](x).fill_(7)
    same(*pair)


@pytest.mark.parametrize("name", VIEWS)
def test_write_to_the_base(name):
    views = []
    for x in both():
        view = VIEWS[name](x)
        x.mul_(2).add_(1)
        views.append(view)
    same(*views)


@pytest.mark.parametrize("name", [n for n in VIEWS if n != "bits"])
def test_in_place_op_on_a_view_of_a_view(name):
    for x in (pair := both()):
        VIEWS[name](x)[:1].add_(100)
    same(*pair)


@pytest.mark.parametrize("name", [n for n in VIEWS if n != "bits"])
def test_strides_and_offsets(name):
    ours, theirs = (VIEWS[name](x) for x in both())
    assert ours.stride() == theirs.stride()
    assert ours.storage_offset() == theirs.storage_offset()
    assert ours.is_contiguous() == theirs.is_contiguous()


UNTAPED = ("bits", "detach", "data")
MANY = ("chunk", "split", "unbind")


@pytest.mark.parametrize("name", MANY)
def test_one_of_several_views_must_not_be_written_on_the_tape(name):
    for x in both():
        with pytest.raises(RuntimeError, match="multiple views"):
            VIEWS[name](x.requires_grad_() * 1).mul_(2)


@pytest.mark.parametrize("name", [n for n in VIEWS if n not in UNTAPED + MANY])
def test_gradients_through_a_written_view(name):
    grads = []
    for lib, x in zip((funtorch, torch), both(), strict=True):
        leaf = x.requires_grad_()
        weight = lib.ones(1, requires_grad=True)
        base = leaf * 1
        view = VIEWS[name](base)
        view.mul_(weight * 3)
        (base * base).sum().backward()
        grads.append((leaf.grad, weight.grad))
    for ours, theirs in zip(*grads, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)


REFUSED = {
    "expanded": lambda lib: lib.zeros(3).expand(2, 3).add_(1),
    "leaf": lambda lib: lib.zeros(3, requires_grad=True).add_(1),
    "view of a leaf": lambda lib: lib.zeros(3, requires_grad=True)[0].add_(1),
    "view after transpose": lambda lib: lib.zeros(2, 3).t().view(6),
    "wrong shape": lambda lib: lib.zeros(3).add_(lib.zeros(2, 3)),
    "wrong dtype": lambda lib: lib.zeros(3, dtype=lib.int64).add_(lib.ones(3)),
    "saved and changed": lambda lib: changed_then_backward(lib),
}


def changed_then_backward(lib):
    x = lib.ones(3, requires_grad=True)
    y = x.exp()
    y.add_(1)
    y.sum().backward()


@pytest.mark.parametrize("name", REFUSED)
def test_what_torch_refuses_is_refused(name):
    for lib in (torch, funtorch):
        with pytest.raises(RuntimeError):
            REFUSED[name](lib)


def test_numpy_shares_memory_both_ways():
    for lib in (torch, funtorch):
        array = np.zeros(3, np.float32)
        x = lib.from_numpy(array)
        array[0] = 5
        assert x.tolist() == [5, 0, 0]
        x[1] = 7
        assert array.tolist() == [5, 7, 0]
        y = lib.ones(2, 2)
        out = y.numpy()
        y.add_(1)
        assert out.tolist() == [[2, 2], [2, 2]]
        out[0, 0] = 9
        assert y.tolist() == [[9, 2], [2, 2]]


REPEATING = {
    "unfold": lambda x: x.unfold(1, 3, 1),
    "as_strided": lambda x: x.as_strided((2, 2, 3), (1, 2, 1), 3),
    "of_a_view": lambda x: x.t()[1:].unfold(0, 2, 1),
}


@pytest.mark.parametrize("name", REPEATING)
def test_a_view_that_shows_an_element_twice_is_written_twice(name):
    results = []
    for base in both():
        window = REPEATING[name](base)
        window.add_(1)
        window.mul_(2)
        results.append((base.numpy(), window.numpy()))
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)


BROADCAST = {
    "lines": lambda t: t.zeros(10, 1, 5) + t.zeros(5, 10).t(),
    "number": lambda t: t.zeros(5, 10).t() * t.tensor(2.0),
    "number_first": lambda t: t.tensor(2.0) * t.zeros(5, 10).t(),
    "row": lambda t: t.zeros(3) - t.zeros(3, 4, 5).permute(1, 2, 0),
    "three": lambda t: t.where(t.zeros(3, 1) > 0, t.zeros(4, 3).t(), t.zeros(4)),
    "indexed": lambda t: t.zeros(4, 5, 6).permute(2, 0, 1)[:, t.tensor([0, 1])],
    "reduced": lambda t: t.nn.functional.huber_loss(t.zeros(3, 5).t(), t.zeros(5, 3)),
    "ldexp": lambda t: t.ldexp(t.zeros(10, 1, 5), t.zeros(5, 10).t()),
}


@pytest.mark.parametrize("name", BROADCAST)
def test_strides_of_broadcast_results(name):
    assert BROADCAST[name](funtorch).stride() == BROADCAST[name](torch).stride()


IN_PLACE = {
    **{
        name: lambda t, y, name=name: getattr(t.nn.functional, name)(y, inplace=True)
        for name in """celu elu hardsigmoid hardswish hardtanh leaky_relu mish relu relu6 rrelu selu
        silu""".split()  # noqa: SIM905
    },
    "threshold": lambda t, y: t.nn.functional.threshold(y, 0.1, 0.0, inplace=True),
    "rrelu_": lambda t, y: t.rrelu_(y),
    "pow_": lambda t, y: y.pow_(2),
    "atan2_": lambda t, y: y.atan2_(t.ones(3)),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_gradients_need_what_was_overwritten(name: str) -> None:
    def gradient(t):
        w = t.tensor([0.3, -0.4, 1.2], requires_grad=True)
        y = w * 1.5
        assert IN_PLACE[name](t, y) is y
        (y * y).sum().backward()
        return w.grad.numpy()

    np.testing.assert_allclose(gradient(funtorch), gradient(torch), rtol=2e-6)


TURNED = {
    "float": lambda t, x: x.float(memory_format=t.contiguous_format),
    "hinge": lambda t, x: t.nn.functional.hinge_embedding_loss(x, x.sign(), reduction="none"),
    "alpha dropout": lambda t, x: t.nn.functional.feature_alpha_dropout(x, 0.5, training=True),
    "unique": lambda t, x: t.unique(x, dim=1),
    "runs": lambda t, x: t.unique_consecutive(x, dim=-1),
    "unravel": lambda t, x: t.unravel_index(x.long(), (3, 4))[1],
}


@pytest.mark.parametrize("name", TURNED)
def test_strides_of_transposed_inputs(name: str) -> None:
    ours, theirs = (TURNED[name](t, t.arange(12.0).reshape(4, 3).t()) for t in (funtorch, torch))
    assert ours.stride() == theirs.stride()
