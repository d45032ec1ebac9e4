"""torch.jit.annotations: types as TorchScript writes them. Here they are for readers only."""

from typing import Any, Dict, List, Optional, Tuple, Union  # noqa: UP035  (names that programs import)

__all__ = ["Any", "Dict", "List", "Optional", "Tuple", "Union"]


class _BroadcastingList:
    """`BroadcastingList2[int]`: two numbers, or one for both."""

    def __getitem__(self, types: Any) -> None:
        """Nothing: it stands in annotations."""


for _count in range(1, 7):
    globals()[f"BroadcastingList{_count}"] = _BroadcastingList()
