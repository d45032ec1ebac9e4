"""Declaring an op: one decorated function, from which everything else follows.

    @op("method", "inplace", promote="float", saves=("result",))
    def exp(self: Array) -> Array:
        \"\"\"e to the power of each element. self: [...] -> [...]\"\"\"
        return jnp.exp(self)

The body is the lowering; JAX derives the gradient from it; the arguments of the decorator say which
forms exist. `TABLE` holds every declaration, and `_surface` binds it to functions and methods.
"""

from __future__ import annotations

import collections
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from funtorch import dtypes
from funtorch.dispatch import OpInfo, call, lay_out
from funtorch.lowering import Op
from funtorch.ops._bounds import Index
from funtorch.ops._promote import TracedScalar
from funtorch.ops._signature import Signature
from funtorch.ops._single import correctly_rounded
from funtorch.overrides import overridable, override, overriding, watch
from funtorch.tensor import Tensor, size_of

Array = jax.Array
Scalar = complex  # a Python number, or a traced 0-d array once it varies from step to step
Dtype = Any

OUT_RULES = ("cast", "cast all", "rounded", "exact", "any", "dtype", "cast apart", "exact apart")
"""What `out=` may be: of any dtype that the result can be cast to ('all': several results too, which
else are 'exact'); of the result's dtype exactly; of any; of any, which then is the dtype of the
computation ('dtype'). 'apart': not in the memory of an input. 'rounded' is 'cast' for functions that
XLA approximates in single precision to a few units in the last place only: an `out` that shows more
digits gets the correctly rounded result, from which PyTorch's differs by one unit at most."""

Order = Callable[[int, int, Sequence[Any]], Sequence[int] | None]
"""(index of the output, its number of dimensions, the call's arguments) -> its dimensions from the
slowest to the fastest in memory, or None for C order. Strides are all it decides."""

FORMS = ("function", "method", "inplace", "functional", "special", "linalg", "fft")


Writer = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""(facade, args, kwargs with `out`) -> the result, written there."""


class Declaration:
    """Everything that was said about one op or composite.

    facade: what the method is. form(writer): the same as a function that takes `out=`. single: the
    same with PyTorch's last bits in single precision, for an `out=` that shows them.
    """

    def __init__(
        self,
        name: str,
        facade: Callable[..., Any],
        forms: set[str],
        aliases: tuple[str, ...],
        composite: bool,
        out: str,
        form: Callable[[Writer], Callable[..., Any]],
        single: Callable[..., Any] | None = None,
    ) -> None:
        self.name = name
        self.facade = facade
        self.form = form
        self.forms = forms
        self.aliases = aliases
        self.composite = composite
        self.out = out
        self.single = single


TABLE: dict[str, Declaration] = {}


def _declare(declaration: Declaration) -> None:
    if declaration.name in TABLE:
        raise ValueError(f"op {declaration.name!r} is declared twice")
    if declaration.out not in OUT_RULES:
        raise ValueError(f"op {declaration.name!r}: out= is one of {OUT_RULES}")
    TABLE[declaration.name] = declaration


def _forms(name: str, forms: tuple[str, ...], function: bool) -> set[str]:
    unknown = set(forms) - set(FORMS)
    if unknown:
        raise ValueError(f"op {name!r}: unknown forms {sorted(unknown)}")
    return set(forms) | ({"function"} if function else set())


def op(
    *forms: str,
    name: str | None = None,
    aliases: tuple[str, ...] = (),
    promote: str | None = None,
    saves: Sequence[str] | None = None,
    grad_name: str | None = None,
    differentiable: bool = True,
    undefined: bool = False,
    layout: str | None = None,
    returns: str | None = None,
    varargs: str | None = None,
    function: bool = True,
    residuals: bool = False,
    out: str | None = None,
    check: Callable[..., None] | None = None,
    order: Order | None = None,
    index: Index | None = None,
    single: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare an op; see the module's docstring and CONTRIBUTING for what each argument means."""

    def decorate(body: Callable[..., Any]) -> Callable[..., Any]:
        own_name = name or body.__name__
        signature = Signature(own_name.lstrip("_"), body, varargs)

        def info_of(lower: Callable[..., Any]) -> OpInfo:
            return OpInfo(
                Op(own_name, lower, residuals=residuals, label=own_name.lstrip("_")),
                saves=_saves(signature, saves),
                grad_name=grad_name,
                differentiable=differentiable,
                pointwise=layout == "pointwise",
                undefined=undefined,
            )

        info = info_of(_lowering(signature, body, promote, check))
        many = str(body.__annotations__.get("return", "")).startswith(("tuple", "list"))
        result_type = _result_type(own_name, returns)
        within = None if index is None else index.checker(signature)

        def form(writer: Writer | None, info: OpInfo = info) -> Callable[..., Any]:
            made = _facade(
                info, signature, promote, result_type, many, order, writer, check, within
            )
            functools.update_wrapper(made, body)
            made.__name__ = made.__qualname__ = own_name
            made.lower = body  # type: ignore[attr-defined]
            made.info = info  # type: ignore[attr-defined]
            made.signature = signature  # type: ignore[attr-defined]
            made.promote = promote  # type: ignore[attr-defined]
            return made

        facade = form(None)
        allowed = _forms(own_name, forms, function)
        rule = out or ("cast" if layout == "pointwise" and promote else "exact")
        exact = None
        if single is not None:
            lower = correctly_rounded(_lowering(signature, single, promote, check))
            exact = form(None, info_of(lower))
        _declare(Declaration(own_name, facade, allowed, aliases, False, rule, form, exact))
        return facade

    return decorate


