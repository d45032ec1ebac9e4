"""GradScaler: losses scaled up so that half-precision gradients do not vanish.

Whether a step is skipped is decided within the recorded program: every state and parameter is
written as `where(overflow, old, new)`. PyTorch asks the host once per step; nothing waits here.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from funtorch import dtypes
from funtorch.composed import elements
from funtorch.grad_mode import no_grad
from funtorch.ops._declare import Array, op
from funtorch.ops.creation import zeros_like
from funtorch.ops.from_data import tensor
from funtorch.optim.optimizer import Optimizer
from funtorch.optim.per_parameter import PerParameter
from funtorch.tensor import Tensor

READY, UNSCALED, STEPPED = "ready", "unscaled", "stepped"


@op(function=False, differentiable=False)
def _unscaled(grads: list[Array], scale: Array) -> tuple[Array, ...]:
    """(gradients divided by the scale, is any of them not finite?)"""
    factor = 1 / scale
    out = [
        (g.astype(jnp.promote_types(g.dtype, jnp.float32)) * factor).astype(g.dtype) for g in grads
    ]
    finite = [jnp.isfinite(g).all() for g in grads]
    found = ~jnp.stack(finite).all() if finite else jnp.zeros((), bool)
    return (*out, found.astype(jnp.float32))


@op(function=False, differentiable=False)
def _kept(new: list[Array], old: list[Array], overflow: Array) -> tuple[Array, ...]:
    """The old values where there was an overflow."""
    return tuple(jnp.where(overflow > 0, o, n) for n, o in zip(new, old, strict=True))


@op(function=False, differentiable=False)
def _next_scale(
    scale: Array, tracker: Array, overflow: Array, *, growth: float, backoff: float, interval: int
) -> tuple[Array, Array]:
    """(scale, steps without overflow) for the next step."""
    count = tracker + 1
    grown = jnp.where(jnp.isfinite(scale * growth), scale * growth, scale)
    calm = jnp.where(count == interval, grown, scale)
    new = jnp.where(overflow > 0, scale * backoff, calm)
    fresh = jnp.where((overflow > 0) | (count == interval), 0, count)
    return new.astype(scale.dtype), fresh.astype(tracker.dtype)


class GradScaler:
    """Scales losses, unscales gradients, and skips steps that overflowed (`torch.amp.GradScaler`)."""

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device, self._enabled = device, enabled
        if enabled:
            if growth_factor <= 1.0:
                raise AssertionError("The growth factor must be > 1.0.")
            if backoff_factor >= 1.0:
                raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale, self._init_growth_tracker = init_scale, 0
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._scale: Tensor | None = None
        self._growth_tracker: Tensor | None = None
        self._stages: dict[int, str] = {}
        self._overflows: dict[int, Tensor] = {}

    # Scaling ----------------------------------------------------------------------------------

    def _prepare(self, device: Any) -> Tensor:
        if self._scale is None:
            self._scale = tensor(self._init_scale, dtype=dtypes.float32, device=device)
            self._growth_tracker = tensor(
                self._init_growth_tracker, dtype=dtypes.int32, device=device
            )
        return self._scale

    def scale(self, outputs: Any) -> Any:
        """Outputs (a tensor or a collection of them) times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            scale = self._prepare(outputs.device)
            return outputs * scale.to(device=outputs.device)
        if isinstance(outputs, tuple | list):
            return type(outputs)(self.scale(o) for o in outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    @no_grad()
    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of the optimiser's parameters by the scale, in place."""
        if not self._enabled:
            return
        stage = self._stages.get(id(optimizer), READY)
        if stage == UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if stage == STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        if self._scale is None:
            raise AssertionError(
                "Attempted unscale_ but _scale is None. This may indicate your script did not use "
                "scaler.scale(loss or outputs) earlier in the iteration."
            )
        params = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        if any(p.grad.dtype is dtypes.float16 for p in params):
            raise ValueError("Attempting to unscale FP16 gradients.")
        scaled = [elements(p.grad) for p in params]
        *grads, overflow = _unscaled(scaled, self._scale)
        for before, grad in zip(scaled, grads, strict=True):
            before._replace(grad)
        self._overflows[id(optimizer)] = overflow
        self._stages[id(optimizer)] = UNSCALED

    # Steps --------------------------------------------------------------------------------------

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """The optimiser's step, undone where the gradients overflowed."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        if self._stages.get(id(optimizer), READY) == STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if self._stages.get(id(optimizer), READY) == READY:
            self.unscale_(optimizer)
        overflow = self._overflows[id(optimizer)]
        undo = _Undo(optimizer, overflow)
        hook = optimizer.register_step_post_hook(undo)
        try:
            result = optimizer.step(*args, **kwargs)
        finally:
            hook.remove()
        self._stages[id(optimizer)] = STEPPED
        return result

    @no_grad()
    def update(self, new_scale: Any = None) -> None:
        """Set the scale for the next iteration."""
        if not self._enabled:
            return
        if self._scale is None or self._growth_tracker is None:
            raise AssertionError(
                "Attempted update but _scale is None. This may indicate your script did not use "
                "scaler.scale(loss or outputs) earlier in the iteration."
            )
        if new_scale is not None:
            self._scale.fill_(new_scale)
        else:
            if not self._overflows:
                raise AssertionError("No inf checks were recorded prior to update.")
            overflow = sum(self._overflows.values())
            scale, tracker = _next_scale(
                self._scale,
                self._growth_tracker,
                overflow,
                growth=self._growth_factor,
                backoff=self._backoff_factor,
                interval=self._growth_interval,
            )
            self._scale._replace(scale)
            self._growth_tracker._replace(tracker)
        self._stages, self._overflows = {}, {}

    # Questions ------------------------------------------------------------------------------------

    def get_scale(self) -> float:
        """The scale as a number; waits for it."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else float(self._scale)

    def is_enabled(self) -> bool:
        """Does it do anything?"""
        return self._enabled

    def get_growth_factor(self) -> float:
        """By what the scale grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Change by what the scale grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """By what the scale shrinks after an overflow."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Change by what the scale shrinks."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many steps without overflow the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Change after how many steps the scale grows."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """Scale and settings, as PyTorch saves them; empty if not enabled."""
        if not self._enabled:
            return {}
        tracker = self._growth_tracker
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._init_growth_tracker if tracker is None else int(tracker),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled "
                "instance of GradScaler."
            )
        self._init_scale = state_dict["scale"]
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._init_growth_tracker = state_dict["_growth_tracker"]
        if self._scale is not None and self._growth_tracker is not None:
            self._scale.fill_(self._init_scale)
            self._growth_tracker.fill_(self._init_growth_tracker)


class _Undo:
    """A step hook that puts back what an overflowed step wrote."""

    def __init__(self, optimizer: Optimizer, overflow: Tensor) -> None:
        self.overflow = overflow
        if isinstance(optimizer, PerParameter):
            optimizer.prepare_state()
        self.before = {id(t): t.detach().clone() for t in self._written(optimizer)}

    @staticmethod
    def _written(optimizer: Optimizer) -> list[Tensor]:
        params = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        states = (optimizer.state.get(p, {}) for p in params)
        return [*params, *(t for s in states for t in s.values() if isinstance(t, Tensor))]

    @no_grad()
    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        targets = self._written(optimizer)
        if not targets:
            return
        # State that the step has made would have been zero: a momentum before its first gradient.
        before = [self.before[id(t)] if id(t) in self.before else zeros_like(t) for t in targets]
        for target, value in zip(targets, _kept(targets, before, self.overflow), strict=True):
            target._replace(value)
