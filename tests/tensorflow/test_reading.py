"""Models of Keras and TensorFlow as modules: the same values, Keras' names, and they train."""

import numpy as np
import pytest

import funtorch as torch

tf = pytest.importorskip("tensorflow", reason="TensorFlow is an extra: funtorch[tensorflow]")
keras = pytest.importorskip("keras")
pytest.importorskip("tf2onnx")
from funtorch.tensorflow import from_function, from_keras, from_saved_model  # noqa: E402

L = keras.layers


def chain(*shape):
    return lambda *layers: keras.Sequential([L.Input(shape), *layers])


def normalization():
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (50, 8)).astype("float32"))
    return chain(8)(layer, L.Dense(4, "tanh"))


def causal():
    tokens = L.Input((None,), dtype="int32")
    h = L.Embedding(20, 8)(tokens)
    h = L.LayerNormalization()(h + L.MultiHeadAttention(2, 4)(h, h, use_causal_mask=True))
    return keras.Model(tokens, L.Dense(20)(h))


def several():
    left, right = L.Input((4,), name="left"), L.Input((6,), name="right")
    joined = L.Dense(3, name="a")(left) + L.Dense(3, name="b")(right)
    outputs = {"joined": joined, "again": L.Dense(2, name="c")(joined)}
    return keras.Model({"left": left, "right": right}, outputs)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = L.Dense(8), L.BatchNormalization(), L.Dense(4)

    def call(self, x):
        return self.last(self.norm(self.first(x)))


def subclassed():
    model = Subclassed()
    model(np.zeros((2, 8), "float32"))
    return model


MODELS = {
    "mlp": (lambda: chain(8)(L.Dense(16, activation="gelu"), L.Dense(4)), (3, 8)),
    "normalization": (normalization, (3, 8)),
    "cnn": (lambda: chain(12, 12, 4)(
        L.Conv2D(8, 3, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU(),
        L.MaxPooling2D(), L.Conv2D(8, 3, groups=2), L.GlobalAveragePooling2D(), L.Dense(3),
    ), (3, 12, 12, 4)),
    "separable": (lambda: chain(9, 9, 3)(
        L.SeparableConv2D(6, 3, activation="gelu"), L.DepthwiseConv2D(3, padding="same"),
        L.Conv2DTranspose(4, 3, strides=2, padding="same"),
    ), (2, 9, 9, 3)),
    "lstm": (lambda: chain(4, 5)(L.LSTM(6), L.Dense(3)), (2, 4, 5)),
    "gru": (lambda: chain(4, 5)(L.GRU(6, return_sequences=True)), (2, 4, 5)),
    "bilstm": (lambda: chain(None, 5)(L.Bidirectional(L.LSTM(4))), (2, 3, 5)),
    "causal": (causal, (2, 5)),
    "subclassed": (subclassed, (3, 8)),
}  # fmt: skip


def inputs(name, shape):
    generator = np.random.default_rng(1)
    if name == "causal":
        return generator.integers(0, 20, shape).astype("int32")
    return generator.normal(size=shape).astype("float32")


@pytest.mark.parametrize("name", MODELS)
def test_keras_models_compute_the_same_and_train(name):
    keras.utils.set_random_seed(0)
    make, shape = MODELS[name]
    model = make()
    net = from_keras(model, training=False, check=False)
    x = inputs(name, shape)
    y = net(torch.tensor(x))
    np.testing.assert_allclose(y.detach().numpy(), model(x), rtol=1e-5, atol=1e-5)
    paths = {v.path.removeprefix(f"{model.name}/").replace("/", ".") for v in model.variables}
    read = {p for p in paths if not p.endswith(("seed_generator_state", "count", ".mean", ".variance"))}
    assert read == set(net.state_dict())
    assert len(list(net.parameters())) == len(model.trainable_variables)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.convert_to_tensor(model(x)) ** 2)
    y.square().sum().backward()
    for variable, wanted in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        path = variable.path.removeprefix(f"{model.name}/").replace("/", ".")
        got = net.get_parameter(path).grad.numpy()
        np.testing.assert_allclose(got, tf.convert_to_tensor(wanted), rtol=1e-3, atol=1e-4)


def settling(*more):
    keras.utils.set_random_seed(0)
    return chain(8)(L.Dense(6), L.BatchNormalization(), L.ReLU(), *more, L.Dense(2))


def test_training_goes_on_as_in_keras():
    """Batch norm normalises by the batch and updates its statistics: the same losses, the same state."""
    model = settling()
    net = from_keras(model).train()
    x, target = inputs("", (16, 8)), inputs("", (16, 2))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    for _ in range(10):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(torch.tensor(x)), torch.tensor(target))
        loss.backward()
        optimizer.step()
        assert abs(loss.item() - float(model.train_on_batch(x, target))) < 1e-5
    for variable in model.variables:
        path = variable.path.removeprefix(f"{model.name}/").replace("/", ".")
        np.testing.assert_allclose(net.state_dict()[path], variable.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(net.eval()(torch.tensor(x)).detach(), model(x), atol=1e-5)


def test_modes_of_imported_models():
    """Dropout drops in training only; a frozen layer stays as it is; one graph where one is enough."""
    model = settling(L.Dropout(0.5), L.GaussianNoise(0.1))
    net, x = from_keras(model), torch.tensor(inputs("", (16, 8)))
    assert torch.equal(net(x), net(x))
    net.train()
    assert not torch.equal(net(x), net(x))
    mean = "batch_normalization"
    (name,) = (n for n, _ in net.named_buffers() if mean in n and n.endswith("moving_mean"))
    assert net.get_buffer(name).numpy().any()
    model.layers[1].trainable = False
    frozen = from_keras(model).train()
    frozen(x)
    assert not frozen.get_buffer(name).numpy().any()
    assert type(from_keras(model, training=False)) is type(from_keras(chain(8)(L.Dense(2))))


def test_several_inputs_and_outputs_by_name():
    model = several()
    net = from_keras(model)
    assert net.input_names == ["left", "right"]
    assert net.output_names == ["again", "joined"]


def test_saved_models_and_functions(tmp_path):
    keras.utils.set_random_seed(0)
    model = MODELS["cnn"][0]()
    model.export(tmp_path / "saved", verbose=False)
    x = inputs("cnn", (2, 12, 12, 4))
    net = from_saved_model(tmp_path / "saved")
    np.testing.assert_allclose(net(torch.tensor(x)).detach(), model(x), rtol=1e-5, atol=1e-5)
    assert len(list(net.parameters())) == len(model.trainable_variables)
    with pytest.raises(KeyError, match="serving_default"):
        from_saved_model(tmp_path / "saved", "other")

    weight = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="weight")
    net = from_function(lambda x: tf.nn.softmax(x @ weight), [tf.TensorSpec((None, 2))])
    assert [n for n, _ in net.named_parameters()] == ["weight"]
    net(torch.ones(3, 2))[:, 0].sum().backward()
    assert net.weight.grad is not None


def test_a_difference_is_an_error():
    with pytest.raises(ValueError, match="differs between the frameworks"):
        from_function(lambda x: x + tf.random.normal((2,)), [tf.TensorSpec((None, 2))])
