"""oneDNN is not used: XLA has its own code for the CPU."""


def is_available() -> bool:
    """Never."""
    return False
