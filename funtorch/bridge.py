"""JAX's side of the house: modules as pure JAX functions, JAX functions as ops, Tensors in jnp.

pure, params = funtorch.to_jax(module)
grads = jax.grad(lambda p: pure(p, x).sum())(params)
y = funtorch.from_jax(jnp.sinc)(tensor)
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from funtorch import dtypes
from funtorch.dispatch import read
from funtorch.func.pure import is_leaf, record_pure, tree
from funtorch.func.stateful import Pure, concrete, module_state, plain_state, purify
from funtorch.grad_mode import no_grad
from funtorch.lowering import Value, aval_of
from funtorch.lowering.x64 import x64
from funtorch.tensor import Tensor, from_host, wrap

_KEY = np.zeros(2, np.uint32)


def as_jax(tensor: Tensor, *_: Any) -> jax.Array:
    """The tensor's elements as a jax.Array, without a copy. Executes what is pending."""
    value = read(tensor)
    array = value.concrete()
    value.pinned = True  # somebody outside holds the buffer now
    return array


def as_tensor(array: Any) -> Tensor:
    """A tensor with the elements of a jax.Array (shared) or of anything NumPy understands."""
    if not isinstance(array, jax.Array):
        return from_host(np.asarray(array))
    if isinstance(array, jax.core.Tracer):
        raise TypeError("a JAX tracer has no elements: use funtorch.to_jax inside JAX transforms")
    dtypes.of(array.dtype)
    (place,) = array.devices()
    value = Value(aval_of(array.shape, array.dtype, place), array)
    value.pinned = True
    return wrap(value)


Tensor.__jax_array__ = as_jax  # type: ignore[attr-defined]


