"""torch.library against PyTorch: ops of one's own."""

from __future__ import annotations

import warnings

import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


def scaled(t, **how):
    def kernel(x, k=2.0):
        return x * k

    kernel.__annotations__ = {"x": t.Tensor, "k": float, "return": t.Tensor}
    return t.library.custom_op("shop::scaled", kernel, mutates_args=(), **how)


def forms(t):
    op = scaled(t)
    x = t.ones(2)
    return [
        made.tolist()
        for made in (op(x), op(x, k=4.0), t.ops.shop.scaled(x, 3.0), t.ops.shop.scaled.default(x))
    ]


def without_gradient(t):
    x = t.ones(2, requires_grad=True)
    y = scaled(t)(x)
    assert y.requires_grad
    y.sum().backward()


def with_gradient(t):
    op = scaled(t)

    def setup(ctx, inputs, output):
        ctx.factor = inputs[1]
        ctx.save_for_backward(output)

    def backward(ctx, grad):
        return grad * ctx.factor + ctx.saved_tensors[0], None

    t.library.register_autograd("shop::scaled", backward, setup_context=setup)
    x = t.ones(2, requires_grad=True)
    op(x, 5.0).sum().backward()
    return x.grad.tolist()


def shapes(t):
    op = scaled(t)
    x = t.ones(2, 3, device="meta")
    with pytest.raises(RuntimeError):
        op(x)
    t.library.register_fake("shop::scaled", lambda x, k=2.0: t.empty_like(x))
    return tuple(op(x).shape), op(x).device.type


def in_place(t):
    def fill(x):
        x.fill_(7)

    fill.__annotations__ = {"x": t.Tensor, "return": None}
    op = t.library.custom_op("shop::fill", fill, mutates_args={"x"})
    x = t.zeros(2)
    return op(x), x.tolist()


def not_annotated(t):
    t.library.custom_op("shop::bare", lambda x: x, mutates_args=())


def same_tensor(t):
    def same(x):
        return x

    same.__annotations__ = {"x": t.Tensor, "return": t.Tensor}
    return t.library.custom_op("shop::same", same, mutates_args=())(t.ones(1))


def by_schema(t):
    library = t.library.Library("schemas", "DEF")
    library.define("plus(Tensor x, int n) -> Tensor")
    library.impl("plus", lambda x, n: x + n, "CPU")
    t.library.define("schemas::thrice", "(Tensor x) -> Tensor")
    t.library.impl("schemas::thrice", "cpu", lambda x: x * 3)
    x = t.ones(2)
    made = t.ops.schemas.plus(x, 2).tolist(), t.ops.schemas.thrice(x).tolist()
    with pytest.raises(RuntimeError):
        library.define("plus(Tensor x, int n) -> Tensor")
    return made


def unknown(t):
    scaled(t)
    return t.ops.shop.nothing


CASES = [
    *(forms, without_gradient, with_gradient, shapes, in_place),
    *(not_annotated, same_tensor, by_schema, unknown),
]


@pytest.mark.parametrize("case", CASES)
def test_ops_of_ones_own(case) -> None:
    made = []
    for library in (funtorch, torch):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                made.append(case(library))
            except Exception as error:
                made.append(type(error))
    assert made[0] == made[1]
