"""Generator: the random state that a user holds in hand."""

from __future__ import annotations

import secrets
import threading
from typing import Any

import numpy as np

from funtorch.device import device as Device
from funtorch.device import gpu_count, place_of
from funtorch.dispatch import to_host
from funtorch.dtypes import uint8
from funtorch.random.engine import STATE_BYTES, Engine
from funtorch.tensor import Tensor, dtype_of, from_host

DEFAULT_SEED = 67280421310721
_MASK64 = 0xFFFFFFFFFFFFFFFF


class KeyStream:
    """The random state of a GPU: a seed and a counter that names each draw.

    Each draw gets a key of its own, which goes into the program as an input; the numbers are made
    there (threefry), so nothing but the key travels to the device.
    """

    __slots__ = ("lock", "offset", "seed_value")

    def __init__(self, seed: int) -> None:
        self.lock = threading.RLock()
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start anew."""
        self.seed_value = seed & _MASK64
        self.offset = 0

    def key(self) -> np.ndarray[Any, Any]:
        """The key of the next draw. -> uint32 [2]"""
        with self.lock:
            self.offset += 4  # PyTorch counts its draws in fours
            # SplitMix64: neighbouring seeds and counters give keys that have nothing in common.
            x = (self.seed_value + self.offset * 0x9E3779B97F4A7C15) & _MASK64
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK64
        x ^= x >> 31
        return np.array([x >> 32, x & 0xFFFFFFFF], np.uint32)

    def get_state(self) -> np.ndarray[Any, Any]:
        """Seed and counter. -> uint8 [16]"""
        return np.array([self.seed_value, self.offset], "<u8").view(np.uint8)

    def set_state(self, raw: np.ndarray[Any, Any]) -> None:
        """Go on from a state that `get_state` returned."""
        if raw.shape != (16,):
            raise RuntimeError("RNG state is wrong size")
        seed, offset = np.ascontiguousarray(raw).view("<u8").tolist()
        self.seed_value, self.offset = seed, offset


class Generator:
    """A stream of random numbers: `Generator(device='cpu')`.

    On the CPU the numbers are PyTorch's; on a GPU they come from a counter-based generator.
    """

    def __init__(self, device: Any = "cpu") -> None:
        where = Device(device)
        if where.type not in ("cpu", "cuda"):
            raise RuntimeError(f"Device type {where.type} is not supported for torch.Generator()")
        if where.type == "cuda":
            place_of(where)
            where = Device("cuda", where.index or 0)
        self.device = where
        self.stream: Any = (Engine if where.type == "cpu" else KeyStream)(DEFAULT_SEED)

    def manual_seed(self, seed: int) -> Generator:
        """Set the seed; negative ones count back from 2^64. Returns the generator."""
        seed = checked_seed(seed)
        with self.stream.lock:
            self.stream.seed(seed)
        return self

    def seed(self) -> int:
        """Set a seed that nobody can foretell, and return it."""
        seed = secrets.randbits(64)
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The last seed that was set."""
        return int(self.stream.seed_value)

    def get_state(self) -> Tensor:
        """The state, in the bytes that PyTorch writes too. -> uint8 [5056] (GPU: [16])"""
        with self.stream.lock:
            return from_host(self.stream.get_state(), device=Device("cpu"))

    def set_state(self, new_state: Tensor) -> None:
        """Go on from a state that `get_state` returned, here or in PyTorch."""
        if not isinstance(new_state, Tensor):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        if dtype_of(new_state) is not uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        raw = to_host(new_state)
        if self.device.type == "cpu" and raw.size != STATE_BYTES:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {STATE_BYTES} but found the input RNG "
                f"state size to be {raw.size}"
            )
        with self.stream.lock:
            self.stream.set_state(raw)

    def clone_state(self) -> Generator:
        """Another generator in the same state."""
        made = Generator(self.device)
        with self.stream.lock:
            made.stream.set_state(self.stream.get_state())
        return made

    def graphsafe_get_state(self) -> Generator:
        """A generator that holds the present state."""
        return self.clone_state()

    def graphsafe_set_state(self, state: Generator) -> Generator:
        """Take over the state of another generator. Returns this one."""
        with self.stream.lock, state.stream.lock:
            self.stream.set_state(state.stream.get_state())
        return self

    def get_offset(self) -> int:
        """How far the counter of a GPU's generator has come."""
        return int(self._counted().offset)

    def set_offset(self, offset: int) -> None:
        """Set the counter of a GPU's generator."""
        self._counted().offset = offset

    def _counted(self) -> KeyStream:
        if self.device.type == "cpu":
            raise RuntimeError("CPU Generator does not use offset")
        return self.stream

    def __repr__(self) -> str:
        return f"<torch.Generator on {self.device}, seed {self.initial_seed()}>"

    def __reduce__(self) -> Any:
        return (_restored, (str(self.device), self.stream.get_state().tobytes()))

    def __deepcopy__(self, memo: Any) -> Generator:
        return self.clone_state()


def _restored(device: str, state: bytes) -> Generator:
    made = Generator(device)
    made.stream.set_state(np.frombuffer(state, np.uint8))
    return made


def checked_seed(seed: Any) -> int:
    """A seed as 64 unsigned bits. Raises ValueError outside of that."""
    seed = int(seed)
    if not -(1 << 63) <= seed < 1 << 64:
        raise ValueError("Overflow when unpacking long long")
    return seed & _MASK64


default_generator = Generator()
_gpu_generators: dict[int, Generator] = {}
_gpu_seed = DEFAULT_SEED
_gpu_lock = threading.Lock()


def default_for(where: Device) -> Generator:
    """The generator that draws on a device when none is given."""
    if where.type != "cuda":
        return default_generator
    index = where.index or 0
    with _gpu_lock:
        if index not in _gpu_generators:
            _gpu_generators[index] = Generator(Device("cuda", index)).manual_seed(_gpu_seed)
        return _gpu_generators[index]


def seed_gpus(seed: int) -> None:
    """Seed the generators of all GPUs, those too that have not been used yet."""
    global _gpu_seed
    with _gpu_lock:
        _gpu_seed = checked_seed(seed)
        for generator in _gpu_generators.values():
            generator.manual_seed(_gpu_seed)


def gpu_generators() -> list[Generator]:
    """The default generators of all GPUs."""
    return [default_for(Device("cuda", index)) for index in range(gpu_count())]
