"""The Mersenne Twister behind PyTorch's CPU generator, on NumPy's implementation of it.

Both packages seed, twist and temper alike, so the stream of 32-bit words is the same; what differs
is only how words become numbers (`sampling`) and how the state is written down (here).
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

WORDS = 624
STATE_BYTES = 5056
_HIGH = np.uint64(32)

# PyTorch's state: a C struct of its first generator, and two fields that came later.
_STATE = np.dtype(
    {
        "names": ["seed", "left", "seeded", "next", "key", "normal", "valid", "fnormal", "fvalid"],
        "formats": ["<u8", "<i4", "<i4", "<u8", ("<u8", WORDS), "<f8", "<i4", "<f4", "u1"],
        "offsets": [0, 8, 12, 16, 24, 5024, 5040, 5048, 5052],
        "itemsize": STATE_BYTES,
    }
)


class Engine:
    """A stream of 32-bit words, and the second half of the last pair of normal numbers.

    Callers that draw hold `lock`, so that one tensor's numbers are consecutive in the stream.
    """

    __slots__ = ("_bits", "_fill", "_fresh", "lock", "seed_value", "spare_normal")

    def __init__(self, seed: int) -> None:
        self.lock = threading.RLock()
        self._bits = np.random.MT19937(0)
        self._fill = np.random.Generator(self._bits).integers
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start the stream anew. Only the low 32 bits matter to it; all 64 are remembered."""
        self.seed_value = seed & 0xFFFFFFFFFFFFFFFF
        self._bits._legacy_seeding(seed & 0xFFFFFFFF)  # type: ignore[attr-defined]
        self._fresh = True
        self.spare_normal: float | None = None

    def word(self) -> int:
        """The next word."""
        return int(self._bits.random_raw())

    def words(self, count: int) -> Array:
        """The next words, as they come. -> uint32 [count]"""
        # The full range makes NumPy copy its words out unchanged, faster than `random_raw` does.
        return self._fill(0, 0x100000000, size=count, dtype=np.uint32)

    def wide(self, count: int) -> Array:
        """The next pairs of words, the first of each pair in the high half. -> uint64 [count]"""
        pairs = self.words(2 * count).astype(np.uint64)
        return (pairs[0::2] << _HIGH) | pairs[1::2]

    def position(self) -> Any:
        """Where the stream stands, for `go_to` (the spare normal number is not part of it)."""
        return self._bits.state

    def go_to(self, position: Any) -> None:
        """Back to where `position` was taken."""
        self._bits.state = position

    def get_state(self) -> Array:
        """The state in PyTorch's layout. -> uint8 [5056]"""
        state: Any = self._bits.state["state"]
        position = int(state["pos"])
        record = np.zeros(1, _STATE)
        record["seed"] = self.seed_value
        record["seeded"] = 1
        record["key"] = state["key"]
        used_up = position == WORDS
        record["left"] = 1 if used_up else WORDS + 1 - position
        # PyTorch counts from zero after seeding, and stands at the end after drawing a full round.
        record["next"] = 0 if used_up and self._is_fresh(state["key"]) else position
        if self.spare_normal is not None:
            record["normal"] = self.spare_normal
            record["valid"] = 1
        return record.view(np.uint8)

    def set_state(self, raw: Array) -> None:
        """Go on from a state in PyTorch's layout. Raises RuntimeError for anything else."""
        if raw.shape != (STATE_BYTES,) or raw.dtype != np.uint8:
            raise RuntimeError(
                f"Invalid mt19937 state: expected {STATE_BYTES} bytes (uint8), "
                f"got {raw.dtype} of shape {raw.shape}"
            )
        record = np.ascontiguousarray(raw).view(_STATE)[0]
        left, position = int(record["left"]), int(record["next"])
        if not (int(record["seeded"]) and 0 < left <= WORDS and 0 <= position <= WORDS):
            raise RuntimeError("Invalid mt19937 state")
        self.seed_value = int(record["seed"])
        self._fresh = position == 0
        self.spare_normal = float(record["normal"]) if record["valid"] else None
        self._bits.state = {
            "bit_generator": "MT19937",
            "state": {
                "key": record["key"].astype(np.uint32),
                "pos": WORDS if left == 1 else position,
            },
        }

    def _is_fresh(self, key: Array) -> bool:
        # The first word of a key that was never twisted is the seed itself.
        return self._fresh and int(key[0]) == self.seed_value & 0xFFFFFFFF
