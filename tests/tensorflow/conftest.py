"""TensorFlow is quiet, and its own warnings at import are not ours."""

import contextlib
import importlib
import os
import warnings

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    with contextlib.suppress(ModuleNotFoundError):  # each test file skips, with a reason
        for name in ("tensorflow", "keras", "tf2onnx"):
            importlib.import_module(name)


def pytest_collection_modifyitems(items):
    """TensorFlow and Keras warn on their own account."""
    for item in items:
        if "tests/tensorflow" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings("ignore"))
