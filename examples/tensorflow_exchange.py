"""Training that moves between frameworks: begun here, finished in Keras, and the other way round.

    pip install 'funtorch[tensorflow]' scikit-learn
    python examples/tensorflow_exchange.py

Scans of handwritten digits (scikit-learn's, 8 by 8). TensorFlow's tensors cross without a copy.
"""

import argparse
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import funtorch as torch
from funtorch import nn
from funtorch.nn import functional as F
from funtorch.tensorflow import from_keras, from_tensor, save_saved_model, to_keras


def data():
    """Training set as a tf.data.Dataset, and the test set as arrays. Images: [N, 8, 8]"""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).reshape(-1, 8, 8).astype("float32")
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1400], order[1400:]
    dataset = tf.data.Dataset.from_tensor_slices((images[train], labels[train]))
    return dataset.shuffle(1400, seed=0).batch(100), (images[test], labels[test])


def train_here(model, dataset, epochs):
    """A PyTorch training loop over a tf.data.Dataset."""
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(epochs):
        for batch in dataset:
            images, labels = from_tensor(batch)
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()


def train_there(model, dataset, epochs):
    """The same in Keras."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(dataset, epochs=epochs, verbose=0)


def accuracy(model, test):
    """Percent of the test set that a model of either framework gets right."""
    images, labels = test
    scores = model(torch.tensor(images) if isinstance(model, nn.Module) else images)
    scores = scores.detach().numpy() if isinstance(model, nn.Module) else scores.numpy()
    return 100 * float(np.mean(scores.argmax(1) == labels))


def here_then_there(dataset, test, epochs, folder):
    """Begun in funtorch, finished in Keras, served as a SavedModel."""
    model = nn.Sequential(
        nn.Unflatten(1, (1, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    train_here(model, dataset, epochs)
    begun = accuracy(model, test)
    example = torch.tensor(test[0][:2])
    save_saved_model(model, (example,), folder / "served")
    served = tf.saved_model.load(folder / "served")
    assert np.allclose(served(test[0]), model(torch.tensor(test[0])).detach(), atol=1e-4)
    continued = to_keras(model, (example,))
    train_there(continued, dataset, epochs)
    print(f"funtorch {begun:.1f}%, then Keras {accuracy(continued, test):.1f}%")


def there_then_here(dataset, test, epochs):
    """Begun in Keras, finished in funtorch."""
    model = keras.Sequential([
        keras.Input((8, 8)), keras.layers.Reshape((8, 8, 1)),
        keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(), keras.layers.Flatten(), keras.layers.Dense(10),
    ])  # fmt: skip
    train_there(model, dataset, epochs)
    begun = accuracy(model, test)
    continued = from_keras(model)
    print("parameters:", ", ".join(name for name, _ in continued.named_parameters()))
    train_here(continued, dataset, epochs)
    print(f"Keras {begun:.1f}%, then funtorch {accuracy(continued, test):.1f}%")


def main():
    """Both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4, help="in each framework")
    epochs = parser.parse_args().epochs
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    dataset, test = data()
    with tempfile.TemporaryDirectory() as folder:
        here_then_there(dataset, test, epochs, Path(folder))
    there_then_here(dataset, test, epochs)


if __name__ == "__main__":
    main()
