"""Modules as TensorFlow programs: the same values, the same gradients, and they open elsewhere."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import funtorch
import funtorch as torch
from funtorch import nn

tf = pytest.importorskip("tensorflow", reason="TensorFlow is an extra: funtorch[tensorflow]")
keras = pytest.importorskip("keras")
pytest.importorskip("tf2onnx")
from funtorch.onnx import UnsupportedNodes  # noqa: E402
from funtorch.tensorflow import from_keras, save_saved_model, to_keras, to_module  # noqa: E402
from funtorch.tensorflow.emission import RULES  # noqa: E402


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.cells = kind(5, 6, batch_first=True, **options)
        self.out = nn.Linear(12 if options.get("bidirectional") else 6, 4)

    def forward(self, x):
        return self.out(self.cells(x)[0])


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, padding=1)
        self.deep = nn.Conv2d(4, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.last = nn.Conv2d(8, 2, 3, padding=1)
        self.large = nn.Upsample(scale_factor=2, mode="bilinear")

    def forward(self, x):
        a = torch.relu(self.down(x))
        b = torch.relu(self.deep(nn.functional.max_pool2d(a, 2)))
        return self.large(self.last(torch.cat([a, self.up(b)], 1)))


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, groups=4), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    )  # fmt: skip


def transformer():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    return nn.Sequential(nn.Embedding(20, 8), nn.TransformerEncoder(layer, 1), nn.Linear(8, 20))


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), (3, 8)),
    "cnn": (cnn, (3, 3, 12, 12)),
    "transformer": (transformer, (3, 5)),
    "bilstm": (lambda: Recurrent(nn.LSTM, bidirectional=True), (3, 4, 5)),
    "gru": (lambda: Recurrent(nn.GRU, num_layers=2), (3, 4, 5)),
    "unet": (UNet, (3, 3, 8, 8)),
}


def prepared(name):
    torch.manual_seed(0)
    make, shape = MODELS[name]
    x = torch.randint(0, 20, shape) if name == "transformer" else torch.randn(shape)
    return make().eval(), x


@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients(name):
    model, x = prepared(name)
    module = to_module(model, (x,), check=False)
    x = torch.cat([x, x[:2]])  # the batch is of any size
    weights = torch.tensor(np.random.default_rng(0).normal(size=model(x).shape), dtype=x.dtype)
    y = model(x)
    (y * weights).sum().backward()
    with tf.GradientTape() as tape:
        made = module(x.numpy())
        loss = tf.reduce_sum(made * weights.numpy())
    np.testing.assert_allclose(made, y.detach(), rtol=1e-5, atol=1e-5)
    assert made.shape == y.shape
    assert set(model.state_dict()) >= set(module.weights)
    named = dict(model.named_parameters())
    assert len(module.trainable_variables) == len(named)
    gradients = tape.gradient(loss, module.trainable_variables)
    for variable, gradient in zip(module.trainable_variables, gradients, strict=True):
        wanted = named[variable.name.split(":")[0]].grad
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), wanted, rtol=1e-4, atol=1e-4)


def test_saved_models_open_without_funtorch_and_train_on(tmp_path):
    model, x = prepared("cnn")
    save_saved_model(model, (x,), tmp_path / "saved")
    np.save(tmp_path / "x.npy", x.numpy())
    np.save(tmp_path / "y.npy", model(x).detach().numpy())
    program = f"""
import sys
sys.modules["funtorch"] = sys.modules["torch"] = sys.modules["jax"] = None  # importing them is an error
import numpy as np, tensorflow as tf
net = tf.saved_model.load({str(tmp_path / "saved")!r})
x, y = (np.load({str(tmp_path)!r} + f"/{{n}}.npy") for n in "xy")
np.testing.assert_allclose(net(x), y, rtol=1e-4, atol=1e-5)
(named,) = net.signatures["serving_default"](tf.constant(x)).values()
np.testing.assert_allclose(named, y, rtol=1e-4, atol=1e-5)
variables = [v for v in net.weights.values() if v.trainable]
losses = []
for _ in range(5):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(net(x) ** 2)
    losses.append(float(loss))
    for v, g in zip(variables, tape.gradient(loss, variables)):
        v.assign_sub(0.01 * g)
