"""`torch.onnx.export` of whole models: static and dynamic, values, names, files, errors."""

import io
import re
import tracemalloc

import numpy as np
import onnx
import pytest

import funtorch as torch

nn = torch.nn
pytest.importorskip("onnxruntime")


class Net(nn.Module):
    """Convolutions with normalisation, and a classifier."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 4 * 4, 5)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.bn(self.conv(x))), 2)
        return self.head(x.flatten(1))


class Recurrent(nn.Module):
    """A recurrent layer, of which the last step is classified."""

    def __init__(self, kind, **options):
        super().__init__()
        self.layer = kind(6, 8, 2, batch_first=True, **options)
        self.head = nn.Linear(16 if options else 8, 3)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Text(nn.Module):
    """Embedding, attention, and logits by the embedding's own weight."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.embed, self.layers = nn.Embedding(11, 8), nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.layers(self.embed(x)))


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2)), (2, 3)),
    "cnn": (Net, (2, 2, 8, 8)),
    "text": (Text, (2, 5)),
    "bilstm": (lambda: Recurrent(nn.LSTM, bidirectional=True), (2, 4, 6)),
    "gru": (lambda: Recurrent(nn.GRU), (2, 4, 6)),
}


def example(name, batch=None):
    make, shape = MODELS[name]
    torch.manual_seed(0)
    shape = shape if batch is None else (batch, *shape[1:])
    x = torch.randint(0, 11, shape) if name == "text" else torch.randn(*shape)
    return make().eval(), x


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_models(name, dynamic):
    model, x = example(name)
    program = torch.onnx.export(model, (x,), dynamic_shapes=({0: "batch"},) if dynamic else None)
    if dynamic:
        x = example(name, 5)[1]
        assert program.model_proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    np.testing.assert_allclose(program(x)[0].numpy(), model(x).detach().numpy(), atol=1e-5)
    assert set(program.initializers) <= set(model.state_dict())
    assert program.model_proto.ir_version == 10
    assert program.model_proto.opset_import[0].version == 20


def test_two_dynamic_dimensions():
    model, x = example("text")
    program = torch.onnx.export(model, (x,), dynamic_shapes=({0: "batch", 1: "time"},))
    longer = torch.randint(0, 11, (3, 9))
    np.testing.assert_allclose(
        program(longer)[0].numpy(), model(longer).detach().numpy(), atol=1e-5
    )


def test_names_and_files(tmp_path):
    model, x = example("mlp")
    path = tmp_path / "net.onnx"
    axes = {"features": {0: "n"}, "scores": {0: "n"}}
    program = torch.onnx.export(
        model, x, path, input_names=["features"], output_names=["scores"], dynamic_axes=axes
    )
    assert program.input_names == ["features"] and program.output_names == ["scores"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx"]  # too small to lie apart
    again = torch.onnx.load(onnx.load(path))
    np.testing.assert_allclose(again(x).detach().numpy(), model(x).detach().numpy(), atol=1e-6)
    assert set(again.state_dict()) == set(model.state_dict())
    file = io.BytesIO()
    program.save(file)
    assert onnx.load_from_string(file.getvalue()) == program.model_proto


def test_external_data(tmp_path):
    model = nn.Linear(64, 64).eval()
    x = torch.randn(2, 64)
    path = tmp_path / "net.onnx"
    torch.onnx.export(model, (x,), path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    assert path.stat().st_size < 2000
    again = torch.onnx.load(str(path))
    np.testing.assert_allclose(again(x).detach().numpy(), model(x).detach().numpy(), atol=1e-5)


def test_weights_are_not_copied(tmp_path, monkeypatch):
    """Further memory while 16 MiB of weights are written as large ones are: below a fifth of them."""
    monkeypatch.setattr("funtorch.onnx.writing.check.WHOLE", 0)
    model = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(4))).eval()
    x = torch.randn(1, 1024)
    model(x)
    tracemalloc.start()
    try:
        torch.onnx.export(model, (x,), tmp_path / "net.onnx", verify=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "net.onnx.data").stat().st_size > 2**24 > 5 * peak


def test_nodes_say_where_they_come_from():
    model, x = example("cnn")
    nodes = torch.onnx.export(model, (x,)).model_proto.graph.node
    conv = next(n for n in nodes if n.op_type == "Conv")
    told = {p.key: p.value for p in conv.metadata_props}
    assert told["pkg.torch.onnx.name_scopes"] == "['', 'conv', 'conv2d']"
    assert "Conv2d" in told["pkg.torch.onnx.class_hierarchy"]
    assert re.match(
        r'File "test_export.py", line \d+, in forward', told["pkg.torch.onnx.stack_trace"]
    )


