"""torch.types: names for annotations."""

from __future__ import annotations

import os
from typing import IO, TypeAlias

from funtorch.device import device
from funtorch.storage import UntypedStorage as Storage

__all__ = ["Device", "FileLike", "Number", "Storage"]

Number: TypeAlias = int | float | bool
Device: TypeAlias = device | str | int | None
FileLike: TypeAlias = str | os.PathLike[str] | IO[bytes]
