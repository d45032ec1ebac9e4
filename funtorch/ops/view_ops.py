"""View ops as PyTorch spells them: arguments checked and normalised, then one view each."""

from __future__ import annotations

import math
import operator
from typing import Any

from funtorch import dtypes
from funtorch.dispatch import read
from funtorch.ops import view_rules as rules
from funtorch.ops._declare import composite
from funtorch.ops.from_data import from_numpy
from funtorch.ops.memory import FORMATS, clone
from funtorch.tensor import Tensor, alias, dtype_of, size_of, strides_of
from funtorch.views import detached_view, one_of_many
from funtorch.views import view as make_view

Ints = tuple[int, ...]


def wrap_dim(dim: int, ndim: int, *, what: str = "Dimension") -> int:
    """A dimension counted from the front. Raises IndexError, as PyTorch words it."""
    span = max(ndim, 1)
    if not -span <= dim < span:
        raise IndexError(
            f"{what} out of range (expected to be in range of [{-span}, {span - 1}], but got {dim})"
        )
    return dim + span if dim < 0 else dim


def ints(args: tuple[Any, ...]) -> Ints:
    """Sizes given one by one or as one sequence: x.view(2, 3), x.view((2, 3))."""
    if len(args) == 1 and isinstance(args[0], tuple | list):
        args = tuple(args[0])
    return tuple([a if type(a) is int else operator.index(a) for a in args])