class PureModule:
    """`pure(params, *args, buffers=None, rng=None, mutable=False, **kwargs)`: a module for JAX.

    buffers: name -> array instead of `pure.buffers`. rng: uint32 [2] or a JAX key, needed where the
    module draws random numbers. mutable: return (output, new buffers) instead of output.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        kept, self.aliases = plain_state(module_state(module))
        parameters = dict(module.named_parameters(remove_duplicate=False))
        self.names = tuple(kept)
        self.buffers = {n: _own(as_jax(t.detach())) for n, t in kept.items() if n not in parameters}
        self._memo: dict[Any, Pure] = {}

    def __call__(
        self,
        params: Mapping[str, Any],
        *args: Any,
        buffers: Mapping[str, Any] | None = None,
        rng: Any = None,
        mutable: bool = False,
        **kwargs: Any,
    ) -> Any:
        state = {**self.buffers, **(buffers or {}), **params}
        missing = [name for name in self.names if name not in state]
        if missing or len(state) != len(self.names):
            unknown = sorted(set(state) - set(self.names))
            raise KeyError(f"parameters missing: {missing}, unknown: {unknown}")
        leaves, structure = tree.tree_flatten((args, kwargs))
        arrays = [leaf for leaf in leaves if _is_array(leaf)]
        pure = self._traced(leaves, structure, arrays)
        if pure.draws and rng is None:
            raise RuntimeError(
                f"{type(self.module).__name__} draws random numbers: pass rng=, a JAX key or "
                "uint32 [2]"
            )
        own = [state[n] for n in pure.names]
        with _width([*own, *arrays]) as fitted:
            consts = [fitted(c) for c in concrete(pure.constants)]
            outs = pure([fitted(x) for x in own], _words(rng), [*map(fitted, arrays)], consts)
        result = pure.rebuild(outs[: pure.n_outputs])
        if not mutable:
            return result
        news = dict(state)
        end = pure.n_outputs + len(pure.changed)
        for index, new in zip(pure.changed, outs[pure.n_outputs : end], strict=True):
            news[pure.names[index]] = new
        return result, {n: news[n] for n in self.buffers}

    def _traced(self, leaves: list[Any], structure: Any, arrays: list[Any]) -> Pure:
        kinds = [(tuple(np.shape(a)), np.dtype(a.dtype)) for a in arrays]
        fixed = tuple(None if _is_array(leaf) else leaf for leaf in leaves)
        modes = tuple(m.training for m in self.module.modules())
        memo_key = (structure, fixed, tuple(kinds), modes)
        found = self._memo.get(memo_key)
        if found is None:
            place = next((t._value.aval.place for t in self.module.parameters()), jax.devices()[0])
            avals = [aval_of(shape, dtype, place) for shape, dtype in kinds]
            fill = iter(avals)
            full = [wrap(Value(next(fill))) if _is_array(x) else x for x in leaves]
            args, kwargs = tree.tree_unflatten(structure, full)
            with no_grad():
                found = purify(self.module, args, kwargs, module_state(self.module), avals=avals)
            self._memo[memo_key] = found
        return found


@contextlib.contextmanager
def in_mode(module: Any, training: bool) -> Iterator[None]:
    """The module within in this mode. One that is in training keeps the modes of its submodules."""
    before = [(m, m.training) for m in module.modules()]
    if not (training and module.training):
        module.train(training)
    try:
        yield
    finally:
        for m, flag in before:
            m.training = flag


def to_jax(module: Any) -> tuple[PureModule, dict[str, jax.Array]]:
    """(pure function, parameters by name) of a module, for jax.jit, jax.grad, jax.vmap, optax.

    The pure function has the module's present training mode and buffers; see PureModule.
    """
    kept, _ = plain_state(dict(module.named_parameters(remove_duplicate=False)))
    return PureModule(module), {name: as_jax(p.detach()) for name, p in kept.items()}


@contextlib.contextmanager
def _width(arrays: Sequence[Any]) -> Iterator[Callable[[Any], Any]]:
    """The width in which a program becomes part of somebody's JAX program.

    Where 64-bit types are off, integers are 32 bits wide there, as they are in all of JAX: a program
    of both widths could not be lowered. Doubles among the arrays switch them on within.
    """
    if jax.config.jax_enable_x64 or any(a.dtype.name in ("float64", "complex128") for a in arrays):
        with x64():
            yield lambda array: array
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Explicitly requested dtype")
        yield _narrowed


def _own(array: Any) -> Any:
    """A buffer as JAX holds it at its present width."""
    return array if jax.config.jax_enable_x64 else _narrowed(array)


def _narrowed(array: Any) -> Any:
    narrow = {"int64": np.int32, "uint64": np.uint32, "float64": np.float32}
    kind = narrow.get(array.dtype.name)
    return array if kind is None else array.astype(kind)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | Tensor)


def _words(rng: Any) -> Any:
    if rng is None:
        return _KEY
    if jax.dtypes.issubdtype(rng.dtype, jax.dtypes.prng_key):
        rng = jax.random.key_data(rng)
    return rng.reshape(-1)[-2:]


_serial = itertools.count()
_WIDE = ("int64", "uint64", "float64", "complex128")


def from_jax(function: Callable[..., Any]) -> Callable[..., Any]:
    """A JAX function as a differentiable op on Tensors.

    Arrays and Tensors anywhere in the arguments become the op's inputs; everything else must be
    hashable and stays as it is. Outputs are Tensors in the structure that the function returns.
    """
    serial = next(_serial)
    structures: dict[Any, Any] = {}

    @functools.wraps(function)
    def op(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.tree_flatten((args, kwargs), is_leaf=is_leaf)
        tensors = [
            leaf if isinstance(leaf, Tensor) else as_tensor(leaf)
            for leaf in leaves
            if _is_array(leaf)
        ]
        fixed = tuple(None if _is_array(leaf) else leaf for leaf in leaves)
        avals = tuple(read(t).aval for t in tensors)
        key = (serial, structure, fixed)
        # 64-bit types only where the inputs have them: jnp.zeros(3) is float32 in a user's JAX.
        wide = jax.config.jax_enable_x64 or any(a.dtype.name in _WIDE for a in avals)

        def pure(arrays: Any) -> list[Any]:
            fill = iter(arrays)
            full = [next(fill) if _is_array(leaf) else f for leaf, f in zip(leaves, fixed)]
            own_args, own_kwargs = tree.tree_unflatten(structure, full)
            with jax.enable_x64(wide):
                outs, out_tree = tree.tree_flatten(function(*own_args, **own_kwargs))
            structures[key, avals] = out_tree
            return outs

        if not tensors:
            with x64():
                outs = [as_tensor(a) for a in pure([])]
        else:
            outs = record_pure(f"from_jax_{serial}", key, pure, tensors)
        return tree.tree_unflatten(structures[key, avals], outs)

    return op


__all__ = ["from_jax", "to_jax"]
