"""torch.types: names for annotations."""

from __future__ import annotations

import os
from builtins import bool as _bool
from builtins import bytes as _bytes
from builtins import complex as _complex
from builtins import float as _float
from builtins import int as _int
from builtins import str as _str
from collections.abc import Sequence
from typing import IO, TypeAlias

from funtorch import layouts, qschemes
from funtorch.device import device
from funtorch.device import device as _device
from funtorch.dtypes import dtype as _dtype
from funtorch.size import Size
from funtorch.storage import UntypedStorage as Storage
from funtorch.tensor import Tensor

__all__ = ["Device", "FileLike", "Number", "Storage"]

Number: TypeAlias = int | float | bool
Device: TypeAlias = device | str | int | None
FileLike: TypeAlias = str | os.PathLike[str] | IO[bytes]
_layout: TypeAlias = layouts.Layout
_qscheme: TypeAlias = qschemes.Scheme
_size: TypeAlias = Size | list[int] | tuple[int, ...]
_TensorOrTensors: TypeAlias = Tensor | Sequence[Tensor]
_TensorOrOptionalTensors: TypeAlias = Tensor | Sequence[Tensor | None]
_NAMES = (_bool, _bytes, _complex, _device, _dtype, _float, _int, _str)
