"""Tests compile for themselves: no executables from the user's disk, and none left there."""

import os

os.environ.setdefault("FUNTORCH_CACHE", "0")
