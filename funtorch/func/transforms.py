"""The transforms: JAX's, applied to the pure function that tracing a user's function yields."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from funtorch.dispatch import read
from funtorch.func.pure import (
    Traced,
    aval_without,
    is_leaf,
    record_pure,
    split,
    trace,
    tree,
)
from funtorch.ops._draw import fresh_key
from funtorch.ops.keyed import _key_split
from funtorch.random_mode import randomness_within
from funtorch.tensor import Tensor, dtype_of, size_of


def _flip(x: Any) -> Any:
    return jnp.conj(x) if jnp.iscomplexobj(x) else x


def _traced(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Traced, list[Tensor]]:
    tensors, spec = split(args, kwargs)
    if not tensors:
        raise RuntimeError("a function under transformation needs at least one Tensor argument")
    return trace(function, [read(t).aval for t in tensors], spec), tensors


def _positions(args: tuple[Any, ...], argnums: Any) -> tuple[list[int], Any, bool]:
    """(indices of the tensor leaves of the chosen arguments, their structure, one argument?)."""
    single = isinstance(argnums, int)
    chosen = (argnums,) if single else tuple(argnums)
    for number in chosen:
        if not -len(args) <= number < len(args):
            raise RuntimeError(f"got argnum={number}, but only {len(args)} positional inputs")
    chosen = tuple(n % len(args) for n in chosen)
    where: list[list[int]] = []
    count = 0
    for arg in args:
        n = sum(isinstance(leaf, Tensor) for leaf in tree.tree_leaves(arg, is_leaf=is_leaf))
        where.append(list(range(count, count + n)))
        count += n
    indices = [i for n in chosen for i in where[n]]
    wanted = args[chosen[0]] if single else tuple(args[n] for n in chosen)
    return indices, tree.tree_structure(wanted, is_leaf=is_leaf), single


def _varying(
    traced: Traced, arrays: Sequence[Any], n_inputs: int, indices: Sequence[int]
) -> Callable[..., list[Any]]:
    """The pure function of the inputs at `indices` alone."""
    fixed, closed = list(arrays[:n_inputs]), list(arrays[n_inputs:])

    def function(*varying: Any) -> list[Any]:
        full = list(fixed)
        for i, x in zip(indices, varying, strict=True):
            full[i] = x
        return traced(full, closed)

    return function


# Reverse mode --------------------------------------------------------------------------------


def grad_and_value(
    func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives (gradients, value) of a scalar function; with aux ((value, aux))."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        traced, tensors = _traced(func, args, kwargs)
        indices, structure, _ = _positions(args, argnums)
        _check_scalar(traced, has_aux)
        n = len(tensors)

        def pure(arrays: Sequence[Any]) -> list[Any]:
            inner = _varying(traced, arrays, n, indices)

            def scalar(*varying: Any) -> tuple[Any, list[Any]]:
                outs = inner(*varying)
                return outs[0], outs[1:]

            chosen = [arrays[i] for i in indices]
            (value, aux), grads = jax.value_and_grad(
                scalar, tuple(range(len(indices))), has_aux=True
            )(*chosen)
            return [*map(_flip, grads), value, *aux]

        key = (traced.captured.key, tuple(indices))
        outs = record_pure("func_grad", key, pure, [*tensors, *traced.closed_over])
        grads = tree.tree_unflatten(structure, outs[: len(indices)])
        return grads, traced.rebuild(outs[len(indices) :])

    return wrapper


def _check_scalar(traced: Traced, has_aux: bool) -> None:
    avals = traced.captured.program.output_avals()
    if has_aux and (traced.out_tree.num_leaves < 1 or traced.out_tree.num_nodes < 2):
        raise RuntimeError(
            "grad_and_value(f)(*args): output of function f should be a tuple: (output, aux) if "
            "has_aux is True"
        )
    if not avals or (not has_aux and traced.out_tree.num_leaves != 1):
        raise RuntimeError(
            "Expected f(*args) to return a single tensor, got several outputs or none; for "
            "f(*args) that returns (output, aux) use has_aux=True"
        )
    if avals[0].shape != ():
        raise RuntimeError(
            "Expected f(*args) to return a scalar tensor, got tensor with "
            f"{len(avals[0].shape)} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
        )


def grad(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of a scalar function; with aux (gradient, aux)."""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        grads, value = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return wrapper


