"""Lazy layers: they learn their number of inputs from the first batch, then become the plain layer."""

from __future__ import annotations

from typing import Any

from funtorch import dtypes
from funtorch.nn import conv, norm
from funtorch.nn.layers import Linear
from funtorch.nn.module import Module
from funtorch.nn.parameter import (
    UninitializedBuffer,
    UninitializedParameter,
    is_lazy,
)
from funtorch.ops.creation import empty
from funtorch.tensor import Tensor


class LazyModuleMixin:
    """Makes a module lazy: `initialize_parameters(*args)` runs at the first call."""

    cls_to_become: type[Module] | None = None

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._initialize_hook = self.register_forward_pre_hook(
            LazyModuleMixin._infer_parameters, with_kwargs=True
        )

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give the parameters their shapes, from the first inputs."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self: Any) -> bool:
        """Is a parameter or buffer still without a shape?"""
        own = [*self._parameters.values(), *self._buffers.values()]
        return any(is_lazy(t) for t in own)

    def _infer_parameters(self: Any, args: Any, kwargs: Any) -> None:
        self.initialize_parameters(*args, **kwargs)
        if self.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        self._initialize_hook.remove()
        del self._initialize_hook
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become

    def _load_from_state_dict(self: Any, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Saved parameters bring their shapes."""
        for table in (self._parameters, self._buffers):
            for name, own in table.items():
                saved = state_dict.get(prefix + name)
                if is_lazy(own) and saved is not None and not is_lazy(saved):
                    own.materialize(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)  # type: ignore[misc]


class LazyLinear(LazyModuleMixin, Linear):
    """A Linear whose in_features come from the first batch."""

    cls_to_become = Linear

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(0, 0, False)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the weights anew, once they have a shape."""
        if not self.has_uninitialized_params() and self.in_features:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:  # type: ignore[override]
        """weight: [out_features, input's last extent]"""
        if self.has_uninitialized_params():
            self.in_features = input.shape[-1]
            self.weight.materialize((self.out_features, self.in_features))
            if self.bias is not None:
                self.bias.materialize((self.out_features,))
            self.reset_parameters()


class _LazyConv(LazyModuleMixin):
    def __init__(self: Any, out_channels: int, *args: Any, **kwargs: Any) -> None:
        bias, how = kwargs.pop("bias", True), {}
        for key in ("device", "dtype"):
            how[key] = kwargs.pop(key, None)
        super().__init__(0, 0, *args, bias=False, **kwargs)
        self.weight = UninitializedParameter(**how)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(**how)

    def reset_parameters(self: Any) -> None:
        """Draw the weights anew, once they have a shape."""
        if not self.has_uninitialized_params() and self.in_channels:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self: Any, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """weight: [out, in / groups, *kernel], or transposed"""
        if not self.has_uninitialized_params():
            return
        n = self.rank
        if input.ndim not in (n + 1, n + 2):
            raise RuntimeError(
                f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {list(input.shape)}"
            )
        self.in_channels = input.shape[1 if input.ndim == n + 2 else 0]
        if self.in_channels % self.groups:
            raise ValueError("in_channels must be divisible by groups")
        lead = (self.out_channels, self.in_channels // self.groups)
        if self.transposed:
            lead = (self.in_channels, self.out_channels // self.groups)
        self.weight.materialize((*lead, *self.kernel_size))
        if self.bias is not None:
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()


class _LazyNorm(LazyModuleMixin):
    def __init__(
        self: Any,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False)
        how = {"device": device, "dtype": dtype}
        self.affine, self.track_running_stats = affine, track_running_stats
        if affine:
            self.weight = UninitializedParameter(**how)
            if bias:
                self.bias = UninitializedParameter(**how)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(**how)
            self.running_var = UninitializedBuffer(**how)
            self.num_batches_tracked = empty(0, device=device).new_zeros((), dtype=dtypes.int64)

    def reset_parameters(self: Any) -> None:
        """State as at the beginning, once there is a shape."""
        if not self.has_uninitialized_params() and self.num_features:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self: Any, input: Tensor) -> None:  # type: ignore[override]
        """All vectors: [channels]"""
        if self.has_uninitialized_params():
            self.num_features = input.shape[1]
            for name in ("weight", "bias", "running_mean", "running_var"):
                if is_lazy(getattr(self, name)):
                    getattr(self, name).materialize((self.num_features,))
            self.reset_parameters()


def _lazy(base: type[Module], mixin: type) -> Any:
    name = f"Lazy{base.__name__}"
    doc = f"A {base.__name__} whose number of inputs comes from the first batch."
    members = {"cls_to_become": base, "__doc__": doc, "__module__": "funtorch.nn"}
    return type(name, (mixin, base), members)


LazyConv1d, LazyConv2d, LazyConv3d = (
    _lazy(c, _LazyConv) for c in (conv.Conv1d, conv.Conv2d, conv.Conv3d)
)
LazyConvTranspose1d, LazyConvTranspose2d, LazyConvTranspose3d = (
    _lazy(c, _LazyConv) for c in (conv.ConvTranspose1d, conv.ConvTranspose2d, conv.ConvTranspose3d)
)
LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d = (
    _lazy(c, _LazyNorm) for c in (norm.BatchNorm1d, norm.BatchNorm2d, norm.BatchNorm3d)
)
LazyInstanceNorm1d, LazyInstanceNorm2d, LazyInstanceNorm3d = (
    _lazy(c, _LazyNorm) for c in (norm.InstanceNorm1d, norm.InstanceNorm2d, norm.InstanceNorm3d)
)

__all__ = [
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
    "LazyLinear",
    "UninitializedBuffer",
    "UninitializedParameter",
]
