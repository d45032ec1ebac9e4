"""Recurrent layers beside real PyTorch: same seed, same weights, outputs and gradients."""

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

LAYERS = {
    "lstm": ("LSTM", {}),
    "deep lstm": ("LSTM", {"num_layers": 2, "bidirectional": True}),
    "projected": ("LSTM", {"proj_size": 3}),
    "gru": ("GRU", {"num_layers": 2, "batch_first": True}),
    "both ways": ("GRU", {"bidirectional": True}),
    "rnn": ("RNN", {"bias": False}),
    "relu": ("RNN", {"nonlinearity": "relu"}),
}
LENGTHS = [3, 5, 2]


def build(lib, name):
    kind, options = LAYERS[name]
    lib.manual_seed(0)
    layer = getattr(lib.nn, kind)(4, 6, **options)
    x = lib.randn(3, 5, 4) if options.get("batch_first") else lib.randn(5, 3, 4)
    return layer, x.requires_grad_()


def flat(states):
    return list(states) if isinstance(states, tuple) else [states]


def found(layer, x, out, states):
    (out.sum() + sum((s * s).sum() for s in flat(states))).backward()
    arrays = [out, *flat(states), x.grad, *[p.grad for p in layer.parameters()]]
    return [a.detach().numpy() for a in arrays]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def padded(lib, name):
    layer, x = build(lib, name)
    out, states = layer(x)
    return found(layer, x, out, states)


def with_packed(lib, name):
    layer, x = build(lib, name)
    rnn, first = lib.nn.utils.rnn, layer.batch_first
    batch = rnn.pack_padded_sequence(x, LENGTHS, batch_first=first, enforce_sorted=False)
    packed, states = layer(batch)
    out, lengths = rnn.pad_packed_sequence(packed, batch_first=first)
    assert lengths.tolist() == LENGTHS
    return found(layer, x, out, states)


@pytest.mark.parametrize("program", [padded, with_packed], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", LAYERS)
def test_agrees(name, program):
    assert_same(program(funtorch, name), program(torch, name))


@pytest.mark.parametrize("name", LAYERS)
def test_repr_and_state_dict(name):
    ours, theirs = build(funtorch, name)[0], build(torch, name)[0]
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_given_states_and_unbatched_input():
    results = []
    for lib in (funtorch, torch):
        layer, x = build(lib, "lstm")
        hx = (lib.ones(1, 6), lib.ones(1, 6))
        out, (h, c) = layer(x[:, 0], hx)
        results.append([t.detach().numpy() for t in (out, h, c)])
    assert_same(*results)


def test_packing_helpers():
    for lib in (funtorch, torch):
        rnn = lib.nn.utils.rnn
        sequences = [lib.arange(n, dtype=lib.float32) for n in (4, 2, 1)]
        packed = rnn.pack_sequence(sequences)
        assert packed.data.tolist() == [0, 0, 0, 1, 1, 2, 3]
        assert packed.batch_sizes.tolist() == [3, 2, 1, 1]
        assert [s.tolist() for s in rnn.unpack_sequence(packed)] == [s.tolist() for s in sequences]
        assert rnn.pad_sequence(sequences, batch_first=True).shape == (3, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda lib: lib.nn.LSTM(4, 6)(lib.ones(5, 3, 7)),
        lambda lib: lib.nn.GRU(4, 6)(lib.ones(5, 3, 4), lib.ones(2, 3, 6)),
        lambda lib: lib.nn.utils.rnn.pack_padded_sequence(lib.ones(5, 2, 1), [2, 3]),
    ],
)
def test_what_is_wrong_is_refused(wrong):
    for lib in (torch, funtorch):
        with pytest.raises(RuntimeError):
            wrong(lib)
