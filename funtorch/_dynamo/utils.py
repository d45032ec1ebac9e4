"""torch._dynamo.utils."""


def is_compile_supported(device_type: str) -> bool:
    """Can programs for this kind of device be compiled? All are."""
    return True
