"""Random numbers on GPUs: seeds and states. Without a GPU, seeding does nothing, as in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from funtorch.cuda.memory import gpu
from funtorch.device import gpu_count
from funtorch.random.generator import default_for, gpu_generators, seed_gpus
from funtorch.tensor import Tensor


def manual_seed(seed: int) -> None:
    """Seed the generator of the GPU that 'cuda' means."""
    if gpu_count():
        default_for(gpu(None)).manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all GPUs."""
    seed_gpus(int(seed))


def seed() -> None:
    """Seed the generator with a number nobody can foretell."""
    if gpu_count():
        default_for(gpu(None)).seed()


def seed_all() -> None:
    """Seed the generators of all GPUs with one number nobody can foretell."""
    generators = gpu_generators()
    if generators:
        seed_gpus(generators[0].seed())


def initial_seed() -> int:
    """The last seed of the GPU's generator."""
    return default_for(gpu(None)).initial_seed()


def get_rng_state(device: Any = "cuda") -> Tensor:
    """The state of a GPU's generator. -> uint8 [16]"""
    return default_for(gpu(device)).get_state()


def get_rng_state_all() -> list[Tensor]:
    """The states of all GPUs' generators."""
    return [generator.get_state() for generator in gpu_generators()]


def set_rng_state(new_state: Tensor, device: Any = "cuda") -> None:
    """Go on from a state that `get_rng_state` returned."""
    default_for(gpu(device)).set_state(new_state)


def set_rng_state_all(new_states: Iterable[Tensor]) -> None:
    """Go on from states that `get_rng_state_all` returned."""
    for generator, state in zip(gpu_generators(), new_states, strict=False):
        generator.set_state(state)
