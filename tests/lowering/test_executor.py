"""What is executed and compiled: counted, not timed."""

import importlib
import re
import threading

import numpy as np
import pytest
from funtorch.lowering import MODES, execution_mode, settings, stats

import funtorch as torch
from funtorch import lowering
from funtorch.nn import functional as F


@pytest.fixture(autouse=True)
def wait_for_compilations(monkeypatch):
    """Whole-step compilations are waited for, so that counts are exact."""
    monkeypatch.setattr(settings, "patience", 600.0)


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(8, 16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, 16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, 4),
    )


def counts():
    return stats.executions, stats.compilations


@pytest.mark.parametrize("with_item", [False, True])
def test_a_training_loop_runs_one_program_per_flush_and_stops_compiling(with_item):
    net = model()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x, y = torch.randn(32, 8), torch.randn(32, 4)
    seen = []
    for step in range(100):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (1 + step)
        before = counts()
        flushed = stats.flushes
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), y)
        if with_item:
            loss.item()
        loss.backward()
        optimizer.step()
        after = counts()
        seen.append((after[0] - before[0], after[1] - before[1], stats.flushes - flushed))
    programs = 2 if with_item else 1
    assert all(executed == programs == flushes for executed, _, flushes in seen[3:])
    assert all(compiled == 0 for _, compiled, _ in seen[4:])


def test_an_evaluation_loop_runs_one_program_per_batch():
    net = model()
    batches = [torch.randn(16, 8) for _ in range(6)]
    with torch.no_grad():
        for batch in batches[:3]:
            net(batch)
        before = counts()
        for batch in batches[3:]:
            net(batch)
    executed, compiled = (b - a for a, b in zip(before, counts(), strict=True))
    assert (executed, compiled) == (3, 0)


class Cell(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(12, 8)

    def forward(self, x, h):
        return torch.tanh(self.inner(torch.cat([x, h], 1)))


def test_a_loop_over_a_cell_compiles_the_same_for_all_lengths():
    torch.manual_seed(0)
    cell = Cell()

    def run(length):
        x = torch.randn(length, 3, 4)
        h = torch.zeros(3, 8)
        for t in range(length):
            h = cell(x[t], h)
        h.sum().backward()
        return torch.stack([p.grad.sum() for p in cell.parameters()]).tolist()

    with execution_mode("pieces"):
        for length in (3, 4, 5, 6, 7, 8):
            run(length)
        before = stats.compilations
        for length in range(9, 34):
            run(length)
        grown = stats.compilations - before
    assert grown <= 5, f"{grown} compilations for 25 new lengths"


def test_memory_is_given_back_when_a_whole_program_takes_over(monkeypatch):
    given_back = []
    compiling = importlib.import_module("funtorch.lowering.compile")
    monkeypatch.setattr(compiling, "give_back", lambda: given_back.append(True))
    cell, x = Cell(), torch.ones(3, 4)

    def run():
        h = torch.zeros(3, 8)
        for _ in range(7):
            h = cell(x, h)
        return h.sum().item()

    for _ in range(5):
        run()
    assert given_back == [True]


@pytest.mark.parametrize("numbers", [(True, False, True), (2, 3, 2), (0.5, 0.25, 4.0)])
def test_equal_pieces_with_numbers_of_their_own(numbers):
    class Plus(torch.nn.Module):
        def __init__(self, number):
            super().__init__()
            self.number = number

        def forward(self, x):
            return (x + self.number) * 2

    steps = [Plus(number) for number in numbers]
    x, expected = torch.zeros(3), 0.0
    with execution_mode("pieces"):
        for step in [*steps, *steps]:
            x = step(x)
            expected = (expected + step.number) * 2
        assert x.tolist() == [expected] * 3


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_computes_the_same(mode):
    with execution_mode(mode):
        net = model()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        x, y = torch.ones(4, 8), torch.zeros(4, 4)
        for _ in range(4):
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            optimizer.step()
        found = loss.item()
    with execution_mode("whole"):
        assert np.isclose(found, reference_loss(), rtol=1e-5)


def reference_loss():
    net = model()
    x, y = torch.ones(4, 8), torch.zeros(4, 4)
    for _ in range(4):
        loss = F.mse_loss(net(x), y)
        grads = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for p, g in zip(net.parameters(), grads, strict=True):
                p.sub_(g, alpha=0.1)
    return loss.item()


def test_what_nobody_holds_is_not_computed():
    x = torch.ones(3)
    y = x + 1
    z = y * 2
    del y
    before = stats.executions
    assert z.tolist() == [4, 4, 4]
    assert stats.executions == before + 1


def test_two_threads_train_at_once():
    results = {}

    def work(name):
        torch_net = model_for(name)
        x = torch.full((4, 8), 0.5)
        for _ in range(20):
            loss = (torch_net(x) ** 2).mean()
            loss.backward()
            with torch.no_grad():
                for p in torch_net.parameters():
                    p.sub_(p.grad, alpha=0.1)
                    p.grad = None
        results[name] = loss.item()

    nets = {name: model() for name in range(2)}
    model_for = nets.__getitem__
    threads = [threading.Thread(target=work, args=(name,)) for name in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.isclose(results[0], results[1], rtol=1e-6)
    assert results[0] < 1.0


def test_a_value_of_another_thread_can_be_read():
    x = torch.ones(3) * 2
    seen = []
    thread = threading.Thread(target=lambda: seen.append((x + 1).tolist()))
    thread.start()
    thread.join()
    assert seen == [[3, 3, 3]]
    assert (x * 2).tolist() == [4, 4, 4]


def test_running_out_of_memory_says_what_was_asked_for_and_what_holds_it():
    held = torch.from_numpy(np.full((300, 1000), 2, np.float32)).clone()
    held.sum().item()
    huge = torch.ones(10) * torch.ones(2**40, 10)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        huge.tolist()
    assert "43980465111040 bytes" in str(caught.value)
    assert "float32[300, 1000]: 1 MiB" in str(caught.value)
    assert held.sum().item() == 600_000


def test_explain_tells_reasons():
    (torch.ones(5) + torch.ones(5)).tolist()
    text = repr(torch.explain())
    assert "compilations" in text
    assert "ops recorded" in text


def test_explain_names_the_lines_that_compile_and_wait():
    for size in (31, 37):
        (torch.ones(size).exp() + 1).sum().item()
    text = repr(torch.explain(limit=1000))
    assert re.search(r"nearest known trace has .*\(test_executor\.py:\d+\)", text)
    assert re.search(r"waits for values[\s\S]* s  test_executor\.py:\d+, \d+ times", text)


def test_negative_zero_stays_negative():
    x = torch.ones(2)
    for value in (0.0, -0.0, 0.0):
        product = (x * value).tolist()
        assert np.signbit(product[0]) == np.signbit(value)


def test_ever_new_structures_stay_in_pieces(monkeypatch):
    monkeypatch.setattr(lowering.cache, "BUDGET", 3.0)
    cell = torch.nn.RNNCell(3, 3)
    lowering.cache.clear()
    stats.reset()
    for length in [2, 3, 4, 5, 6, 7] * 2:
        h = torch.zeros(1, 3)
        for _ in range(length):
            h = cell(h)
        h.sum().item()
    waiting = [e.pending for e in lowering.cache.entries.values() if e.pending is not None]
    whole = [c for c in stats.log if c.what == "whole trace"]
    lowering.cache.clear()
    assert 1 <= len(whole) + len(waiting) <= 3
