"""Fake quantisation and observers against PyTorch's: values, gradients, state, training, ONNX."""

import copy
import io
import warnings

import numpy as np
import pytest

import funtorch

real = pytest.importorskip("torch", reason="real PyTorch is the oracle")
LIBS = (funtorch, real)
rng = np.random.default_rng(0)
X = (rng.standard_normal((3, 4, 5)) * 3).astype(np.float32)
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecat", "ignore:.*reduce_range")


def per_tensor(lib, x):
    return lib.fake_quantize_per_tensor_affine(x, 0.037, 3, -20, 100)


def by_tensors(lib, x):
    scale, zero = lib.tensor([0.037]), lib.tensor([3], dtype=lib.int32)
    return lib.fake_quantize_per_tensor_affine(x, scale, zero, -20, 100)


def per_channel(lib, x):
    zero = lib.tensor([0, 3, -7, 1], dtype=lib.int32)
    scale = lib.tensor([0.1, 0.03, 0.5, 0.02])
    return lib.fake_quantize_per_channel_affine(x, scale, zero, 1, -128, 127)


def around(lib, x):
    zero, scale = lib.tensor([0.0, 3.25, -7.5, 1.1]), lib.tensor([0.1, 0.03, 0.5, 0.02])
    return lib.fake_quantize_per_channel_affine(x, scale, zero, 1, 0, 15)


def learnable(lib, x):
    scale, zero = (lib.tensor([v], requires_grad=True) for v in (0.05, 2.4))
    return lib._fake_quantize_learnable_per_tensor_affine(x, scale, zero, -40, 50, 0.3), scale, zero


def learnable_channels(lib, x):
    scale = lib.tensor([0.1, 0.03, 0.5, 0.02], requires_grad=True)
    zero = lib.tensor([0.0, 3.2, -7.7, 1.1], requires_grad=True)
    out = lib._fake_quantize_learnable_per_channel_affine(x, scale, zero, 1, -40, 50, 0.3)
    return out, scale, zero


CASES = [per_tensor, by_tensors, per_channel, around, learnable, learnable_channels]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_values_and_gradients(case, dtype):
    if dtype != "float32" and case not in (per_tensor, by_tensors, per_channel):
        pytest.skip("float32 only")
    found = []
    for lib in LIBS:
        x = lib.tensor(X).to(getattr(lib, dtype)).requires_grad_()
        made = case(lib, x)
        out, *learned = made if isinstance(made, tuple) else (made,)
        grads = lib.autograd.grad((out * out.detach().cos()).sum(), (x, *learned))
        found.append([t.detach().numpy() for t in (out, *grads)])
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 if dtype != "float16" else 4e-3)


@pytest.mark.parametrize("call", [
    lambda lib, x: lib.fake_quantize_per_tensor_affine(x, 0.1, 300, -128, 127),
    lambda lib, x: lib.fake_quantize_per_tensor_affine(x, 0.1, 0, 5, -5),
    lambda lib, x: lib.fake_quantize_per_tensor_affine(x.long(), 0.1, 0, -5, 5),
    lambda lib, x: lib.fake_quantize_per_channel_affine(x, lib.ones(2), lib.zeros(2).int(), 0, 0, 9),
    lambda lib, x: lib.fake_quantize_per_channel_affine(x, lib.ones(3), lib.zeros(3).long(), 0, 0, 9),
    lambda lib, x: lib.fake_quantize_per_channel_affine(x, lib.ones(3), lib.zeros(3).int(), 7, 0, 9),
    lambda lib, x: lib.ao.quantization.FakeQuantize(quant_min=0, quant_max=300),
    lambda lib, x: lib.ao.quantization.MinMaxObserver(qscheme=lib.per_channel_affine),
    lambda lib, x: lib.ao.quantization.MinMaxObserver(quant_min=3, quant_max=9),
    lambda lib, x: lib.ao.quantization.QConfig(lib.nn.Identity(), lib.nn.Identity),
    lambda lib, x: lib.ao.quantization.prepare_qat(lib.nn.Linear(2, 2).eval()),
    lambda lib, x: lib.ao.nn.qat.Linear(2, 2),
    lambda lib, x: lib.ao.quantization.PlaceholderObserver().calculate_qparams(),
], ids=range(13))  # fmt: skip
def test_errors(call):
    with pytest.raises(Exception) as wanted:
        call(real, real.tensor(X))
    with pytest.raises(wanted.type):
        call(funtorch, funtorch.tensor(X))


OBSERVERS = [
    ("MinMaxObserver", {}),
    ("MinMaxObserver", {"dtype": "qint8", "qscheme": "per_tensor_symmetric"}),
    ("MinMaxObserver", {"quant_min": 0, "quant_max": 127}),
    ("MinMaxObserver", {"dtype": "quint8", "qscheme": "per_tensor_symmetric"}),
    ("MovingAverageMinMaxObserver", {"averaging_constant": 0.1, "reduce_range": True}),
    ("PerChannelMinMaxObserver", {"ch_axis": 1}),
    ("PerChannelMinMaxObserver", {"dtype": "qint8", "qscheme": "per_channel_symmetric"}),
    ("PerChannelMinMaxObserver", {"qscheme": "per_channel_affine_float_qparams"}),
    ("MovingAveragePerChannelMinMaxObserver", {"averaging_constant": 0.5, "ch_axis": 2}),
    ("HistogramObserver", {"bins": 64}),
    ("HistogramObserver", {"bins": 128, "qscheme": "per_tensor_symmetric", "dtype": "qint8"}),
    ("FixedQParamsObserver", {"scale": 0.1, "zero_point": 3}),
]


