"""Whether the parts of a sparse tensor fit one another: checked where asked for, since it reads them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from funtorch.dispatch import to_host
from funtorch.layouts import Layout, sparse_bsc, sparse_bsr, sparse_csr
from funtorch.sparse.coo import linear
from funtorch.tensor import Tensor, size_of


class _Checks:
    on = False


def invariants(wanted: bool | None) -> bool:
    """Are they to be checked? None: as `check_sparse_tensor_invariants` says."""
    return _Checks.on if wanted is None else wanted


class check_sparse_tensor_invariants:  # noqa: N801  (PyTorch's name)
    """Context and decorator: within it every sparse tensor's parts are checked when it is made."""

    def __init__(self, enable: bool = True) -> None:
        self._wanted = enable
        self._before: list[bool] = []

    @staticmethod
    def is_enabled() -> bool:
        """Are checks on?"""
        return _Checks.on

    @staticmethod
    def enable() -> None:
        """Check from now on."""
        _Checks.on = True

    @staticmethod
    def disable() -> None:
        """Do not check from now on."""
        _Checks.on = False

    def __enter__(self) -> None:
        self._before.append(_Checks.on)
        _Checks.on = self._wanted

    def __exit__(self, *exc: object) -> None:
        _Checks.on = self._before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            with type(self)(self._wanted):
                return function(*args, **kwargs)

        return checked


def _require(holds: Any, message: str) -> None:
    if not holds:
        raise RuntimeError(message)


def check_coo(places: Tensor, inner: Tensor, shape: tuple[int, ...], unique: bool) -> None:
    """Indices within the size and, if said to be coalesced, in order. Raises RuntimeError."""
    indices = np.asarray(to_host(places))
    _require(indices.ndim == 2, f"indices must be sparse_dim x nnz, but got: {list(indices.shape)}")
    for dim, row in enumerate(indices):
        if not row.size:
            continue
        _require(row.min() >= 0, f"found negative index {row.min()} for dim {dim}")
        _require(
            row.max() < shape[dim],
            f"size is inconsistent with indices: for dim {dim}, size is {shape[dim]} but found "
            f"index {row.max()}",
        )
    if unique:
        flat = linear(indices, shape)
        _require(
            (np.diff(flat) > 0).all(),
            "cannot set is_coalesced to true if indices correspond to uncoalesced COO tensor",
        )


def check_compressed(
    kind: Layout, pointers: Tensor, places: Tensor, inner: Tensor, shape: tuple[int, ...]
) -> None:
    """What PyTorch's invariants 3 to 5 say of pointers and indices. Raises RuntimeError."""
    by_rows = kind in (sparse_csr, sparse_bsr)
    starts, plain = ("crow_indices", "col_indices") if by_rows else ("ccol_indices", "row_indices")
    batch = len(size_of(pointers)) - 1
    rows, columns = shape[batch : batch + 2] if by_rows else shape[batch : batch + 2][::-1]
    if kind in (sparse_bsr, sparse_bsc):
        height, width = size_of(inner)[batch + 1 : batch + 3]
        if not by_rows:
            height, width = width, height
        rows, columns = rows // height, columns // width
    nnz = size_of(places)[-1]
    _require(
        size_of(pointers)[-1] == rows + 1,
        f"{starts}.shape[-1] must be equal to the number of {'rows' if by_rows else 'columns'} + 1",
    )
    _require(size_of(inner)[batch] == nnz, f"number of {plain} and of values must be equal")
    found, index = np.asarray(to_host(pointers)), np.asarray(to_host(places))
    _require((found[..., 0] == 0).all(), f"`{starts}[..., 0] == 0` is not satisfied.")
    _require((found[..., -1] == nnz).all(), f"`{starts}[..., -1] == nnz` is not satisfied.")
    steps = np.diff(found, axis=-1)
    _require(
        ((steps >= 0) & (steps <= columns)).all(),
        f"`0 <= {starts}[..., 1:] - {starts}[..., :-1] <= {'n' if by_rows else ''}cols` is not "
        "satisfied.",
    )
    _require(
        ((index >= 0) & (index < columns)).all(),
        f"`0 <= {plain} < {'ncols' if by_rows else 'nrows'}` is not satisfied.",
    )
    for one, row in zip(found.reshape(-1, found.shape[-1]), index.reshape(-1, nnz), strict=True):
        inside = np.ones(max(nnz - 1, 0), bool)
        ends = one[1:-1]
        inside[ends[(ends > 0) & (ends < nnz)] - 1] = False
        _require(
            (np.diff(row)[inside] > 0).all(),
            f"`{plain}[..., {starts}[..., i - 1]:{starts}[..., i]] for all i = 1, ..., nrows are "
            "sorted and distinct along the last dimension values` is not satisfied.",
        )
