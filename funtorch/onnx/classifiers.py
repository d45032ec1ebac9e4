"""What scikit-learn's models are written as (ai.onnx.ml): features, linear classifiers, trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funtorch.onnx.rules import Array, kernel, rule
from funtorch.tensor import Tensor

DOMAIN = "ai.onnx.ml"
_TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda s: s,
    "LOGISTIC": jax.nn.sigmoid,
    "SOFTMAX": lambda s: jax.nn.softmax(s, -1),
    "SOFTMAX_ZERO": lambda s: jnp.where(s == 0, 0, jax.nn.softmax(s, -1)),
}
_MODES: dict[str, Callable[[Any, Any], Any]] = {
    "BRANCH_LEQ": np.less_equal,
    "BRANCH_LT": np.less,
    "BRANCH_GTE": np.greater_equal,
    "BRANCH_GT": np.greater,
    "BRANCH_EQ": np.equal,
    "BRANCH_NEQ": np.not_equal,
}


@rule("Imputer", domain=DOMAIN)
@kernel
def imputer(
    x: Array,
    *,
    imputed_value_floats: tuple = (),
    imputed_value_int64s: tuple = (),
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Array:
    """One value replaced, by one for all or by one per column."""
    if jnp.issubdtype(x.dtype, jnp.integer):
        return jnp.where(x == replaced_value_int64, jnp.asarray(imputed_value_int64s), x)
    missing = jnp.isnan(x) if np.isnan(replaced_value_float) else x == replaced_value_float
    return jnp.where(missing, jnp.asarray(imputed_value_floats, x.dtype), x)


@rule("FeatureVectorizer", domain=DOMAIN)
def feature_vectorizer(*parts: Tensor, inputdimensions: Any = ()) -> Tensor:
    """Columns side by side, as floats."""
    return _side_by_side([p.reshape(p.shape[0], -1) for p in parts])


@kernel
def _side_by_side(parts: list[Array]) -> Array:
    return jnp.concatenate([p.astype(jnp.float32) for p in parts], 1)


@rule("OneHotEncoder", domain=DOMAIN, raw=True)
def one_hot_encoder(
    x: Any, *, ctx: Any, cats_int64s: Any = (), cats_strings: Any = (), zeros: int = 1
) -> Any:
    """[..., categories]: 1 where an element is that category."""
    values = np.asarray(ctx.host(x))
    found = values[..., None] == np.array(cats_strings or cats_int64s)
    if not zeros and not found.any(-1).all():
        raise RuntimeError("OneHotEncoder: an element is none of the categories")
    return ctx.tensor(found.astype(np.float32))


def _labels(ctx: Any, winner: Tensor, ints: Any, strings: Any) -> Any:
    """Class numbers as the labels of the model."""
    if strings:
        return np.array(strings, object)[np.asarray(ctx.host(winner))]
    return ctx.tensor(np.asarray(ints, np.int64))[winner]


@kernel
def _scores(x: Array, *, weights: tuple, bias: tuple, classes: int) -> Array:
    matrix = jnp.asarray(weights, jnp.float32).reshape(classes, -1)
    scores = x.astype(jnp.float32) @ matrix.T
    return scores + jnp.asarray(bias, jnp.float32) if bias else scores


@kernel
def _decided(scores: Array, *, transform: str, both: bool) -> tuple[Array, Array]:
    """Scores after their transform, and the winning class; `both`: one score stands for two."""
    if both:
        share = _TRANSFORMS[transform](scores)
        other = 1 - share if transform == "LOGISTIC" else -scores
        winner = (scores[:, 0] > 0).astype(jnp.int64)
        return jnp.concatenate([other, share], 1), winner
    return _TRANSFORMS[transform](scores), jnp.argmax(scores, 1).astype(jnp.int64)


@rule("LinearClassifier", domain=DOMAIN)
def linear_classifier(
    x: Tensor,
    *,
    ctx: Any,
    coefficients: Any,
    intercepts: Any = (),
    multi_class: int = 0,
    classlabels_ints: Any = (),
    classlabels_strings: Any = (),
    post_transform: str = "NONE",
) -> Any:
    """Labels, and scores of the classes. x: [N, F] -> [N], [N, C]"""
    count = len(classlabels_strings or classlabels_ints)
    both = count == 2 and len(coefficients) == x.shape[-1]
    rows = 1 if both else count
    raw = _scores(x, weights=tuple(coefficients), bias=tuple(intercepts), classes=rows)
    scores, winner = _decided(raw, transform=post_transform, both=both)
    return _labels(ctx, winner, classlabels_ints, classlabels_strings), scores


@rule("ZipMap", domain=DOMAIN, raw=True)
def zip_map(
    x: Any, *, ctx: Any, classlabels_int64s: Any = (), classlabels_strings: Any = ()
) -> Any:
    """A dictionary of label to score for each row."""
    labels = list(classlabels_strings or classlabels_int64s)
    return [dict(zip(labels, map(float, row), strict=True)) for row in np.asarray(ctx.host(x))]


def _leaves(x: Any, options: dict[str, Any]) -> Any:
    """(tree, node) that each row ends in, for each tree: walked for all rows at once."""
    trees, nodes = options["nodes_treeids"], options["nodes_nodeids"]
    place = {key: i for i, key in enumerate(zip(trees, nodes, strict=True))}
    roots = [place[t, 0] for t in sorted(set(trees))]
    modes = options["nodes_modes"]
    kids = [
        [place.get((t, k), 0) for t, k in zip(trees, options[side], strict=True)]
        for side in ("nodes_falsenodeids", "nodes_truenodeids")
    ]
    missing = options.get("nodes_missing_value_tracks_true") or (0,) * len(trees)
    for row in x:
        for at in roots:
            while modes[at] != "LEAF":
                value = row[options["nodes_featureids"][at]]
                on = _MODES[modes[at]](value, np.float32(options["nodes_values"][at]))
                on = bool(on) or bool(missing[at] and np.isnan(value))
                at = kids[on][at]
            yield trees[at], nodes[at]


def _tree_sums(x: Any, kind: str, width: int, options: dict[str, Any]) -> Any:
    """[N, width]: weights of the leaves reached, added up; and the number of trees."""
    weights: dict[Any, list[Any]] = {}
    columns = [options[f"{kind}_{part}"] for part in ("treeids", "nodeids", "ids", "weights")]
    for tree, node, target, weight in zip(*columns, strict=True):
        weights.setdefault((tree, node), []).append((target, weight))
    count = len(set(options["nodes_treeids"]))
    out = np.zeros((len(x), width), np.float32)
    for i, leaf in enumerate(_leaves(x, options)):
        for target, weight in weights.get(leaf, ()):
            out[i // count, target] += weight
    base = options.get("base_values")
    return out + (np.asarray(base, np.float32) if base else np.float32(0)), count


@rule("TreeEnsembleRegressor", domain=DOMAIN, host="x")
def tree_ensemble_regressor(x: Any, *, ctx: Any, n_targets: int = 1, **options: Any) -> Any:
    """Sum or mean of the leaves that each row reaches. x: [N, F] -> [N, T]"""
    kind = options.get("aggregate_function", "SUM")
    transform = options.get("post_transform", "NONE")
    if kind not in ("SUM", "AVERAGE") or transform not in _TRANSFORMS:
        raise NotImplementedError(f"TreeEnsembleRegressor: {kind}, post_transform {transform}")
    sums, count = _tree_sums(x, "target", n_targets, options)
    made = ctx.tensor((sums / count if kind == "AVERAGE" else sums).astype(np.float32))
    return _decided(made, transform=transform, both=False)[0]


@rule("TreeEnsembleClassifier", domain=DOMAIN, host="x")
def tree_ensemble_classifier(
    x: Any,
    *,
    ctx: Any,
    classlabels_int64s: Any = (),
    classlabels_strings: Any = (),
    post_transform: str = "NONE",
    **options: Any,
) -> Any:
    """Labels, and scores of the classes. x: [N, F] -> [N], [N, C]"""
    count = len(classlabels_strings or classlabels_int64s)
    if count == 2 and set(options["class_ids"]) != {0, 1}:
        raise NotImplementedError("TreeEnsembleClassifier: one score that stands for two classes")
    sums, _ = _tree_sums(x, "class", count, options)
    scores, winner = _decided(ctx.tensor(sums), transform=post_transform, both=False)
    return _labels(ctx, winner, classlabels_int64s, classlabels_strings), scores
