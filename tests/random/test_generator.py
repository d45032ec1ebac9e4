"""Generators, their states, threads, vmap and gradients through random ops."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

import funtorch as ft
from funtorch import func
from funtorch.random.generator import KeyStream

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


def test_states_go_to_torch_and_back():
    ft.manual_seed(5)
    ft.randn(3)
    torch.set_rng_state(torch.from_numpy(ft.get_rng_state().numpy().copy()))
    np.testing.assert_array_equal(torch.rand(7).numpy(), ft.rand(7).numpy())
    ft.set_rng_state(ft.tensor(torch.get_rng_state().tolist(), dtype=ft.uint8))
    np.testing.assert_array_equal(torch.randperm(7).numpy(), ft.randperm(7).numpy())


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g)), ft.Generator.clone_state]
)
def test_copies_go_on_alike(copied):
    first = ft.Generator().manual_seed(9)
    ft.rand(3, generator=first)
    second = copied(first)
    assert ft.rand(4, generator=first).tolist() == ft.rand(4, generator=second).tolist()


@pytest.mark.parametrize("seed", [0, 7, -1, -3, 2**63, 2**64 - 1])
def test_seeds(seed):
    ft.manual_seed(seed)
    torch.manual_seed(seed)
    assert ft.initial_seed() == torch.initial_seed()
    assert ft.rand(2).tolist() == torch.rand(2).tolist()


def test_fork_leaves_no_trace():
    ft.manual_seed(1)
    before = ft.get_rng_state().tolist()
    with ft.random.fork_rng():
        ft.randn(10)
    assert ft.get_rng_state().tolist() == before


def test_threads_do_not_tear_a_draw():
    generator = ft.Generator().manual_seed(0)
    wanted = ft.rand(8000, generator=ft.Generator().manual_seed(0)).numpy().reshape(8, 1000)
    rows = []
    draw = threading.Thread
    threads = [
        draw(target=lambda: rows.append(ft.rand(1000, generator=generator).numpy()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {r.tobytes() for r in rows} == {w.tobytes() for w in wanted}


def test_key_streams_repeat_and_differ():
    one, two = KeyStream(3), KeyStream(3)
    keys = [tuple(one.key()) for _ in range(100)]
    assert keys == [tuple(two.key()) for _ in range(100)]
    assert len(set(keys)) == 100
    two.set_state(one.get_state())
    assert tuple(one.key()) == tuple(two.key())


def test_vmap_randomness():
    x = ft.zeros(4, 3)
    draws = {
        mode: func.vmap(lambda row: row + ft.rand(3), randomness=mode)(x).numpy()
        for mode in ("same", "different")
    }
    assert len({row.tobytes() for row in draws["same"]}) == 1
    assert len({row.tobytes() for row in draws["different"]}) == 4
    with pytest.raises(RuntimeError, match="randomness"):
        func.vmap(lambda row: row + ft.rand(3))(x)


def test_gradients_of_dropout_and_normal():
    x = ft.ones(1000, requires_grad=True)
    y = ft.dropout(x, 0.25, True)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
    z = ft.ones(4, requires_grad=True)
    z.clone().normal_().sum().backward()
    assert z.grad.tolist() == [0, 0, 0, 0]


def test_gradient_of_gamma():
    shapes = [0.3, 1.0, 4.0]
    grads = []
    for package in (torch, ft):
        package.manual_seed(0)
        a = package.tensor(shapes, dtype=package.float64, requires_grad=True)
        package._standard_gamma(a).sum().backward()
        grads.append(a.grad.numpy())
    np.testing.assert_allclose(*grads, rtol=1e-3)
