"""Every module of torch.nn, exported with fixed shapes and with a symbolic batch.

Modules that take the same arguments share a program. The files are opened in a process that knows
nothing of this one, and by the C++ loader; PyTorch says what is right.
"""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import funtorch as torch
from funtorch.export import Dim
from tests.lowering.cpp import PLUGIN, ROOT, built, needs_cpp

real = pytest.importorskip("torch", reason="real PyTorch is the oracle")
BATCH, OTHER = 3, 5


def over(nn, call, **parts):
    """A module that calls other modules in a way of its own."""

    class Over(nn.Module):
        def __init__(self):
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

        def forward(self, *args):
            return call(self, *args)

    return Over()


def many(nn, group):
    """The modules of a group on the same arguments; results by name."""
    parts = nn.ModuleDict(GROUPS[group][1](nn))
    return over(nn, lambda m, *args: {n: p(*args) for n, p in m.parts.items()}, parts=parts)


def floats(*shape):
    return lambda rng, n: rng.normal(size=(n, *shape)).astype("float32")


def unit(*shape):
    return lambda rng, n: rng.uniform(0.05, 0.95, size=(n, *shape)).astype("float32")


def whole(*shape):
    return lambda rng, n: rng.integers(0, 4, (n, *shape))


def between(low, high, *shape):
    return lambda rng, n: rng.integers(low, high + 1, (n, *shape))


def signs(*shape):
    return lambda rng, n: np.where(rng.normal(size=(n, *shape)) > 0, 1, -1).astype("float32")


def unpool(nn, kind):
    """Pooling that gives indices, and its inverse."""
    pool, back = getattr(nn, f"MaxPool{kind}"), getattr(nn, f"MaxUnpool{kind}")
    return over(
        nn, lambda m, x: m.back(*m.pool(x)), pool=pool(2, return_indices=True), back=back(2)
    )


def sampled(nn, name, dims):
    """Fractional pooling whose random samples come from its input, so that PyTorch has the same."""

    def call(m, x):
        m.part._random_samples = x.flatten(2).sigmoid()[..., :dims]
        pooled = m.part(x)
        m.part._random_samples = None
        return pooled

    return over(nn, call, part=getattr(nn, name)(2, output_size=2))


def plain(nn, *names):
    return {name: getattr(nn, name)() for name in names}


def sized(nn, kind):
    """Modules of one, two or three dimensions that come in all of them. x: [N, 4, ...]"""
    return {
        f"Conv{kind}": getattr(nn, f"Conv{kind}")(4, 6, 3, padding=1, stride=2, groups=2),
        f"ConvTranspose{kind}": getattr(nn, f"ConvTranspose{kind}")(4, 2, 3, stride=2),
        f"BatchNorm{kind}": getattr(nn, f"BatchNorm{kind}")(4),
        f"InstanceNorm{kind}": getattr(nn, f"InstanceNorm{kind}")(4, affine=True),
        f"MaxPool{kind}": getattr(nn, f"MaxPool{kind}")(3, 2, 1),
        f"AvgPool{kind}": getattr(nn, f"AvgPool{kind}")(2),
        f"LPPool{kind}": getattr(nn, f"LPPool{kind}")(2.0, 2),
        f"AdaptiveAvgPool{kind}": getattr(nn, f"AdaptiveAvgPool{kind}")(2),
        f"AdaptiveMaxPool{kind}": getattr(nn, f"AdaptiveMaxPool{kind}")(2),
        f"MaxUnpool{kind}": unpool(nn, kind),
        f"ConstantPad{kind}": getattr(nn, f"ConstantPad{kind}")(1, 0.5),
        f"Dropout{kind}": getattr(nn, f"Dropout{kind}")(),
        **{f"{pad}Pad{kind}": getattr(nn, f"{pad}Pad{kind}")(1)
           for pad in ("Circular", "Reflection", "Replication", "Zero")},
    }  # fmt: skip


ACTIVATIONS = (
    "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "Mish", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus",
    "Softshrink", "Softsign", "Tanh", "Tanhshrink", "PReLU", "GLU", "Identity", "Dropout",
    "AlphaDropout",
)  # fmt: skip