def test_all_missing_ops_are_named_at_once():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.linalg.qr(x)[0] + torch.linalg.svdvals(x)[0]

    with pytest.raises(torch.onnx.UnsupportedOps) as caught:
        torch.onnx.export(nn.Sequential(Odd()), (torch.randn(3, 3),))
    assert "qr" in str(caught.value) and "svdvals" in str(caught.value)
    assert "in '0'" in str(caught.value) and "line" in str(caught.value)


def test_several_outputs_and_nested_arguments():
    class Two(nn.Module):
        def forward(self, pair, scale=None):
            a, b = pair
            return {"sum": (a + b) * scale, "same": a}, b

    args = ((torch.randn(2, 3), torch.randn(2, 3)),)
    program = torch.onnx.export(Two(), args, kwargs={"scale": torch.tensor(2.0)})
    assert program.input_names == ["pair_0", "pair_1", "scale"]
    found = program(*args, scale=torch.tensor(2.0))
    assert len(found) == 3


@pytest.mark.parametrize("opset", [18, 21, 23, 26])
def test_opsets(opset):
    parts = nn.GELU(), nn.GroupNorm(2, 4), nn.CircularPad1d(1), nn.RMSNorm(5)
    model = nn.Sequential(nn.Linear(3, 3), *parts)
    program = torch.onnx.export(model, (torch.randn(2, 4, 3),), opset_version=opset)
    assert program.model_proto.opset_import[0].version == opset


def test_an_opset_that_is_not_there():
    with pytest.raises(ValueError, match="18 to 26"):
        torch.onnx.export(nn.ReLU(), (torch.randn(2),), opset_version=17)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(dtype):
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8)).to(dtype).eval()
    x = torch.randn(2, 4).to(dtype)
    program = torch.onnx.export(model, (x,), dynamic_shapes=({0: "n"},))
    assert program(x)[0].dtype is dtype


def test_modules_as_functions():
    model, x = example("text")
    shape = ({0: "batch"},)
    program = torch.onnx.export(model, (x,), dynamic_shapes=shape, export_modules_as_functions=True)
    proto = program.model_proto
    kinds = [n.op_type for n in proto.graph.node if n.op_type != "Constant"]
    assert kinds[:2] == ["Embedding", "TransformerEncoder"]
    calls = {f.name: [n.op_type for n in f.node] for f in proto.functions}
    assert calls["TransformerEncoder"] == ["TransformerEncoderLayer"] * 2  # one body for both
    some = torch.onnx.export(model, (x,), export_modules_as_functions={nn.LayerNorm})
    assert [f.name for f in some.model_proto.functions] == ["LayerNorm"]


def test_control_flow():
    @torch.jit.script
    def walk(x):
        steps = torch.zeros((), dtype=torch.int64)
        while steps < 5 and x.sum() < 100:
            x = x * 2 + 1
            steps = steps + 1
        if x.mean() > 40:
            x = -x
        return x, steps

    program = torch.onnx.export(walk, (torch.ones(3),))
    assert {"Loop", "If"} <= {n.op_type for n in program.model_proto.graph.node}
    for start in (torch.ones(3), torch.full((3,), 30.0)):
        for ours, theirs in zip(walk(start), program(start)):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy())


def test_translation_table():
    @torch.library.custom_op("tested::scaled", mutates_args=())
    def scaled(x: torch.Tensor, factor: float) -> torch.Tensor:
        return x * factor + 0.0

    class Model(nn.Module):
        def forward(self, x):
            return torch.relu(torch.ops.tested.scaled(x, 3.0))

    table = {
        torch.ops.tested.scaled.default: lambda g, x, factor: g.op("Mul", x, g.like(factor, x)),
        torch.ops.aten.relu.default: lambda g, x: g.op("Max", x, g.like(0, x)),
    }
    program = torch.onnx.export(
        Model(), (torch.randn(2, 3),), dynamic_shapes=({0: "n"},), custom_translation_table=table
    )
    kinds = [n.op_type for n in program.model_proto.graph.node if n.op_type != "Constant"]
    assert kinds == ["Mul", "Max"]
    with pytest.raises(ValueError, match="made of other ops"):
        silu = {nn.functional.silu: lambda g, x: x}
        torch.onnx.export(Model(), (torch.randn(2, 3),), custom_translation_table=silu)


