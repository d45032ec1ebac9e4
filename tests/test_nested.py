"""Nested tensors of the jagged layout against real PyTorch."""

import copy
import pickle
import re

import numpy as np
import pytest
import torch as real

import funtorch

pytestmark = pytest.mark.filterwarnings("ignore")
LIBS = (real, funtorch)
LENGTHS = (2, 1, 3)


def rows(lib, *rest, seed=0, dtype=np.float32):
    """One strided tensor per length."""
    rng = np.random.default_rng(seed)
    return [lib.tensor(rng.standard_normal((n, *rest)).astype(dtype)) for n in LENGTHS]


def jagged(lib, *rest, grad=False, seed=0):
    made = lib.nested.nested_tensor(rows(lib, *rest, seed=seed), layout=lib.jagged)
    return made.requires_grad_(grad)


def matrix(lib, *shape):
    return lib.tensor(np.random.default_rng(1).standard_normal(shape).astype(np.float32))


def heads(lib, grad=False, seed=0):
    """[3, 2 heads, ragged, 4] over a leaf [3, ragged, 8]."""
    leaf = jagged(lib, 8, grad=grad, seed=seed)
    return leaf, leaf.unflatten(-1, (2, 4)).transpose(1, 2)


def shown(shape):
    return re.sub(r"j\d+", "j", str(tuple(shape)))


def described(lib, result):
    if isinstance(result, tuple | list):
        return [described(lib, r) for r in result]
    if not isinstance(result, lib.Tensor):
        return re.sub(r"j\d+", "j", re.sub(r", grad_fn=[^>]*>", "", str(result)))
    if result.is_nested:
        parts = [p.detach().numpy() for p in result.unbind()]
        return "nested", shown(result.shape), str(result.dtype).rsplit(".", 1)[-1], parts
    return (
        "strided",
        shown(result.shape),
        str(result.dtype).rsplit(".", 1)[-1],
        [result.detach().numpy()],
    )


def same(ours, theirs):
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    elif isinstance(theirs, tuple):
        assert ours[:3] == theirs[:3]
        for one, other in zip(ours[3], theirs[3], strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)
    else:
        assert ours == theirs