GROUPS = {
    "rows": ([floats(4)], lambda nn: {
        **plain(nn, *ACTIVATIONS), "Linear": nn.Linear(4, 5), "Softmax": nn.Softmax(-1),
        "Softmin": nn.Softmin(-1), "LogSoftmax": nn.LogSoftmax(-1), "RMSNorm": nn.RMSNorm(4),
        "LayerNorm": nn.LayerNorm(4), "Threshold": nn.Threshold(0.1, 2.0),
        "Unflatten": nn.Unflatten(1, (2, 2)), "LSTMCell": nn.LSTMCell(4, 5),
        "GRUCell": nn.GRUCell(4, 5), "RNNCell": nn.RNNCell(4, 5),
        "Sequential": nn.Sequential(nn.Linear(4, 2), nn.Tanh()),
        "ModuleList": over(nn, lambda m, x: m.parts[1](m.parts[0](x)),
                           parts=nn.ModuleList([nn.Linear(4, 3), nn.ReLU()])),
        "ParameterList": over(nn, lambda m, x: x * m.parts[0],
                              parts=nn.ParameterList([nn.Parameter(nn.Linear(4, 1).bias + 1)])),
        "ParameterDict": over(nn, lambda m, x: x * m.parts["a"],
                              parts=nn.ParameterDict({"a": nn.Parameter(nn.Linear(4, 1).bias + 1)})),
        "AdaptiveLogSoftmaxWithLoss": over(nn, lambda m, x: m.part.log_prob(x),
                                           part=nn.AdaptiveLogSoftmaxWithLoss(4, 10, [3, 6], 2.0)),
    }),
    "signals": ([floats(4, 12)], lambda nn: {
        **sized(nn, "1d"), "GroupNorm": nn.GroupNorm(2, 4), "Flatten": nn.Flatten(),
        "FeatureAlphaDropout": nn.FeatureAlphaDropout(), "SyncBatchNorm": nn.SyncBatchNorm(4),
        "Upsample": nn.Upsample(scale_factor=2), "ChannelShuffle": nn.ChannelShuffle(2),
        "Fold": nn.Fold((3, 5), (1, 2)),
    }),
    "images": ([floats(4, 8, 8)], lambda nn: {
        **sized(nn, "2d"), "CrossMapLRN2d": nn.CrossMapLRN2d(2),
        "LocalResponseNorm": nn.LocalResponseNorm(2), "PixelShuffle": nn.PixelShuffle(2),
        "PixelUnshuffle": nn.PixelUnshuffle(2), "Unfold": nn.Unfold(3, padding=1, stride=2),
        "Softmax2d": nn.Softmax2d(), "UpsamplingNearest2d": nn.UpsamplingNearest2d(scale_factor=2),
        "UpsamplingBilinear2d": nn.UpsamplingBilinear2d(scale_factor=2),
        "FractionalMaxPool2d": sampled(nn, "FractionalMaxPool2d", 2),
    }),
    "volumes": ([floats(4, 4, 4, 4)], lambda nn: {
        **sized(nn, "3d"), "FractionalMaxPool3d": sampled(nn, "FractionalMaxPool3d", 3),
    }),
    "tokens": ([whole(5)], lambda nn: {
        "Embedding": nn.Embedding(10, 4, padding_idx=0), "EmbeddingBag": nn.EmbeddingBag(10, 4),
    }),
    "sequences": ([floats(6, 8)], lambda nn: {
        "RNN": nn.RNN(8, 4, 2, batch_first=True), "LSTM": nn.LSTM(8, 4, batch_first=True),
        "GRU": nn.GRU(8, 4, batch_first=True, bidirectional=True),
    }),
    "attention": ([floats(5, 8), floats(4, 8)], lambda nn: {
        "MultiheadAttention": over(nn, lambda m, x, y: m.part(x, y, y),
                                   part=nn.MultiheadAttention(8, 2, batch_first=True)),
        "TransformerEncoder": over(nn, lambda m, x, y: m.part(x), part=nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)),
        "TransformerDecoder": nn.TransformerDecoder(
            nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 1),
        "Transformer": nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
    }),
    "pairs": ([floats(4), floats(4)], lambda nn: {
        "Bilinear": nn.Bilinear(4, 4, 2), "CosineSimilarity": nn.CosineSimilarity(),
        "PairwiseDistance": nn.PairwiseDistance(),
        **plain(nn, "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "PoissonNLLLoss", "SmoothL1Loss"),
    }),
    "chances": ([unit(4), unit(4)], lambda nn: {
        **plain(nn, "BCELoss", "BCEWithLogitsLoss", "MultiLabelSoftMarginLoss"),
        "GaussianNLLLoss": over(nn, lambda m, x, t: m.part(x, t, x.abs() + 1), part=nn.GaussianNLLLoss()),
    }),
    "labels": ([floats(4), whole()], lambda nn: {
        **plain(nn, "CrossEntropyLoss", "MultiMarginLoss"), "NLLLoss": nn.NLLLoss(),
        "LinearCrossEntropyLoss": nn.LinearCrossEntropyLoss(4, 5),
        "MultiLabelMarginLoss": over(nn, lambda m, x, t: m.part(x, t[:, None].repeat(1, 4)),
                                     part=nn.MultiLabelMarginLoss()),
    }),
    "alignments": ([floats(6, 5), between(1, 4, 3), between(4, 6), between(1, 3)], lambda nn: {
        "CTCLoss": over(nn, lambda m, x, t, n, s: m.part(x.transpose(0, 1).log_softmax(-1), t, n, s),
                        part=nn.CTCLoss()),
    }),
    "margins": ([floats(4), signs(4)], lambda nn: plain(nn, "HingeEmbeddingLoss", "SoftMarginLoss")),
    "ranks": ([floats(4), floats(4), signs()], lambda nn: {
        "CosineEmbeddingLoss": nn.CosineEmbeddingLoss(),
        "MarginRankingLoss": over(nn, lambda m, a, b, s: m.part(a[:, 0], b[:, 0], s),
                                  part=nn.MarginRankingLoss()),
    }),
    "triplets": ([floats(4), floats(4), floats(4)],
                 lambda nn: plain(nn, "TripletMarginLoss", "TripletMarginWithDistanceLoss")),
}  # fmt: skip