def composite(
    *forms: str,
    name: str | None = None,
    aliases: tuple[str, ...] = (),
    function: bool = True,
    out: str = "exact",
    autocast: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a function of tensors that is written with other ops; the same forms follow.

    autocast: it is on autocast's lists itself, not only what it is written with.
    """

    def decorate(body: Callable[..., Any]) -> Callable[..., Any]:
        own_name = name or body.__name__
        body = _cast(body, own_name) if autocast else body
        allowed = _forms(own_name, forms, function)

        code = inspect.unwrap(body).__code__
        parameters = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])

        def named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            _rename(kwargs, parameters)
            return body(*args, **kwargs)

        def form(writer: Writer) -> Callable[..., Any]:
            def written(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                if "out" in kwargs and "out" not in parameters:
                    return writer(facade, args, kwargs)
                return named(args, kwargs)

            return public(written)

        def public(with_keywords: Callable[..., Any]) -> Callable[..., Any]:
            made = overridable(body, with_keywords)
            made.__name__ = made.__qualname__ = own_name.removeprefix("_functional_")
            return made

        facade = public(named)
        _declare(Declaration(own_name, facade, allowed, aliases, True, out, form))
        return facade

    return decorate


def _rename(kwargs: dict[str, Any], parameters: set[str]) -> None:
    """NumPy's and PyTorch's alternative argument names, for composites."""
    for theirs, ours in (
        ("input", "self"),
        ("A", "self"),
        ("axis", "dim"),
        ("keepdims", "keepdim"),
    ):
        if theirs in kwargs and theirs not in parameters and ours in parameters:
            kwargs[ours] = kwargs.pop(theirs)


def _cast(body: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A composite whose tensors come in the precision that autocast wants."""

    @functools.wraps(body)
    def called(*args: Any, **kwargs: Any) -> Any:
        hook = autocast_hook[0]
        if hook is not None:
            cast = iter(hook(name, [t for t in (*args, *kwargs.values()) if is_tensor(t)]))
            args = tuple(next(cast) if is_tensor(x) else x for x in args)
            kwargs = {k: next(cast) if is_tensor(x) else x for k, x in kwargs.items()}
        return body(*args, **kwargs)

    return called


def _lowering(
    signature: Signature,
    body: Callable[..., Any],
    promote: str | None,
    check: Callable[..., None] | None,
) -> Callable[..., tuple[Any, ...]]:
    """The body as the recorder wants it: (arrays, numbers, statics) -> tuple of arrays.

    check: called with the operands as they were before promotion; raises what PyTorch raises.
    """
    keyword = [p.keyword_only for p in signature.parameters]
    names = [p.name for p in signature.parameters]

    def lower(arrays: Sequence[Any], numbers: Sequence[Any], statics: Any) -> tuple[Any, ...]:
        default, statics = (statics[0], statics[1:]) if promote else (None, statics)
        traced = [_traced(n) for n in numbers]
        values = signature.join(statics, arrays, traced)
        if check is not None:
            check(*values)
        if promote:
            dtype = signature.promote(promote, values, default)
        else:
            dtype = arrays[0].dtype if arrays else np.dtype(np.float32)
        values = [_settled(v, dtype) for v in values]
        args = [v for v, k in zip(values, keyword, strict=True) if not k]
        kwargs = {n: v for n, v, k in zip(names, values, keyword, strict=True) if k}
        out = body(*args, **kwargs)
        return tuple(out) if isinstance(out, tuple | list) else (out,)

    return lower


def _traced(number: Any) -> Any:
    if isinstance(number, bool | int | float | complex):
        return number
    kind = {"f": float, "i": int, "c": complex, "b": bool}[number.dtype.kind]
    return TracedScalar(number, kind)


def _settled(value: Any, dtype: Any) -> Any:
    """A traced number that no promotion has cast: floats take the dtype of the computation."""
    if isinstance(value, TracedScalar):
        if value.kind is float and np.dtype(dtype).kind in "fcV":
            return value.array.astype(dtype)
        if value.kind is complex and np.dtype(dtype).kind == "c":
            return value.array.astype(dtype)
        return value.array
    return value


def _saves(
    signature: Signature, names: Sequence[str] | None
) -> Callable[[Any], tuple[tuple[int, ...], bool]] | None:
    if names is None:
        return None
    result = "result" in names
    memo: dict[Any, tuple[tuple[int, ...], bool]] = {}

    def saves(statics: Any) -> tuple[tuple[int, ...], bool]:
        found = memo.get(statics)
        if found is None:
            own = statics[len(statics) - len(signature.parameters) :]
            wanted = [p.name for p in signature.parameters] if result else list(names)
            found = memo[statics] = (signature.saved_inputs(wanted, own), result)
        return found

    return saves


def _result_type(name: str, fields: str | None) -> Any:
    if fields is None:
        return None
    return return_type(name.lstrip("_"), fields)


@functools.cache
def return_type(name: str, fields: str) -> Any:
    """The named tuple class that an op with several outputs returns (`torch.return_types`)."""
    made: Any = collections.namedtuple(name, fields.split())
    made.__module__ = "torch.return_types"
    made.__repr__ = _repr_of_fields
    return made


def _repr_of_fields(result: Any) -> str:
    fields = ",\n".join(f"{n}={v!r}" for n, v in zip(result._fields, result, strict=True))
    return f"torch.return_types.{type(result).__name__}(\n{fields})"


autocast_hook: list[Callable[..., Any] | None] = [None]
"""While an autocast region is open: (op name, tensors) -> tensors. Set by `funtorch.amp`."""


def _facade(
    info: OpInfo,
    signature: Signature,
    promote: str | None,
    result_type: Any,
    many: bool,
    order: Order | None,
    writer: Writer | None,
    check: Callable[..., None] | None,
    within: Callable[[Sequence[Any]], None] | None,
) -> Callable[..., Any]:
    """The function that users call: binds, splits, records, wraps."""
    completions = signature.completions()

    def facade(*args: Any, **kwargs: Any) -> Any:
        if watch.on:
            found = overriding(args, kwargs)
            if found is not None:
                return override(facade, found, args, kwargs)
        if kwargs:
            if writer is not None and "out" in kwargs:
                return writer(facade, args, kwargs)
            signature.rename(kwargs)
        try:
            if kwargs:
                args = tuple(signature.bind(args, kwargs))
            else:
                tail = completions.get(len(args))
                if tail is None:
                    args = tuple(signature.bind(args, kwargs))
                elif tail:
                    args = (*args, *tail)
            statics, tensors, numbers = signature.split(args)
        except TypeError:
            # Perhaps of a type that overrides, met for the first time: the watch was not on.
            found = overriding(args, kwargs)
            if found is None:
                raise
            return override(facade, found, args, kwargs)
        if promote is not None:
            statics = (dtypes._default, *statics)
        if autocast_hook[0] is not None:
            tensors = autocast_hook[0](info.name, tensors)
        if not tensors:
            if check is not None:
                check(*args)
            raise TypeError(f"{signature.name}(): expected at least one Tensor among the arguments")
        outs = call(info, statics, tensors, numbers)
        if within is not None:
            within(args)
        if order is not None:
            for index, out in enumerate(outs):
                lay_out(out, order(index, len(size_of(out)), args))
        if not many:
            return outs[0]
        return tuple(outs) if result_type is None else result_type(*outs)

    return facade


def is_tensor(value: Any) -> bool:
    """Is this a funtorch tensor?"""
    return isinstance(value, Tensor)
