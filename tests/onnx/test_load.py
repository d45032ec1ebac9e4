"""Loaded models are modules: names, gradients, errors. The oracle is ONNX's reference evaluator."""

import numpy as np
import pytest

import funtorch as torch

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def model_of(nodes, inputs, outputs, initializers, opset=20, functions=()):
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
    outs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    tensors = [numpy_helper.from_array(a, n) for n, a in initializers.items()]
    graph = helper.make_graph(nodes, "g", values, outs, tensors)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions))


def mlp():
    nodes = [
        helper.make_node("Gemm", ["x", "fc1.weight", "fc1.bias"], ["a"], transB=1),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Shape", ["b"], ["s"]),
        helper.make_node("Reshape", ["b", "s"], ["c"]),
        helper.make_node("MatMul", ["c", "fc2.weight"], ["y"]),
    ]
    weights = {
        "fc1.weight": floats(8, 4),
        "fc1.bias": floats(8),
        "fc2.weight": floats(8, 3),
    }
    return model_of(nodes, {"x": (2, 4)}, ["y"], weights), weights


def test_names_and_values():
    model, weights = mlp()
    module = torch.onnx.load(model)
    assert isinstance(module, torch.nn.Module)
    assert {n for n, _ in module.named_parameters()} == set(weights)
    x = floats(2, 4)
    (wanted,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(module(torch.tensor(x)).detach().numpy(), wanted, rtol=1e-5)
    np.testing.assert_allclose(module(x=x).detach().numpy(), wanted, rtol=1e-5)


def test_it_loads_from_files_and_bytes(tmp_path):
    model, _ = mlp()
    onnx.save(model, tmp_path / "m.onnx")
    x = floats(2, 4)
    outs = [
        torch.onnx.load(s)(x).detach().numpy()
        for s in (tmp_path / "m.onnx", str(tmp_path / "m.onnx"), model.SerializeToString())
    ]
    assert all(np.array_equal(o, outs[0]) for o in outs)


def test_it_trains():
    module = torch.onnx.load(mlp()[0])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    x, y = torch.tensor(floats(2, 4)), torch.tensor(floats(2, 3))
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = ((module(x) - y) ** 2).mean()
        loss.backward()
        assert all(p.grad is not None for p in module.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_functions_of_the_model():
    body = [
        helper.make_node("Constant", [], ["k"]),
        helper.make_node("Mul", ["v", "k"], ["w"]),
        helper.make_node("Tanh", ["w"], ["out"]),
    ]
    body[0].attribute.append(
        onnx.AttributeProto(
            name="value_float", ref_attr_name="scale", type=onnx.AttributeProto.FLOAT
        )
    )
    function = helper.make_function(
        "local", "Squash", ["v"], ["out"], body, [helper.make_opsetid("", 20)], ["scale"]
    )
    nodes = [helper.make_node("Squash", ["x"], ["y"], domain="local", scale=0.5)]
    model = model_of(nodes, {"x": (3,)}, ["y"], {}, functions=[function])
    x = floats(3)
    np.testing.assert_allclose(torch.onnx.load(model)(x).numpy(), np.tanh(x / 2), rtol=1e-6)


def test_all_missing_ops_are_named_at_once():
    nodes = [
        helper.make_node("Foo", ["x"], ["a"], name="first", domain="local"),
        helper.make_node("Bar", ["a"], ["b"], name="second", domain="local"),
        helper.make_node("Foo", ["b"], ["y"], name="third", domain="local"),
    ]
    with pytest.raises(torch.onnx.UnsupportedNodes) as caught:
        torch.onnx.load(model_of(nodes, {"x": (2,)}, ["y"], {}))
    for word in ("local.Foo: first, third", "local.Bar: second"):
        assert word in str(caught.value)


def test_wrong_inputs_are_refused():
    module = torch.onnx.load(mlp()[0])
    with pytest.raises(TypeError, match="x"):
        module()
    with pytest.raises(TypeError, match="other"):
        module(floats(2, 4), other=1)
    with pytest.raises(RuntimeError) as caught:
        module(floats(2, 5))
    assert any("Gemm" in note for note in caught.value.__notes__)


def test_dropout_drops_only_after_train():
    nodes = [helper.make_node("Dropout", ["x"], ["y"])]
    module = torch.onnx.load(model_of(nodes, {"x": (1000,)}, ["y"], {}))
    x = np.ones(1000, np.float32)
    assert (module(x).numpy() == 1).all()
    dropped = module.train()(x).numpy()
    assert 350 < (dropped == 0).sum() < 650
    assert set(np.unique(dropped)) == {0.0, 2.0}


def test_what_is_constant_is_read_once():
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(floats(50, 100))),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    module = torch.onnx.load(model_of(nodes, {"x": (50, 100)}, ["y"], {}))
    x = torch.tensor(floats(50, 100))
    module(x)
    kept = dict(module._constants)
    assert len(kept) == 1
    module(x)
    assert all(module._constants[k][1] is v[1] for k, v in kept.items())