def _forward(traced: Traced, tensors: Sequence[Tensor]) -> Any:
    """Record the traced function itself; returns the user's output."""
    n = len(tensors)
    outs = record_pure(
        "func_call",
        traced.captured.key,
        lambda arrays: traced(arrays[:n], arrays[n:]),
        [*tensors, *traced.closed_over],
    )
    return traced.rebuild(outs)


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(output, function from cotangents to gradients of the primals); with aux a third."""
    traced, tensors = _traced(func, primals, {})
    result = _forward(traced, tensors)
    output, aux = result if has_aux else (result, None)
    out_leaves, out_structure = tree.tree_flatten(output, is_leaf=is_leaf)
    structure = tree.tree_structure(primals[0] if len(primals) == 1 else primals, is_leaf=is_leaf)
    n, n_outs = len(tensors), len(out_leaves)
    closed = traced.closed_over

    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given, found = tree.tree_flatten(cotangents, is_leaf=is_leaf)
        if found != out_structure:
            raise RuntimeError(
                f"Expected pytree structure of cotangents to be the same as pytree structure of "
                f"outputs to the function. cotangents: {found}, primal output: {out_structure}"
            )

        def pure(arrays: Sequence[Any]) -> list[Any]:
            m = n + len(closed)
            inner = _varying(traced, arrays[:m], n, range(n))
            _, pull = jax.vjp(lambda *x: inner(*x)[:n_outs], *arrays[:n])
            return [_flip(g) for g in pull([_flip(c) for c in arrays[m:]])]

        outs = record_pure(
            "func_vjp", (traced.captured.key, n_outs), pure, [*tensors, *closed, *given]
        )
        grads = tree.tree_unflatten(structure, outs)
        return grads if len(primals) > 1 else (grads,)

    return (output, vjp_fn, aux) if has_aux else (output, vjp_fn)


def jacrev(
    func: Callable[..., Any],
    argnums: Any = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:
    """The Jacobian by reverse mode."""
    return _jacobian(func, argnums, has_aux, "rev")


def jacfwd(
    func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """The Jacobian by forward mode."""
    return _jacobian(func, argnums, has_aux, "fwd")


def _jacobian(
    func: Callable[..., Any], argnums: Any, has_aux: bool, direction: str
) -> Callable[..., Any]:
    transform = jax.jacrev if direction == "rev" else jax.jacfwd

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        traced, tensors = _traced(func, args, kwargs)
        indices, structure, _ = _positions(args, argnums)
        n, k = len(tensors), len(indices)
        out_structure, n_outs = _main_output(traced, has_aux)

        def pure(arrays: Sequence[Any]) -> list[Any]:
            inner = _varying(traced, arrays, n, indices)

            def function(*varying: Any) -> tuple[list[Any], list[Any]]:
                outs = inner(*varying)
                return outs[:n_outs], outs[n_outs:]

            rows, aux = transform(function, tuple(range(k)), has_aux=True)(
                *[arrays[i] for i in indices]
            )
            flat = [block for row in rows for block in row]
            return [*(map(_flip, flat) if direction == "rev" else flat), *aux]

        key = (traced.captured.key, tuple(indices), n_outs)
        outs = record_pure(f"func_jac{direction}", key, pure, [*tensors, *traced.closed_over])
        rows = [tree.tree_unflatten(structure, outs[i * k : (i + 1) * k]) for i in range(n_outs)]
        jacobian = tree.tree_unflatten(out_structure, rows)
        if not has_aux:
            return jacobian
        return jacobian, _aux_of(traced, n_outs, outs[n_outs * k :])

    return wrapper


def _main_output(traced: Traced, has_aux: bool) -> tuple[Any, int]:
    """(structure, number of leaves) of a function's output without aux."""
    marks: Any = [object() for _ in traced.out_spec]
    output = tree.tree_unflatten(traced.out_tree, marks)
    main = output[0] if has_aux else output
    leaves, structure = tree.tree_flatten(main)
    return structure, len(leaves)


def _aux_of(traced: Traced, n_outs: int, aux: Sequence[Tensor]) -> Any:
    padded = [*([aux[0]] * n_outs if aux else [None] * n_outs), *aux]
    return traced.rebuild(padded)[1]


# Forward mode --------------------------------------------------------------------------------


