"""Every module of `torch.nn` as ONNX, static and with a symbolic batch. Several to a graph, so that
few programs are compiled. FUNTORCH_EVERY_OPSET=1, as in `make onnx`: at every opset."""

import os

import numpy as np
import pytest

import funtorch as torch

nn = torch.nn
pytest.importorskip("onnxruntime")
_random = np.random.default_rng(0)


def f(*shape):
    return _random.normal(size=shape).astype("float32")


def unit(*shape):
    return _random.uniform(0.1, 0.9, size=shape).astype("float32")


def whole(high, *shape):
    return _random.integers(0, high, shape)


def sign(*shape):
    return np.sign(f(*shape))


OPSETS = range(18, 27) if os.environ.get("FUNTORCH_EVERY_OPSET") else (18, 20, 26)
V, S, I, D = (3, 4), (3, 4, 6), (3, 4, 6, 6), (3, 4, 4, 4, 4)  # vector, sequence, image, volume

ACTIVATIONS = [
    "CELU",
    "ELU",
    "GELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Identity",
    "Dropout",
    "AlphaDropout",
    "FeatureAlphaDropout",
    "GLU",
    "Flatten",
]
DISTANCES = [
    "L1Loss",
    "MSELoss",
    "SmoothL1Loss",
    "HuberLoss",
    "PairwiseDistance",
    "CosineSimilarity",
]

