"""Classical models against onnxruntime."""

import numpy as np
import pytest

import funtorch as torch

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime", reason="the oracle")
from onnx import helper  # noqa: E402

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
TREES = {
    "nodes_treeids": [0, 0, 0, 0, 0, 1, 1, 1],
    "nodes_nodeids": [0, 1, 2, 3, 4, 0, 1, 2],
    "nodes_featureids": [0, 1, 0, 0, 0, 2, 0, 0],
    "nodes_values": [0.1, -0.2, 0.0, 0.0, 0.0, 0.3, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LEQ", "BRANCH_GT", "LEAF", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 3, 0, 0, 0, 1, 0, 0],
    "nodes_falsenodeids": [2, 4, 0, 0, 0, 2, 0, 0],
}


def leaves(kind):
    return {
        f"{kind}_treeids": [0, 0, 0, 1, 1],
        f"{kind}_nodeids": [2, 3, 4, 1, 2],
        f"{kind}_ids": [0, 1, 2, 1, 0],
        f"{kind}_weights": [0.5, 1.5, 0.75, 0.25, 1.0],
    }


LINEAR = {
    "coefficients": [0.5, -1.0, 2.0, 1.0, 0.25, -0.5, -1.0, 0.0, 1.0],
    "intercepts": [0.1, 0.0, -0.1],
}
CASES = {
    "Imputer": {"imputed_value_floats": [1.0, 2.0, 3.0], "replaced_value_float": float(X[1, 1])},
    "Scaler": {"offset": [0.5, 0.0, 1.0], "scale": [2.0, 1.0, 0.5]},
    "Normalizer": {"norm": "L2"},
    "LinearRegressor": {**LINEAR, "targets": 3},
    "LinearClassifier": {**LINEAR, "classlabels_ints": [4, 5, 6], "post_transform": "SOFTMAX"},
    "LinearClassifier ": {
        **LINEAR, "classlabels_strings": ["a", "b", "c"], "post_transform": "LOGISTIC",
    },
    "TreeEnsembleRegressor": {**TREES, **leaves("target"), "n_targets": 3},
    "TreeEnsembleClassifier": {
        **TREES, **leaves("class"), "classlabels_int64s": [7, 8, 9], "post_transform": "SOFTMAX",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_as_in_onnxruntime(name):
    op, attributes = name.strip(), CASES[name]
    outputs = ["y", "z"] if "Classifier" in op else ["y"]
    node = helper.make_node(op, ["x"], outputs, domain="ai.onnx.ml", **attributes)
    kinds = [onnx.TensorProto.FLOAT] * len(outputs)
    shapes = [[None, None]] * len(outputs)
    if len(outputs) == 2:
        shapes = [[None], [None, None]]
        strings = "classlabels_strings" in attributes
        kinds[0] = onnx.TensorProto.STRING if strings else onnx.TensorProto.INT64
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, [None, 3])],
        [
            helper.make_tensor_value_info(n, k, shape)
            for n, k, shape in zip(outputs, kinds, shapes, strict=True)
        ],
    )
    imports = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    wanted = runtime.InferenceSession(model.SerializeToString()).run(None, {"x": X})
    found = torch.onnx.backend.run_model(model, [X])
    for ours, theirs in zip(found, wanted, strict=True):
        if np.asarray(theirs).dtype.kind in "OU":
            assert list(ours) == list(theirs)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
