"""torch.hub: weights by address, and models that a repository's `hubconf.py` builds."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

from funtorch.serialization import load as _load_file

__all__ = [
    "download_url_to_file",
    "get_dir",
    "help",
    "list",
    "load",
    "load_state_dict_from_url",
    "set_dir",
]

HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")
_chosen: list[str | os.PathLike[str]] = []


class _Uncounted:
    """Stands in for tqdm's progress bar where tqdm is not installed: says nothing."""

    def __init__(self, iterable: Any = (), **options: Any) -> None:
        self._iterable = iterable

    def __iter__(self) -> Iterator[Any]:
        return iter(self._iterable)

    def update(self, n: float = 1) -> None:
        """Nothing."""

    close = __enter__ = lambda self: self

    def __exit__(self, *exc: object) -> None:
        """Nothing."""


def __getattr__(name: str) -> Any:
    """tqdm's progress bar, which programs import from here."""
    if name != "tqdm":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    return importlib.import_module("tqdm").tqdm if importlib.util.find_spec("tqdm") else _Uncounted


def _get_torch_home() -> str:
    """The folder for what programs keep between runs: `$TORCH_HOME`, by default ~/.cache/torch."""
    cache = Path(os.getenv("XDG_CACHE_HOME", "~/.cache"))
    return str(Path(os.getenv("TORCH_HOME", cache / "torch")).expanduser())


def get_dir() -> str:
    """The folder for downloads: `set_dir`'s, or `$TORCH_HOME/hub`, by default in ~/.cache/torch."""
    return str(_chosen[0]) if _chosen else str(Path(_get_torch_home()) / "hub")


def set_dir(d: str | os.PathLike[str]) -> None:
    """Set the folder for downloads."""
    _chosen[:] = [Path(d).expanduser()]


def download_url_to_file(
    url: str, dst: str, hash_prefix: str | None = None, progress: bool = True
) -> None:
    """Fetch a file. Raises RuntimeError if its SHA-256 does not begin with `hash_prefix`."""
    target = Path(dst).expanduser()
    request = urllib.request.Request(url, headers={"User-Agent": "torch.hub"})
    digest = hashlib.sha256()
    with (
        urllib.request.urlopen(request) as source,
        tempfile.NamedTemporaryFile(dir=target.parent, suffix=".partial", delete=False) as file,
    ):
        try:
            total = source.headers.get("Content-Length")
            while chunk := source.read(1 << 17):
                file.write(chunk)
                digest.update(chunk)
                if progress and total:
                    print(f"\r{100 * file.tell() / int(total):5.1f} %", end="", file=sys.stderr)
            if progress and total:
                print(file=sys.stderr)
            file.close()
            if hash_prefix is not None and not digest.hexdigest().startswith(hash_prefix):
                raise RuntimeError(
                    f'invalid hash value (expected "{hash_prefix}", got "{digest.hexdigest()}")'
                )
            shutil.move(file.name, target)
        finally:
            Path(file.name).unlink(missing_ok=True)


def load_state_dict_from_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = False,
) -> dict[str, Any]:
    """`torch.load` of a file that is fetched the first time.

    check_hash: the file's name holds the first digits of its SHA-256, as in `net-5c106cde.pth`.
    """
    folder = Path(get_dir()) / "checkpoints" if model_dir is None else Path(model_dir)
    folder.mkdir(parents=True, exist_ok=True)
    name = file_name or Path(urlparse(url).path).name
    cached = folder / name
    if not cached.exists():
        print(f'Downloading: "{url}" to {cached}', file=sys.stderr)
        found = HASH_REGEX.search(name) if check_hash else None
        download_url_to_file(url, str(cached), found[1] if found else None, progress=progress)
    if zipfile.is_zipfile(cached) and _holds_one_file(cached):
        cached = _unpacked(cached, folder)
    return _load_file(cached, map_location=map_location, weights_only=weights_only)


def _holds_one_file(path: Path) -> bool:
    """Is it a plain archive around a checkpoint of the old format?"""
    with zipfile.ZipFile(path) as archive:
        return len(archive.infolist()) == 1


