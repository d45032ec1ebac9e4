"""Weights in other people's files: safetensors, and .pt files as NumPy arrays."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from funtorch.device import device as as_device
from funtorch.dispatch import to_host
from funtorch.serialization import archive, load
from funtorch.tensor import Tensor, from_host

Path = str | os.PathLike[str]


def save_safetensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write named tensors to a safetensors file. The file takes `path` only once it is complete.

    Raises RuntimeError where two names share memory: the format cannot say that.
    """
    owners: dict[int, str] = {}
    for name, tensor in tensors.items():
        other = owners.setdefault(id(tensor._storage), name)
        if other != name:
            raise RuntimeError(
                f"{other!r} and {name!r} share memory, which a safetensors file cannot hold: save "
                "one of them, or a clone"
            )
    arrays = {name: np.asarray(to_host(t), order="C") for name, t in tensors.items()}
    with archive.replacing(os.fspath(path)) as file:
        file.write(_library().save(arrays, metadata))


def load_safetensors(path: Path, device: Any = None) -> dict[str, Tensor]:
    """Read a safetensors file: name -> tensor."""
    where = as_device("cpu" if device is None else device)
    return {name: from_host(array, device=where) for name, array in load_arrays(path).items()}


def load_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read the tensors of a .safetensors or .pt file as NumPy arrays.

    The names of nested dictionaries are joined with dots: {'model': {'w': ...}} -> 'model.w'.
    """
    if os.fspath(path).endswith(".safetensors"):
        found: dict[str, np.ndarray[Any, Any]] = _library().load_file(os.fspath(path))
        return found
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    _collect(load(path, map_location="cpu"), "", arrays)
    return arrays


def _collect(made: Any, name: str, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    if isinstance(made, Tensor):
        arrays[name] = np.array(to_host(made))
    elif isinstance(made, Mapping):
        for key, value in made.items():
            _collect(value, f"{name}.{key}" if name else str(key), arrays)


def _library() -> Any:
    try:
        return importlib.import_module("safetensors.numpy")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "safetensors files need the package of that name: pip install safetensors"
        ) from error
