"""ONNX's own backend tests on the way to TensorFlow: a share; `make tensorflow` runs all of them."""

import unittest
import warnings
import zlib

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is an extra: funtorch[tensorflow]")
from funtorch.onnx import UnsupportedNodes
from funtorch.tensorflow.backend import TensorFlowBackend

SHARE = 20  # one test in so many


def collected():
    from onnx.backend.test import BackendTest

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's examples overflow on purpose
        cases = BackendTest(TensorFlowBackend, __name__).test_cases
    for case_name, case in sorted(cases.items()):
        for name in sorted(dir(case)):
            chosen = "Real" not in case_name and zlib.crc32(name.encode()) % SHARE == 0
            if chosen and name.endswith("_cpu"):
                yield pytest.param(case(name), id=name)


@pytest.mark.parametrize("case", list(collected()))
def test_right_or_refused(case):
    """What has no rule says so by name; what runs is right."""
    result = unittest.TestResult()
    case.run(result)
    assert not result.skipped
    for _, text in (*result.errors, *result.failures):
        assert "NotImplementedError" in text or UnsupportedNodes.__name__ in text, text
