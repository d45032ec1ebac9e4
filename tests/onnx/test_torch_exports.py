"""What torch.onnx.export writes by default, loaded here: same values, and gradients everywhere."""

import warnings

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
pytest.importorskip("onnxscript", reason="torch.onnx.export needs it")
nn = torch.nn


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.cells = kind(8, 16, batch_first=True, **options)
        self.out = nn.Linear(32 if options.get("bidirectional") else 16, 4)

    def forward(self, x):
        return self.out(self.cells(x)[0])


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 16, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.last = nn.Conv2d(16, 2, 3, padding=1)
        self.large = nn.Upsample(scale_factor=2, mode="bilinear")

    def forward(self, x):
        a = torch.relu(self.down(x))
        b = torch.relu(self.deep(nn.functional.max_pool2d(a, 2)))
        return self.large(self.last(torch.cat([a, self.up(b)], 1)))


def transformer():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(nn.Embedding(50, 16), encoder, nn.Linear(16, 50))


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), (3, 8)),
    "cnn": (cnn, (3, 3, 12, 12)),
    "transformer": (transformer, (3, 7)),
    "bilstm": (lambda: Recurrent(nn.LSTM, bidirectional=True), (3, 5, 8)),
    "gru": (lambda: Recurrent(nn.GRU, num_layers=2), (3, 5, 8)),
    "unet": (UNet, (3, 3, 16, 16)),
}


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_exports(name, dynamic):
    torch.manual_seed(0)
    make, shape = MODELS[name]
    model = make().eval()
    x = torch.randint(0, 50, shape) if name == "transformer" else torch.randn(shape)
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = torch.onnx.export(model, (x,), dynamic_shapes=shapes, verbose=False).model_proto
    if dynamic:
        x = torch.cat([x, x[:2]])
    loaded = funtorch.onnx.load(proto)
    y = loaded(funtorch.tensor(x.numpy()))
    wanted = model(x).detach().numpy()
    np.testing.assert_allclose(y.detach().numpy(), wanted, rtol=1e-5, atol=1e-5)
    (y * funtorch.tensor(np.random.default_rng(0).normal(size=y.shape))).sum().backward()
    weights = {i.name for i in proto.graph.initializer} & {n for n, _ in model.named_parameters()}
    assert weights
    assert {n for n, _ in loaded.named_parameters()} >= weights
    for parameter_name, parameter in loaded.named_parameters():
        assert parameter.grad is not None, parameter_name
