"""Classical machine learning (ai.onnx.ml): encoders, trees, linear models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch.onnx.narrow import is_string
from funtorch.onnx.rules import Array, kernel, rule

DOMAIN = "ai.onnx.ml"
Host = np.ndarray[Any, Any]


@rule("ArrayFeatureExtractor", domain=DOMAIN)
@kernel
def array_feature_extractor(x: Array, indices: Array) -> Array:
    """Columns of the last dimension."""
    found = jnp.take(x, indices.reshape(-1), -1)
    return found.reshape(1, -1) if x.ndim == 1 else found


@rule("Binarizer", domain=DOMAIN)
@kernel
def binarizer(x: Array, *, threshold: float = 0.0) -> Array:
    """1 above the threshold, else 0."""
    return (x > threshold).astype(x.dtype)


@rule("Scaler", domain=DOMAIN)
@kernel
def scaler(x: Array, *, offset: tuple = (0.0,), scale: tuple = (1.0,)) -> Array:
    """(x - offset) scale."""
    wide = x.astype(jnp.float32)
    return (wide - jnp.asarray(offset, jnp.float32)) * jnp.asarray(scale, jnp.float32)


@rule("Normalizer", domain=DOMAIN)
@kernel
def normalizer(x: Array, *, norm: str = "MAX") -> Array:
    """Rows divided by their greatest element, or their 1- or 2-norm."""
    wide = x.astype(jnp.float32)
    size = {
        "MAX": lambda: jnp.max(wide, -1, keepdims=True),
        "L1": lambda: jnp.sum(jnp.abs(wide), -1, keepdims=True),
        "L2": lambda: jnp.sqrt(jnp.sum(wide * wide, -1, keepdims=True)),
    }[norm]()
    return wide / jnp.where(size == 0, 1, size)


@rule("LinearRegressor", domain=DOMAIN)
@kernel
def linear_regressor(
    x: Array,
    *,
    coefficients: tuple,
    intercepts: tuple = (),
    post_transform: str = "NONE",
    targets: int = 1,
) -> Array:
    """x coefficients^T + intercepts."""
    if post_transform != "NONE":
        raise NotImplementedError(f"LinearRegressor: post_transform {post_transform!r}")
    weights = jnp.asarray(coefficients, jnp.float32).reshape(targets, -1)
    return x.astype(jnp.float32) @ weights.T + jnp.asarray(intercepts or (0.0,), jnp.float32)


def _given(options: dict[str, Any], stem: str) -> Any:
    for kind in ("tensor", "int64s", "floats", "strings"):
        value = options.get(f"{stem}_{kind}")
        if value is not None and len(value):
            return kind, list(value)
    return None, []


@rule("LabelEncoder", domain=DOMAIN, raw=True)
def label_encoder(x: Any, *, ctx: Any, **options: Any) -> Any:
    """Each element through a dictionary."""
    _, keys = _given(options, "keys")
    kind, values = _given(options, "values")
    default = {
        "tensor": options.get("default_tensor"),
        "int64s": options.get("default_int64", -1),
        "floats": options.get("default_float", -0.0),
        "strings": options.get("default_string", "_Unused"),
    }[kind]
    if isinstance(default, np.ndarray):
        default = default.reshape(-1)[0]
    array = np.asarray(ctx.host(x))
    table = {_key(k): v for k, v in zip(keys, values, strict=True)}
    found = [table.get(_key(v), default) for v in array.reshape(-1)]
    if kind == "tensor":
        dtype = options["values_tensor"].dtype
    else:
        dtype = {"int64s": np.int64, "floats": np.float32, "strings": object}[kind]
    made = np.array(found, dtype).reshape(array.shape)
    return made if is_string(made) else ctx.tensor(made)


def _key(value: Any) -> Any:
    """A value as a dictionary finds it: all NaN are one."""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, float | np.floating):
        return "nan" if np.isnan(value) else float(value)
    return value.item() if isinstance(value, np.generic) else value


_MODES: dict[int, Callable[..., Any]] = {
    0: lambda v, s: v <= s,
    1: lambda v, s: v < s,
    2: lambda v, s: v >= s,
    3: lambda v, s: v > s,
    4: lambda v, s: v == s,
    5: lambda v, s: v != s,
}
_MEMBER = 6


def _members(values: Any, modes: Host) -> dict[int, set[float]]:
    """The sets of the nodes that ask for membership: NaN ends each."""
    sets: dict[int, set[float]] = {}
    if values is None:
        return sets
    parts: list[set[float]] = [set()]
    for value in np.asarray(values).reshape(-1):
        if np.isnan(value):
            parts.append(set())
        else:
            parts[-1].add(float(value))
    for node, part in zip(np.flatnonzero(modes == _MEMBER), parts, strict=False):
        sets[int(node)] = part
    return sets


def _leaf(on: Callable[[int], bool], branches: Any, node: int) -> int:
    """The leaf that is reached from a node."""
    while True:
        ids, leaves = branches[on(node)]
        node, last = ids[node], leaves[node]
        if last:
            return int(node)


@rule("TreeEnsemble", domain=DOMAIN, host="x")
def tree_ensemble(
    x: Any,
    *,
    ctx: Any,
    aggregate_function: int = 1,
    leaf_targetids: Any,
    leaf_weights: Any,
    membership_values: Any = None,
    n_targets: int = 1,
    nodes_falseleafs: Any,
    nodes_falsenodeids: Any,
    nodes_featureids: Any,
    nodes_hitrates: Any = None,
    nodes_missing_value_tracks_true: Any = None,
    nodes_modes: Any,
    nodes_splits: Any,
    nodes_trueleafs: Any,
    nodes_truenodeids: Any,
    post_transform: int = 0,
    tree_roots: Any,
) -> Any:
    """Sum, mean, least or greatest of the leaves that each row reaches. x: [N, F] -> [N, T]"""
    if post_transform:
        raise NotImplementedError(f"TreeEnsemble: post_transform {post_transform}")
    modes = np.asarray(nodes_modes)
    members = _members(membership_values, modes)
    missing = nodes_missing_value_tracks_true or (0,) * len(modes)

    def on(row: Host, node: int) -> bool:
        value = row[nodes_featureids[node]]
        if modes[node] == _MEMBER:
            held = float(value) in members[node]
        else:
            held = bool(_MODES[int(modes[node])](value, nodes_splits[node]))
        return held or bool(np.isnan(value) and missing[node])

    branches = (
        (nodes_falsenodeids, nodes_falseleafs),
        (nodes_truenodeids, nodes_trueleafs),
    )
    reduce = [np.mean, np.sum, np.min, np.max][aggregate_function]
    out = np.zeros((len(x), n_targets), x.dtype)
    for i, row in enumerate(x):
        found: dict[int, list[float]] = {}
        for root in tree_roots:
            at = _leaf(lambda node, row=row: on(row, node), branches, root)
            found.setdefault(leaf_targetids[at], []).append(leaf_weights[at])
        for target, weights in found.items():
            out[i, target] = reduce(weights)
    return ctx.tensor(out)