ELSEWHERE = {
    "DataParallel",  # a wrapper
    "Container", "Module", "RNNBase", "RNNCellBase",  # bases
    "ModuleDict", "TransformerEncoderLayer", "TransformerDecoderLayer",  # within others above
    "NLLLoss2d",  # NLLLoss under an old name
}  # fmt: skip


def flat(result):
    if isinstance(result, torch.Tensor | real.Tensor):
        return [result.detach().numpy()]
    if isinstance(result, dict):
        result = [result[name] for name in sorted(result)]
    return [leaf for part in result for leaf in flat(part)]


def arguments(group, n):
    rng = np.random.default_rng(n)
    return [make(rng, n) for make in GROUPS[group][0]]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Both artifacts of each group, inputs, and what PyTorch's modules give for them."""
    folder = tmp_path_factory.mktemp("artifacts")
    for group in GROUPS:
        real.manual_seed(0)
        theirs, ours = many(real.nn, group).eval(), many(torch.nn, group).eval()
        weights = {k: torch.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()}
        ours.load_state_dict(weights)
        for n in (BATCH, OTHER):
            given = arguments(group, n)
            with real.no_grad():
                wanted = flat(theirs(*map(real.from_numpy, given)))
            named = {f"in{i}": a for i, a in enumerate(given)}
            np.savez(
                folder / f"{group}.{n}.npz", **named, **{f"out{i}": a for i, a in enumerate(wanted)}
            )
        args = tuple(torch.from_numpy(a) for a in arguments(group, BATCH))
        batch = tuple({0: Dim("batch", min=2, max=100)} for _ in args)
        for n, dims in ((BATCH, None), (OTHER, batch)):
            made = torch.export.export(ours, args, dynamic_shapes=dims)
            path = folder / f"{group}.{n}.ftpkg"
            torch.export.save(made, path)
            held = {id(t): t for t in (*ours.parameters(), *ours.buffers())}.values()
            size = sum(t.numel() * t.element_size() for t in held)
            assert path.stat().st_size < size + 100_000, (group, path.stat().st_size - size)
    return folder


def test_every_module_is_here():
    nn = torch.nn
    here = {name for _, parts in GROUPS.values() for name in parts(real.nn)}
    classes = {n for n, c in vars(nn).items() if isinstance(c, type) and issubclass(c, nn.Module)}
    assert {n for n in classes if not n.startswith("Lazy")} - here == ELSEWHERE


