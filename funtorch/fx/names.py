"""Names: of functions as code finds them again, and of nodes, each given once."""

from __future__ import annotations

import builtins
import functools
import importlib
import keyword
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

_SPACES = ("", "nn.functional", "special", "linalg", "fft", "Tensor")


@functools.cache
def _public() -> dict[int, str]:
    """id of each public function -> its name, for example 'torch.nn.functional.relu'."""
    root, found = importlib.import_module("funtorch"), {}
    for space in reversed(_SPACES):
        place: Any = root
        for part in space.split(".") if space else ():
            place = getattr(place, part)
        for name, held in vars(place).items():
            if callable(held) and not name.startswith("__"):
                found[id(held)] = ".".join(filter(None, ("torch", space, name)))
    return found


def qualified_name(function: Callable[..., Any]) -> str:
    """Where a function is found: 'torch.relu', 'operator.add', '__main__.mine'."""
    public = _public().get(id(function))
    if public is not None:
        return public
    name = getattr(function, "__name__", type(function).__name__)
    module = getattr(function, "__module__", None) or ""
    if getattr(builtins, name, None) is function:
        return name
    module = {"_operator": "operator"}.get(module, module).replace("funtorch", "torch", 1)
    return f"{module}.{name}"


_RESERVED = {"inf", "nan", "NoneType", "torch", "device", "self"}


def snake_case(text: str) -> str:
    """'LayerNorm' -> 'layer_norm'."""
    out = []
    for before, char in zip(" " + text, text, strict=False):
        if char.isupper() and before not in (" ", "_") and not before.isupper():
            out.append("_")
        out.append(char.lower())
    return "".join(out)


class Namespace:
    """Names that are Python identifiers and differ from each other."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._counts: dict[str, int] = defaultdict(int)

    def create_name(self, candidate: str) -> str:
        """The candidate, or if it is taken the candidate with a number."""
        candidate = re.sub(r"[^0-9a-zA-Z_]+", "_", candidate) or "_unnamed"
        if candidate[0].isdigit():
            candidate = f"_{candidate}"
        match = re.match(r"(.*)_(\d+)$", candidate)
        base, number = (match[1], int(match[2])) if match else (candidate, 0)
        number = number or self._counts[base]
        while candidate in self._used or self._illegal(candidate):
            number += 1
            candidate = f"{base}_{number}"
        self._used.add(candidate)
        self._counts[base] = number
        return candidate

    def _illegal(self, name: str) -> bool:
        return keyword.iskeyword(name) or name in vars(builtins) or name in _RESERVED
