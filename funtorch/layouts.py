"""`torch.layout`: how the elements of a tensor are stored."""

from __future__ import annotations

from typing import Any


class Layout:
    """One way of storing elements; the objects of this module are all there are."""

    __slots__ = ("backend", "name", "title")

    def __init__(self, name: str, title: str, backend: str) -> None:
        self.name = name
        self.title = title
        self.backend = backend

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> Any:
        return by_name, (repr(self),)


strided = Layout("strided", "Strided", "")
sparse_coo = Layout("sparse_coo", "Sparse", "Sparse")
sparse_csr = Layout("sparse_csr", "SparseCsr", "SparseCsr")
sparse_csc = Layout("sparse_csc", "SparseCsc", "SparseCsr")
sparse_bsr = Layout("sparse_bsr", "SparseBsr", "SparseCsr")
sparse_bsc = Layout("sparse_bsc", "SparseBsc", "SparseCsr")
jagged = Layout("jagged", "Jagged", "NestedTensor")

LAYOUTS = {
    made.name: made
    for made in (strided, sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc, jagged)
}
COMPRESSED = (sparse_csr, sparse_csc, sparse_bsr, sparse_bsc)


def by_name(name: str) -> Layout:
    """The layout that prints as `name`."""
    return LAYOUTS[name.removeprefix("torch.")]
