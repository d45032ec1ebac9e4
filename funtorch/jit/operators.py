"""What TorchScript's operators are here: a table, and beyond it the declared ops by name.

Nothing else can be reached: no file, no module of Python, no attribute of an object.
"""

from __future__ import annotations

import functools
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

import funtorch
from funtorch import dtypes
from funtorch.nn import functional as F
from funtorch.nn.module import Module
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor

# What code may not read or write of a module: the machinery, as opposed to what it was saved with.
HIDDEN = frozenset({*vars(Module()), *dir(Module), "_machine", "_qualified"}) - {"training"}
_CREATION = frozenset(
    f"{n}{rest}"
    for n in ("zeros", "ones", "full", "empty", "rand", "randn")
    for rest in ("", "_like")
) | {"arange", "tensor", "eye", "linspace", "as_tensor", "scalar_tensor", "randint", "randperm"}
# PyTorch's numbers of types (c10/core/ScalarType.h).
_KINDS = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32",
    7: "float64", 9: "complex64", 10: "complex128", 11: "bool", 15: "bfloat16",
}  # fmt: skip


def kind(number: int) -> dtypes.dtype:
    found: dtypes.dtype = getattr(funtorch, _KINDS[number])
    return found


def _convolution(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int, *rest: Any,
) -> Any:  # fmt: skip
    name = f"conv{'_transpose' if transposed else ''}{weight.ndim - 2}d"
    if transposed:
        return getattr(F, name)(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return getattr(F, name)(x, weight, bias, stride, padding, dilation, groups)


def _pooled(name: str) -> Callable[..., Any]:
    def pool(x: Any, size: Any, stride: Any = None, *rest: Any, **named: Any) -> Any:
        return getattr(F, name)(x, size, stride or None, *rest, **named)

    return pool


def _either(plain: Callable[..., Any], name: str) -> Callable[..., Any]:
    """An operator on numbers and lists, and on tensors the op of that name."""

    def call(*args: Any, **named: Any) -> Any:
        if named or any(isinstance(a, Tensor) for a in args):
            return TABLE[name].facade(*args, **named)
        return plain(*args)

    return call


def _raised(message: str, kind: str = "") -> Any:
    raise {"builtins.ValueError": ValueError, "builtins.IndexError": IndexError}.get(
        kind, RuntimeError
    )(message)


def _size(x: Any, dim: int | None = None) -> Any:
    return list(x.shape) if dim is None else x.shape[dim]


def _set_item(items: Any, key: Any, value: Any) -> Any:
    items[key] = value
    return items


def _sliced(x: Any, *args: Any) -> Any:
    if isinstance(x, Tensor):
        return TABLE["slice"].facade(x, *args)
    return x[slice(*args)]


def _reduction(loss: Callable[..., Any], *names: str) -> Callable[..., Any]:
    """A loss whose arguments come by position under these names; the reduction is a number."""

    def call(x: Any, target: Any, *args: Any, **named: Any) -> Any:
        given = {**dict(zip(names, args, strict=False)), **named}
        if "reduction" in given:
            given["reduction"] = ("none", "mean", "sum")[given["reduction"]]
        return loss(x, target, **given)

    return call


def _upsampled(mode: str) -> Callable[..., Any]:
    def call(x: Any, size: Any, *args: Any) -> Any:
        corners = None if mode == "nearest" else args[0]
        scale = args[-1] if args and isinstance(args[-1], list) else None
        size = None if scale else size
        return F.interpolate(x, size, scale, mode=mode, align_corners=corners)

    return call


def _recurrent(kind: str, **options: Any) -> Callable[..., Any]:
    """`torch.lstm` and its kin: the layer of that kind, called with the given weights."""

    def call(x: Any, start: Any, weights: Any, bias: bool, layers: int, dropout: float,
             train: bool, two_ways: bool, batch_first: bool) -> Any:  # fmt: skip
        sizes = weights[0].shape[1], weights[1].shape[1]
        layer = getattr(funtorch.nn, kind)(
            *sizes, layers, bias=bias, batch_first=batch_first, dropout=dropout,
            bidirectional=two_ways, device="meta", **options,
        ).train(train)  # fmt: skip
        named = dict(zip(dict(layer.named_parameters()), weights, strict=True))
        state = tuple(start) if isinstance(start, list) else start
        out, last = funtorch.func.functional_call(layer, named, (x, state))
        return (out, *last) if isinstance(last, tuple) else (out, last)

    return call


def _bag(weight: Any, index: Any, offsets: Any, scaled: bool, mode: int, sparse: bool,
         per_sample: Any, include: bool, padding: Any = None) -> Any:  # fmt: skip
    kinds = ("sum", "mean", "max")
    out = F.embedding_bag(
        index, weight, offsets, mode=kinds[mode], per_sample_weights=per_sample,
        include_last_offset=include, padding_idx=padding,
    )  # fmt: skip
    return out, None, None, None


def _attention(query: Any, key: Any, value: Any, width: int, heads: int, *rest: Any) -> Any:
    """`torch._native_multi_head_attention`: [batch, length, width], as inference calls it."""
    weight, bias, out_weight, out_bias, mask, need, average, kind_of_mask, *_ = (*rest, *[None] * 8)
    padding = mask if kind_of_mask == 1 else None
    out, weights = F.multi_head_attention_forward(
        query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1), width, heads, weight,
        bias, None, None, False, 0.0, out_weight, out_bias, training=False,
        key_padding_mask=padding, attn_mask=None if kind_of_mask == 1 else mask,
        need_weights=bool(need), average_attn_weights=average is not False,
    )  # fmt: skip
    return out.transpose(0, 1), weights


