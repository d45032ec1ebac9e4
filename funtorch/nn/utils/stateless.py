"""functional_call under its older name."""

from funtorch.func.functional import functional_call

__all__ = ["functional_call"]
