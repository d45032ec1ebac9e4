"""Attention and Transformer layers beside real PyTorch: same seed, same weights, same results."""

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


def agree(program, **tolerance):
    results = []
    for lib in (funtorch, torch):
        lib.manual_seed(0)
        results.append([t.detach().numpy() for t in program(lib)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-4, "atol": 1e-5, **tolerance})


def trained(layer, out):
    (out * out).sum().backward()
    return [out, *[p.grad for p in layer.parameters() if p.grad is not None]]


MASKS = {
    "plain": lambda lib: {},
    "causal": lambda lib: {"is_causal": True},
    "bool": lambda lib: {"attn_mask": lib.tensor(np.tri(5, 5, dtype=bool))},
    "float": lambda lib: {"attn_mask": lib.ones(5, 5) * 0.5},
    "scaled": lambda lib: {"scale": 0.3},
}


@pytest.mark.parametrize("name", MASKS)
def test_scaled_dot_product_attention(name):
    def program(lib):
        q, k, v = (lib.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3))
        out = lib.nn.functional.scaled_dot_product_attention(q, k, v, **MASKS[name](lib))
        out.sum().backward()
        return out, q.grad, k.grad, v.grad

    agree(program)


def test_grouped_queries():
    def program(lib):
        q, k, v = lib.randn(2, 4, 5, 8), lib.randn(2, 2, 5, 8), lib.randn(2, 2, 5, 8)
        return (lib.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True),)

    agree(program)


OPTIONS = {
    "plain": {},
    "batch first": {"batch_first": True},
    "other sizes": {"kdim": 6, "vdim": 7},
    "biases": {"add_bias_kv": True, "add_zero_attn": True},
    "no bias": {"bias": False},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_multihead_attention(name):
    options = OPTIONS[name]

    def program(lib):
        layer = lib.nn.MultiheadAttention(8, 2, **options)
        shape = (3, 5) if options.get("batch_first") else (5, 3)
        q = lib.randn(*shape, 8)
        k, v = lib.randn(*shape, options.get("kdim", 8)), lib.randn(*shape, options.get("vdim", 8))
        hidden = lib.tensor([[False] * 5, [False, False, False, True, True], [False] * 5])
        out, weights = layer(q, k, v, key_padding_mask=hidden)
        return [*trained(layer, out), weights]

    agree(program)


LAYERS = {
    "encoder": lambda n: n.TransformerEncoder(n.TransformerEncoderLayer(8, 2, 16, 0.0), 2),
    "encoder, norm first": lambda n: n.TransformerEncoderLayer(
        8, 2, 16, 0.0, activation="gelu", norm_first=True, batch_first=True),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_encoder(name):
    def program(lib):
        layer = LAYERS[name](lib.nn)
        return trained(layer, layer(lib.randn(5, 3, 8)))

    agree(program)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_transformer():
    def program(lib):
        model = lib.nn.Transformer(8, 2, 1, 1, 16, 0.0)
        mask = lib.nn.Transformer.generate_square_subsequent_mask(4)
        out = model(lib.randn(5, 3, 8), lib.randn(4, 3, 8), tgt_mask=mask)
        return trained(model, out)

    agree(program)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_representations_and_names():
    ours, theirs = (lib.nn.Transformer(8, 2, 1, 1, 16) for lib in (funtorch, torch))
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())


PADDING = {
    "at the end": [[0, 0, 0, 1, 1], [0, 0, 0, 0, 1], [0, 0, 1, 1, 1]],
    "within": [[0, 1, 0, 1, 1], [0, 0, 0, 0, 1], [0, 0, 1, 1, 1]],
}


@pytest.mark.parametrize("name", PADDING)
@pytest.mark.parametrize("off", ["", "training", "tape", "mask", "nested", "switch"])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_padding_in_inference(name, off):
    """PyTorch's path for inference leaves padding out: zeros there, if nothing speaks against it."""

    def program(lib):
        layer = lib.nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
        norm = lib.nn.LayerNorm(8)
        net = lib.nn.TransformerEncoder(layer, 1, norm, off != "nested").train(off == "training")
        x, padding = lib.randn(3, 5, 8), lib.tensor(PADDING[name]).bool()
        mask = lib.zeros(5, 5).bool() if off == "mask" else None
        lib.backends.mha.set_fastpath_enabled(off != "switch")
        try:
            with lib.set_grad_enabled(off == "tape"):
                return (net(x, mask, padding),)
        finally:
            lib.backends.mha.set_fastpath_enabled(True)

    agree(program)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_are_refused_as_by_pytorch():
    for lib in (funtorch, torch):
        x = lib.nested.nested_tensor([lib.ones(3, 8), lib.ones(5, 8)], layout=lib.jagged)
        with pytest.raises(AssertionError, match="does not support NestedTensor outside"):
            lib.nn.MultiheadAttention(8, 2, batch_first=True)(x, x, x)
