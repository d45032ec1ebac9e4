"""autocast: chosen ops run in a lower precision. Casts are recorded ops, so gradients go through."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from typing import Any

from funtorch import dtypes
from funtorch.amp.lists import FULL, LOWER, REFUSED, WIDEST
from funtorch.ops._declare import autocast_hook
from funtorch.ops.memory import convert
from funtorch.tensor import Tensor, dtype_of

_DEVICES = ("cuda", "cpu")
_HALVES = (dtypes.float16, dtypes.bfloat16)


class _State(threading.local):
    """What is switched on in this thread."""

    def __init__(self) -> None:
        self.enabled = dict.fromkeys(_DEVICES, False)
        self.dtype = {"cuda": dtypes.float16, "cpu": dtypes.bfloat16}
        self.cache = True
        self.nesting = 0


_state = _State()
_open = [0]
_lock = threading.Lock()


def _adjust(name: str, tensors: list[Tensor]) -> list[Tensor]:
    """The inputs of an op in the precision that autocast wants."""
    if not tensors:
        return tensors
    device = "cpu" if tensors[0].device.type == "cpu" else "cuda"
    if not _state.enabled[device]:
        return tensors
    if name in LOWER[device]:
        return [_to(t, _state.dtype[device]) for t in tensors]
    if name in FULL[device]:
        return [_to(t, dtypes.float32) for t in tensors]
    if name in WIDEST[device]:
        return _widened(tensors)
    if name in REFUSED[device]:
        raise RuntimeError(
            f"torch.nn.functional.{REFUSED[device][name]} and torch.nn.BCELoss are unsafe to "
            "autocast. Use binary_cross_entropy_with_logits or BCEWithLogitsLoss, which are safe."
        )
    return tensors


def _eligible(tensor: Tensor) -> bool:
    kind = dtype_of(tensor)
    return kind.is_floating_point and kind is not dtypes.float64


def _to(tensor: Tensor, kind: dtypes.dtype) -> Tensor:
    return convert(tensor, kind, None) if _eligible(tensor) else tensor


def _widened(tensors: list[Tensor]) -> list[Tensor]:
    kinds = {dtype_of(t) for t in tensors if _eligible(t)}
    if len(kinds) < 2:
        return tensors
    widest = functools.reduce(dtypes.promote_types, kinds)
    return [_to(t, widest) for t in tensors]


def _opened(change: int) -> None:
    """Count the regions that are open in any thread; the hook costs nothing while none is."""
    with _lock:
        _open[0] += change
        autocast_hook[0] = _adjust if _open[0] else None


def is_autocast_available(device_type: str) -> bool:
    """Is there autocast for this kind of device?"""
    return device_type in _DEVICES


_ELSEWHERE = ("mps", "xpu", "hpu", "mtia", "maia", "xla", "ipu", "meta")


def _check_device(device_type: str) -> str:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if device_type not in _DEVICES:
        raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
    return device_type


class autocast:  # noqa: N801
    """A region, or a decorated function, in which ops choose their precision (`torch.autocast`).

    dtype: float16 or bfloat16; by default float16 on cuda and bfloat16 on cpu. Casts of weights are
    not cached: XLA finds equal ones within a program.
    """

    def __init__(
        self,
        device_type: str,
        dtype: dtypes.dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        self.device = _check_device(device_type)
        self.fast_dtype = _state.dtype[self.device] if dtype is None else dtype
        self._enabled = enabled
        self._cache = _state.cache if cache_enabled is None else cache_enabled
        if enabled and self.fast_dtype not in _HALVES:
            warnings.warn(
                f"In {device_type} autocast, but the target dtype {self.fast_dtype} is not "
                "supported. Disabling autocast. Supported are torch.bfloat16 and torch.float16.",
                stacklevel=2,
            )
            self._enabled = False
        self._before: list[Any] = []

    def __enter__(self) -> autocast:
        device = self.device
        self._before.append((_state.enabled[device], _state.dtype[device], _state.cache))
        _state.enabled[device], _state.dtype[device] = self._enabled, self.fast_dtype
        _state.cache = self._cache
        _state.nesting += 1
        _opened(1)
        return self

    def __exit__(self, *error: Any) -> None:
        _opened(-1)
        _state.nesting -= 1
        device = self.device
        _state.enabled[device], _state.dtype[device], _state.cache = self._before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapper


def _each_tensor(value: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {k: _each_tensor(v, change) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_each_tensor(v, change) for v in value)
    return value


def custom_fwd(
    fwd: Callable[..., Any] | None = None,
    *,
    device_type: str,
    cast_inputs: dtypes.dtype | None = None,
) -> Any:
    """For `forward` of an autograd Function: with cast_inputs it runs in that dtype, uncast."""
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)
    device = _check_device(device_type)

    @functools.wraps(fwd)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        context = args[0]
        context._dtype = _state.dtype[device]
        if cast_inputs is None:
            context._fwd_used_autocast = _state.enabled[device]
            return fwd(*args, **kwargs)
        active = _state.enabled[device]
        context._fwd_used_autocast = False
        if not active:
            return fwd(*args, **kwargs)
        args = _each_tensor(args, lambda t: _to(t, cast_inputs))
        kwargs = _each_tensor(kwargs, lambda t: _to(t, cast_inputs))
        with autocast(device, enabled=False):
            return fwd(*args, **kwargs)

    return wrapper


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Any:
    """For `backward` of an autograd Function: it runs as its `forward` did."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)
    device = _check_device(device_type)

    @functools.wraps(bwd)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        context = args[0]
        with autocast(device, enabled=context._fwd_used_autocast, dtype=context._dtype):
            return bwd(*args, **kwargs)

    return wrapper


# Questions and switches of the torch module ------------------------------------------------------


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Is autocast on, in this thread? Never for kinds of devices that are not here."""
    return device_type not in _ELSEWHERE and _state.enabled[_check_device(device_type)]


def is_autocast_cpu_enabled() -> bool:
    """`is_autocast_enabled('cpu')`."""
    return _state.enabled["cpu"]


def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """Switch autocast on or off for a kind of device (cuda, if only a bool is given)."""
    device, wanted = ("cuda", device_type) if enabled is None else (device_type, enabled)
    if _state.enabled[_check_device(device)] != bool(wanted):
        _opened(1 if wanted else -1)
    _state.enabled[device] = bool(wanted)


def get_autocast_dtype(device_type: str) -> dtypes.dtype:
    """The lower precision of a kind of device."""
    return _state.dtype[_check_device(device_type)]


def set_autocast_dtype(device_type: str, dtype: dtypes.dtype) -> None:
    """Choose the lower precision of a kind of device."""
    _state.dtype[_check_device(device_type)] = dtype


def get_autocast_gpu_dtype() -> dtypes.dtype:
    """`get_autocast_dtype('cuda')`."""
    return _state.dtype["cuda"]


def get_autocast_cpu_dtype() -> dtypes.dtype:
    """`get_autocast_dtype('cpu')`."""
    return _state.dtype["cpu"]


def is_autocast_cache_enabled() -> bool:
    """Would PyTorch cache the casts of weights?"""
    return _state.cache


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Accepted; there is no cache to switch."""
    _state.cache = enabled


def clear_autocast_cache() -> None:
    """Nothing to clear."""


def autocast_increment_nesting() -> int:
    """One more region; returns how many are open."""
    _state.nesting += 1
    return _state.nesting


def autocast_decrement_nesting() -> int:
    """One region fewer; returns how many are open."""
    _state.nesting -= 1
    return _state.nesting
