"""ONNX's own backend tests on the way to TensorFlow: a share; `make tensorflow` runs all of them."""

import unittest
import warnings
import zlib

import numpy as np
import onnx
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is an extra: funtorch[tensorflow]")
from funtorch.onnx import UnsupportedNodes
from funtorch.onnx.backend import FuntorchBackend
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


ACTIVATIONS = (
    (("Sigmoid", "LeakyRelu", "Tanh"), {"activation_alpha": (0.3,)}),
    (("HardSigmoid", "Affine", "ScaledTanh"),
     {"activation_alpha": (0.3, 0.5, 0.7), "activation_beta": (0.4, 0.1, 1.2)}),
)  # fmt: skip


@pytest.mark.parametrize(("names", "values"), ACTIVATIONS)
def test_activations_of_recurrent_layers(names, values):
    """As onnxruntime: alphas and betas go in order to the functions that have one."""
    ort = pytest.importorskip("onnxruntime")
    draw = np.random.default_rng(0).normal
    shapes = {"w": (1, 12, 4), "r": (1, 12, 3), "b": (1, 24)}
    weights = [
        onnx.numpy_helper.from_array(draw(size=s).astype("f4"), n) for n, s in shapes.items()
    ]
    node = onnx.helper.make_node(
        "LSTM", ["x", *shapes], ["y"], hidden_size=3, activations=names, **values
    )
    value = lambda n, s: onnx.helper.make_tensor_value_info(n, 1, s)  # noqa: E731
    graph = onnx.helper.make_graph(
        [node], "g", [value("x", (5, 2, 4))], [value("y", (5, 1, 2, 3))], weights
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10
    )
    x = draw(size=(5, 2, 4)).astype("f4")
    (wanted,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    for backend in (TensorFlowBackend, FuntorchBackend):
        np.testing.assert_allclose(backend.prepare(model).run([x])[0], wanted, atol=1e-5)