def _unpacked(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        name = archive.infolist()[0].filename
        archive.extractall(folder)
    return folder / name


# Repositories ------------------------------------------------------------------------------------


def load(
    repo_or_dir: str,
    model: str,
    *args: Any,
    source: str = "github",
    trust_repo: Any = None,
    force_reload: bool = False,
    verbose: bool = True,
    skip_validation: bool = False,
    **kwargs: Any,
) -> Any:
    """Call the function `model` of a repository's hubconf.py with the remaining arguments.

    repo_or_dir: 'owner/name[:branch]', or with source='local' a folder. It runs the repository's
    code: with trust_repo other than True a question is asked before the first time.
    """
    folder = _folder(repo_or_dir, source, trust_repo, force_reload)
    return _entry(_hubconf(folder), model)(*args, **kwargs)


def list(  # noqa: A001
    github: str,
    force_reload: bool = False,
    skip_validation: bool = False,
    trust_repo: Any = None,
    verbose: bool = True,
    *,
    source: str = "github",
) -> Any:
    """The names of the functions that a repository's hubconf.py offers."""
    found = _hubconf(_folder(github, source, trust_repo, force_reload))
    return [n for n in dir(found) if callable(getattr(found, n)) and not n.startswith("_")]


def help(  # noqa: A001
    github: str,
    model: str,
    force_reload: bool = False,
    skip_validation: bool = False,
    trust_repo: Any = None,
    *,
    source: str = "github",
) -> str | None:
    """The docstring of a function of a repository's hubconf.py."""
    doc = _entry(_hubconf(_folder(github, source, trust_repo, force_reload)), model).__doc__
    return str(doc) if doc else None


def _folder(repo: str, source: str, trust: Any, again: bool) -> Path:
    if source.lower() not in ("github", "local"):
        raise ValueError(f'Unknown source: "{source.lower()}". Allowed values: "github" | "local".')
    return Path(repo) if source.lower() == "local" else _fetched(repo, trust, again)


def _fetched(repo: str, trust: Any, again: bool) -> Path:
    """A repository of GitHub in the hub's folder, fetched if need be."""
    name, _, branch = repo.partition(":")
    if name.count("/") != 1:
        raise ValueError(f"expected 'owner/name[:branch]', got {repo!r}")
    branch = branch or "HEAD"
    hub = Path(get_dir())
    hub.mkdir(parents=True, exist_ok=True)
    folder = hub / "_".join([*name.split("/"), branch.replace("/", "_")])
    if folder.exists() and not again:
        return folder
    _ask(name, trust)
    with tempfile.TemporaryDirectory(dir=hub) as scratch:
        packed = Path(scratch) / "repository.zip"
        address = f"https://github.com/{name}/zipball/{branch}"
        download_url_to_file(address, str(packed), progress=False)
        with zipfile.ZipFile(packed) as archive:
            top = archive.infolist()[0].filename
            archive.extractall(scratch)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(Path(scratch) / top, folder)
    return folder


def _ask(name: str, trust: Any) -> None:
    if trust is True:
        return
    if trust not in (None, False, "check"):
        raise ValueError("trust_repo: expected True, False, None or 'check'")
    answer = input(f"The repository {name} will run its code on this machine. Go on (y/N)? ")
    if answer.strip().lower() not in ("y", "yes"):
        raise RuntimeError("Untrusted repository.")


def _hubconf(folder: Path) -> ModuleType:
    """The repository's hubconf.py as a module; its folder is importable while it runs."""
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("hubconf", folder / "hubconf.py")
        if spec is None or spec.loader is None:
            raise RuntimeError(f"{folder} has no hubconf.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    missing = [
        name
        for name in getattr(module, "dependencies", ())
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise RuntimeError(f"Missing dependencies: {', '.join(missing)}")
    return module


def _entry(module: ModuleType, name: str) -> Any:
    found = getattr(module, name, None)
    if not callable(found):
        raise RuntimeError(f"Cannot find callable {name} in hubconf")
    return found
