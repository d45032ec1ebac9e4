"""Methods and attributes of Tensor that are no ops: sizes, dtype, autograd, NumPy, Python protocols."""

from __future__ import annotations

import builtins
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from funtorch import autograd, dtypes, hostmem
from funtorch.copying import deepcopy_tensor, reduce_tensor
from funtorch.device import device_of
from funtorch.dispatch import is_contiguous, read, to_host
from funtorch.layouts import strided
from funtorch.lowering import META
from funtorch.ops import indexing, memory
from funtorch.ops._declare import TABLE
from funtorch.ops.view_ops import wrap_dim
from funtorch.size import Size
from funtorch.storage import ELEMENT_TYPES, TypedStorage, UntypedStorage, whole
from funtorch.tape import AccumulateGrad, Handle, gradient_edge
from funtorch.tensor import Tensor, contiguous_strides, copy_window, dtype_of, size_of, strides_of
from funtorch.tensor import as_subclass as tensor_as
from funtorch.tensor_text import text_of
from funtorch.views import store

METHODS: dict[str, Any] = {}


def method(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function a method of Tensor."""
    METHODS[function.__name__] = function
    return function


def attribute(function: Callable[..., Any]) -> Any:
    """Make a function a read-only attribute of Tensor."""
    made = METHODS[function.__name__] = property(function)
    return made


# Sizes, types, places -------------------------------------------------------------------------


@attribute
def shape(self: Tensor) -> Size:
    """The extents."""
    return Size(self._value.aval.shape)


@method
def size(self: Tensor, dim: int | None = None) -> Any:
    """All extents, or one."""
    own = size_of(self)
    return Size(own) if dim is None else own[wrap_dim(dim, len(own))]


@method
def stride(self: Tensor, dim: int | None = None) -> Any:
    """Steps in memory, in elements."""
    own = strides_of(self)
    return own if dim is None else own[wrap_dim(dim, len(own))]


@attribute
def ndim(self: Tensor) -> int:
    """Number of dimensions."""
    return self._value.aval.ndim


@method
def dim(self: Tensor) -> int:
    """Number of dimensions."""
    return self._value.aval.ndim


METHODS["ndimension"] = dim


@method
def numel(self: Tensor) -> int:
    """Number of elements."""
    return self._value.aval.size


METHODS["nelement"] = numel


@attribute
def dtype(self: Tensor) -> dtypes.dtype:
    """The type of the elements."""
    return dtypes.of(self._value.aval.dtype)


@attribute
def device(self: Tensor) -> Any:
    """Where the tensor lives."""
    return device_of(self._value.aval.place)


@attribute
def layout(self: Tensor) -> Any:
    """How the elements are stored: strided. Tensors of other layouts are `Composed`."""
    return strided


@method
def as_subclass(self: Tensor, cls: Any) -> Any:
    """The same tensor, its place on the tape included, as an instance of a subclass of Tensor."""
    if not isinstance(cls, builtins.type) or not issubclass(cls, Tensor):
        raise TypeError(
            "Creating a Tensor subclass from a class that does not inherit from Tensor is not "
            "possible. Make sure your class inherits from Tensor."
        )
    leaf = self._requires and self._node is None
    return tensor_as(self.view_as(self) if leaf else self, cls)


@attribute
def itemsize(self: Tensor) -> int:
    """Bytes per element."""
    return self._value.aval.dtype.itemsize


@method
def element_size(self: Tensor) -> int:
    """Bytes per element."""
    return self._value.aval.dtype.itemsize


@attribute
def nbytes(self: Tensor) -> int:
    """Bytes of all elements."""
    return self._value.aval.nbytes


@attribute
def is_cuda(self: Tensor) -> bool:
    """On a GPU?"""
    return bool(device_of(self._value.aval.place).type == "cuda")


@attribute
def is_cpu(self: Tensor) -> bool:
    """On the CPU?"""
    return bool(device_of(self._value.aval.place).type == "cpu")


@attribute
def is_meta(self: Tensor) -> bool:
    """Without data?"""
    return self._value.aval.place is META


@attribute
def is_sparse(self: Tensor) -> bool:
    """Of the layout sparse_coo?"""
    return False


@attribute
def is_sparse_csr(self: Tensor) -> bool:
    """Of the layout sparse_csr?"""
    return False


@attribute
def is_quantized(self: Tensor) -> bool:
    """Never: quantised types are not there."""
    return False


@attribute
def is_nested(self: Tensor) -> bool:
    """Of tensors of several shapes?"""
    return False


@method
def is_floating_point(self: Tensor) -> bool:
    """Of a floating-point type?"""
    return dtype_of(self).is_floating_point


@method
def is_complex(self: Tensor) -> bool:
    """Of a complex type?"""
    return dtype_of(self).is_complex


@method
def is_signed(self: Tensor) -> bool:
    """Of a type with negative numbers?"""
    return dtype_of(self).is_signed


@method
def is_conj(self: Tensor) -> bool:
    """Is conjugation pending? A conjugate view counts."""
    return bool(self._chain) and self._chain[-1].op.name == "conj"


@method
def is_neg(self: Tensor) -> bool:
    """Is negation pending? Never here."""
    return False


@method
def resolve_conj(self: Tensor) -> Tensor:
    """A copy if this is a conjugate view."""
    return self.clone() if is_conj(self) else self


@method
def resolve_neg(self: Tensor) -> Tensor:
    """The tensor itself."""
    return self


@method
def get_device(self: Tensor) -> int:
    """The GPU's index, -1 on the CPU."""
    where = device_of(self._value.aval.place)
    return -1 if where.type == "cpu" else (where.index or 0)


@method
def type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:  # noqa: A001
    """The name of the tensor's type, or the tensor in another type."""
    if dtype is None:
        prefix = "torch.cuda." if is_cuda.fget(self) else "torch."
        return prefix + ELEMENT_TYPES.get(dtype_of(self).name, "Float") + "Tensor"
    if isinstance(dtype, str):
        found = {f"{v}Tensor": k for k, v in ELEMENT_TYPES.items()}[dtype.rsplit(".", 1)[-1]]
        return memory.convert(self, dtypes.by_name(found), None)
    return memory.convert(self, getattr(dtype, "dtype", dtype), None)


# Memory ---------------------------------------------------------------------------------------


@method
def is_contiguous_method(self: Tensor, memory_format: Any = None) -> bool:
    """Does it lie in memory in order (of the format)?"""
    if memory_format is None or memory_format.name == "contiguous_format":
        return is_contiguous(size_of(self), self._stride)
    return memory.has_format(self, memory_format)


METHODS["is_contiguous"] = METHODS.pop("is_contiguous_method")


@method
def storage_offset(self: Tensor) -> int:
    """Elements before the first one, in the storage."""
    return self._offset


@method
def data_ptr(self: Tensor) -> int:
    """A number that is equal for windows that begin at the same element of one storage."""
    if self._value.aval.size == 0:
        return 0
    return id(self._storage) * 64 + self._offset * self._value.aval.dtype.itemsize


@method
def untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory behind this tensor."""
    return UntypedStorage(whole(self))


@method
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """The same window on the same storage?"""
    return self._storage is tensor._storage and self._chain == tensor._chain


@method
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """The tensor itself: host memory needs no pinning here."""
    return self


@method
def is_pinned(self: Tensor, device: Any = None) -> bool:
    """Never."""
    return False


@method
def share_memory_(self: Tensor) -> Tensor:
    """The tensor itself; other processes get copies."""
    return self


@method
def is_shared(self: Tensor) -> bool:
    """In memory shared with other processes? Never here."""
    return False


@method
def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Another shape in place: keeps the elements in order, new ones are zero."""
    from_shape = TABLE["zeros"].facade(
        *sizes, dtype=dtype_of(self), device=device_of(self._value.aval.place)
    )
    wanted = size_of(from_shape)
    if wanted == size_of(self):
        return self
    if self._requires:
        raise RuntimeError("cannot resize variables that require grad")
    flat, need = self.detach().reshape(-1), from_shape.numel()
    kept = (
        flat[:need]
        if flat.numel() >= need
        else TABLE["cat"].facade([flat, from_shape.reshape(-1)[flat.numel() :]])
    )
    copy_window(self, kept.reshape(wanted).clone())
    return self


@method
def resize_as_(self: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """`self.resize_(the_template.size())`."""
    return resize_(self, size_of(the_template))


@method
def set_(self: Tensor, source: Any = None, *rest: Any) -> Tensor:
    """Look at the storage of another tensor, or at a storage; then: (offset, size, stride)."""
    if source is None:
        source = TABLE["empty"].facade(0, dtype=dtype_of(self))
    elif isinstance(source, UntypedStorage):
        source = source._bytes().view(dtype_of(self))
    elif isinstance(source, TypedStorage):
        source = source._elements
    source = source.detach()
    if rest:
        offset, extents, steps = (*rest, None)[:3]
        steps = contiguous_strides(tuple(extents)) if steps is None else steps
        source = TABLE["as_strided"].facade(source, extents, steps, offset)
    copy_window(self, source)
    return self


@method
def _replace(self: Tensor, other: Tensor) -> Tensor:
    """Overwrite the contents with those of `other` (same shape and dtype), outside the tape."""
    store(self, read(other))
    return self


# Values ---------------------------------------------------------------------------------------


@method
def item(self: Tensor) -> Any:
    """The one element as a Python number. Waits for it."""
    if self._value.aval.size != 1:
        raise RuntimeError(
            f"a Tensor with {self._value.aval.size} elements cannot be converted to Scalar"
        )
    return _plain(to_host(self)).item()


def _plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """NumPy's own types for those of ml_dtypes."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array


@method
def tolist(self: Tensor) -> Any:
    """Nested lists of Python numbers. Waits for them."""
    array = to_host(self)
    return _plain(array).tolist() if array.dtype.kind != "V" else array.astype(np.float32).tolist()


@method
def numpy(self: Tensor, *, force: bool = False) -> np.ndarray[Any, Any]:
    """A NumPy array that shares memory with this CPU tensor: each sees the other's writes.

    A view of part of a storage, and a tensor on a GPU with force=True, give a copy.
    """
    if self._requires and not force:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )
    where = device_of(self._value.aval.place)
    if where.type == "cuda" and not force:
        raise TypeError(
            f"can't convert {where} device type tensor to numpy. Use Tensor.cpu() to copy the "
            "tensor to host memory first."
        )
    if where.type == "meta":
        raise TypeError("can't convert meta device type tensor to numpy.")
    if dtype_of(self).name == "bfloat16" or "float8" in dtype_of(self).name:
        raise TypeError(f"Got unsupported ScalarType {ELEMENT_TYPES.get(dtype_of(self).name)}")
    if where.type == "cuda":
        return np.array(to_host(self))
    return _shared(self)


def _shared(self: Tensor) -> np.ndarray[Any, Any]:
    """The host array of this storage, made the first time, and this tensor's window on it."""
    read(self)
    storage = self._storage
    if storage.host is None:
        base = np.array(hostmem.as_numpy(storage.value))
        if storage.layout is not None:
            base = _in_layout(base, storage.layout)
        storage.host = hostmem.Shared(base)
    storage.version += 1  # every window must look at the host from now on
    storage.unwritten = (*storage.unwritten, storage.version)
    self._seen = -1
    array = storage.host.array
    if not self._chain:
        return array
    strides = tuple(s * array.itemsize for s in strides_of(self))
    if dtype_of(self).numpy != array.dtype:
        return np.array(to_host(self))
    flat = _memory(array)
    return np.lib.stride_tricks.as_strided(flat[self._offset :], size_of(self), strides)


def _in_layout(base: np.ndarray[Any, Any], strides: tuple[int, ...]) -> np.ndarray[Any, Any]:
    order = sorted(range(base.ndim), key=lambda d: (-strides[d], d))
    packed = np.ascontiguousarray(base.transpose(order))
    inverse = np.argsort(order)
    return packed.transpose(inverse)


def _memory(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array's elements in the order in which they lie in memory, without a copy."""
    order = sorted(range(array.ndim), key=lambda d: (-array.strides[d], d))
    return array.transpose(order).reshape(-1)


@method
def __array__(self: Tensor, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
    array = numpy(self)
    return array if dtype is None else array.astype(dtype)


@method
def __array_wrap__(self: Tensor, array: Any, context: Any = None, scalar: bool = False) -> Tensor:
    return TABLE["from_numpy"].facade(np.asarray(array))


@method
def __dlpack__(self: Tensor, **options: Any) -> Any:
    if self._requires:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    value = read(self)
    value.pinned = True
    array = value.concrete()
    options.pop("stream", None)
    return array.__dlpack__(**options)


@method
def __dlpack_device__(self: Tensor) -> Any:
    return read(self).concrete().__dlpack_device__()


@method
def __jax_array__(self: Tensor) -> Any:
    """What lets JAX functions take a tensor."""
    value = read(self)
    value.pinned = True
    return value.concrete()


# Python protocols ------------------------------------------------------------------------------


@method
def __len__(self: Tensor) -> int:
    if not self._value.aval.ndim:
        raise TypeError("len() of a 0-d tensor")
    return self._value.aval.shape[0]


@method
def __iter__(self: Tensor) -> Any:
    if not self._value.aval.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(self.unbind(0))


@method
def __bool__(self: Tensor) -> bool:
    count = self._value.aval.size
    if count == 0:
        raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
    if count > 1:
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    return bool(item(self))


@method
def __int__(self: Tensor) -> int:
    return int(item(self))


@method
def __float__(self: Tensor) -> float:
    return float(item(self))


@method
def __complex__(self: Tensor) -> complex:
    return complex(item(self))


@method
def __index__(self: Tensor) -> int:
    if dtype_of(self).category > 1 or self._value.aval.size != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(item(self))


@method
def __contains__(self: Tensor, element: Any) -> bool:
    if not isinstance(element, Tensor | int | float | complex | bool):
        raise RuntimeError(
            f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
            f"{element.__class__}."
        )
    return bool((self == element).any())


@method
def __hash__(self: Tensor) -> int:
    return id(self)


@method
def __getitem__(self: Tensor, key: Any) -> Tensor:
    return indexing.getitem(self, key)


@method
def __setitem__(self: Tensor, key: Any, value: Any) -> None:
    indexing.setitem(self, key, value)


def _make_subclass(cls: Any, data: Tensor, require_grad: bool = False) -> Any:
    """A leaf of a subclass on the memory of `data`."""
    made = tensor_as(data.detach(), cls)
    made._requires = require_grad
    return made


METHODS["_make_subclass"] = staticmethod(_make_subclass)
METHODS["__deepcopy__"] = deepcopy_tensor
METHODS["__reduce_ex__"] = reduce_tensor


@method
def __repr__(self: Tensor, *, tensor_contents: Any = None) -> str:
    return text_of(self)


@method
def __format__(self: Tensor, spec: str) -> str:
    if self.__class__ is Tensor and self._value.aval.ndim == 0 and not is_meta.fget(self):
        return format(item(self), spec)
    return object.__format__(self, spec)


# Autograd -------------------------------------------------------------------------------------


def _get_requires_grad(self: Tensor) -> bool:
    """Does autograd follow this tensor?"""
    if self._seen != self._storage.version:
        read(self)
    return self._requires


def _set_requires_grad(self: Tensor, value: bool) -> None:
    requires_grad_(self, value)


METHODS["requires_grad"] = property(_get_requires_grad, _set_requires_grad)


@method
def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Make a leaf that autograd follows (or not)."""
    if requires_grad and dtype_of(self).category < 2:
        raise RuntimeError("only Tensors of floating point dtype can require gradients")
    read(self)
    if self._node is not None:
        if not requires_grad:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        return self
    self._requires = bool(requires_grad)
    return self


@attribute
def is_leaf(self: Tensor) -> bool:
    """Not the result of a taped operation?"""
    read(self)
    return self._node is None


@attribute
def grad_fn(self: Tensor) -> Any:
    """The tape node that made this tensor."""
    if self._seen != self._storage.version:
        read(self)
    return self._node


@attribute
def output_nr(self: Tensor) -> int:
    """Which output of `grad_fn` this is."""
    return self._out


@attribute
def _version(self: Tensor) -> int:
    """How often the storage was written in place."""
    return self._storage.writes_since(0)


@method
def _is_view(self: Tensor) -> bool:
    return self._base_tensor is not None


@attribute
def _base(self: Tensor) -> Tensor | None:
    """The tensor that this is a differentiable view of."""
    return self._base_tensor


def _get_grad(self: Tensor) -> Tensor | None:
    """The accumulated gradient."""
    return self._grad


def _set_grad(self: Tensor, value: Tensor | None) -> None:
    if value is not None:
        if not isinstance(value, Tensor):
            raise TypeError(
                "assigned grad expected to be a Tensor or None but got grad of type "
                f"{value.__class__.__name__}"
            )
        if size_of(value) != size_of(self):
            raise RuntimeError(
                "assigned grad has data of a different size: expected "
                f"{list(size_of(self))}, got {list(size_of(value))}"
            )
        if dtype_of(value) is not dtype_of(self):
            raise RuntimeError(
                f"assigned grad has data of a different type: expected {dtype_of(self)!r}, got "
                f"{dtype_of(value)!r}"
            )
    self._grad = value


METHODS["grad"] = property(_get_grad, _set_grad, lambda self: _set_grad(self, None))


def _get_data(self: Tensor) -> Tensor:
    """The same memory without history, and without a say in version checks."""
    return self.detach()


def _set_data(self: Tensor, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {value.__class__.__name__}")
    read(value)
    copy_window(self, value)
    self._base_tensor = None


METHODS["data"] = property(_get_data, _set_data)


@method
def detach_(self: Tensor) -> Tensor:
    """Forget the history, in place."""
    if self._base_tensor is not None:
        raise RuntimeError("Can't detach views in-place; use detach() instead.")
    self._node, self._out, self._requires = None, 0, False
    return self


@method
def backward(
    self: Tensor,
    gradient: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Accumulate gradients into the leaves; see `autograd.backward`."""
    if self._seen != self._storage.version:
        read(self)
    autograd.backward(self, gradient, retain_graph, create_graph, inputs=inputs)


@method
def register_hook(self: Tensor, hook: Callable[..., Any]) -> Handle:
    """Call `hook(grad)` when this tensor's gradient is known; it may return another."""
    edge = gradient_edge(self)
    if edge is None:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    node, index = edge
    hooks: dict[int, Callable[..., Any]] = {}
    node.__dict__.setdefault("_tensor_hooks", []).append((index, hooks))
    return Handle(hooks, hook)


@method
def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[..., Any]) -> Handle:
    """Call `hook(param)` after this leaf's `.grad` has been updated."""
    edge = gradient_edge(self)
    if edge is None or not isinstance(edge[0], AccumulateGrad):
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    return Handle(edge[0].__dict__.setdefault("_post_accumulate", {}), hook)


@method
def retain_grad(self: Tensor) -> None:
    """Keep `.grad` of this inner tensor too."""
    if not self._requires:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self._node is None or retains_grad.fget(self):
        return
    self._hooks = True
    retained = self._node.__dict__.setdefault("_retained", [])
    retained.append((self._out, weakref.ref(self)))


@attribute
def retains_grad(self: Tensor) -> bool:
    """Was `retain_grad` called?"""
    return self._node is not None and bool(self._hooks)


@method
def is_inference(self: Tensor) -> bool:
    """Made under inference mode?"""
    return self._inference


# Shorthands ------------------------------------------------------------------------------------


@attribute
def T(self: Tensor) -> Tensor:
    """Dimensions in reverse order."""
    return self.permute(*reversed(range(self._value.aval.ndim)))


@attribute
def mT(self: Tensor) -> Tensor:
    """The last two dimensions exchanged."""
    if self._value.aval.ndim < 2:
        raise RuntimeError(
            "tensor.mT is only supported on matrices or batches of matrices. Got "
            f"{self._value.aval.ndim}-D tensor."
        )
    return self.transpose(-2, -1)


@attribute
def H(self: Tensor) -> Tensor:
    """A matrix conjugated and transposed."""
    if self._value.aval.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {self._value.aval.ndim}-D "
            "tensor."
        )
    return self.transpose(0, 1).conj() if self._value.aval.ndim else self.conj()


@attribute
def mH(self: Tensor) -> Tensor:
    """The last two dimensions exchanged, and conjugated."""
    return mT.fget(self).conj() if size_of(self) else self.conj()


def _part(name: str) -> property:
    def get(self: Tensor) -> Tensor:
        return TABLE[name].facade(self)

    def put(self: Tensor, value: Any) -> None:
        get(self).copy_(
            value
            if isinstance(value, Tensor)
            else TABLE["tensor"].facade(value, dtype=get(self).dtype)
        )

    return property(get, put)


METHODS["real"], METHODS["imag"] = _part("real"), _part("imag")