def test_translation_by_onnxscript():
    onnxscript = pytest.importorskip("onnxscript")
    op = onnxscript.opset20

    @onnxscript.script(onnxscript.values.Opset("tested", 1), default_opset=op)
    def rectified(x):
        return op.Max(x, op.Sub(x, x))

    program = torch.onnx.export(
        nn.Sequential(nn.Linear(3, 2), nn.ReLU()),
        (torch.randn(2, 3),),
        custom_translation_table={torch.ops.aten.relu.default: rectified},
    )
    proto = program.model_proto
    assert proto.graph.node[-1].domain == "tested" and proto.functions[0].name == "rectified"


def test_an_exported_program():
    model, x = example("mlp")
    batch = torch.export.Dim("batch")
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    program = torch.onnx.export(exported)
    assert program.exported_program is exported
    x = torch.randn(7, 3)
    np.testing.assert_allclose(program(x)[0].numpy(), model(x).detach().numpy(), atol=1e-6)


def test_training_mode_says_what_it_leaves_out():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with pytest.warns(UserWarning, match=r"1\.running_mean"):
        torch.onnx.export(model, (torch.randn(5, 3),))
    assert model[1].num_batches_tracked == 0


def test_a_wrong_translation_is_found():
    wrong = {torch.relu: lambda g, self: g.op("Neg", self)}
    with pytest.raises(torch.onnx.OnnxExporterError, match="differs"):
        torch.onnx.export(nn.ReLU(), (torch.randn(3),), custom_translation_table=wrong)


def test_code_can_ask_whether_it_is_exported():
    class Asks(nn.Module):
        def forward(self, x):
            return x + 1 if torch.onnx.is_in_onnx_export() else x + 2

    x = torch.zeros(2)
    program = torch.onnx.export(Asks(), (x,), verify=False)
    assert program(x)[0].tolist() == program.call_reference(x)[0].tolist() == [1, 1]
    assert Asks()(x).tolist() == [2, 2]


def test_values_within_and_names_of_axes():
    model, x = example("mlp")
    program = torch.onnx.export(model, (x,), dynamic_shapes=({0: "n"},))
    first = program.model_proto.graph.node[0]
    (found,) = program.compute_values([first.output[0]], (x,))
    assert len(program.output_names) == 1 and found.shape[0] == x.shape[0]
    with pytest.raises(ValueError, match="not found"):
        program.compute_values(["nobody"], (x,))
    program.rename_axes({"n": "batch"})
    told = [i.type.tensor_type.shape.dim[0].dim_param for i in program.model_proto.graph.input]
    assert told == ["batch"]


def test_nodes_of_ones_own():
    class Net(nn.Module):
        def forward(self, x):
            if torch.onnx.is_in_onnx_export():
                return torch.onnx.ops.symbolic(
                    "my.ops::Twice", (x + 1, None), {"by": 2, "names": ["a"]}, dtype=x.dtype,
                    shape=x.shape, version=3, metadata_props={"who": "me"},
                )  # fmt: skip
            return (x + 1) * 2

    program = torch.onnx.export(Net(), (torch.randn(2, 3),), dynamic_shapes=({0: "n"},))
    node = next(n for n in program.model_proto.graph.node if n.domain == "my.ops")
    assert node.op_type == "Twice" and {a.name for a in node.attribute} == {"by", "names"}
    assert ("who", "me") in {(p.key, p.value) for p in node.metadata_props}
    assert {o.domain: o.version for o in program.model_proto.opset_import}["my.ops"] == 3
    (out,) = program.model_proto.graph.output
    assert out.type.tensor_type.shape.dim[0].dim_param == "n"


def test_a_module_that_knows_its_arguments(tmp_path):
    class Net(torch.onnx.ExportableModule):
        def forward(self, x):
            return x * 2

        def example_arguments(self):
            return (torch.randn(2, 3),), None

        def dynamic_shapes(self):
            return ({0: "n"},)

        def output_names(self):
            return ["twice"]

    for program in (Net().to_onnx(), torch.onnx.export(Net())):
        assert program.output_names == ["twice"]
        assert program(torch.ones(5, 3))[0].tolist() == [[2.0] * 3] * 5


