"""Schedules that go up and down: warm restarts, cycles, one cycle; momentum goes the other way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from funtorch.optim.lr_scheduler.base import LRScheduler, copied, set_rate
from funtorch.optim.optimizer import Optimizer


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half cosines that start again, each T_mult times longer."""

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_0 <= 0 or not isinstance(T_0, int):
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        wave = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * wave for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:  # type: ignore[override]
        """Go on by one epoch, or to a (fractional) one."""
        if epoch is None:
            self.T_cur += 1
            epoch = self.last_epoch + 1
            if self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult
        else:
            if epoch < 0:
                raise ValueError(f"Expected non-negative epoch, but got {epoch}")
            self._locate(epoch)
        self.last_epoch = math.floor(epoch)
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            set_rate(group, rate)
        self._last_lr = self._current()

    def _locate(self, epoch: float) -> None:
        start, length = 0.0, self.T_0
        while epoch >= start + length:
            start += length
            length *= self.T_mult
        self.T_cur, self.T_i = epoch - start, length  # type: ignore[assignment]


class OneCycleLR(LRScheduler):
    """Up to max_lr and down again, once (Smith and Topin, 2019)."""

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: Any,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.85,
        max_momentum: Any = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(
                    "You must define either total_steps OR (epochs AND steps_per_epoch)"
                )
            total_steps = epochs * steps_per_epoch
        if not isinstance(total_steps, int) or total_steps <= 0:
            raise ValueError(f"Expected positive integer total_steps, but got {total_steps}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        self.total_steps = total_steps
        self._schedule_phases = _phases(pct_start, total_steps, three_phase)
        self._anneal_func_type = anneal_strategy
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = "betas" in optimizer.defaults
        tops = (
            max_lr if isinstance(max_lr, list | tuple) else [max_lr] * len(optimizer.param_groups)
        )
        if last_epoch == -1:
            for group, top in zip(optimizer.param_groups, tops, strict=True):
                group["initial_lr"], group["max_lr"] = copied(top / div_factor), top
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    _start_momentum(group, base_momentum, max_momentum)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(
                f"Tried to step {step} times. The specified number of total steps is "
                f"{self.total_steps}"
            )
        rates = []
        for group in self.optimizer.param_groups:
            start = 0.0
            for phase in self._schedule_phases:
                end = phase["end_step"]
                if step <= end or phase is self._schedule_phases[-1]:
                    part = (step - start) / (end - start)
                    lr0, lr1 = (group[phase[k]] for k in ("start_lr", "end_lr"))
                    rates.append(self._between(lr0, lr1, part))
                    if self.cycle_momentum:
                        m0, m1 = (group[phase[k]] for k in ("start_momentum", "end_momentum"))
                        _set_momentum(group, self._between(m0, m1, part))
                    break
                start = end
        return rates

    def _between(self, a: float, b: float, part: float) -> float:
        if self._anneal_func_type == "linear":
            return (b - a) * part + a
        return b + (a - b) / 2.0 * (math.cos(math.pi * part) + 1)


def _phases(pct_start: float, total: int, three: bool) -> list[dict[str, Any]]:
    """Where the phases of one cycle end, and between which values they go."""

    def phase(end: float, lr0: str, lr1: str, m0: str, m1: str) -> dict[str, Any]:
        return {
            "end_step": end,
            "start_lr": lr0,
            "end_lr": lr1,
            "start_momentum": f"{m0}_momentum",
            "end_momentum": f"{m1}_momentum",
        }

    up = phase(float(pct_start * total) - 1, "initial_lr", "max_lr", "max", "base")
    if not three:
        return [up, phase(total - 1, "max_lr", "min_lr", "base", "max")]
    back = float(2 * pct_start * total) - 2
    return [
        up,
        phase(back, "max_lr", "initial_lr", "base", "max"),
        phase(total - 1, "initial_lr", "min_lr", "max", "max"),
    ]


def _start_momentum(group: dict[str, Any], low: float, high: float) -> None:
    if "momentum" not in group and "betas" not in group:
        raise ValueError(
            "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"
        )
    _set_momentum(group, high)
    group["max_momentum"], group["base_momentum"] = high, low


def _set_momentum(group: dict[str, Any], value: float) -> None:
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


class CyclicLR(LRScheduler):
    """Between two rates, up and down for ever (Smith, 2017)."""

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: Any,
        max_lr: Any,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.8,
        max_momentum: Any = 0.9,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")
        groups = optimizer.param_groups
        if last_epoch == -1:
            for group, lr in zip(groups, _each("base_lr", base_lr, groups), strict=True):
                set_rate(group, lr)
        self.max_lrs = _each("max_lr", max_lr, groups)
        down = float(step_size_up if step_size_down is None else step_size_down)
        self.total_size = float(step_size_up) + down
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma, self._custom = mode, gamma, scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else _SCALE_MODES[mode]
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
                raise ValueError(
                    "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"
                )
            self.use_beta1 = "betas" in optimizer.defaults
            self.base_momentums = _each("base_momentum", base_momentum, groups)
            self.max_momentums = _each("max_momentum", max_momentum, groups)
            if last_epoch == -1:
                for low, high, group in zip(
                    self.base_momentums, self.max_momentums, groups, strict=True
                ):
                    _start_momentum(group, low, high)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = _each("base_lr", base_lr, groups)

    def scale_fn(self, x: float) -> float:
        """How much of the height is left in cycle x (or at iteration x)."""
        if self._custom is not None:
            return self._custom(x)
        if self.mode == "triangular2":
            return 1 / (2.0 ** (x - 1))
        return self.gamma**x if self.mode == "exp_range" else 1.0

    def get_lr(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        part = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            pairs = zip(self.base_momentums, self.max_momentums, strict=True)
            for group, (low, high) in zip(self.optimizer.param_groups, pairs, strict=True):
                _set_momentum(group, high - (high - low) * part * scale)
        return [
            low + (high - low) * part * scale
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser; of a custom function only a callable object has state."""
        state = super().state_dict()
        custom = state.pop("_custom")
        plain = custom is None or isinstance(custom, type(_each))
        state["_scale_fn_custom"] = None if plain else custom.__dict__.copy()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state; a custom function stays what it is."""
        rest = dict(state_dict)
        state = rest.pop("_scale_fn_custom")
        if state is not None:
            self._custom.__dict__.update(state)
        super().load_state_dict(rest)


_SCALE_MODES = {"triangular": "cycle", "triangular2": "cycle", "exp_range": "iterations"}


def _each(name: str, value: Any, groups: list[dict[str, Any]]) -> list[Any]:
    """One value per group."""
    if isinstance(value, list | tuple):
        if len(value) != len(groups):
            raise ValueError(
                f"{name} must have the same length as optimizer.param_groups. {name} has "
                f"{len(value)} values, param_groups has {len(groups)}."
            )
        return [copied(v) for v in value]
    return [copied(value) for _ in groups]
