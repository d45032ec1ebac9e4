"""Strings, on the host."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from funtorch.onnx.rules import rule

Host = np.ndarray[Any, Any]


def _each(fn: Any, *arrays: Host) -> list[Any]:
    return [fn(*values) for values in zip(*(a.reshape(-1) for a in arrays), strict=True)]


def _strings(values: list[Any], shape: Any) -> Host:
    made = np.empty(len(values), object)
    made[:] = values
    return made.reshape(shape)


@rule("StringConcat", raw=True)
def string_concat(a: Host, b: Host) -> Host:
    """Joined, with broadcasting."""
    a, b = np.broadcast_arrays(a, b)
    return _strings(_each(lambda s, t: str(s) + str(t), a, b), a.shape)


@rule("StringSplit", raw=True)
def string_split(x: Host, *, delimiter: str = "", maxsplit: int | None = None) -> Any:
    """Parts along a new last axis, filled up with empty strings; and their numbers."""
    most = -1 if maxsplit is None else maxsplit
    parts = _each(lambda s: str(s).split(delimiter or None, most), x)
    counts = np.array([len(p) for p in parts], np.int64).reshape(x.shape)
    width = int(counts.max()) if counts.size else 0
    filled = [part for p in parts for part in (*p, *[""] * (width - len(p)))]
    return _strings(filled, (*x.shape, width)), counts


@rule("RegexFullMatch", raw=True)
def regex_full_match(x: Host, *, pattern: str) -> Host:
    """Which strings match a pattern as a whole."""
    compiled = re.compile(pattern)
    found = _each(lambda s: compiled.fullmatch(str(s)) is not None, x)
    return np.array(found, bool).reshape(x.shape)


@rule("StringNormalizer", raw=True)
def string_normalizer(
    x: Host,
    *,
    case_change_action: str = "NONE",
    is_case_sensitive: int = 0,
    locale: str = "en_US",
    stopwords: Any = (),
) -> Host:
    """Removes stop words from [C] or [1, C] and changes the case of the rest."""
    stops = set(stopwords) if is_case_sensitive else {s.lower() for s in stopwords}
    words = [str(w) for w in x.reshape(-1)]
    kept = [w for w in words if (w if is_case_sensitive else w.lower()) not in stops]
    change = {"LOWER": str.lower, "UPPER": str.upper}.get(case_change_action, str)
    made = [change(w) for w in kept] or [""]
    return _strings(made, (1, -1) if x.ndim == 2 else (-1,))


@rule("TfIdfVectorizer", raw=True)
def tf_idf_vectorizer(
    x: Any,
    *,
    ctx: Any,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: str,
    ngram_counts: Any,
    ngram_indexes: Any,
    pool_int64s: Any = None,
    pool_strings: Any = None,
    weights: Any = None,
) -> Any:
    """How often each n-gram of a pool occurs in each row, weighted."""
    pool = list(pool_strings if pool_int64s is None else pool_int64s)
    grams = _pool(pool, ngram_counts, min_gram_length, max_gram_length)
    rows = np.asarray(ctx.host(x))
    table = np.zeros((*rows.shape[:-1], max(ngram_indexes) + 1), np.float32)
    out = table.reshape(-1, table.shape[-1])
    for row, counts in zip(rows.reshape(len(out), -1), out, strict=True):
        for gram in _grams(list(row), min_gram_length, max_gram_length, max_skip_count):
            if gram in grams:
                counts[ngram_indexes[grams[gram]]] += 1
    if mode in ("IDF", "TFIDF"):
        scale = np.ones(out.shape[1], np.float32)
        if weights is not None:
            scale[list(ngram_indexes)] = weights
        out[:] = (out if mode == "TFIDF" else np.minimum(out, 1)) * scale
    return ctx.tensor(table)


def _pool(pool: list[Any], counts: Any, least: int, most: int) -> dict[tuple[Any, ...], int]:
    """{n-gram: its place}, for the lengths asked for."""
    grams: dict[tuple[Any, ...], int] = {}
    place = 0
    for n, start in enumerate(counts, 1):
        end = counts[n] if n < len(counts) else len(pool)
        for at in range(start, end, n):
            if least <= n <= most:
                grams[tuple(pool[at : at + n])] = place
            place += 1
    return grams


def _grams(row: list[Any], least: int, most: int, skips: int) -> Any:
    """All n-grams of a row, with up to `skips` elements left out between neighbours."""
    for n in range(least, most + 1):
        for step in range(1, (skips if n > 1 else 0) + 2):
            for at in range(len(row) - (n - 1) * step):
                yield tuple(row[at + i * step] for i in range(n))
