"""The version of PyTorch whose behaviour this is, and funtorch's own."""

funtorch = "0.1.0"
__version__ = f"2.13.0+funtorch{funtorch}"
cuda: str | None = None
hip: str | None = None
xpu: str | None = None
debug = False
git_version: str | None = None
