"""Every optimiser and schedule: state exchanged with real PyTorch, ops, programs and memory counted."""

from __future__ import annotations

import importlib
import io

import numpy as np
import pytest
from funtorch.lowering import settings, stats

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

OPTIMIZERS = {
    "ASGD": {"weight_decay": 0.1},
    "Adadelta": {"rho": 0.8},
    "Adafactor": {},
    "Adagrad": {"lr_decay": 0.1},
    "Adam": {"amsgrad": True},
    "AdamW": {"betas": (0.8, 0.9)},
    "Adamax": {"maximize": True},
    "LBFGS": {"max_iter": 3},
    "Muon": {},
    "NAdam": {"decoupled_weight_decay": True, "weight_decay": 0.1},
    "RAdam": {},
    "RMSprop": {"centered": True, "momentum": 0.5},
    "Rprop": {},
    "SGD": {"momentum": 0.9, "nesterov": True},
    "SparseAdam": {},
}
DENSE = [name for name in OPTIMIZERS if name not in ("LBFGS", "SparseAdam")]
SHAPES = [(3, 4), (2, 3)]
RATE = 0.05


def parameters(t):
    rng = np.random.default_rng(0)
    return [t.nn.Parameter(t.tensor(rng.normal(size=shape))) for shape in SHAPES]


def gradient(t, shape, step, sparse):
    dense = np.random.default_rng([step, *shape]).normal(size=shape)
    if not sparse:
        return t.tensor(dense)
    return t.sparse_coo_tensor([[0, 1]], t.tensor(dense[:2]), shape, check_invariants=False)


def run(t, name, params, optimizer, steps):
    """Some steps with given gradients; L-BFGS on a loss."""

    def closure():
        optimizer.zero_grad()
        loss = sum((p**4).sum() + p.sin().sum() for p in params)
        loss.backward()
        return loss

    for step in steps:
        if name == "LBFGS":
            optimizer.step(closure)
            continue
        for p in params:
            p.grad = gradient(t, p.shape, step, name == "SparseAdam")
        optimizer.step()


def made(t, name):
    params = parameters(t)
    return params, getattr(t.optim, name)(params, lr=RATE, **OPTIMIZERS[name])


def saved(t, name):
    """A file with parameters and state after three steps."""
    params, optimizer = made(t, name)
    run(t, name, params, optimizer, range(3))
    file = io.BytesIO()
    t.save([[p.detach() for p in params], optimizer.state_dict()], file)
    return file


def resumed(t, name, file):
    """Parameters after two more steps, from a file that either library wrote."""
    file.seek(0)
    values, state = t.load(file, weights_only=False)
    params, optimizer = made(t, name)
    with t.no_grad():
        for p, value in zip(params, values, strict=True):
            p.copy_(value)
    optimizer.load_state_dict(state)
    run(t, name, params, optimizer, range(3, 5))
    return [p.tolist() for p in params]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_states_go_both_ways(name: str) -> None:
    libraries = (torch, funtorch)
    files = [saved(t, name) for t in libraries]
    expected, *others = [resumed(t, name, file) for file in files for t in libraries]
    for found in others:
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


@pytest.fixture
def patient(monkeypatch):
    """Whole-step compilations are waited for, so that counts are exact."""
    monkeypatch.setattr(settings, "patience", 600.0)


def buffers(params):
    for p in params:
        p.add(0).sum().item()  # whatever is pending is computed
    return [p._value.array for p in params]


@pytest.mark.parametrize("name", DENSE)
def test_a_step_is_one_op_per_group_and_donates_all(name: str, patient) -> None:
    params = parameters(funtorch)
    groups = [{"params": [p], "lr": rate} for p, rate in zip(params, (0.1, 0.2), strict=True)]
    optimizer = getattr(funtorch.optim, name)(groups, **OPTIMIZERS[name])
    run(funtorch, name, params, optimizer, range(2))
    old = buffers(params)
    for p in params:
        p.grad = gradient(funtorch, p.shape, 2, False)
    before = stats.recorded_ops, stats.executions
    optimizer.step()
    assert (stats.recorded_ops - before[0], stats.executions - before[1]) == (2, 1)
    assert all(array.is_deleted() for array in old)


