"""Indices out of range, known on the host: refused with PyTorch's exception, and only then."""

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

CALLS = {
    "embedding": lambda t, x, i: t.nn.functional.embedding(i, x),
    "embedding_bag": lambda t, x, i: t.nn.functional.embedding_bag(i[None], x),
    "gather": lambda t, x, i: x.gather(1, i[None]),
    "scatter": lambda t, x, i: x.scatter(1, i[None], t.ones(1, 2)),
    "scatter value": lambda t, x, i: x.scatter(1, i[None], 1.0),
    "scatter_add": lambda t, x, i: x.scatter_add(1, i[None], t.ones(1, 2)),
    "scatter_reduce": lambda t, x, i: x.scatter_reduce(1, i[None], t.ones(1, 2), reduce="amax"),
    "index_select": lambda t, x, i: x.index_select(0, i),
    "index_select inner": lambda t, x, i: x.index_select(1, i),
    "index_add": lambda t, x, i: x.index_add(0, i, t.ones(2, 4)),
    "index_add vector": lambda t, x, i: x[0].index_add(0, i, t.ones(2)),
    "index_copy": lambda t, x, i: x.index_copy(1, i, t.ones(3, 2)),
    "index_fill": lambda t, x, i: x.index_fill(1, i, 1.0),
    "index_reduce": lambda t, x, i: x.index_reduce(1, i, t.ones(3, 2), "amax"),
    "take": lambda t, x, i: x.take(i),
    "take_along_dim": lambda t, x, i: x.take_along_dim(i[None], 1),
    "x[i]": lambda t, x, i: x[i],
    "x[:, i]": lambda t, x, i: x[:, i],
    "index_put": lambda t, x, i: x.index_put((i,), t.ones(4)),
    "nll_loss": lambda t, x, i: t.nn.functional.nll_loss(x[:2], i),
    "cross_entropy": lambda t, x, i: t.nn.functional.cross_entropy(x[:2], i, ignore_index=50),
    "cross_entropy view": lambda t, x, i: t.nn.functional.cross_entropy(
        x[None, :2].view(-1, 4), i.view(1, 2).view(-1), ignore_index=50
    ),
    "multi_margin_loss": lambda t, x, i: t.nn.functional.multi_margin_loss(x[:2], i),
}


def outcome(library, name, indices):
    x = library.tensor(np.arange(12.0, dtype=np.float32).reshape(3, 4))
    try:
        return CALLS[name](library, x, library.tensor(indices)).tolist()
    except (IndexError, RuntimeError) as error:
        return type(error)


@pytest.mark.filterwarnings("ignore:index_reduce")  # the oracle calls it beta
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("indices", [[0, 2], [0, 50], [0, -1], [-50, 0]], ids=str)
def test_as_pytorch(name, indices):
    ours, theirs = outcome(funtorch, name, indices), outcome(torch, name, indices)
    if isinstance(theirs, type):
        assert ours is theirs
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_what_a_program_computes_is_not_looked_at():
    index = funtorch.tensor([0, 50]) * 1
    assert funtorch.ones(3).take(index).shape == (2,)


def test_a_part_is_not_judged_by_the_whole():
    index = funtorch.tensor([[0, 99], [1, 99]])
    table = funtorch.ones(2, 3)
    assert funtorch.nn.functional.embedding(index[:, 0], table).shape == (2, 3)
    index[:, 1] = 1
    assert funtorch.nn.functional.embedding(index, table).shape == (2, 2, 3)
    index.fill_(0)
    shared = np.zeros(2, np.int64)
    view = funtorch.from_numpy(shared)
    funtorch.nn.functional.embedding(view, table)
    shared[0] = 7
    with pytest.raises(IndexError):
        funtorch.nn.functional.embedding(view, table)


@pytest.mark.parametrize("truth", [True, False])
def test_masks_without_dimensions(truth):
    def found(lib):
        x, mask = lib.arange(6.0).reshape(2, 3), lib.tensor(truth)
        written = x.clone()
        written[mask] = 7.0
        picked = [x[mask], x[1, mask], x[..., mask], lib.tensor(3.0)[mask], written]
        return [(tuple(t.shape), t.tolist()) for t in picked]

    assert found(funtorch) == found(torch)
