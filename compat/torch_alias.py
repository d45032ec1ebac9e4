"""`import torch` resolves to funtorch: the same module objects under the other name.

from funtorch.compat import torch_alias
torch_alias.install()
import torch            # funtorch
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

_NAME = "torch"
_OURS = "funtorch"


class _Loader(importlib.abc.Loader):
    """Loads `torch.x` by handing out `funtorch.x`."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        name = _OURS + spec.name[len(_NAME) :]
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"No module named '{spec.name}': funtorch has no '{name}' (yet)", name=spec.name
            ) from error
        self.kept = (module.__spec__, module.__loader__)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just stamped its own spec on the shared module: put ours back.
        module.__spec__, module.__loader__ = self.kept


class _Distribution(importlib.metadata.Distribution):
    """What `importlib.metadata` tells of torch: a name, a version, the package on top."""

    def read_text(self, filename: str) -> str | None:
        """A file of the installed package's description; None if there is no such file."""
        if filename == "METADATA":
            version = importlib.import_module(f"{_OURS}.version").__version__
            return f"Metadata-Version: 2.1\nName: {_NAME}\nVersion: {version}\n"
        return f"{_NAME}\n" if filename == "top_level.txt" else None

    def locate_file(self, path: str | os.PathLike[str]) -> Any:
        """Nothing is installed under torch's name, so there is no file to find."""
        raise FileNotFoundError(path)


class _Finder(importlib.abc.MetaPathFinder):
    """Answers for torch and everything below."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _NAME and not fullname.startswith(f"{_NAME}."):
            return None
        ours = _OURS + fullname[len(_NAME) :]
        if ours not in sys.modules and not _exists(ours):
            return None
        return importlib.machinery.ModuleSpec(fullname, _Loader(), is_package=True)

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.Distribution]:
        """`importlib.metadata.version("torch")` asks here before it looks at what is installed."""
        if context is None or (context.name or _NAME).lower() == _NAME:
            yield _Distribution()


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):
        return False


_finder = _Finder()


def installed() -> bool:
    """Does `import torch` mean funtorch?"""
    return _finder in sys.meta_path


def install() -> None:
    """Make `import torch` mean funtorch. Raises ImportError if real PyTorch is imported already."""
    if installed():
        return
    present = sys.modules.get(_NAME)
    if present is not None and present is not sys.modules.get(_OURS):
        raise ImportError(
            "real PyTorch is imported already, so `import torch` cannot mean funtorch any more in "
            "this process; call torch_alias.install() before anything imports torch"
        )
    sys.meta_path.insert(0, _finder)


def uninstall() -> None:
    """`import torch` means real PyTorch again (or nothing)."""
    if installed():
        sys.meta_path.remove(_finder)
    for name in [n for n in sys.modules if n == _NAME or n.startswith(f"{_NAME}.")]:
        del sys.modules[name]


@contextlib.contextmanager
def alias() -> Iterator[None]:
    """Within this context `import torch` means funtorch."""
    install()
    try:
        yield
    finally:
        uninstall()
