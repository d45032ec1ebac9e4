"""Devices: PyTorch's names for the places that JAX knows."""

from __future__ import annotations

import functools
import re
from typing import Any

import jax

from funtorch.lowering import META

_KNOWN = (
    *("cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga"),
    *("maia", "xla", "lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone"),
)
"""Types that a device may have. Programs compare with them; tensors live on cpu, cuda and meta."""

_PATTERN = re.compile(r"^([a-z]+)(?::(\d+))?$")


class device:  # noqa: N801  (PyTorch's name)
    """Where a tensor lives: `device('cpu')`, `device('cuda', 1)`, `device('cuda:1')`, `device(0)`."""

    __slots__ = ("index", "type")

    def __init__(self, type: Any, index: int | None = None) -> None:
        if isinstance(type, device):
            type, index = type.type, type.index  # noqa: A001
        elif isinstance(type, int) and not isinstance(type, bool):
            type, index = "cuda", type  # noqa: A001
        elif isinstance(type, str):
            match = _PATTERN.match(type)
            if match is None:
                raise RuntimeError(f"Invalid device string: '{type}'")
            if match[2] is not None:
                if index is not None:
                    raise RuntimeError(
                        f"type (string) must not include an index because index was passed "
                        f"explicitly: {type}"
                    )
                index = int(match[2])
            type = match[1]  # noqa: A001
        else:
            raise TypeError(
                f"device(): argument 'type' must be str or int, not {type.__class__.__name__}"
            )
        if type not in _KNOWN:
            raise RuntimeError(
                f"Expected one of {', '.join(_KNOWN)} device type at start of device string: {type}"
            )
        self.type: str = type
        self.index: int | None = index

    def __repr__(self) -> str:
        if self.index is None:
            return f"device(type='{self.type}')"
        return f"device(type='{self.type}', index={self.index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and self.type == other.type and self.index == other.index

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> Any:
        return (device, (self.type,) if self.index is None else (self.type, self.index))

    def __enter__(self) -> device:
        _stack.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _stack.pop()


_stack: list[device] = []
_default: device | None = None


def default_device() -> device:
    """Where a factory function puts a tensor if it is not told."""
    return _stack[-1] if _stack else (_default or CPU)


def set_default_device(where: Any) -> None:
    """Set where factory functions put tensors; None means the CPU again."""
    global _default
    _default = None if where is None else device(where)


@functools.cache
def _gpus() -> tuple[Any, ...]:
    try:
        return tuple(jax.devices("gpu"))
    except RuntimeError:
        return ()


@functools.cache
def _cpu() -> Any:
    return jax.devices("cpu")[0]


_chosen_gpu = [0]


def chosen_gpu() -> int:
    """The index of the GPU that 'cuda' without an index means."""
    return _chosen_gpu[0]


def choose_gpu(index: int) -> int:
    """Set which GPU 'cuda' means; returns which it was. Raises RuntimeError if there is none."""
    place_of(device("cuda", index))
    before, _chosen_gpu[0] = _chosen_gpu[0], index
    return before


def gpu_count() -> int:
    """How many GPUs JAX sees."""
    return len(_gpus())


def place_of(where: Any) -> Any:
    """The JAX device (or META) that a torch device, string or index means."""
    if where is None:
        where = default_device()
    elif not isinstance(where, device):
        where = device(where)
    if where.type == "cpu":
        return _cpu()
    if where.type == "meta":
        return META
    if where.type != "cuda":
        raise _unreached(where.type)
    gpus = _gpus()
    if not gpus:
        raise RuntimeError(
            "Found no GPU that JAX can use: install funtorch with the extra 'cuda13', or use 'cpu'"
        )
    index = _chosen_gpu[0] if where.index is None else where.index
    if index >= len(gpus):
        raise RuntimeError(f"CUDA error: invalid device ordinal {index} ({len(gpus)} visible)")
    return gpus[index]


def _unreached(kind: str) -> Exception:
    """What asking for a tensor there raises, by the classes of PyTorch built without it."""
    if kind in ("xpu", "mtia"):
        return AssertionError(f"Torch not compiled with {kind.upper()} enabled")
    return NotImplementedError(
        f"Could not run 'aten::empty.memory_format' with arguments from the '{kind.upper()}' "
        "backend: tensors live on 'cpu', 'cuda' or 'meta' here"
    )


@functools.cache
def device_of(place: Any) -> device:
    """The torch device that stands for a JAX device (or META)."""
    if place == META:
        return device("meta")
    if place.platform == "cpu":
        return CPU
    return device("cuda", _gpus().index(place))


CPU = device("cpu")
