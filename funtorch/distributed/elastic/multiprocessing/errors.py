"""Errors of processes that a launcher started, left in a file for it."""

from __future__ import annotations

import functools
import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["record"]


def record(function: Callable[..., Any], error_handler: Any = None) -> Callable[..., Any]:
    """Decorates a program's main function: an exception goes into TORCHELASTIC_ERROR_FILE too."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            where = os.environ.get("TORCHELASTIC_ERROR_FILE")
            if where:
                told = {"py_callstack": traceback.format_exc(), "timestamp": str(int(time.time()))}
                message = {"message": f"{type(error).__name__}: {error}", "extraInfo": told}
                Path(where).write_text(json.dumps({"message": message}))
            raise

    return call
