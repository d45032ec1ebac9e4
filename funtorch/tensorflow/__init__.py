"""TensorFlow and Keras both ways.

    net = funtorch.tensorflow.from_keras(keras_model)              # a trainable torch.nn.Module
    funtorch.tensorflow.save_saved_model(net, (x,), "folder")      # opens without funtorch
    keras_model = funtorch.tensorflow.to_keras(net, (x,))

TensorFlow is imported with the first name asked for. `docs/interchange.md` says what goes through.
"""

from __future__ import annotations

from importlib import import_module as _import_module

_WHERE = {
    "from_function": "reading",
    "from_keras": "reading",
    "from_saved_model": "reading",
    "from_tensor": "exchange",
    "save_saved_model": "writing",
    "to_keras": "writing",
    "to_module": "writing",
    "to_tensor": "exchange",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> object:
    """What needs TensorFlow, imported when it is asked for."""
    if name == "backend":
        return _import_module("funtorch.tensorflow.backend")
    if name not in _WHERE:
        raise AttributeError(f"module 'funtorch.tensorflow' has no attribute {name!r}")
    try:
        module = _import_module(f"funtorch.tensorflow.{_WHERE[name]}")
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("tensorflow", "keras", "tf2onnx"):
            error.add_note("pip install 'funtorch[tensorflow]' brings what this needs")
        raise
    return getattr(module, name)
