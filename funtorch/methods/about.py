"""What a tensor is: sizes, type, place, layout."""

from __future__ import annotations

import builtins
from typing import Any

from funtorch import dtypes
from funtorch.device import device_of
from funtorch.layouts import strided
from funtorch.lowering import META
from funtorch.methods.table import METHODS, attribute, method
from funtorch.ops import memory
from funtorch.ops.view_ops import wrap_dim
from funtorch.size import Size
from funtorch.storage import ELEMENT_TYPES
from funtorch.tensor import Tensor, dtype_of, size_of, strides_of
from funtorch.tensor import as_subclass as tensor_as


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
    """Integers that stand for the numbers of a grid? (`quantized.py` overrides this.)"""
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
