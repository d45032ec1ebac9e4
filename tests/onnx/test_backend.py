"""A share of ONNX's own backend tests; `make onnx` runs all of them."""

import re
import unittest
import warnings
import zlib

import pytest

pytest.importorskip("onnx")
from funtorch.onnx.backend import FuntorchBackend

SHARE = 12  # one test in so many
# Random values are expected to be NumPy's; a sequence is compared with an array.
CANNOT_PASS = re.compile(r"^test_bernoulli|^test_loop16_seq_none_cpu$|^test_image_decoder")


def collected():
    from onnx.backend.test import BackendTest

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's examples overflow on purpose
        cases = BackendTest(FuntorchBackend, __name__).test_cases
    for case_name, case in sorted(cases.items()):
        if "Real" in case_name:
            continue
        for name in sorted(dir(case)):
            chosen = zlib.crc32(name.encode()) % SHARE == 0
            if chosen and name.endswith("_cpu") and not CANNOT_PASS.search(name):
                yield pytest.param(case(name), id=name)


@pytest.mark.parametrize("case", list(collected()))
@pytest.mark.filterwarnings("ignore")
def test_backend(case):
    result = unittest.TestResult()
    case.run(result)
    assert not result.skipped
    assert not [text for _, text in (*result.errors, *result.failures)]


def test_run_model_and_run_node():
    import numpy as np
    from onnx import helper

    x = np.array([-1.0, 2.0], np.float32)
    node = helper.make_node("Relu", ["x"], ["y"])
    (y,) = FuntorchBackend.run_node(node, [x])
    np.testing.assert_array_equal(y, [0, 2])
    info = [helper.make_tensor_value_info(n, 1, (2,)) for n in ("x", "y")]
    model = helper.make_model(
        helper.make_graph([node], "g", info[:1], info[1:]),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    outputs = FuntorchBackend.run_model(model, {"x": x})
    np.testing.assert_array_equal(outputs["y"], [0, 2])
    assert FuntorchBackend.supports_device("CPU")
