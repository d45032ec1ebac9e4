"""Everybody else's names and formats: `import torch`, the command line."""

if __name__ == "compat":
    raise ImportError(
        "import this package as funtorch.compat: its bare name would be a second copy"
    )
