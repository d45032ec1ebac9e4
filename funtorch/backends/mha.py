"""Whether TransformerEncoder, in inference, gives zeros for padding as PyTorch's fast path does."""

_enabled = [True]


def get_fastpath_enabled() -> bool:
    """What `set_fastpath_enabled` set; True at first."""
    return _enabled[0]


def set_fastpath_enabled(value: bool) -> None:
    """Take PyTorch's fast path, or let padding have the values that the layers give it."""
    _enabled[0] = value