GROUPS = {
    "activations": {
        **{name: (getattr(nn, name), [f(*V)]) for name in ACTIVATIONS},
        "GELU tanh": (lambda: nn.GELU("tanh"), [f(*V)]),
        "Softplus steep": (lambda: nn.Softplus(3, 2), [f(*V)]),
        "Threshold": (lambda: nn.Threshold(0.1, 2.0), [f(*V)]),
        "Softmax": (lambda: nn.Softmax(1), [f(*V)]),
        "LogSoftmax": (lambda: nn.LogSoftmax(1), [f(*V)]),
        "Softmin": (lambda: nn.Softmin(1), [f(*V)]),
        "Softmax2d": (nn.Softmax2d, [f(*I)]),
        "PReLU channels": (lambda: nn.PReLU(4), [f(*I)]),
    },
    "convolutions": {
        "Conv1d": (lambda: nn.Conv1d(4, 6, 3, padding="same"), [f(*S)]),
        "Conv2d": (lambda: nn.Conv2d(4, 6, 3, 2, 1, groups=2, padding_mode="reflect"), [f(*I)]),
        "Conv3d": (lambda: nn.Conv3d(4, 2, 2, dilation=2), [f(*D)]),
        "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 2, 3, 2, 1, 1), [f(*S)]),
        "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 4, 3, 2, groups=2, bias=False), [f(*I)]),
        "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 2, 2), [f(*D)]),
        "Linear": (lambda: nn.Linear(6, 5, bias=False), [f(*S)]),
        "Bilinear": (lambda: nn.Bilinear(4, 3, 2), [f(*V), f(3, 3)]),
        "Embedding": (lambda: nn.Embedding(10, 4, padding_idx=0), [whole(10, 3, 5)]),
        "EmbeddingBag": (lambda: nn.EmbeddingBag(10, 4, mode="sum"), [whole(10, 3, 5)]),
    },
    "normalisation": {
        "BatchNorm1d": (lambda: nn.BatchNorm1d(4), [f(*S)]),
        "BatchNorm2d": (lambda: nn.BatchNorm2d(4, affine=False), [f(*I)]),
        "BatchNorm3d": (lambda: nn.BatchNorm3d(4), [f(*D)]),
        "SyncBatchNorm": (lambda: nn.SyncBatchNorm(4), [f(*I)]),
        "InstanceNorm1d": (lambda: nn.InstanceNorm1d(4), [f(*S)]),
        "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, affine=True), [f(*I)]),
        "InstanceNorm3d": (lambda: nn.InstanceNorm3d(4), [f(*D)]),
        "GroupNorm": (lambda: nn.GroupNorm(2, 4), [f(*I)]),
        "LayerNorm": (lambda: nn.LayerNorm((4, 6)), [f(*S)]),
        "RMSNorm": (lambda: nn.RMSNorm(6), [f(*S)]),
        "LocalResponseNorm": (lambda: nn.LocalResponseNorm(3), [f(*I)]),
        "LocalResponseNorm even": (lambda: nn.LocalResponseNorm(2), [f(*I)]),
        "CrossMapLRN2d": (lambda: nn.CrossMapLRN2d(3), [f(*I)]),
        "Dropout1d": (nn.Dropout1d, [f(*S)]),
        "Dropout2d": (nn.Dropout2d, [f(*I)]),
        "Dropout3d": (nn.Dropout3d, [f(*D)]),
    },
    "pooling": {
        "MaxPool1d": (lambda: nn.MaxPool1d(2, return_indices=True), [f(*S)]),
        "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), [f(*I)]),
        "MaxPool2d holes": (lambda: nn.MaxPool2d(2, dilation=2), [f(*I)]),
        "MaxPool3d": (lambda: nn.MaxPool3d(2), [f(*D)]),
        "AvgPool1d": (lambda: nn.AvgPool1d(3, 2, 1, count_include_pad=False), [f(*S)]),
        "AvgPool2d": (lambda: nn.AvgPool2d(4, 3, 1, ceil_mode=True), [f(*I)]),
        "AvgPool3d": (lambda: nn.AvgPool3d(2, divisor_override=3), [f(*D)]),
        "LPPool1d": (lambda: nn.LPPool1d(2, 2), [unit(*S)]),
        "LPPool2d": (lambda: nn.LPPool2d(3, 2), [unit(*I)]),
        "LPPool3d": (lambda: nn.LPPool3d(2, 2), [unit(*D)]),
        "AdaptiveAvgPool1d": (lambda: nn.AdaptiveAvgPool1d(4), [f(*S)]),
        "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((3, None)), [f(*I)]),
        "AdaptiveAvgPool3d": (lambda: nn.AdaptiveAvgPool3d(1), [f(*D)]),
        "AdaptiveMaxPool1d": (lambda: nn.AdaptiveMaxPool1d(4, return_indices=True), [f(*S)]),
        "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d(2), [f(*I)]),
        "AdaptiveMaxPool3d": (lambda: nn.AdaptiveMaxPool3d(2), [f(*D)]),
    },
    "unpooling": {
        "MaxUnpool1d": (lambda: nn.MaxUnpool1d(2), [f(3, 4, 2), np.tile([1, 3], (3, 4, 1))]),
        "MaxUnpool2d": (
            lambda: nn.MaxUnpool2d(2),
            [f(3, 4, 2, 2), np.tile([[1, 3], [8, 14]], (3, 4, 1, 1))],
        ),
        "MaxUnpool3d": (
            lambda: nn.MaxUnpool3d(2),
            [f(3, 4, 1, 1, 2), np.tile([[[1, 3]]], (3, 4, 1, 1, 1))],
        ),
        "Fold": (lambda: nn.Fold((4, 5), 2), [f(3, 8, 12)]),
        "Unfold": (lambda: nn.Unfold(2, padding=1, stride=2), [f(*I)]),
        "Unflatten": (lambda: nn.Unflatten(1, (2, 2)), [f(*S)]),
        "ChannelShuffle": (lambda: nn.ChannelShuffle(2), [f(*I)]),
        "PixelShuffle": (lambda: nn.PixelShuffle(2), [f(*I)]),
        "PixelUnshuffle": (lambda: nn.PixelUnshuffle(2), [f(*I)]),
        "Upsample": (lambda: nn.Upsample(scale_factor=2), [f(*I)]),
        "Upsample cubic": (lambda: nn.Upsample((7, 9), mode="bicubic"), [f(*I)]),
        "Upsample linear": (lambda: nn.Upsample(scale_factor=2, mode="linear"), [f(*S)]),
        "UpsamplingBilinear2d": (lambda: nn.UpsamplingBilinear2d(scale_factor=2), [f(*I)]),
        "UpsamplingNearest2d": (lambda: nn.UpsamplingNearest2d((4, 9)), [f(*I)]),
    },
    "padding": {
        **{
            f"{kind}Pad{n}d": (lambda c=c, k=extra: c(1, *k), [f(*shape)])
            for kind, extra in (
                ("Circular", ()),
                ("Constant", (2.0,)),
                ("Reflection", ()),
                ("Replication", ()),
                ("Zero", ()),
            )
            for n, shape in ((1, S), (2, I), (3, D))
            for c in (getattr(nn, f"{kind}Pad{n}d"),)
        },
        "cropping": (lambda: nn.ConstantPad1d((-1, 2), 0.5), [f(*S)]),
    },
    "recurrent": {
        "RNN": (lambda: nn.RNN(6, 5, nonlinearity="relu", batch_first=True), [f(*S)]),
        "GRU": (lambda: nn.GRU(6, 5, bias=False, batch_first=True), [f(*S)]),
        "LSTM": (lambda: nn.LSTM(6, 5, bidirectional=True, batch_first=True), [f(*S)]),
        "LSTM projected": (lambda: nn.LSTM(6, 5, proj_size=2, batch_first=True), [f(*S)]),
        "RNNCell": (lambda: nn.RNNCell(4, 5), [f(*V)]),
        "GRUCell": (lambda: nn.GRUCell(4, 5), [f(*V), f(3, 5)]),
        "LSTMCell": (lambda: nn.LSTMCell(4, 5), [f(*V)]),
    },
    "attention": {
        "MultiheadAttention": (
            lambda: nn.MultiheadAttention(6, 2, batch_first=True, add_bias_kv=True),
            [f(*S), f(*S), f(*S)],
        ),
        "TransformerEncoderLayer": (
            lambda: nn.TransformerEncoderLayer(6, 2, 8, activation="gelu", batch_first=True),
            [f(*S)],
        ),
        "TransformerEncoder": (
            lambda: nn.TransformerEncoder(
                nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, norm_first=True), 1
            ),
            [f(*S)],
        ),
        "TransformerDecoderLayer": (
            lambda: nn.TransformerDecoderLayer(6, 2, 8, batch_first=True),
            [f(*S), f(3, 5, 6)],
        ),
        "TransformerDecoder": (
            lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 8, batch_first=True), 1),
            [f(*S), f(3, 5, 6)],
        ),
        "Transformer": (
            lambda: nn.Transformer(6, 2, 1, 1, 8, batch_first=True),
            [f(*S), f(3, 5, 6)],
        ),
    },
    "losses": {
        **{
            name: (getattr(nn, name), [f(*V), f(*V)])
            for name in [
                "L1Loss",
                "MSELoss",
                "SmoothL1Loss",
                "HuberLoss",
                "PairwiseDistance",
                "CosineSimilarity",
            ]
        },
        "AdaptiveLogSoftmaxWithLoss": (
            lambda: nn.AdaptiveLogSoftmaxWithLoss(16, 6, [2, 4], 2.0),
            [f(3, 16), whole(6, 3)],
        ),
        "LinearCrossEntropyLoss": (lambda: nn.LinearCrossEntropyLoss(4, 5), [f(*V), whole(5, 3)]),
        "BCELoss": (nn.BCELoss, [unit(*V), unit(*V)]),
        "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss, [f(*V), unit(*V)]),
        "CrossEntropyLoss": (
            lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
            [f(*V), whole(4, 3)],
        ),
        "NLLLoss": (lambda: nn.NLLLoss(ignore_index=1), [f(*V), whole(4, 3)]),
        "KLDivLoss": (lambda: nn.KLDivLoss(reduction="batchmean"), [f(*V), unit(*V)]),
        "PoissonNLLLoss": (nn.PoissonNLLLoss, [f(*V), unit(*V)]),
        "GaussianNLLLoss": (nn.GaussianNLLLoss, [f(*V), f(*V), unit(*V)]),
        "MarginRankingLoss": (nn.MarginRankingLoss, [f(3), f(3), sign(3)]),
        "HingeEmbeddingLoss": (nn.HingeEmbeddingLoss, [f(*V), sign(*V)]),
        "SoftMarginLoss": (nn.SoftMarginLoss, [f(*V), sign(*V)]),
        "MultiMarginLoss": (nn.MultiMarginLoss, [f(*V), whole(4, 3)]),
        "MultiLabelMarginLoss": (nn.MultiLabelMarginLoss, [f(*V), np.tile([2, 0, -1, 1], (3, 1))]),
        "MultiLabelSoftMarginLoss": (nn.MultiLabelSoftMarginLoss, [f(*V), unit(*V)]),
        "CosineEmbeddingLoss": (nn.CosineEmbeddingLoss, [f(*V), f(*V), sign(3)]),
        "TripletMarginLoss": (nn.TripletMarginLoss, [f(*V), f(*V), f(*V)]),
        "TripletMarginWithDistanceLoss": (
            nn.TripletMarginWithDistanceLoss,
            [f(*V), f(*V), f(*V)],
        ),
    },
}

