"""The families of `keras.applications`, random weights, imported: values, gradients, a training step.

python -m benchmarks.keras_applications [pattern] prints a table. Statistics of batch normalisation are
taken from a batch first, so that signals keep their size on the way through.
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
    "MobileNet": 64, "MobileNetV2": 64, "MobileNetV3Small": 64, "EfficientNetB0": 64,
    "EfficientNetV2B0": 64, "ConvNeXtTiny": 64, "ResNet50": 64, "ResNet50V2": 64,
    "DenseNet121": 64, "NASNetMobile": 64, "Xception": 75, "InceptionV3": 75, "VGG16": 64,
    "InceptionResNetV2": 75,
}  # fmt: skip  (name: extent of the images)


def settled(name: str, x: Any) -> Any:
    """A model with random weights, and running statistics of this batch."""
    make = getattr(keras.applications, name)
    options = {"minimalistic": False} if name.startswith("MobileNetV3") else {}
    model = make(weights=None, input_shape=x.shape[1:], classes=10, classifier_activation=None,
                 **options)  # fmt: skip
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(x, training=True)
    return model


def measured(name: str, extent: int) -> str:
    """One row of the table."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).uniform(0, 255, (4, extent, extent, 3)).astype("float32")
    if name not in ("EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny", "MobileNetV3Small"):
        x = x / 127.5 - 1  # these four scale their input themselves
    model = settled(name, x)
    begun = time.time()
    net = from_keras(model, check=False)
    seconds = time.time() - begun
    wanted = model(x, training=False).numpy()
    y = net(torch.tensor(x))
    got = y.detach().numpy()
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    spread = np.std(wanted - wanted.mean(0))
    target = torch.tensor(np.random.default_rng(1).normal(size=wanted.shape).astype("float32"))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = (net(torch.tensor(x)) - target).square().mean()
        loss.backward()
        losses.append(loss.item())
        lacking = [n for n, p in net.named_parameters() if p.grad is None]
        optimizer.step()
    same = abs(float(np.mean((wanted - target.numpy()) ** 2)) - losses[0]) / losses[0]
    count = len(list(net.parameters()))
    return (
        f"| {name} | {count} | {seconds:.0f} | {error:.1e} | {spread:.2g} | "
        f"{losses[0]:.4g} -> {losses[-1]:.4g} | {same:.0e} | {len(lacking)} | {time.time() - begun:.0f} |"
    )


def main() -> None:
    """All families, or those that match a pattern."""
    pattern = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    print("| model | Parameters | import, s | error / largest | spread | loss | differs | no grad | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, extent in FAMILIES.items():
        if pattern.search(name):
            print(measured(name, extent), flush=True)


if __name__ == "__main__":
    main()