def _encoder(
    x: Any, width: int, heads: int, weight: Any, bias: Any, out_weight: Any, out_bias: Any,
    gelu: bool, first: bool, eps: float, *rest: Any,
) -> Any:  # fmt: skip
    """`torch._transformer_encoder_layer_fwd`."""
    scale1, shift1, scale2, shift2, up, up_bias, down, down_bias, mask, kind_of_mask, *_ = (
        *rest, None, None,
    )  # fmt: skip

    def attended(y: Any) -> Any:
        given = weight, bias, out_weight, out_bias, mask, False, True, kind_of_mask
        return _attention(y, y, y, width, heads, *given)[0]

    def forward(y: Any) -> Any:
        return F.linear((F.gelu if gelu else F.relu)(F.linear(y, up, up_bias)), down, down_bias)

    def normal(y: Any, scale: Any, shift: Any) -> Any:
        return F.layer_norm(y, (width,), scale, shift, eps)

    if first:
        x = x + attended(normal(x, scale1, shift1))
        return x + forward(normal(x, scale2, shift2))
    x = normal(x + attended(x), scale1, shift1)
    return normal(x + forward(x), scale2, shift2)


_LOSSES = {
    "mse_loss": ("reduction",), "l1_loss": ("reduction",), "soft_margin_loss": ("reduction",),
    "multilabel_margin_loss": ("reduction",), "kl_div": ("reduction",),
    "huber_loss": ("reduction", "delta"), "smooth_l1_loss": ("reduction", "beta"),
    "binary_cross_entropy": ("weight", "reduction"),
    "binary_cross_entropy_with_logits": ("weight", "pos_weight", "reduction"),
    "poisson_nll_loss": ("log_input", "full", "eps", "reduction"),
    "hinge_embedding_loss": ("margin", "reduction"),
    "margin_ranking_loss": ("target", "margin", "reduction"),
    "cosine_embedding_loss": ("target", "margin", "reduction"),
    "multi_margin_loss": ("p", "margin", "weight", "reduction"),
    "triplet_margin_loss": ("negative", "margin", "p", "eps", "swap", "reduction"),
}  # fmt: skip