def jvp(
    func: Callable[..., Any],
    primals: Any,
    tangents: Any,
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> Any:
    """(output, directional derivative) at `primals` along `tangents`; with aux a third."""
    if not isinstance(primals, tuple):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals to be a tuple.")
    traced, tensors = _traced(func, primals, {})
    moving = [t for t in tree.tree_leaves(tangents, is_leaf=is_leaf) if isinstance(t, Tensor)]
    return _push(traced, tensors, moving, has_aux)


def _push(
    traced: Traced, tensors: Sequence[Tensor], moving: Sequence[Tensor], has_aux: bool
) -> Any:
    if len(moving) != len(tensors):
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals and tangents to have the same structure"
        )
    for p, t in zip(tensors, moving, strict=True):
        if size_of(p) != size_of(t):
            raise RuntimeError(
                f"jvp: primal of shape {list(size_of(p))} has a tangent of shape {list(size_of(t))}"
            )
    n = len(tensors)
    closed = traced.closed_over
    out_structure, n_outs = _main_output(traced, has_aux)
    floating = [i for i, t in enumerate(tensors) if dtype_of(t).category >= 2]

    def pure(arrays: Sequence[Any]) -> list[Any]:
        m = n + len(closed)
        inner = _varying(traced, arrays[:m], n, floating)
        ins = [arrays[i] for i in floating]
        along = [arrays[m + i].astype(arrays[i].dtype) for i in floating]
        outs, out_tangents = jax.jvp(inner, ins, along)
        return [*outs, *(_real_tangent(o, t) for o, t in zip(outs, out_tangents, strict=True))]

    outs = record_pure("func_jvp", traced.captured.key, pure, [*tensors, *closed, *moving])
    half = len(outs) // 2
    result = traced.rebuild(outs[:half])
    tangent = tree.tree_unflatten(out_structure, outs[half : half + n_outs])
    return (result[0], tangent, result[1]) if has_aux else (result, tangent)


def _real_tangent(out: Any, tangent: Any) -> Any:
    """Integer outputs have tangents of a type of their own in JAX; zeros stand for them."""
    return jnp.zeros(out.shape, out.dtype) if tangent.dtype == jax.dtypes.float0 else tangent


def linearize(func: Callable[..., Any], *primals: Any) -> Any:
    """(output, linear function from tangents to the output's tangent)."""
    traced, tensors = _traced(func, primals, {})
    output = _forward(traced, tensors)

    def jvp_fn(*tangents: Any) -> Any:
        moving = [t for t in tree.tree_leaves(tangents, is_leaf=is_leaf) if isinstance(t, Tensor)]
        return _push(traced, tensors, moving, False)[1]

    return output, jvp_fn


