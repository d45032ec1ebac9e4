"""The families of `keras.applications`, random weights, imported: values, and losses of a few steps.

python -m benchmarks.keras_applications [pattern [steps]] prints a table. Statistics of batch
normalisation are taken from a batch first, so that signals keep their size on the way through. Errors
are the largest, relative to the largest output, against the same model in float64; beside ours stands
that of TensorFlow's float32, and ours when the float64 model is what is imported: it tells rounding from
a fault. The spread between images shows that outputs did not collapse.
"""

from __future__ import annotations

import re
import sys
import time
from typing import Any

import keras
import numpy as np

import funtorch as torch
from funtorch.tensorflow import from_keras

FAMILIES = {
    "MobileNetV2": 64, "EfficientNetB0": 64, "ResNet50": 64, "ConvNeXtTiny": 64, "VGG16": 64,
    "EfficientNetV2B0": 64, "MobileNetV3Small": 64, "DenseNet121": 64, "Xception": 71,
    "InceptionV3": 75, "MobileNet": 64, "ResNet50V2": 64, "NASNetMobile": 64,
    "InceptionResNetV2": 75,
}  # fmt: skip  (name: extent of the images)
SCALES_ITSELF = ("EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny", "MobileNetV3Small")


def fresh(name: str, x: Any, dtype: str) -> Any:
    """A model with random weights for such images."""
    keras.config.set_dtype_policy(dtype)
    make = getattr(keras.applications, name)
    return make(weights=None, input_shape=x.shape[1:], classes=10, classifier_activation=None)


def settled(name: str, x: Any) -> Any:
    """The same with running statistics of this batch."""
    model = fresh(name, x, "float32")
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(x, training=True)
    return model


def measured(name: str, extent: int, steps: int) -> str:
    """One row of the table."""
    begun = time.process_time()
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).uniform(0, 255, (24, extent, extent, 3)).astype("float32")
    if name not in SCALES_ITSELF:
        x = x / 127.5 - 1
    model = settled(name, x)
    x = x[:4]
    theirs = model(x, training=False).numpy()
    exact = fresh(name, x, "float64")
    exact.set_weights(model.get_weights())
    wanted = exact(x.astype("float64"), training=False).numpy()
    with torch.no_grad():
        wide = from_keras(exact, check=False)(torch.tensor(x.astype("float64"))).numpy()
    keras.config.set_dtype_policy("float32")
    net = from_keras(model, check=False)
    with torch.no_grad():
        got = net(torch.tensor(x)).numpy()
    error, own, in64 = (
        np.abs(v - wanted).max() / np.abs(wanted).max() for v in (got, theirs, wide)
    )
    spread = np.std(wanted - wanted.mean(0)) / np.abs(wanted).max()
    trained = losses(net, x, steps) if steps else "not tried"
    count = len(list(net.parameters()))
    return (
        f"| {name} | {count} of {len(model.trainable_variables)} | {error:.1e} | {own:.1e} | "
        f"{in64:.0e} | {spread:.2f} | "
        f"{trained} | {time.process_time() - begun:.0f} |"
    )


def losses(net: Any, x: Any, steps: int) -> str:
    """Losses of a few steps towards random targets; every Parameter has to get a gradient."""
    target = torch.tensor(np.random.default_rng(1).normal(size=(len(x), 10)).astype("float32"))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (net(torch.tensor(x)) - target).square().mean()
        loss.backward()
        lacking = [n for n, p in net.named_parameters() if p.grad is None]
        if lacking:
            return f"no gradient: {lacking}"
        optimizer.step()
        seen.append(f"{loss.item():.4g}")
    return " -> ".join(seen)


def main() -> None:
    """All families, or those that match a pattern; then the number of training steps, if any."""
    pattern = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print(
        "| model | Parameters | error | TensorFlow's own | in float64 | spread | losses | CPU s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, extent in FAMILIES.items():
        if pattern.search(name):
            print(measured(name, extent, steps), flush=True)


if __name__ == "__main__":
    main()