def test_lbfgs_compiles_for_no_step_and_no_history(patient) -> None:
    params = [funtorch.nn.Parameter(funtorch.ones(6))]
    optimizer = funtorch.optim.LBFGS(params, lr=0.1, max_iter=5, history_size=7)

    def closure():
        optimizer.zero_grad()
        loss = (params[0] - funtorch.arange(6.0)).pow(4).sum()
        loss.backward()
        return loss

    first = float(optimizer.step(closure))
    optimizer.step(closure)
    before = stats.executions, stats.compilations
    for _ in range(3):
        last = float(optimizer.step(closure))
    evaluations, directions, final = 5, 5, 1
    assert stats.executions - before[0] <= 3 * (evaluations + directions + final)
    assert stats.compilations == before[1]
    assert last < first / 10


S = funtorch.optim.lr_scheduler
SCHEDULES = {
    "StepLR": lambda o: S.StepLR(o, 2),
    "MultiStepLR": lambda o: S.MultiStepLR(o, [2, 5, 7]),
    "LambdaLR": lambda o: S.LambdaLR(o, lambda i: 1 / (1 + i)),
    "MultiplicativeLR": lambda o: S.MultiplicativeLR(o, lambda i: 0.9),
    "ConstantLR": lambda o: S.ConstantLR(o, total_iters=6),
    "LinearLR": lambda o: S.LinearLR(o),
    "ExponentialLR": lambda o: S.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: S.PolynomialLR(o, 10),
    "CosineAnnealingLR": lambda o: S.CosineAnnealingLR(o, 10),
    "CosineAnnealingWarmRestarts": lambda o: S.CosineAnnealingWarmRestarts(o, 3),
    "CyclicLR": lambda o: S.CyclicLR(o, 0.01, 0.1, 3),
    "OneCycleLR": lambda o: S.OneCycleLR(o, 0.1, 20),
    "ReduceLROnPlateau": lambda o: S.ReduceLROnPlateau(o, patience=0),
    "ChainedScheduler": lambda o: S.ChainedScheduler([S.ExponentialLR(o, 0.9), S.StepLR(o, 2)]),
    "SequentialLR": lambda o: S.SequentialLR(
        o, [S.LinearLR(o, total_iters=3), S.ExponentialLR(o, 0.9)], [3]
    ),
    "SWALR": lambda o: funtorch.optim.swa_utils.SWALR(o, 0.01),
}


def test_every_schedule_is_here() -> None:
    public = {n for n in torch.optim.lr_scheduler.__all__ if n != "LRScheduler"}
    assert public - set(SCHEDULES) == set()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_changing_rate_never_recompiles(name: str, patient) -> None:
    params = [funtorch.nn.Parameter(funtorch.ones(3))]
    optimizer = funtorch.optim.SGD(params, 0.1, momentum=0.9)
    schedule = SCHEDULES[name](optimizer)

    def epoch():
        optimizer.zero_grad()
        params[0].square().sum().backward()
        optimizer.step()
        schedule.step(*([1.0] if name == "ReduceLROnPlateau" else []))

    rates = set()
    for i in range(12):
        if i == 8:  # every schedule has changed the rate by now: the first change makes it an input
            before = stats.executions, stats.compilations
        epoch()
        rates.add(optimizer.param_groups[0]["lr"])
    assert len(rates) > 1
    assert (stats.executions - before[0], stats.compilations - before[1]) == (4, 0)


def test_momenta_and_decay_may_change_too(patient) -> None:
    params = [funtorch.nn.Parameter(funtorch.ones(3))]
    optimizer = funtorch.optim.AdamW(params, 0.1)
    for i in range(8):
        if i == 4:
            before = stats.compilations
        optimizer.param_groups[0].update(betas=(0.9 - i / 50, 0.99 - i / 500), weight_decay=i + 1)
        params[0].grad = funtorch.ones(3)
        optimizer.step()
    assert stats.compilations == before


def test_what_optimisers_elsewhere_use():
    def found(lib):
        base = importlib.import_module(f"{lib.__name__}.optim.optimizer")

        class Wrapping(lib.optim.Optimizer):
            """Calls no `__init__`, as those do that stand around another one."""

            def __init__(self, inner):
                self.inner, self.param_groups, self.defaults = inner, inner.param_groups, {}

            @base._use_grad_for_differentiable
            def step(self):
                self.inner.step()
                return lib.is_grad_enabled()

        one, two = lib.ones(1, requires_grad=True), lib.ones(2, dtype=lib.float64)
        one.grad = lib.ones(1)
        wrapping = Wrapping(lib.optim.SGD([one], 0.5))
        wrapping.defaults["differentiable"] = False
        groups = lib.optim.Optimizer._group_tensors_by_device_and_dtype([[one, two], []], True)
        kept = {str(kind): (len(parts[0]), parts[1], at) for (_, kind), (parts, at) in groups.items()}
        return wrapping.step(), one.item(), kept

    assert found(funtorch) == found(torch)
