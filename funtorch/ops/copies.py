"""View functions that copy (`permute_copy`), and views written into a copy (`select_scatter`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from funtorch.ops import creation, view_ops
from funtorch.ops._declare import TABLE, composite
from funtorch.ops.memory import FORMATS
from funtorch.tensor import Tensor, size_of

_VIEWS = (
    "as_strided",
    "detach",
    "diagonal",
    "expand",
    "permute",
    "select",
    "squeeze",
    "t",
    "transpose",
    "unfold",
    "unsqueeze",
    "view_as_complex",
    "view_as_real",
)


def _copied(found: Tensor) -> Tensor:
    return found.clone(memory_format=FORMATS["contiguous_format"])


def _declare_copy(name: str, view: Callable[..., Tensor], *forms: str) -> None:
    def function(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return _copied(view(self, *args, **kwargs))

    function.__name__ = f"{name}_copy"
    function.__doc__ = f"`{name}`, copied; contiguous."
    composite(*forms)(function)


def _declare_copies(name: str, views: Callable[..., Any]) -> None:
    def function(self: Tensor, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        pieces = tuple(_copied(t) for t in views(self, *args, **kwargs))
        if out is None:
            return pieces
        creation.write_out[0](pieces, out)
        return None  # as PyTorch's do

    function.__name__ = f"{name}_copy"
    function.__doc__ = f"`{name}`, copied; each piece contiguous. With `out`, returns None."
    composite()(function)


def _method(name: str) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: getattr(self, name)(*args, **kwargs)


def _narrow(self: Tensor, dim: int, start: Any, length: int) -> Tensor:
    if dim >= self.ndim > 0:  # an IndexError from `narrow`
        raise RuntimeError(f"narrow_copy(): Expected dim < {self.ndim}, but got {dim}")
    return view_ops.narrow(self, dim, start, length)


for _name in _VIEWS:
    _declare_copy(_name, _method(_name))
_declare_copy("narrow", _narrow, "method")
_declare_copy("view", lambda self, size: self.reshape(size))
_declare_copy("slice", TABLE["slice"].facade)
_declare_copy("alias", lambda self: self)
for _name in ("unbind", "split", "split_with_sizes"):
    _declare_copies(_name, _method(_name))


def _window(name: str, view: Callable[..., Tensor], meaning: str) -> None:
    def function(self: Tensor, src: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        copy = self.clone()
        window = view(copy, *args, **kwargs)
        if size_of(window) != size_of(src):
            raise RuntimeError(
                f"expected src to have a size equal to the slice of self. src size = "
                f"{list(size_of(src))}, slice size = {list(size_of(window))}"
            )
        window.copy_(src)
        return copy

    function.__name__ = name
    function.__doc__ = meaning
    composite("method")(function)


_window("select_scatter", view_ops.select, "A copy with self.select(dim, index) = src.")
_window("diagonal_scatter", view_ops.diagonal, "A copy with self.diagonal(...) = src.")
_window("slice_scatter", TABLE["slice"].facade, "A copy with self[start:end:step] along dim = src.")
_window("as_strided_scatter", view_ops.as_strided, "A copy with self.as_strided(...) = src.")


def _unsafe(name: str, facade: Callable[..., Any]) -> None:
    def function(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return tuple(facade(self, *args, **kwargs))

    function.__name__ = f"unsafe_{name}"
    function.__doc__ = f"`{name}`, without the checks of views."
    composite("method")(function)


for _name in ("split", "chunk", "split_with_sizes"):
    _unsafe(_name, _method(_name))


@composite("method", function=False)
def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """Summed over the dimensions along which `size` would be broadcast. [...] -> [size]"""
    wanted = view_ops.ints(size)
    if not wanted:
        return self.sum()
    shape = size_of(self)
    lead = len(shape) - len(wanted)
    if lead < 0 or any(w not in (1, n) for w, n in zip(wanted, shape[lead:], strict=True)):
        raise RuntimeError(f"size {list(wanted)} is not expandable to size {list(shape)}.")
    dims = [*range(lead)]
    dims += [lead + i for i, (w, n) in enumerate(zip(wanted, shape[lead:], strict=True)) if w != n]
    return self.sum(dims, keepdim=True).reshape(wanted) if dims else self


@composite()
def combinations(self: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All ways to choose r elements. [n] -> [k, r]"""
    if self.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(self.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return self.new_empty((0,))
    pick = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(pick(range(len(self)), r))
    index = TABLE["tensor"].facade(rows, device=self.device) if rows else None
    if index is None:
        return self.new_empty((0, r))
    return self[index]