assert losses[-1] < losses[0], losses
before = net.weights["1.running_mean"].numpy()
net.run_training(x)
assert (net.weights["1.running_mean"].numpy() != before).all()
print(len(variables))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == len(list(model.parameters()))


def test_keras_models_fit_save_and_come_back(tmp_path):
    model, x = prepared("cnn")
    net = to_keras(model, (x,), name="net")
    wanted = model(x).detach().numpy()
    np.testing.assert_allclose(net(x.numpy()), wanted, rtol=1e-5, atol=1e-5)
    assert len(net.trainable_variables) == len(list(model.parameters()))
    net.compile(keras.optimizers.SGD(0.01), "mse")
    before = net.evaluate(x.numpy(), np.zeros_like(wanted), verbose=0)
    net.fit(x.numpy(), np.zeros_like(wanted), epochs=3, verbose=0)
    assert net.evaluate(x.numpy(), np.zeros_like(wanted), verbose=0) < before
    net.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_allclose(again(x.numpy()), net(x.numpy()), rtol=1e-6)
    returned = from_keras(net)
    np.testing.assert_allclose(returned(x).detach(), net(x.numpy()), rtol=1e-5, atol=1e-5)


def test_tflite_reads_it(tmp_path):
    model, x = prepared("mlp")
    save_saved_model(model, (x,), tmp_path / "saved")
    flat = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert()
    interpreter = tf.lite.Interpreter(model_content=flat)
    run = interpreter.get_signature_runner()
    ((name, _),) = run.get_input_details().items()
    (y,) = run(**{name: x.numpy()}).values()
    np.testing.assert_allclose(y, model(x).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_both_train_alike_for_a_hundred_steps(name):
    """In training mode: batch norm normalises by the batch and updates its statistics."""
    model, x = prepared(name)
    target = torch.randn(model(x).shape)
    module = to_module(model, (x,))
    model.train()
    ours = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    theirs = keras.optimizers.SGD(0.05, momentum=0.9)

    @tf.function
    def step(x, target):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((module(x, training=True) - target) ** 2)
        gradients = tape.gradient(loss, module.trainable_variables)
        theirs.apply_gradients(zip(gradients, module.trainable_variables))
        return loss

    pairs = []
    for _ in range(100):
        ours.zero_grad()
        loss = nn.functional.mse_loss(model(x), target)
        loss.backward()
        ours.step()
        pairs.append((loss.item(), float(step(x.numpy(), target.numpy()))))
    a, b = np.array(pairs).T
    assert a[-1] < a[0]
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for key, buffer in model.named_buffers():
        np.testing.assert_allclose(module.weights[key], buffer, rtol=1e-3, atol=1e-4)


def test_keras_trains_as_the_module_would(tmp_path):
    """fit drops and updates statistics; evaluation does neither; saving keeps both graphs."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Dropout(0.5)
    ).eval()
    model.scale = nn.Parameter(torch.tensor(1.0))  # unused, so not part of the graph
    x = torch.randn(64, 8)
    net = to_keras(model, (x,))
    assert not model.training
    first, second = (net(x.numpy(), training=True).numpy() for _ in range(2))
    assert not np.array_equal(first, second)
    assert 0.65 < np.mean(first == 0) < 0.85  # two layers, so three of four
    model.train()(x)
    model(x)
    state = {v.path.split("/")[1]: v for v in net.variables}
    assert set(state) == set(model.state_dict()) - {"scale"}
    for name, buffer in model.named_buffers():
        np.testing.assert_allclose(state[name], buffer, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net(x.numpy()), model.eval()(x).detach(), rtol=1e-4, atol=1e-5)
    net.compile(keras.optimizers.SGD(0.0), "mse")
    net.fit(x.numpy(), x[:, :6].numpy(), batch_size=32, epochs=2, verbose=0)
    assert int(state["1.num_batches_tracked"]) == 6
    net.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_allclose(again(x.numpy()), net(x.numpy()), rtol=1e-6)
    again(x.numpy(), training=True)
    assert int(again.get_layer(index=1)._values["1.num_batches_tracked"]) == 7


def test_modes_of_submodules():
    """What is frozen stays so; training=False writes one mode only; what is the same is kept once."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[1].eval()
    x = torch.randn(8, 4)
    module = to_module(model, (x,))
    assert [m.training for m in model] == [True, False, True, True]
    module(x.numpy(), training=True)
    assert np.any(module.weights["3.running_mean"] != model[3].running_mean.numpy())
    assert "1.num_batches_tracked" not in module.weights
    only = to_module(model.eval(), (x,), training=False)
    np.testing.assert_array_equal(only(x.numpy(), training=True), only(x.numpy()))
    plain = to_module(model[0], (x,))
    assert plain.trained is plain.program


def test_fake_quantisation_passes_gradients_straight_through():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    net.qconfig = torch.ao.quantization.get_default_qat_qconfig("qnnpack")
    model, x = torch.ao.quantization.prepare_qat(net), torch.randn(16, 6)
    model(x)
    module = to_module(model.apply(torch.ao.quantization.disable_observer), (x,))
    with tf.GradientTape() as tape:
        made = module(3 * x.numpy(), training=True)  # parts of it out of the observed range
        loss = tf.reduce_sum(made**2)
    y = model(3 * x)
    (y**2).sum().backward()
    np.testing.assert_allclose(made, y.detach(), atol=0.05)
    named = dict(model.named_parameters())
    got = tape.gradient(loss, {name: module.weights[name] for name in named})
    for name, parameter in named.items():
        np.testing.assert_allclose(got[name], parameter.grad, rtol=0.02, atol=0.02)


class Flowing(nn.Module):
    """All kinds of control flow. x: [N, 4]"""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        ops = torch._higher_order_ops
        x = ops.cond(x.sum() > 0, lambda v: self.a(v), lambda v: self.b(v).relu(), (x,))
        _, x = ops.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, torch.tanh(self.b(v))),
                              (torch.tensor(0), x))  # fmt: skip
        last, x = ops.scan(lambda c, v: (torch.tanh(v + c), c * 2), torch.zeros(4), x)
        return x + last