_NUMBERS = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "floordiv": operator.floordiv, "remainder": operator.mod, "pow": operator.pow,
    "neg": operator.neg, "lt": operator.lt, "le": operator.le, "gt": operator.gt,
    "ge": operator.ge, "eq": operator.eq, "ne": operator.ne, "floor": math.floor,
    "ceil": math.ceil, "sqrt": math.sqrt, "exp": math.exp, "log": math.log,
}  # fmt: skip

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: _either(plain, name) for name, plain in _NUMBERS.items()},
    **{f"{kind}_pool{n}d": _pooled(f"{kind}_pool{n}d") for kind in ("max", "avg") for n in (1, 2, 3)},
    "any": _either(any, "any"), "all": _either(all, "all"),
    "__is__": operator.is_, "__isnot__": operator.is_not, "__not__": operator.not_,
    "__contains__": operator.contains, "__getitem__": operator.getitem, "_set_item": _set_item,
    "__and__": _either(operator.and_, "bitwise_and"), "__or__": _either(operator.or_, "bitwise_or"),
    "len": len, "dim": lambda x: x.ndim, "size": _size, "numel": lambda x: x.numel(),
    "format": lambda text, *args: _formatted(text, *args), "append": lambda items, x: items.append(x),
    "_convolution": _convolution, "item": lambda x: x.item(), "list": list, "str": str,
    "batch_norm": lambda x, w, b, mean, var, train, momentum, eps, *_: F.batch_norm(
        x, mean, var, w, b, train, momentum, eps
    ),
    "layer_norm": lambda x, shape, w=None, b=None, eps=1e-5, *_: F.layer_norm(x, shape, w, b, eps),
    "group_norm": lambda x, groups, w=None, b=None, eps=1e-5, *_: F.group_norm(x, groups, w, b, eps),
    "embedding": lambda weight, index, *_: F.embedding(index, weight),
    "instance_norm": lambda x, w, b, mean, var, use, momentum, eps, *_: F.instance_norm(
        x, mean, var, w, b, use, momentum, eps
    ),
    **{
        f"adaptive_max_pool{n}d": functools.partial(
            getattr(F, f"adaptive_max_pool{n}d"), return_indices=True
        )
        for n in (1, 2, 3)
    },
    **{f"upsample_{m}{n}": _upsampled(m) for m, n in (
        ("nearest", "1d"), ("nearest", "2d"), ("nearest", "3d"), ("linear", "1d"),
        ("bilinear", "2d"), ("trilinear", "3d"), ("bicubic", "2d"),
    )},
    "cross_entropy_loss": _reduction(
        F.cross_entropy, "weight", "reduction", "ignore_index", "label_smoothing"
    ),
    "nll_loss_nd": _reduction(F.nll_loss, "weight", "reduction", "ignore_index"),
    **{name: _reduction(getattr(F, name), *names) for name, names in _LOSSES.items()},
    "_native_multi_head_attention": _attention, "_transformer_encoder_layer_fwd": _encoder,
    "is_autocast_enabled": lambda *_: funtorch.is_autocast_enabled(),
    "log_sigmoid": F.logsigmoid, "embedding_bag": _bag, "slice": _sliced,
    "lstm": _recurrent("LSTM"), "gru": _recurrent("GRU"), "rnn_tanh": _recurrent("RNN"),
    "rnn_relu": _recurrent("RNN", nonlinearity="relu"),
    "warn": lambda text, *_: warnings.warn(text, stacklevel=2),
    "__range_length": lambda first, last, step: len(range(first, last, step)),
    "__derive_index": lambda index, first, step: first + index * step,
    "alpha_dropout": F.alpha_dropout, "device": funtorch.device,
}  # fmt: skip

PRIMITIVES: dict[str, Callable[..., Any]] = {
    "RaiseException": _raised, "NumToTensor": lambda n: funtorch.tensor(n), "min": min, "max": max,
    "dtype": lambda x: x.dtype, "device": lambda x: x.device, "data": lambda x: x.detach(),
    "is_cuda": lambda x: x.is_cuda, "unchecked_cast": lambda x: x,
    "is_nested": lambda x: x.is_nested, "type": lambda where: where.type,
}  # fmt: skip

PLAIN: dict[str, Callable[..., Any]] = {
    "int": int, "float": float, "bool": bool, "str": str, "range": range,
    "getattr": lambda held, name: _member(held, name),
}  # fmt: skip


def op(name: str) -> Callable[..., Any]:
    """The function behind `torch.<name>`: an op, and nothing else. KeyError if there is none."""
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]
    if name in TABLE and not name.endswith("_loss"):
        return TABLE[name].facade
    if name in _CREATION:
        return getattr(funtorch, name)  # type: ignore[no-any-return]
    if not name.startswith("_") and not name.endswith("_loss"):  # whose reductions are numbers
        for place in (F, Tensor):
            if callable(found := vars(place).get(name)) and not isinstance(found, type):
                return found  # type: ignore[no-any-return]
    raise KeyError(name)


def _member(held: Any, name: str) -> Any:
    """`getattr` on modules, for what they hold."""
    if not isinstance(held, Module) or name in HIDDEN:
        raise KeyError(name)
    return getattr(held, name)


def _formatted(text: str, *args: Any) -> str:
    """Braces replaced one after another; nothing else is a format."""
    for item in args:
        text = text.replace("{}", str(item), 1)
    return text
