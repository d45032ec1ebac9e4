"""torch.random: the default generator, its seed and its state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from funtorch.device import device as Device
from funtorch.device import gpu_count
from funtorch.random.generator import Generator, default_for, default_generator, seed_gpus
from funtorch.tensor import Tensor

__all__ = [
    "Generator",
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]


def manual_seed(seed: Any) -> Generator:
    """Seed the generators of all devices; returns the CPU's."""
    default_generator.manual_seed(seed)
    seed_gpus(default_generator.initial_seed())
    return default_generator


def seed() -> int:
    """Seed the generators of all devices with a number nobody can foretell, and return it."""
    chosen = default_generator.seed()
    seed_gpus(chosen)
    return chosen


def initial_seed() -> int:
    """The last seed of the CPU's generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the CPU's generator, in PyTorch's bytes. -> uint8 [5056]"""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Go on from a state that `get_rng_state` returned, here or in PyTorch."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str = "cuda",
) -> Iterator[None]:
    """Within it, draws leave no trace: at its end the generators stand where they stood before.

    devices: which GPUs' generators to keep beside the CPU's; None for all.
    """
    if not enabled:
        yield
        return
    chosen = range(gpu_count()) if devices is None else list(devices)
    places = [Device("cuda", d) if isinstance(d, int) else Device(d) for d in chosen]
    generators = [default_generator, *[default_for(place) for place in places]]
    states = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