def arguments(lib, given):
    return {k: getattr(lib, v) if isinstance(v, str) else v for k, v in given.items()}


@pytest.mark.parametrize(
    ("name", "given"), OBSERVERS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_observers(name, given):
    made = [getattr(lib.ao.quantization, name)(**arguments(lib, given)) for lib in LIBS]
    if "Fixed" not in name:
        for lib, each in zip(LIBS, made, strict=True):
            with pytest.warns(UserWarning, match="must run observer"):
                scale, zero = each.calculate_qparams()
            assert (scale.tolist(), zero.tolist(), zero.dtype) == ([1.0], [0], lib.int64)
    for share in (0.3, 1.0, 2.0):
        for lib, each in zip(LIBS, made, strict=True):
            each(lib.tensor(X * np.float32(share)))
    (scale, zero), (other_scale, other_zero) = (each.calculate_qparams() for each in made)
    np.testing.assert_allclose(scale.numpy(), other_scale.numpy(), rtol=2e-6)
    np.testing.assert_allclose(zero.numpy(), other_zero.numpy(), rtol=1e-5)
    assert str(zero.dtype) == str(other_zero.dtype)
    states = [each.state_dict() for each in made]
    assert list(states[0]) == list(states[1])
    for a, b in zip(states[0].values(), states[1].values(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-5)


def network(lib):
    return lib.nn.Sequential(
        lib.ao.quantization.QuantStub(), lib.nn.Conv2d(2, 3, 3), lib.nn.BatchNorm2d(3),
        lib.nn.ReLU(), lib.nn.Flatten(), lib.nn.Linear(48, 4), lib.nn.Sigmoid(),
        lib.ao.quantization.DeQuantStub(),
    )  # fmt: skip


def prepared(lib, config, weights):
    net = network(lib)
    net.load_state_dict({k: lib.tensor(v) for k, v in weights.items()})
    net.qconfig = config(lib.ao.quantization)
    return lib.ao.quantization.prepare_qat(net)


CONFIGS = {
    "x86": lambda q: q.get_default_qat_qconfig("x86"),
    "qnnpack, apart": lambda q: q.get_default_qat_qconfig("qnnpack", version=0),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_training_and_export(name):
    """Two steps in both from the same weights: losses, then every entry of the state; then QDQ."""
    real.manual_seed(0)
    weights = {k: v.numpy().copy() for k, v in network(real).state_dict().items()}
    images = np.random.default_rng(1).standard_normal((2, 5, 2, 6, 6)).astype(np.float32)
    nets, losses = [], []
    for lib in LIBS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = prepared(lib, CONFIGS[name], weights)
        sgd = lib.optim.SGD(net.parameters(), 0.05)
        seen = []
        for batch in images:
            loss = (net(lib.tensor(batch)) - 0.3).square().sum()
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            seen.append(loss.item())
        nets.append(net)
        losses.append(seen)
    np.testing.assert_allclose(*losses, rtol=1e-2)
    states = [net.state_dict() for net in nets]
    assert list(states[0]) == list(states[1])
    for key in states[0]:
        a, b = (s[key].numpy() for s in states)
        assert a.dtype == b.dtype, key
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-3, err_msg=key)
    exported(nets[0], funtorch.tensor(images[0]))


def exported(net, x):
    """Frozen and written as QuantizeLinear and DequantizeLinear, with a batch of any size."""
    net.eval().apply(funtorch.ao.quantization.disable_observer)
    program = funtorch.onnx.export(net, (x,), dynamic_shapes=({0: "batch"},))
    ops = [n.op_type for n in program.model_proto.graph.node]
    assert ops.count("QuantizeLinear") == ops.count("DequantizeLinear") >= 6
    found, wanted = program(x[:3])[0].numpy(), net(x[:3]).detach().numpy()
    # Rounding may fall to the other side where a value lies between two steps of the grid.
    assert np.abs(found - wanted).max() < 2 / 256 + 1e-5


def test_switches_and_files():
    quantise = funtorch.ao.quantization.FakeQuantize()
    x = funtorch.tensor(X)
    quantise(x)
    quantise.disable_observer()
    other = copy.deepcopy(quantise)
    before = quantise.scale.clone()
    np.testing.assert_array_equal(quantise(x * 5).numpy(), other(x * 5).numpy())
    assert quantise.scale.equal(before)
    quantise.fake_quant_enabled[0] = 0
    assert quantise(x) is x
    file = io.BytesIO()
    funtorch.save(quantise.state_dict(), file)
    file.seek(0)
    again = funtorch.ao.quantization.FakeQuantize()
    again.load_state_dict(funtorch.load(file))
    assert again(x) is x
    rows = funtorch.ao.quantization.default_per_channel_weight_fake_quant()
    rows(x)
    fresh = funtorch.ao.quantization.default_per_channel_weight_fake_quant()
    fresh.load_state_dict(rows.state_dict())
    assert fresh.scale.shape == (3,)


def test_names_of_types():
    for name in ("qint8", "quint8", "qint32"):
        ours, theirs = (lib.iinfo(getattr(lib, name)) for lib in LIBS)
        assert (ours.min, ours.max, ours.bits) == (theirs.min, theirs.max, theirs.bits)
        with pytest.raises(TypeError):
            funtorch.zeros(2).to(getattr(funtorch, name))
    assert repr(funtorch.per_tensor_affine) == repr(real.per_tensor_affine)