def test_the_old_way_of_calling(tmp_path):
    model, x = example("mlp")
    path = tmp_path / "net.onnx"
    assert (
        torch.onnx.export(model, x, path, dynamo=False, training=torch.onnx.TrainingMode.EVAL)
        is None
    )
    assert len(onnx.load(path).graph.output) == 1


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "int4", "uint4"])
def test_narrow_weights(dtype, tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            values = (torch.arange(4096.0) % 7).reshape(64, 64).to(torch.int32)
            self.register_buffer("weight", values.to(getattr(torch, dtype)))

        def forward(self, x):
            return x @ self.weight.to(torch.float32)

    net, x = Net(), torch.randn(2, 64)
    program = torch.onnx.export(net, (x,), tmp_path / "net.onnx", opset_version=21)
    (weight,) = [i for i in program.model_proto.graph.initializer if i.name == "weight"]
    assert weight.data_type == onnx.TensorProto.DataType.Value(dtype.upper().replace("_", ""))
    loaded = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(loaded)
    again = torch.onnx.load(loaded)
    np.testing.assert_allclose(again(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-4)


def loaded_model(nodes, inputs, outputs, **weights):
    values = [
        [onnx.helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in table.items()]
        for table in (inputs, outputs)
    ]
    arrays = [onnx.numpy_helper.from_array(a, n) for n, a in weights.items()]
    nodes = [onnx.helper.make_node(op, i.split(), o.split()) for op, i, o in nodes]
    graph = onnx.helper.make_graph(nodes, "g", *values, arrays)
    opsets = [onnx.helper.make_opsetid("", 20)]
    return torch.onnx.load(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10))


def test_loaded_models_that_cannot_be_captured(tmp_path):
    """Strings, and shapes that depend on values: their own nodes, with the present weights."""
    text = (onnx.TensorProto.STRING, ["n"])
    joined = loaded_model([("StringConcat", "a b", "y")], {"a": text, "b": text}, {"y": text})
    words = np.array(["x", "yy"], object), np.array(["1", "2"], object)
    with pytest.warns(UserWarning, match="own nodes"):
        program = torch.onnx.export(joined, words)
    for run in (program, program.call_reference):
        assert run(*words)[0].tolist() == ["x1", "yy2"]

    net = loaded_model(
        [("MatMul", "x w", "z"), ("NonZero", "z", "y")],
        {"x": (1, ["n", 3])}, {"y": (7, [2, None])}, w=np.ones((3, 3), "float32"),
    )  # fmt: skip
    with torch.no_grad():
        net.w[:, 1] = 0
    x = torch.ones(2, 3)
    with pytest.warns(UserWarning, match="own nodes"):
        program = torch.onnx.export(net, x, tmp_path / "net.onnx")
    assert program(x)[0].tolist() == net(x).tolist() == [[0, 0, 1, 1], [0, 2, 0, 2]]
    assert torch.onnx.load(tmp_path / "net.onnx")(x).tolist() == net(x).tolist()
    assert torch.onnx.load(net.model_proto)(x).tolist() == net(x).tolist()
    with pytest.raises(RuntimeError):  # what asks for another graph does not get this one
        torch.onnx.export(net, x, dynamic_shapes=({0: "rows"},))


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2", "int4", "uint4"])
def test_narrow_outputs(dtype):
    x = torch.arange(6).to(torch.int32).to(getattr(torch, dtype)).reshape(2, 3)
    program = torch.onnx.export(Calls(lambda x: x.reshape(-1)), (x,), opset_version=21)
    (y,) = program(x)
    assert y.dtype is x.dtype and y.to(torch.float32).tolist() == list(range(6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nan_is_larger_than_everything(dtype):
    nan, inf = float("nan"), float("inf")
    x = torch.tensor([[3, nan, 1, inf, 2], [nan, -1, 5, -inf, 0]]).to(dtype)
    functions = {
        "sort": lambda x: (*torch.sort(x), *torch.sort(x, descending=True)),
        "topk": lambda x: (*torch.topk(x, 2), *torch.topk(x, 3, largest=False)),
        "nanmedian": lambda x: torch.nanmedian(x, 1).values,
    }
    for function in functions.values():
        torch.onnx.export(Calls(function), (x,))  # compares


def test_divisors_that_are_zero_for_some():
    a, b = torch.tensor([4, 6, 0, -8]), torch.tensor([10, 0, 0, 12])
    (found,) = torch.onnx.export(Calls(torch.gcd), (a, b))(a, b)
    assert found.tolist() == torch.gcd(a, b).tolist()
