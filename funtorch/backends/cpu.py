"""torch.backends.cpu: which vector instructions kernels use. XLA decides that for each program."""


def get_cpu_capability() -> str:
    """'DEFAULT': nothing is known of XLA's choice."""
    return "DEFAULT"