def hessian(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The matrix of second derivatives: forward over reverse mode."""
    return jacfwd(jacrev(func, argnums), argnums)


# vmap ----------------------------------------------------------------------------------------


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that maps `func` over a dimension of its arguments.

    in_dims: which dimension of each argument (None: not mapped). out_dims: where it goes in the
    outputs. randomness: 'error', 'different' (per entry) or 'same'. The function is traced for one
    entry; shapes that depend on data, and .item(), are errors inside.
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            "Only allowed values for randomness are 'error', 'different', or 'same'. Got "
            f"{randomness}"
        )

    if randomness == "different":
        return _with_keys(func, in_dims, out_dims)
    return _vmap(func, in_dims, out_dims, randomness)


def _with_keys(func: Callable[..., Any], in_dims: Any, out_dims: Any) -> Callable[..., Any]:
    """vmap with numbers of its own for each entry: their keys are one more mapped argument."""

    def entry(key: Tensor, args: Any, kwargs: Any) -> Any:
        with randomness_within("different", key):
            return func(*args, **kwargs)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        leaves = tree.tree_leaves((args, kwargs), is_leaf=is_leaf)
        tensors, axes = _mapped(leaves, _flat_dims(in_dims, args, kwargs))
        place = read(tensors[0]).aval.place
        keys = _key_split(fresh_key(place), _batch_size(tensors, axes))
        given = list(args) if isinstance(in_dims, list) else args
        return _vmap(entry, (0, in_dims, 0), out_dims, "different")(keys, given, kwargs)

    return wrapper


def _vmap(
    func: Callable[..., Any], in_dims: Any, out_dims: Any, randomness: str
) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.tree_flatten((args, kwargs), is_leaf=is_leaf)
        dims = _flat_dims(in_dims, args, kwargs)
        tensors, axes = _mapped(leaves, dims)
        size = _batch_size(tensors, axes)
        avals = [
            read(t).aval if d is None else aval_without(read(t).aval, d)
            for t, d in zip(tensors, axes, strict=True)
        ]
        spec = (structure, [None if isinstance(x, Tensor) else x for x in leaves])
        with randomness_within(randomness):
            traced = trace(func, avals, spec)
        out_axes = _flat_out_dims(out_dims, traced)
        n = len(tensors)

        def pure(arrays: Sequence[Any]) -> list[Any]:
            closed = list(arrays[n:])
            mapped = jax.vmap(
                lambda ins: traced(ins, closed),
                in_axes=(axes,),
                out_axes=out_axes,
                axis_size=size,
            )
            return mapped(list(arrays[:n]))

        key = (traced.captured.key, tuple(axes), tuple(out_axes), size)
        outs = record_pure("func_vmap", key, pure, [*tensors, *traced.closed_over])
        return traced.rebuild(outs)

    return wrapper


def _flat_dims(in_dims: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """One in_dim per leaf of (args, kwargs). Keyword arguments are mapped over dimension 0."""
    if not isinstance(in_dims, int | tuple | list) and in_dims is not None:
        raise ValueError(
            f"vmap(func, in_dims={in_dims}): expected `in_dims` to be int or a (potentially "
            f"nested) tuple matching the structure of inputs, got: {type(in_dims)}."
        )
    flat: list[Any] = []
    _spread(in_dims, list(args) if isinstance(in_dims, list) else args, flat, in_dims)
    flat.extend([0] * len(tree.tree_leaves(kwargs, is_leaf=is_leaf)))
    return flat


def _spread(dims: Any, node: Any, flat: list[Any], whole: Any) -> None:
    if dims is None or isinstance(dims, int):
        flat.extend([dims] * len(tree.tree_leaves(node, is_leaf=is_leaf)))
    elif isinstance(dims, dict) and isinstance(node, dict) and dims.keys() == node.keys():
        for key in sorted(node):
            _spread(dims[key], node[key], flat, whole)
    elif isinstance(node, tuple | list) and len(dims) == len(node):
        for d, child in zip(dims, node, strict=True):
            _spread(d, child, flat, whole)
    else:
        raise ValueError(
            f"vmap(func, in_dims={whole}): in_dims is not compatible with the structure of inputs"
        )


def _mapped(leaves: Sequence[Any], dims: Sequence[Any]) -> tuple[list[Tensor], list[int | None]]:
    tensors, axes = [], []
    for leaf, dim in zip(leaves, dims, strict=True):
        if not isinstance(leaf, Tensor):
            if dim is not None and leaf is not None and dim != 0:
                raise ValueError(
                    f"Got in_dim={dim} for an input but the input is of type {type(leaf)}. We "
                    "cannot vmap over non-Tensor arguments, please use None as the respective "
                    "in_dim"
                )
            continue
        rank = len(size_of(leaf))
        if dim is not None and not -rank <= dim < rank:
            raise ValueError(
                f"Got in_dim={dim} for some input, but that input is a Tensor of dimensionality "
                f"{rank} so expected in_dim to satisfy -{rank} <= in_dim < {rank}."
            )
        tensors.append(leaf)
        axes.append(None if dim is None else dim % rank)
    return tensors, axes


def _batch_size(tensors: Sequence[Tensor], axes: Sequence[int | None]) -> int:
    sizes = [size_of(t)[d] for t, d in zip(tensors, axes, strict=True) if d is not None]
    if not sizes:
        raise ValueError(
            "vmap: at least one argument must be a Tensor that is mapped over (in_dims all None, "
            "or no Tensor among the inputs)"
        )
    if len(set(sizes)) > 1:
        raise ValueError(
            f"vmap: Expected all tensors to have the same size in the mapped dimension, got "
            f"sizes {sizes} for the mapped dimension"
        )
    return sizes[0]


def _flat_out_dims(out_dims: Any, traced: Traced) -> list[int]:
    avals = traced.captured.program.output_avals()
    if any(s is not None for s in traced.out_spec):
        bad = next(s for s in traced.out_spec if s is not None)
        raise ValueError(f"vmap: the function must only return Tensors, got type {type(bad)}.")
    given = (
        [out_dims] * len(avals) if isinstance(out_dims, int) else list(tree.tree_leaves(out_dims))
    )
    if len(given) != len(avals):
        raise ValueError(
            f"vmap(func, out_dims={out_dims}): out_dims is not compatible with the structure of "
            "the outputs"
        )
    for dim, aval in zip(given, avals, strict=True):
        if not -(aval.ndim + 1) <= dim <= aval.ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-aval.ndim - 1}, "
                f"{aval.ndim}], but got {dim})"
            )
    return [d % (a.ndim + 1) for d, a in zip(given, avals, strict=True)]