RESULTS = {
    "made": lambda t: jagged(t, 3),
    "parts": lambda t: [jagged(t, 3).values(), jagged(t, 3).offsets(), jagged(t, 3).lengths()],
    "repr": lambda t: repr(jagged(t, 3)),
    "sizes": lambda t: [jagged(t, 3).size(0), jagged(t, 3).size(-1), jagged(t, 3).dim()],
    "flags": lambda t: [
        jagged(t, 3).is_nested,
        jagged(t).layout,
        jagged(t, 3).numel(),
        len(jagged(t)),
    ],
    "strides": lambda t: jagged(t, 3).stride(),
    "lists": lambda t: t.nested.nested_tensor([[1, 2], [3]], layout=t.jagged),
    "ragged last": lambda t: t.nested.nested_tensor([t.ones(2, 3), t.ones(2, 4)], layout=t.jagged),
    "dtype": lambda t: t.nested.nested_tensor(rows(t, 2), layout=t.jagged, dtype=t.float64),
    "as_nested": lambda t: t.nested.as_nested_tensor(rows(t, 2), layout=t.jagged),
    "from offsets": lambda t: t.nested.nested_tensor_from_jagged(
        matrix(t, 6, 2), t.tensor([0, 2, 6])
    ),
    "from lengths": lambda t: t.nested.nested_tensor_from_jagged(
        matrix(t, 6, 2), lengths=t.tensor([4, 2])
    ),
    "with gaps": lambda t: t.nested.nested_tensor_from_jagged(
        matrix(t, 6, 2), t.tensor([0, 2, 4]), lengths=t.tensor([1, 1])
    ),
    "narrow": lambda t: t.nested.narrow(
        matrix(t, 2, 6), 1, t.tensor([0, 1]), t.tensor([2, 3]), layout=t.jagged
    ),
    "masked_select": lambda t: t.nested.masked_select(matrix(t, 3, 4), matrix(t, 3, 4) > 0),
    "unbind": lambda t: jagged(t, 3).unbind(),
    "index": lambda t: [jagged(t, 3)[1], jagged(t, 3)[2, 0], jagged(t, 3)[-1]],
    "iterate": lambda t: list(jagged(t, 3)),
    "padded": lambda t: jagged(t, 3).to_padded_tensor(-1.0),
    "padded to size": lambda t: t.nested.to_padded_tensor(jagged(t, 3), 0.5, (3, 5, 3)),
    "padded heads": lambda t: heads(t)[1].to_padded_tensor(0.0),
    "numbers": lambda t: (2 - jagged(t, 3) * 3) / 4 + 1,
    "together": lambda t: (lambda n: n * n + n.exp())(jagged(t, 3)),
    "row": lambda t: jagged(t, 3) + matrix(t, 3),
    "per component": lambda t: jagged(t, 3) * matrix(t, 3, 1, 3),
    "minus mean": lambda t: (lambda n: n - n.mean(1, keepdim=True))(jagged(t, 3)),
    "compare": lambda t: jagged(t, 3) > 0,
    "where": lambda t: (lambda n: t.where(n > 0, n, n * 2))(jagged(t, 3)),
    "masked_fill": lambda t: (lambda n: n.masked_fill(n > 0, 0.0))(jagged(t, 3)),
    "relu": lambda t: t.nn.functional.relu(jagged(t, 3)),
    "gelu": lambda t: t.nn.functional.gelu(jagged(t, 3)),
    "silu": lambda t: t.nn.SiLU()(jagged(t, 3)),
    "clamp": lambda t: jagged(t, 3).clamp(-0.5, 0.5),
    "sum": lambda t: jagged(t, 3).sum(),
    "sum ragged": lambda t: jagged(t, 3).sum(1),
    "sum ragged keepdim": lambda t: jagged(t, 3).sum(dim=1, keepdim=True),
    "sum last": lambda t: jagged(t, 3).sum(-1),
    "sum heads": lambda t: heads(t)[1].sum(2),
    "mean": lambda t: [jagged(t, 3).mean(), jagged(t, 3).mean(1), jagged(t, 3).mean(-1)],
    "amax": lambda t: [jagged(t, 3).amax(1), jagged(t, 3).amax(-1), jagged(t, 3).max()],
    "prod": lambda t: jagged(t, 3).prod(1),
    "max": lambda t: [*jagged(t, 3).max(1)],
    "argmax": lambda t: jagged(t, 3).argmax(-1),
    "any": lambda t: [(jagged(t, 3) > 1).any(), (jagged(t, 3) > 0).all(-1)],
    "softmax": lambda t: t.softmax(jagged(t, 3), -1),
    "softmax ragged": lambda t: t.nn.functional.softmax(jagged(t, 3), 1),
    "log_softmax": lambda t: t.log_softmax(jagged(t, 3), -1),
    "transpose": lambda t: jagged(t, 3).transpose(1, 2),
    "permute": lambda t: heads(t)[0].unflatten(-1, (2, 4)).permute(0, 3, 1, 2),
    "unsqueeze": lambda t: [jagged(t, 3).unsqueeze(-1), jagged(t, 3).unsqueeze(1)],
    "squeeze": lambda t: jagged(t, 1).squeeze(-1),
    "view": lambda t: jagged(t, 6).view(3, -1, 2, 3),
    "reshape": lambda t: (lambda n: n.reshape(3, n.size(1), 6))(jagged(t, 2, 3)),
    "flatten": lambda t: jagged(t, 2, 3).flatten(2),
    "unflatten": lambda t: jagged(t, 6).unflatten(-1, (2, 3)),
    "chunk": lambda t: jagged(t, 4).chunk(2, -1),
    "chunk batch": lambda t: jagged(t, 4).chunk(2, 0),
    "cat": lambda t: (lambda n: t.cat([n, n * 2], -1))(jagged(t, 3)),
    "linear": lambda t: t.nn.functional.linear(jagged(t, 3), matrix(t, 4, 3), matrix(t, 4)),
    "matmul": lambda t: jagged(t, 3) @ matrix(t, 3, 2),
    "bmm": lambda t: t.bmm(jagged(t, 3), matrix(t, 3, 3, 2)),
    "layer_norm": lambda t: t.nn.LayerNorm(3)(jagged(t, 3)),
    "rms_norm": lambda t: t.nn.functional.rms_norm(jagged(t, 3), (3,)),
    "dropout": lambda t: t.nn.functional.dropout(jagged(t, 3), 0.0),
    "embedding": lambda t: t.nn.functional.embedding(
        t.nested.nested_tensor([t.tensor([0, 1]), t.tensor([2])], layout=t.jagged), matrix(t, 3, 2)
    ),
    "attention": lambda t: (
        t.nn.functional.scaled_dot_product_attention(heads(t)[1], heads(t)[1] * 2, heads(t)[1])
        if t is funtorch
        else _attention_by_hand()
    ),
    "to": lambda t: jagged(t, 3).to(t.float64),
    "half": lambda t: jagged(t, 3).half().float(),
    "clone": lambda t: jagged(t, 3).clone(),
    "zeros_like": lambda t: t.zeros_like(jagged(t, 3)),
    "add_": lambda t: jagged(t, 3).add_(1),
}


