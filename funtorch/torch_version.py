"""`torch.__version__`: text that compares as a version (PEP 440)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

from funtorch.version import __version__ as internal_version

_PATTERN = re.compile(
    r"\s*v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>a|alpha|b|beta|c|rc|pre|preview)[-_.]?(?P<pre_n>\d*))?"
    r"(?:-(?P<post_short>\d+)|[-_.]?(?P<post>post|rev|r)[-_.]?(?P<post_n>\d*))?"
    r"(?:[-_.]?(?P<dev>dev)[-_.]?(?P<dev_n>\d*))?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*",
    re.IGNORECASE,
)
_PRE_ORDER = {"a": 0, "alpha": 0, "b": 1, "beta": 1}  # the rest are release candidates: 2
_FIRST, _LAST = (-1,), (9,)  # where what a version lacks stands among what others have


@functools.cache
def _key(text: str) -> tuple[Any, ...] | None:
    """What PEP 440 orders versions by; None if this is not a version."""
    found = _PATTERN.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    release = tuple(int(n) for n in re.sub(r"(\.0+)+$", "", part["release"]).split("."))
    post = dev = None
    if part["post"] or part["post_short"]:
        post = int(part["post_n"] or part["post_short"] or 0)
    if part["dev"]:
        dev = int(part["dev_n"] or 0)
    if part["pre"]:
        pre = (_PRE_ORDER.get(part["pre"].lower(), 2), int(part["pre_n"] or 0))
    else:
        pre = _FIRST if dev is not None and post is None else _LAST
    words = re.split(r"[-_.]", (part["local"] or "").lower())
    local = tuple((1, int(w), "") if w.isdigit() else (0, 0, w) for w in words if w)
    return (
        int(part["epoch"] or 0),
        release,
        pre,
        _FIRST if post is None else (post,),
        _LAST if dev is None else (0, dev),
        local,
    )


def _comparison(name: str) -> Callable[[TorchVersion, object], bool]:
    plain = getattr(str, name)

    def compare(self: TorchVersion, other: object) -> bool:
        mine, theirs = _key(str(self)), _key(_as_text(other))
        if mine is None or theirs is None:
            return plain(self, other)
        return getattr(mine, name)(theirs)

    compare.__name__ = name
    return compare


def _as_text(other: object) -> str:
    if isinstance(other, str):
        return str(other)
    if isinstance(other, Iterable):
        return ".".join(str(part) for part in other)
    return ""  # not a version: the comparison is that of text


class TorchVersion(str):
    """A version as text. Compares with text or a tuple, `torch.__version__ >= (2, 6)`, by PEP 440."""

    __slots__ = ()
    __lt__ = _comparison("__lt__")
    __le__ = _comparison("__le__")
    __gt__ = _comparison("__gt__")
    __ge__ = _comparison("__ge__")
    __eq__ = _comparison("__eq__")
    __hash__ = str.__hash__


__version__ = TorchVersion(internal_version)
