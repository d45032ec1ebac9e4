"""torch.testing."""

from funtorch.testing.comparison import assert_close

__all__ = ["assert_close"]
