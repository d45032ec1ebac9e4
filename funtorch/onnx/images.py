"""Decoding of images, with Pillow if it is installed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from funtorch.onnx.rules import rule


@rule("ImageDecoder", host="encoded")
def image_decoder(encoded: Any, *, ctx: Any, pixel_format: str = "RGB") -> Any:
    """The bytes of a file -> [H, W, 3], or [H, W, 1] in grey."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("ImageDecoder needs Pillow (pip install pillow)") from error
    image = Image.open(io.BytesIO(np.asarray(encoded, np.uint8).tobytes()))
    if pixel_format == "Grayscale":
        return ctx.tensor(np.array(image.convert("L"))[..., None])
    pixels = np.array(image.convert("RGB"))
    return ctx.tensor(np.ascontiguousarray(pixels[..., ::-1] if pixel_format == "BGR" else pixels))