def _attention_by_hand():
    """Component by component: in real PyTorch two nested tensors must share their offsets."""
    parts = [p.unflatten(-1, (2, 4)).transpose(0, 1) for p in rows(real, 8)]
    out = [
        real.nn.functional.scaled_dot_product_attention(p, p * 2, p).transpose(0, 1) for p in parts
    ]
    return real.nested.as_nested_tensor(out, layout=real.jagged).transpose(1, 2)


@pytest.mark.parametrize("name", RESULTS)
def test_results(name):
    theirs, ours = (described(lib, RESULTS[name](lib)) for lib in LIBS)
    same(ours, theirs)


ERRORS = {
    "two structures": lambda t: jagged(t, 3) + jagged(t, 3),
    "batch sum": lambda t: jagged(t, 3).sum(0),
    "transpose batch": lambda t: jagged(t, 3).transpose(0, 1),
    "flatten ragged": lambda t: jagged(t, 3).flatten(1),
    "cat ragged": lambda t: t.cat([jagged(t, 3), jagged(t, 3)], 1),
    "broadcast": lambda t: jagged(t, 3) + t.ones(3, 2, 3),
    "empty": lambda t: t.nested.nested_tensor([], layout=t.jagged),
    "scalars": lambda t: t.nested.nested_tensor([1, 2], layout=t.jagged),
    "dims": lambda t: t.nested.nested_tensor([t.ones(2), t.ones(2, 2)], layout=t.jagged),
    "no offsets": lambda t: t.nested.nested_tensor_from_jagged(t.ones(3)),
    "numpy": lambda t: jagged(t, 3).numpy(),
    "tolist": lambda t: jagged(t, 3).tolist(),
    "sort": lambda t: jagged(t, 3).sort(),
    "cumsum": lambda t: jagged(t, 3).cumsum(1),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    raised = []
    for lib in LIBS:
        with pytest.raises(Exception) as info:
            ERRORS[name](lib)
        raised.append(info.type)
    assert raised[1] is raised[0]


GRADIENTS = {
    "pointwise": (lambda t, n: (n * n).sin().sum(), lambda t, p: (p * p).sin().sum()),
    "padded": (lambda t, n: (n.to_padded_tensor(0.0) ** 2).sum(), lambda t, p: (p**2).sum()),
    "unbind": (lambda t, n: sum((p**3).sum() for p in n.unbind()), lambda t, p: (p**3).sum()),
    "mean": (lambda t, n: (n.mean(1) ** 2).sum(), lambda t, p: (p.mean(0) ** 2).sum()),
    "amax": (lambda t, n: n.amax(1).sum(), lambda t, p: p.amax(0).sum()),
    "softmax": (
        lambda t, n: (t.softmax(n, -1) ** 2).sum(),
        lambda t, p: (t.softmax(p, -1) ** 2).sum(),
    ),
    "softmax ragged": (
        lambda t, n: (t.softmax(n, 1) ** 2).sum(),
        lambda t, p: (t.softmax(p, 0) ** 2).sum(),
    ),
    "linear": (
        lambda t, n: (t.nn.functional.linear(n, matrix(t, 2, 8)) ** 2).sum(),
        lambda t, p: (t.nn.functional.linear(p, matrix(t, 2, 8)) ** 2).sum(),
    ),
    "values": (lambda t, n: (n.values() ** 3).sum(), lambda t, p: (p**3).sum()),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    """Against real PyTorch component by component: some of its nested gradients fail."""
    ragged, single = GRADIENTS[name]
    leaf = jagged(funtorch, 8, grad=True)
    ragged(funtorch, leaf).backward()
    assert leaf.grad.is_nested
    for ours, part in zip(leaf.grad.unbind(), rows(real, 8), strict=True):
        single(real, part.requires_grad_()).backward()
        np.testing.assert_allclose(ours.numpy(), part.grad.numpy(), rtol=2e-5, atol=1e-6)


def test_gradients_reach_the_components_of_as_nested_tensor():
    for lib in LIBS:
        parts = [r.requires_grad_() for r in rows(lib, 2)]
        (lib.nested.as_nested_tensor(parts, layout=lib.jagged) * 3).sum().backward()
        assert [p.grad.sum().item() for p in parts] == [12.0, 6.0, 18.0]


@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_its_gradient(causal):
    leaf, q = heads(funtorch, grad=True)
    attend = funtorch.nn.functional.scaled_dot_product_attention
    out = attend(q, q, q, is_causal=causal)
    (out**2).sum().backward()
    wanted = []
    for part in rows(real, 8):
        p = part.requires_grad_()
        h = p.unflatten(-1, (2, 4)).transpose(0, 1)
        (
            real.nn.functional.scaled_dot_product_attention(h, h, h, is_causal=causal) ** 2
        ).sum().backward()
        wanted.append(p.grad)
    for ours, theirs in zip(leaf.grad.unbind(), wanted, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-5)


def test_shapes_are_equal_for_equal_offsets_only():
    for lib in LIBS:
        one, other = jagged(lib, 3), jagged(lib, 3)
        assert one.shape == (one * 2).shape
        assert one.shape != other.shape
        again = lib.nested.nested_tensor_from_jagged(matrix(lib, 6, 5), one.offsets())
        assert again.size(1) == one.size(1)


def test_copies_and_pickles():
    n = jagged(funtorch, 3)
    for other in (copy.deepcopy(n), pickle.loads(pickle.dumps(n))):
        same(described(funtorch, other), described(funtorch, n))


def test_a_model_trains_on_ragged_sequences():
    seen = []
    for lib in LIBS:
        lib.manual_seed(0)
        net = lib.nn.Sequential(
            lib.nn.Linear(3, 8), lib.nn.GELU(), lib.nn.LayerNorm(8), lib.nn.Linear(8, 2)
        )
        opt = lib.optim.SGD(net.parameters(), lr=0.1)
        losses = []
        for _ in range(4):
            opt.zero_grad()
            pooled = net(jagged(lib, 3)).to_padded_tensor(0.0).sum(1)
            loss = lib.nn.functional.cross_entropy(pooled, lib.tensor([0, 1, 1]))
            loss.backward()
            opt.step()
            losses.append(loss.item())
        seen.append(losses)
    np.testing.assert_allclose(seen[1], seen[0], rtol=1e-4)


def test_the_strided_layout_is_refused():
    with pytest.raises(NotImplementedError, match=r"torch\.jagged"):
        funtorch.nested.nested_tensor([funtorch.ones(2)])