def infer_size(new: Ints, numel: int) -> Ints:
    """Replace one -1 by what is left. Raises RuntimeError if the sizes do not fit."""
    if -1 in new:
        if new.count(-1) > 1:
            raise RuntimeError("only one dimension can be inferred")
        known = -math.prod(new)
        if known == 0:
            if numel == 0:
                raise RuntimeError(
                    f"cannot reshape tensor of 0 elements into shape {list(new)} because the "
                    "unspecified dimension size -1 can be any value and is ambiguous"
                )
        elif known > 0 and numel % known == 0:
            return tuple(numel // known if n == -1 else n for n in new)
        raise RuntimeError(f"shape '{list(new)}' is invalid for input of size {numel}")
    if any(n < 0 for n in new):
        raise RuntimeError(f"invalid shape dimension {min(new)}")
    if math.prod(new) != numel:
        raise RuntimeError(f"shape '{list(new)}' is invalid for input of size {numel}")
    return new


@composite("method", function=False)
def view(self: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
    """The same memory with another shape, or (given a dtype) other readings of its bits."""
    if dtype is not None or (len(shape) == 1 and isinstance(shape[0], dtypes.dtype)):
        return _view_dtype(self, dtype or shape[0])
    if not shape:
        raise TypeError("view() received an invalid combination of arguments - got ()")
    size = infer_size(ints(shape), math.prod(size_of(self)))
    return make_view(self, rules.reshape_view, size)


def _view_dtype(self: Tensor, dtype: dtypes.dtype) -> Tensor:
    old, new = dtype_of(self).itemsize, dtype.itemsize
    shape, strides = size_of(self), strides_of(self)
    if old != new:
        if not shape:
            raise RuntimeError("self.dim() cannot be 0 to view Tensor of a dtype of another size")
        if strides[-1] != 1:
            raise RuntimeError("self.stride(-1) must be 1 to view as a dtype of another size")
        if shape[-1] * old % new:
            raise RuntimeError(
                f"self.size(-1) must be divisible by {new // old} to view as {dtype!r}"
            )
    host = self._storage.host
    if host is not None and not self._chain and not self._requires and host.array.ndim:
        return from_numpy(host.array.view(dtype.numpy))  # both share the memory through NumPy
    common = math.gcd(old, new)
    return make_view(self, rules.bitcast_view, dtype.numpy, (new // common, old // common))


@composite("method")
def reshape(self: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape; a view where strides allow it, else a copy."""
    if not shape:
        raise TypeError('reshape() missing 1 required positional arguments: "shape"')
    own = size_of(self)
    size = infer_size(ints(shape), math.prod(own))
    if size == own:
        return make_view(self, rules.alias_view)
    if self._stride is not None and rules.viewed_strides(own, self._stride, size) is None:
        copy = clone(self, memory_format=FORMATS["contiguous_format"])
        return make_view(copy, rules.reshape_view, size)
    return make_view(self, rules.reshape_view, size)


@composite("method", function=False)
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """`self.view(other.shape)`."""
    return view(self, size_of(other))


@composite("method", function=False)
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """`self.reshape(other.shape)`."""
    return reshape(self, size_of(other))


@composite("method")
def permute(self: Tensor, *dims: Any) -> Tensor:
    """Dimensions in another order."""
    n = len(size_of(self))
    order = tuple(wrap_dim(d, n) for d in ints(dims))
    if len(order) != n:
        raise RuntimeError(
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {n} is not equal "
            f"to len(dims) = {len(order)}"
        )
    if len(set(order)) != n:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return make_view(self, rules.permute_view, order)


@composite("method", aliases=("swapaxes", "swapdims"))
def transpose(self: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged."""
    n = len(size_of(self))
    first, second = wrap_dim(dim0, n), wrap_dim(dim1, n)
    order = list(range(n))
    if n:
        order[first], order[second] = order[second], order[first]
    return make_view(self, rules.transpose_view, tuple(order))


@composite("method")
def t(self: Tensor) -> Tensor:
    """A matrix with its dimensions exchanged; fewer dimensions stay as they are."""
    n = len(size_of(self))
    if n > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {n}D")
    return make_view(self, rules.t_view, tuple(reversed(range(n))))


@composite("method", aliases=("moveaxis",))
def movedim(self: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions moved to new places, the others keep their order."""
    n = len(size_of(self))
    src = [wrap_dim(d, n) for d in ints((source,))]
    dst = [wrap_dim(d, n) for d in ints((destination,))]
    if len(src) != len(dst):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({src} dims) should contain "
            f"the same number of dims as destination ({dst} dims)"
        )
    for dims, name in ((src, "source"), (dst, "destination")):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({dims})")
    order = [d for d in range(n) if d not in src]
    for to, d in sorted(zip(dst, src, strict=True)):
        order.insert(to, d)
    return make_view(self, rules.permute_view, tuple(order))


@composite("method")
def select(self: Tensor, dim: int, index: int) -> Tensor:
    """One slice along a dimension, which goes away."""
    shape = size_of(self)
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, len(shape))
    i = operator.index(index)
    if not -shape[d] <= i < shape[d]:
        raise IndexError(
            f"select(): index {i} out of range for tensor of size {list(shape)} at dimension {d}"
        )
    return make_view(self, rules.select_view, i % shape[d], d)


def slice_along(self: Tensor, dim: int, start: Any, stop: Any, step: Any) -> Tensor:
    """x[start:stop:step] along one dimension."""
    shape = size_of(self)
    step = 1 if step is None else operator.index(step)
    if step <= 0:
        raise ValueError("step must be greater than zero")
    begin, end, _ = slice(_plain(start), _plain(stop)).indices(shape[dim])
    length = max(-(-(end - begin) // step), 0)
    if length == shape[dim] and step == 1:
        return make_view(self, rules.alias_view)
    return make_view(self, rules.slice_view, begin, dim, length, step)


def _plain(bound: Any) -> int | None:
    return None if bound is None else operator.index(bound)


@composite(function=False, name="slice")
def _slice(self: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    """self[start:end:step] along a dimension, under the dispatcher's name."""
    return slice_along(self, wrap_dim(dim, len(size_of(self))), start, end, step)


@composite("method")
def narrow(self: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` entries from `start` along a dimension."""
    shape = size_of(self)
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, len(shape))
    if isinstance(start, Tensor) and (start.ndim or dtype_of(start).category != 1):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    begin = int(start)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -shape[d] <= begin <= shape[d]:
        raise IndexError(
            f"start out of range (expected to be in range of [{-shape[d]}, {shape[d]}], "
            f"but got {begin})"
        )
    begin = begin + shape[d] if begin < 0 else begin
    if begin + length > shape[d]:
        raise RuntimeError(
            f"start ({begin}) + length ({length}) exceeds dimension size ({shape[d]})."
        )
    return make_view(self, rules.slice_view, begin, d, length, 1)


@composite("method")
def unsqueeze(self: Tensor, dim: int) -> Tensor:
    """A dimension of extent one inserted."""
    return make_view(self, rules.unsqueeze_view, wrap_dim(dim, len(size_of(self)) + 1))


@composite("method")
def squeeze(self: Tensor, dim: Any = None) -> Tensor:
    """Dimensions of extent one removed: all, or those named."""
    shape = size_of(self)
    if dim is None:
        dims = range(len(shape))
    else:
        dims = [wrap_dim(d, len(shape)) for d in ints((dim,))]
    gone = tuple(d for d in dims if d < len(shape) and shape[d] == 1)
    return make_view(self, rules.squeeze_view, gone)


@composite("method", function=False)
def expand(self: Tensor, *sizes: Any, implicit: bool = False) -> Tensor:
    """Dimensions of extent one repeated without a copy; -1 keeps an extent."""
    shape, wanted = size_of(self), ints(sizes)
    added = len(wanted) - len(shape)
    if added < 0:
        raise RuntimeError(
            f"expand(torch.Tensor{{{list(shape)}}}, size={list(wanted)}): the number of sizes "
            f"provided ({len(wanted)}) must be greater or equal to the number of dimensions in "
            f"the tensor ({len(shape)})"
        )
    made = []
    for d, n in enumerate(wanted):
        have = shape[d - added] if d >= added else 1
        if n == -1 and d < added:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) isn't allowed in a leading, non-existing "
                f"dimension {d}"
            )
        if n not in (-1, have) and have != 1:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at "
                f"non-singleton dimension {d}.  Target sizes: {list(wanted)}.  "
                f"Tensor sizes: {list(shape)}"
            )
        made.append(have if n == -1 else n)
    return make_view(self, rules.expand_view, tuple(made))


@composite("method", function=False)
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """`self.expand(other.shape)`."""
    return expand(self, size_of(other))


@composite("method")
def broadcast_to(self: Tensor, *dims: Any, size: Any = None) -> Tensor:
    """`self.expand(size)`."""
    return expand(self, *ints(dims if size is None else (size,)))


@composite("method")
def flatten(self: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim made one."""
    shape = size_of(self)
    first, last = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshape(self, 1)
    if first == last:
        return self
    middle = math.prod(shape[first : last + 1])
    return reshape(self, (*shape[:first], middle, *shape[last + 1 :]))


@composite("method")
def ravel(self: Tensor) -> Tensor:
    """All elements in one dimension."""
    return reshape(self, -1)


@composite("method")
def unflatten(self: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dimension divided into several."""
    shape = size_of(self)
    d = wrap_dim(dim, len(shape))
    if not len(sizes):
        raise RuntimeError("unflatten: sizes must be non-empty")
    try:
        made = infer_size(ints((sizes,)), shape[d])
    except RuntimeError as error:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} "
            f"({shape[d]}) in the input tensor"
        ) from error
    return view(self, (*shape[:d], *made, *shape[d + 1 :]))


@composite("method")
def diagonal(self: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Diagonals of the matrices in two dimensions; they come last."""
    n = len(size_of(self))
    first, second = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return make_view(self, rules.diagonal_view, offset, first, second)


@composite("method", function=False)
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size` along a dimension every `step`; they come last."""
    shape = size_of(self)
    d = wrap_dim(dimension, len(shape))
    if not shape:
        return expand(unsqueeze(self, 0), size) if size <= 1 else _too_large(size, 1)
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > shape[d]:
        _too_large(size, shape[d])
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return make_view(self, rules.unfold_view, d, size, step)


def _too_large(size: int, extent: int) -> Any:
    raise RuntimeError(f"maximum size for tensor at dimension 0 is {extent} but size is {size}")


@composite("method")
def as_strided(self: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """Any window on the storage by strides and offset (in elements)."""
    from_size, from_stride = ints((size,)), ints((stride,))
    if len(from_size) != len(from_stride):
        raise RuntimeError("mismatch in length of strides and shape")
    offset = self._offset if storage_offset is None else storage_offset
    root = _whole_storage(self)
    reach = offset + sum((n - 1) * s for n, s in zip(from_size, from_stride, strict=True))
    if math.prod(from_size) and reach >= math.prod(size_of(root)):
        raise RuntimeError(
            f"setStorage: sizes {list(from_size)}, strides {list(from_stride)}, storage offset "
            f"{offset} are out of bounds for a storage of {math.prod(size_of(root))} elements"
        )
    layout = root._storage.layout if not root._chain else None
    made = make_view(root, rules.as_strided_view, from_size, from_stride, offset, layout)
    made._offset = offset
    return made


def _whole_storage(self: Tensor) -> Tensor:
    """The tensor that shows all of a storage: the base of a view, or the tensor itself."""
    read(self)
    base = self._base_tensor
    whole_size = math.prod(self._storage.value.aval.shape)
    if not self._chain or (self._stride is None and math.prod(size_of(self)) == whole_size):
        return self
    if base is not None and not base._chain:
        return base
    whole = alias(self)
    whole._chain, whole._offset, whole._stride = (), 0, self._storage.layout
    whole._seen = -1
    read(whole)
    return whole


@composite("method")
def detach(self: Tensor) -> Tensor:
    """The same memory without its history."""
    return detached_view(self)


@composite()
def view_as_real(self: Tensor) -> Tensor:
    """Complex numbers as pairs of reals in a last dimension. [...] -> [..., 2]"""
    if not dtype_of(self).is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return make_view(self, rules.view_as_real_view)


@composite()
def view_as_complex(self: Tensor) -> Tensor:
    """Pairs of reals in the last dimension as complex numbers. [..., 2] -> [...]"""
    shape = size_of(self)
    if not dtype_of(self).is_floating_point:
        raise RuntimeError(
            f"view_as_complex is only supported for floating point tensors, but got a tensor of "
            f"scalar type: {dtype_of(self).name}"
        )
    if not shape or shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if strides_of(self)[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    return make_view(self, rules.view_as_complex_view)


@composite()
def real(self: Tensor) -> Tensor:
    """Real parts; a view of complex tensors, the tensor itself otherwise."""
    return make_view(self, rules.real_view) if dtype_of(self).is_complex else self


@composite()
def imag(self: Tensor) -> Tensor:
    """Imaginary parts, a view."""
    if not dtype_of(self).is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return make_view(self, rules.imag_view)


@composite("method")
def conj(self: Tensor) -> Tensor:
    """Complex conjugate, a view; real tensors are returned as they are."""
    return make_view(self, rules.conj_view) if dtype_of(self).is_complex else self


@composite("method")
def unbind(self: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All slices along a dimension."""
    shape = size_of(self)
    if not shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    d = wrap_dim(dim, len(shape))
    return tuple([one_of_many(make_view(self, rules.select_view, i, d)) for i in range(shape[d])])


@composite("method", function=False)
def split(self: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of one size, or of the sizes given, along a dimension."""
    shape = size_of(self)
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    d = wrap_dim(dim, len(shape))
    if isinstance(split_size, list | tuple):
        return split_with_sizes(self, split_size, d)
    size = operator.index(split_size)
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if size == 0 and shape[d]:
        raise RuntimeError(
            f"split_size can only be 0 if dimension size is 0, but got dimension size of {shape[d]}"
        )
    starts = range(0, shape[d], size) if shape[d] else [0]
    return tuple(
        [
            one_of_many(make_view(self, rules.slice_view, s, d, min(size, shape[d] - s), 1))
            for s in starts
        ]
    )


@composite("method")
def split_with_sizes(self: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of the sizes given along a dimension."""
    shape = size_of(self)
    if not shape:
        raise RuntimeError("split_with_sizes expects at least a 1-dimensional tensor")
    d = wrap_dim(dim, len(shape))
    sizes = ints((split_sizes,))
    if any(n < 0 for n in sizes) or sum(sizes) != shape[d]:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {shape[d]} (input tensor's "
            f"size at dimension {d}), but got split_sizes={list(sizes)}"
        )
    out, start = [], 0
    for n in sizes:
        out.append(one_of_many(make_view(self, rules.slice_view, start, d, n, 1)))
        start += n
    return tuple(out)


@composite("method")
def chunk(self: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """About `chunks` equal pieces along a dimension."""
    shape = size_of(self)
    if not shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    d = wrap_dim(dim, len(shape))
    size = -(-shape[d] // chunks)
    if size == 0:
        return split_with_sizes(self, [0] * chunks, d)
    return split(self, size, d)


@composite("method")
def tensor_split(
    self: Tensor,
    indices_or_sections: Any = None,
    dim: int = 0,
    *,
    indices: Any = None,
    sections: Any = None,
    tensor_indices_or_sections: Any = None,
) -> tuple[Tensor, ...]:
    """Pieces between indices, or a number of nearly equal ones, along a dimension."""
    shape = size_of(self)
    if not shape:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    given = next(
        g
        for g in (indices_or_sections, indices, sections, tensor_indices_or_sections)
        if g is not None
    )
    if isinstance(given, Tensor):
        given = given.tolist()
    d = wrap_dim(dim, len(shape))
    if isinstance(given, int):
        if given <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {given}")
        small, more = divmod(shape[d], given)
        sizes = [small + 1] * more + [small] * (given - more)
        return split_with_sizes(self, sizes, d)
    bounds = [0, *given, shape[d]]
    return tuple(
        [slice_along(self, d, a, b, 1) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    )


def _split_at(name: str, default_dim: int, least: int) -> Any:
    def function(
        self: Tensor, indices_or_sections: Any = None, *, indices: Any = None, sections: Any = None
    ) -> tuple[Tensor, ...]:
        ndim = len(size_of(self))
        if ndim < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension, but got a "
                f"tensor with {ndim} dimensions!"
            )
        given = next(g for g in (indices_or_sections, indices, sections) if g is not None)
        dim = 0 if name == "hsplit" and ndim == 1 else default_dim
        extent = size_of(self)[dim]
        if isinstance(given, int) and (given <= 0 or extent % given):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the "
                f"dimension {extent} is not divisible by the split_size {given}!"
            )
        return tensor_split(self, given, dim)

    function.__name__ = name
    function.__doc__ = f"Pieces along dimension {default_dim}, as NumPy's {name}."
    return composite("method")(function)


hsplit = _split_at("hsplit", 1, 1)
vsplit = _split_at("vsplit", 0, 2)
dsplit = _split_at("dsplit", 2, 3)