def test_control_flow_of_a_batch_of_any_size():
    torch.manual_seed(0)
    model, x = Flowing(), torch.randn(3, 4)
    module = to_module(model, (x,))
    assert {"If", "Loop", "Scan"} <= {s.op for s in module.program.plan.steps}
    x = torch.cat([x, -x, x])
    with tf.GradientTape() as tape:
        made = module(x.numpy())
        loss = tf.reduce_sum(made**2)
    y = model(x)
    (y**2).sum().backward()
    np.testing.assert_allclose(made, y.detach(), rtol=1e-5, atol=1e-5)
    named = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    got = tape.gradient(loss, {n: module.weights[n] for n in named})
    for name, gradient in named.items():
        np.testing.assert_allclose(got[name], gradient, rtol=1e-4, atol=1e-4)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return x * self.scale


def test_a_parameter_of_no_dimensions_trains():
    module = to_module(Scaled(), (torch.ones(2, 3),))
    assert [v.name for v in module.trainable_variables] == ["scale:0"]


def test_a_training_step_is_a_module_too():
    """What torch.onnx.export_training_step writes: each call takes a step."""
    model, x = prepared("mlp")
    target = torch.randn(3, 4)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)

    def step(x, target):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
        return loss

    step(x, target)
    program = torch.onnx.export_training_step(
        step, (x, target), model=model, optimizer=optimizer, verify=False
    )
    module = to_module(program.model_proto)
    losses = [float(module(x.numpy(), target.numpy(), lr=np.float32(0.01))) for _ in range(5)]
    np.testing.assert_allclose(losses, [step(x, target).item() for _ in range(5)], rtol=1e-5)


def test_what_has_no_rule_is_named_with_its_module():
    proto = torch.onnx.export(cnn().eval(), (torch.randn(2, 3, 12, 12),), verify=False).model_proto
    for node in proto.graph.node:
        if node.op_type in ("MaxPool", "Gelu"):
            node.op_type = "Col2Im"
    with pytest.raises(UnsupportedNodes, match=r"Col2Im: .*MaxPool2d.*\.py.*, .*GELU.*\.py"):
        to_module(proto)


def test_every_op_that_the_exporter_writes_has_a_rule():
    onnx = pytest.importorskip("onnx")
    known = {s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}
    folder = Path(funtorch.onnx.writing.__file__).parent
    written = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            written |= {getattr(node, "attr", None), str(getattr(node, "value", None))} & known
    assert len(written) > 100
    assert [op for op in sorted(written) if RULES.find("", op, 20) is None] == []
