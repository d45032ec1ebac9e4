"""torch.nn.functional: bound from the op table by `funtorch._surface` (form "functional")."""

from typing import Any as _Any

GRID_SAMPLE_INTERPOLATION_MODES = {"bilinear": 0, "nearest": 1, "bicubic": 2}
GRID_SAMPLE_PADDING_MODES = {"zeros": 0, "border": 1, "reflection": 2}


def assert_int_or_pair(arg: _Any, arg_name: str, message: str) -> None:
    """Raise AssertionError, with a message that has a place for the name, for other arguments."""
    if not (isinstance(arg, int) or len(arg) == 2):
        raise AssertionError(message.format(arg_name))
