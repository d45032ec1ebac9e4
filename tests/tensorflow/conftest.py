"""TensorFlow is quiet, and its own warnings at import are not ours."""

import os
import warnings

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import keras
        import tensorflow
        import tf2onnx
    except ModuleNotFoundError:  # each test file skips, with a reason
        pass


def pytest_collection_modifyitems(items):
    """TensorFlow and Keras warn on their own account."""
    for item in items:
        if "tests/tensorflow" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings("ignore"))
