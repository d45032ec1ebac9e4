"""The declared functions under their names, for code that is written with many of them."""

from __future__ import annotations

from typing import Any

from funtorch.ops._declare import TABLE


class _Facades:
    """`torch.where`, `torch.cat` and so on, straight from the table of ops."""

    def __getattr__(self, name: str) -> Any:
        declared = TABLE.get(name)
        if declared is None:
            raise AttributeError(f"no op is called {name!r}")
        setattr(self, name, declared.facade)
        return declared.facade


torch = _Facades()