ELSE_PROCESS = """
import json, pathlib, sys
import numpy as np, funtorch as torch

def flat(result):
    if isinstance(result, torch.Tensor):
        return [result.numpy()]
    if isinstance(result, dict):
        result = [result[name] for name in sorted(result)]
    return [leaf for part in result for leaf in flat(part)]

worst = {}
for path in sorted(pathlib.Path(".").glob("*.ftpkg")):
    data = np.load(path.with_suffix(".npz"))
    given = [torch.from_numpy(data[n]) for n in sorted(k for k in data if k.startswith("in"))]
    with torch.no_grad():
        found = flat(torch.export.load(path).module()(*given))
    wanted = [data[f"out{i}"] for i in range(len(found))]
    assert f"out{len(found)}" not in data
    worst[path.stem] = [float(np.max(np.abs(a - b) / (1 + np.abs(b)))) for a, b in zip(found, wanted)]
assert not any("test_modules" in name for name in sys.modules)
print(json.dumps(worst))
"""


@pytest.fixture(scope="module")
def reloaded(files):
    found = subprocess.run(
        [sys.executable, "-P", "-c", ELSE_PROCESS],
        cwd=files, env=dict(os.environ), capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("batch", [BATCH, OTHER], ids=["fixed", "symbolic"])
@pytest.mark.parametrize("group", GROUPS)
def test_reloaded_in_another_process(reloaded, group, batch):
    errors = reloaded[f"{group}.{batch}"]
    assert errors and max(errors) <= 2e-6, errors


@pytest.mark.parametrize("group", GROUPS)
def test_the_loaded_graph_computes_the_same(group):
    torch.manual_seed(0)
    model = many(torch.nn, group).eval()
    args, other = (tuple(map(torch.from_numpy, arguments(group, n))) for n in (BATCH, OTHER))
    batch = tuple({0: Dim("batch", min=2, max=100)} for _ in args)
    for dims, given in ((None, args), (batch, other)):
        file = io.BytesIO()
        made = torch.export.export(model, args, dynamic_shapes=dims)
        torch.export.save(made, file)
        file.seek(0)
        program = torch.export.load(file)
        assert program.graph_module.code == made.graph_module.code
        assert program.graph_signature == made.graph_signature
        signature = program.graph_signature
        state = {**program.state_dict, **dict(program.named_buffers()), **program.constants}
        named = {i.arg.name: state.get(i.target) for i in signature.input_specs}
        named.update(zip(signature.user_inputs, given, strict=True))
        named.update({f"c_{n.replace('.', '_')}": t for n, t in program.constants.items()})
        inputs = [n.name for n in program.graph.nodes if n.op == "placeholder"]
        found = program.graph_module(*(named[n] for n in inputs))
        assert [n.name for n in program.graph.nodes][-1] == "output"
        results = found[len(found) - len(signature.user_outputs) :]
        spec = torch.export.structure.rebuilt(program.program.signature.out_spec, results)
        for a, b in zip(flat(spec), flat(model(*given)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return built(ROOT / "tests" / "lowering" / "run.cpp", tmp_path_factory.mktemp("cpp") / "run")


@needs_cpp
@pytest.mark.parametrize("group", GROUPS)
def test_run_from_cpp(files, runner, group):
    data = np.load(files / f"{group}.{BATCH}.npz")
    given = b"".join(data[n].tobytes() for n in sorted(k for k in data if k.startswith("in")))
    command = [runner, files / f"{group}.{BATCH}.ftpkg", PLUGIN, "forward", "1"]
    found = subprocess.run(command, input=given, capture_output=True)
    assert found.returncode == 0, found.stderr.decode()
    signature = torch.export.load(files / f"{group}.{BATCH}.ftpkg").program.signature
    # The program's outputs are in the order in which the module made them.
    results = torch.export.structure.rebuilt(signature.out_spec, range(len(signature.outputs)))
    order, at, outs = ordered(results), 0, {}
    for i, leaf in enumerate(signature.outputs):
        size = int(np.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize
        outs[i] = np.frombuffer(found.stdout[at : at + size], leaf.dtype).reshape(leaf.shape)
        at += size
    for place, i in enumerate(order):
        np.testing.assert_allclose(outs[i], data[f"out{place}"], rtol=1e-4, atol=1e-4)


def ordered(result):
    if isinstance(result, int):
        return [result]
    if isinstance(result, dict):
        result = [result[name] for name in sorted(result)]
    return [leaf for part in result for leaf in ordered(part)]
