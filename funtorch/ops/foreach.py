"""torch._foreach_*: one op on every tensor of a list, as optimisers outside PyTorch write it.

Recording an op costs the same alone or in a list, and XLA sees one program either way, so each is
what it says: the method of every tensor, with the operands that belong to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funtorch.ops._declare import TABLE, composite
from funtorch.tensor import Tensor, size_of

UNARY = """abs acos asin atan ceil cos cosh erf erfc exp expm1 floor frac lgamma log log10 log1p log2
    neg reciprocal round rsqrt sigmoid sign sin sinh sqrt tan tanh trunc""".split()  # noqa: SIM905

METHODS = {
    "add": "add",
    "addcdiv": "addcdiv",
    "addcmul": "addcmul",
    "clamp_max": "clamp_max",
    "clamp_min": "clamp_min",
    "div": "div",
    "lerp": "lerp",
    "maximum": "clamp_min",
    "minimum": "clamp_max",
    "mul": "mul",
    "pow": "pow",
    "sub": "sub",
    **{name: name for name in UNARY},
}
"""The method of Tensor that an op is, elsewhere too (`add_`)."""

KEYWORDS = """other scalar exponent tensor1 tensor2 tensors1 weights weight value src mat2
    scalars""".split()  # noqa: SIM905
"""Operands by the names that PyTorch gives them, in the order in which they stand."""

Tensors = Sequence[Tensor]
Call = Callable[..., Tensor]


def _operands(self: Tensors, given: tuple[Any, ...], options: dict[str, Any]) -> list[list[Any]]:
    """Each operand as one value per tensor. Takes those given by name out of `options`."""
    if not isinstance(self, list | tuple) or not all(isinstance(t, Tensor) for t in self):
        raise TypeError(f"expected a list of tensors, got {type(self).__name__}")
    if not self:
        raise RuntimeError("Tensor list must have at least one tensor.")
    named = [options.pop(name) for name in KEYWORDS if name in options]
    return [_spread(operand, len(self)) for operand in (*given, *named)]


def _spread(operand: Any, count: int) -> list[Any]:
    if isinstance(operand, list | tuple):
        if len(operand) != count:
            raise RuntimeError(
                f"Tensor lists must have the same number of tensors, got {count} and {len(operand)}"
            )
        return list(operand)
    if isinstance(operand, Tensor) and size_of(operand) != ():
        raise RuntimeError(
            f"scalar tensor expected to be 0 dim but it has {operand.ndim} dimensions and "
            f"{operand.numel()} elements."
        )
    return [operand] * count


def _each(call: Call) -> Callable[..., tuple[Tensor, ...]]:
    def body(self: Tensors, *operands: Any, **options: Any) -> tuple[Tensor, ...]:
        columns = _operands(self, operands, options)
        return tuple(call(t, *row, **options) for t, *row in zip(self, *columns, strict=True))

    return body


def _each_in_place(call: Call) -> Callable[..., Tensors]:
    changed = _each(call)

    def body(self: Tensors, *operands: Any, **options: Any) -> Tensors:
        changed(self, *operands, **options)
        return self

    return body


def _method(name: str) -> Call:
    """The method; what `addcmul` and `addcdiv` call `value` is an operand here."""
    if name.startswith("addc"):
        return lambda t, tensor1, tensor2, value=1: getattr(t, name)(tensor1, tensor2, value=value)
    return lambda t, *operands, **options: getattr(t, name)(*operands, **options)


def _read(body: Callable[..., Any]) -> Callable[..., Any]:
    """With numbers for a tensor of scalars, which is read on the host, as in PyTorch."""

    def reading(self: Tensors, *operands: Any, **options: Any) -> Any:
        operands = tuple(x.tolist() if isinstance(x, Tensor) else x for x in operands)
        options = {k: x.tolist() if isinstance(x, Tensor) else x for k, x in options.items()}
        return body(self, *operands, **options)

    return reading


def _with_base(body: Callable[..., Any]) -> Callable[..., Any]:
    """`pow`, which also takes one number for all bases."""

    def powers(self: Any, exponent: Any) -> Any:
        if isinstance(self, list | tuple):
            return body(self, exponent)
        return tuple(TABLE["pow"].facade(self, each) for each in exponent)

    return powers


def _norm(self: Tensors, ord: Any = 2, dtype: Any = None) -> tuple[Tensor, ...]:
    """Each tensor's norm, as a number."""
    norm = TABLE["linalg_vector_norm"].facade
    return _each(lambda t: norm(t, ord, dtype=dtype))(self)


def _powsum(self: Tensors, ord: Any = 2, dtype: Any = None) -> tuple[Tensor, ...]:
    """The sum of each tensor's absolute values to a power."""
    return _each(lambda t: t.abs().pow(ord).sum(dtype=dtype))(self)


def _copied(self: Tensors, src: Tensors, non_blocking: bool = False) -> Tensors:
    """Writes the other list's elements."""
    if not isinstance(src, list | tuple) or not isinstance(non_blocking, bool | int):
        raise TypeError(
            "_foreach_copy_(self, src, non_blocking): src is a list, non_blocking a bool"
        )
    return _each_in_place(lambda t, other: t.copy_(other))(self, src)


_WRAPPED = {"addcdiv": _read, "addcmul": _read, "pow": _with_base}

for _name, _as in METHODS.items():
    _wrapped = _WRAPPED.get(_name, lambda body: body)
    composite(name=f"_foreach_{_name}")(_wrapped(_each(_method(_as))))
    composite(name=f"_foreach_{_name}_")(_wrapped(_each_in_place(_method(f"{_as}_"))))
composite(name="_foreach_clone")(_each(lambda t, **options: t.clone(**options)))
composite(name="_foreach_max")(_each(lambda t: t.max()))
composite(name="_foreach_mm")(_each(_method("mm")))
composite(name="_foreach_zero_")(_each_in_place(lambda t: t.zero_()))
composite(name="_foreach_copy_")(_copied)
composite(name="_foreach_norm")(_norm)
composite(name="_foreach_powsum")(_powsum)
