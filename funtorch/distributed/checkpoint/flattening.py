"""Nested dicts and lists as one flat dict, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from funtorch.tensor import Tensor

Path = tuple[str | int, ...]


def _is_leaf(value: Any) -> bool:
    """Not a dict, nor a list that holds a dict or tensors."""
    if isinstance(value, Mapping):
        return False
    if not isinstance(value, list):
        return True
    return all(_is_leaf(v) and not isinstance(v, Tensor) for v in value)


def leaves(held: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of everything in nested containers."""
    if _is_leaf(held):
        yield path, held
    else:
        items = held.items() if isinstance(held, Mapping) else enumerate(held)
        for key, value in items:
            own = key if isinstance(key, int) else str(key)
            yield from leaves(value, (*path, own))


def flattened(state: Any) -> tuple[dict[str, Any], dict[str, Path]]:
    """(flat names to values, flat names to paths)."""
    found = list(leaves(state))
    names = [".".join(map(str, path)) for path, _ in found]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two values of a state dict have the flat name {twice}")
    return (
        {name: value for name, (_, value) in zip(names, found)},
        {name: path for name, (path, _) in zip(names, found)},
    )


def put(state: Any, path: Path, value: Any) -> None:
    """Set the value at a path, making containers on the way."""
    for key, following in zip(path, path[1:], strict=False):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(state, list):
            _grow(state, key)
            if state[key] is None:
                state[key] = empty
        elif key not in state:
            state[key] = empty
        state = state[key]
    if isinstance(state, list):
        _grow(state, path[-1])
    state[path[-1]] = value


def _grow(held: list[Any], index: Any) -> None:
    while len(held) <= index:
        held.append(None)
