"""Tensors that are not strided: made of a strided tensor of elements and of others that place them.

Such a tensor has a shape, a dtype and a place like every tensor, but no memory that ops could read.
Functions find it through `__torch_function__`: its class has a table from the names of functions to
compositions of strided ops. Autograd is that of the elements: gradient, history and hooks are those
of `_inner`, and `_with` dresses a gradient of it in the same layout again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from funtorch.device import device_of
from funtorch.layouts import Layout
from funtorch.lowering import Value, aval_of
from funtorch.overrides import LAYOUTS, watch
from funtorch.tensor import Storage, Tensor

_new = object.__new__


class _NoStorage(Storage):
    """Stands where a strided tensor has its storage: whoever reads it came by a wrong way."""

    __slots__ = ()

    @property
    def value(self) -> Any:  # type: ignore[override]
        """Raises NotImplementedError."""
        raise NotImplementedError(
            "a tensor that is not strided was given to a function that reads strided memory; "
            "use .to_dense() first"
        )


def _no_storage() -> Storage:
    made: Storage = _new(_NoStorage)
    made.version = 0
    made.host = made.layout = None
    made.unwritten = ()
    return made


def _delegated(name: str) -> Any:
    def get(self: Any) -> Any:
        return getattr(self._inner, name)

    def put(self: Any, value: Any) -> None:
        setattr(self._inner, name, value)

    return property(get, put)


class Composed(Tensor, watched=False):
    """Base of tensors that are not strided.

    _inner: the elements, a strided tensor on the tape. Subclasses say how they are placed, and give
    `_with(inner)`: the same places with other elements.
    """

    _inner: Tensor
    _kind: Layout
    handlers: dict[str, Callable[..., Any]]
    way_out = "Use .to_dense() first."

    _requires = _delegated("_requires")
    _node = _delegated("_node")
    _out = _delegated("_out")
    _accumulator = _delegated("_accumulator")
    _inference = _delegated("_inference")
    _hooks = _delegated("_hooks")

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{cls.__name__} is made by the functions of its layout")

    @classmethod
    def _made(cls, inner: Tensor, shape: tuple[int, ...]) -> Any:
        """A new tensor of this class; the caller adds what places the elements."""
        made = _new(cls)
        aval = inner._value.aval
        made._storage = _no_storage()
        made._value = Value(aval_of(tuple(shape), aval.dtype, aval.place))
        made._seen = -1
        made._chain = ()
        made._stride = None
        made._offset = 0
        made._base_tensor = None
        made._many = False
        made._inner = inner
        LAYOUTS.add(cls)
        watch.on = True
        return made

    def _with(self, inner: Tensor) -> Any:
        """The same places with other elements."""
        raise NotImplementedError

    def _parts(self) -> dict[str, Tensor]:
        """What the tensor is made of, by PyTorch's names, in a form that equal tensors share."""
        raise NotImplementedError

    def _gradient(self, inner: Tensor) -> Any:
        """A gradient of `_inner` as one of this tensor."""
        return self._with(inner)

    def _elements_of(self, grad: Any) -> Tensor:
        """The part of a gradient of this tensor that belongs to `_inner`."""
        return grad._inner if isinstance(grad, Composed) else grad

    def _become(self, other: Any) -> Any:
        """Take over what another tensor of this class is made of (in-place functions)."""
        self._value = other._value
        self.__dict__.update(other.__dict__)
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look the function up in the table of the layout."""
        kwargs = dict(kwargs or {})
        name = func.__name__
        out = kwargs.pop("out", None)
        if out is not None:
            return _written(func(*args, **kwargs), out)
        handler = cls.handlers.get(name)
        if handler is not None:
            return handler(*args, **kwargs)
        if name.endswith("_") and not name.startswith("__") and name[:-1] in cls.handlers:
            return cls._in_place(cls.handlers[name[:-1]], args, kwargs)
        raise cls._unsupported(name, args, kwargs)

    @classmethod
    def _in_place(cls, handler: Any, args: Any, kwargs: Any) -> Any:
        target = args[0]
        result = handler(*args, **kwargs)
        if isinstance(target, Composed):
            if target._inner._requires and target._inner._node is None:
                raise RuntimeError(
                    "a leaf Variable that requires grad is being used in an in-place operation."
                )
            return target._become(result)
        return target.copy_(result)

    @classmethod
    def _unsupported(cls, name: str, args: Any, kwargs: Any) -> NotImplementedError:
        parts = [p for a in args for p in (a if isinstance(a, list | tuple) else (a,))]
        found = next(p for p in (*parts, *kwargs.values()) if isinstance(p, cls))
        where = device_of(found._value.aval.place).type.upper()
        return NotImplementedError(
            f"Could not run 'aten::{name}' with arguments from the '{found._kind.backend}{where}' "
            f"backend: there is no {name} for tensors of layout {found._kind!r}. "
            f"{cls.way_out}"
        )

    # Autograd -----------------------------------------------------------------------------------

    @property
    def _grad(self) -> Any:  # type: ignore[override]
        grad = self._inner._grad
        return as_given(self, grad)

    @_grad.setter
    def _grad(self, value: Any) -> None:
        self._inner._grad = None if value is None else self._elements_of(value)

    @property
    def requires_grad(self) -> bool:
        """Does autograd follow this tensor?"""
        return bool(self._inner.requires_grad)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._inner.requires_grad = value

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Make a leaf that autograd follows (or not)."""
        self._inner.requires_grad_(requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        """Not the result of a taped operation?"""
        return bool(self._inner.is_leaf)

    @property
    def grad_fn(self) -> Any:
        """The node that the gradient of the elements goes to."""
        return self._inner.grad_fn

    def register_hook(self, hook: Callable[..., Any]) -> Any:
        """Call `hook(grad)`, in this layout, when the gradient is known."""

        def on_inner(grad: Tensor) -> Any:
            made = hook(self._gradient(grad))
            return None if made is None else self._elements_of(made)

        return self._inner.register_hook(on_inner)

    def retain_grad(self) -> None:
        """Keep `.grad` of this inner tensor too."""
        self._inner.retain_grad()

    @property
    def retains_grad(self) -> bool:
        """Was `retain_grad` called?"""
        return bool(self._inner.retains_grad)

    def detach_(self) -> Any:
        """Forget the history, in place."""
        self._inner = self._inner.detach()
        return self

    # Attributes ---------------------------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        """How the elements are stored."""
        return self._kind

    def data_ptr(self) -> int:
        """There is no memory to point at: raises RuntimeError."""
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage")

    def tolist(self) -> Any:
        """Raises RuntimeError, as in PyTorch."""
        return self.data_ptr()

    def untyped_storage(self) -> Any:
        """Raises NotImplementedError."""
        raise NotImplementedError(f"Cannot access storage of {self._kind!r} tensors")

    def numpy(self, *, force: bool = False) -> Any:
        """Raises TypeError: NumPy has strided arrays only."""
        raise TypeError(
            f"can't convert {self._kind.title} layout tensor to numpy. Use Tensor.to_dense() first."
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.numpy()

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Never: there is no one memory."""
        return False

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            if self._inner._node is not None:
                raise RuntimeError(
                    "Only Tensors created explicitly by the user (graph leaves) support the "
                    "deepcopy protocol at the moment"
                )
            parts = {k: copy.deepcopy(v, memo) for k, v in self.__dict__.items() if k != "_kind"}
            made = type(self)._made(parts["_inner"], self._value.aval.shape)
            made.__dict__.update(self.__dict__)
            made.__dict__.update(parts)
            memo[id(self)] = made
        return memo[id(self)]


def _written(result: Any, out: Any) -> Any:
    """A result as what was given for `out=`."""
    if isinstance(out, Composed):
        return out._become(result)
    return out.resize_(result.shape).copy_(result)


def elements(tensor: Any) -> Any:
    """The strided tensor that holds the elements: the tensor itself, if it is strided."""
    return tensor._inner if isinstance(tensor, Composed) else tensor


def as_given(tensor: Tensor, grad: Any) -> Any:
    """A gradient in the layout of the tensor it belongs to."""
    if grad is None or not isinstance(tensor, Composed) or isinstance(grad, Composed):
        return grad
    return tensor._gradient(grad)