ELSEWHERE = {
    # containers, bases and what only becomes a module of the table
    *("Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"),
    *("Container", "RNNBase", "RNNCellBase", "DataParallel", "NLLLoss2d"),
    *(n for n in dir(nn) if n.startswith("Lazy")),
    # its shapes depend on lengths; they draw numbers in every mode
    *("CTCLoss", "FractionalMaxPool2d", "FractionalMaxPool3d"),
}


class Several(nn.Module):
    """Modules side by side, each with its own arguments."""

    def __init__(self, table):
        super().__init__()
        self.names = list(table)
        self.counts = [len(arrays) for _, arrays in table.values()]
        self.parts = nn.ModuleList([make() for make, _ in table.values()])

    def forward(self, *args):
        given, found = iter(args), []
        for part, count in zip(self.parts, self.counts):
            found.append(part(*(next(given) for _ in range(count))))
        return found


def flat(result):
    if isinstance(result, torch.Tensor):
        return [result.detach().numpy()]
    return [leaf for part in result or () for leaf in flat(part)]


@pytest.mark.parametrize("name", GROUPS)
def test_modules(name):
    table = GROUPS[name]
    torch.manual_seed(0)
    model = Several(table).eval()
    small = [torch.from_numpy(a) for _, arrays in table.values() for a in arrays]
    large = [torch.cat([a, a[:2]]) for a in small]
    wanted = [(n, x) for n, r in zip(table, model(*large)) for x in flat(r)]
    batch = ({0: "batch"},) * len(small)
    for opset in OPSETS:
        for args, shapes in ((small, batch), (large, None)):
            program = torch.onnx.export(
                model, tuple(args), dynamic_shapes=shapes, opset_version=opset, verify=False
            )
            for (part, ours), theirs in zip(wanted, program(*large), strict=True):
                where = f"{part} at opset {opset}, {'dynamic' if shapes else 'static'}"
                np.testing.assert_allclose(
                    theirs.numpy(), ours, atol=2e-5, rtol=1e-4, err_msg=where
                )


def test_no_module_is_forgotten():
    known = {n.split()[0] for table in GROUPS.values() for n in table} | ELSEWHERE
    modules = [
        n
        for n in dir(nn)
        if isinstance(getattr(nn, n), type) and issubclass(getattr(nn, n), nn.Module)
    ]
    assert set(modules) <= known
