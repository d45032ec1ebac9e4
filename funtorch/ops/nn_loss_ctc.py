"""Connectionist temporal classification: Graves et al. (2006)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch.dispatch import read, to_host
from funtorch.ops._declare import Array, composite, op
from funtorch.tensor import Tensor, dtype_of, from_host, size_of


def _log_sum(*terms: Array) -> Array:
    """log of a sum of exponentials; -inf for nothing, with a gradient of zero there."""
    largest = jnp.maximum(jnp.stack(terms).max(0), -1e30)
    total = sum(jnp.exp(t - largest) for t in terms)
    empty = total == 0
    return jnp.where(empty, -jnp.inf, jnp.log(jnp.where(empty, 1, total)) + largest)


def _extended(targets: Array, blank: int) -> Array:
    """Blanks before, between and after the labels. [n, s] -> [n, 2 s + 1]"""
    n, s = targets.shape
    out = jnp.full((n, 2 * s + 1), blank, targets.dtype)
    return out.at[:, 1::2].set(targets) if s else out


@op(function=False, saves=("self", "targets", "lengths", "sizes"), grad_name="CtcLossBackward0")
def _ctc(self: Array, targets: Array, lengths: Array, sizes: Array, blank: int) -> Array:
    """self: [t, n, c] log-probabilities, targets: [n, s], lengths, sizes: [n] -> [n]"""
    labels = _extended(targets, blank)
    states = labels.shape[1]
    emitted = jnp.take_along_axis(self, labels[None], axis=2)  # [t, n, states]
    other = jnp.concatenate([jnp.full_like(labels[:, :2], -1), labels[:, :-2]], 1)[:, :states]
    may_skip = (labels != blank) & (labels != other)
    low = jnp.full_like(emitted[0], -jnp.inf)
    index = jnp.arange(states)
    starts = (index < 2) & (index < 2 * sizes[:, None] + 1)
    alpha = jnp.where(starts, emitted[0], low)

    def shifted(x: Array, by: int) -> Array:
        return jnp.concatenate([low[:, :by], x], 1)[:, :states]

    def step(alpha: Array, given: Any) -> tuple[Array, None]:
        now, t = given
        two = jnp.where(may_skip, shifted(alpha, 2), low)
        grown = _log_sum(alpha, shifted(alpha, 1), two) + now
        return jnp.where((t < lengths)[:, None], grown, alpha), None

    times = jnp.arange(1, self.shape[0])
    alpha, _ = lax.scan(step, alpha, (emitted[1:], times))
    last = (2 * sizes)[:, None]
    end = jnp.take_along_axis(alpha, last, 1)[:, 0]
    before = jnp.take_along_axis(alpha, jnp.maximum(last - 1, 0), 1)[:, 0]
    loss = -_log_sum(end, jnp.where(sizes > 0, before, -jnp.inf))
    empty = jnp.where(sizes == 0, 0.0, jnp.inf).astype(loss.dtype)
    return jnp.where(lengths == 0, empty, loss) + _towards_logits(self, lengths)


def _towards_logits(x: Array, lengths: Array) -> Array:
    """Zero, whose gradient is exp(x): PyTorch's CTC gives the gradient of the logits before
    log_softmax, which its own backward pass leaves unchanged."""
    constant = lax.stop_gradient(x)
    finite = jnp.isfinite(constant)
    linear = jnp.where(finite, jnp.exp(constant) * (x - jnp.where(finite, constant, 0)), 0)
    linear = linear - lax.stop_gradient(linear)
    used = jnp.arange(x.shape[0])[:, None] < lengths
    return jnp.where(used[..., None], linear, 0).sum((0, 2))


def _host_lengths(given: Any) -> np.ndarray[Any, Any]:
    return np.atleast_1d(to_host(given) if isinstance(given, Tensor) else np.asarray(given))


def _unknown(given: Any) -> bool:
    """Are these lengths inputs of a program, that have no values yet?"""
    if not isinstance(given, Tensor):
        return False
    trace = read(given).trace
    return trace is not None and trace.functional


def _padded(targets: Tensor, sizes: np.ndarray[Any, Any]) -> Tensor:
    """Concatenated targets, as rows of one length. [sum of sizes] -> [n, s]"""
    longest = int(sizes.max(initial=0))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    index = starts[:, None] + np.minimum(np.arange(longest), np.maximum(sizes[:, None] - 1, 0))
    index = np.minimum(index, max(int(sizes.sum()) - 1, 0))
    return targets[from_host(index, device=targets.device)]


def _on(x: Tensor, given: Any) -> Tensor:
    """Lengths as a tensor beside x."""
    if not isinstance(given, Tensor):
        given = from_host(np.asarray(given).astype(np.int64), device=x.device)
    return given.long().reshape(-1)


def _check_rows(rows: Tensor, targets: Tensor, longest: int) -> None:
    if rows.shape[1] < longest:
        raise RuntimeError(
            f"Expected tensor to have size at least {longest} at dimension 1, but got size "
            f"{list(targets.shape)} for argument #2 'targets' (while checking arguments for "
            "ctc_loss)"
        )


def _check(x: Tensor, lengths: Any, sizes: Any, blank: int) -> None:
    if lengths.dtype.kind not in "iu" or sizes.dtype.kind not in "iu":
        raise RuntimeError("input_lengths and target_lengths must be integral")
    if x.ndim not in (2, 3):
        raise RuntimeError(f"ctc_loss: log_probs must be 2D or 3D, but got {x.ndim}D")
    batch = x.shape[1] if x.ndim == 3 else 1
    if len(lengths) != batch:
        raise RuntimeError(f"input_lengths must be of size batch_size, but got {len(lengths)}")
    if len(sizes) != batch:
        raise RuntimeError(f"target_lengths must be of size batch_size, but got {len(sizes)}")
    if not 0 <= blank < x.shape[-1]:
        raise RuntimeError("blank must be in label range")
    for i, n in enumerate(lengths):
        if not 0 <= n <= x.shape[0]:
            raise RuntimeError(
                f"Expected input_lengths to have value at most {x.shape[0]}, but got value {n} "
                f"(while checking arguments for ctc_loss, batch element {i})"
            )


@composite("functional", aliases=())
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: Any = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Loss over all alignments. log_probs: [t, n, c] or [t, c], targets: [n, s] or joined -> []

    The lengths are read on the host, because they decide shapes; inside of a program that is
    exported or transformed they are not checked, and targets are rows of one length there.
    """
    how = {0: "none", 1: "mean", 2: "sum"}.get(reduction, reduction)
    if how not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if targets.dtype.is_floating_point:
        raise RuntimeError("ctc_loss: targets must be of an integral type")
    x = log_probs if log_probs.ndim == 3 else log_probs.unsqueeze(1)
    if _unknown(input_lengths) or _unknown(target_lengths):
        rows, on_device = targets, [_on(x, n) for n in (input_lengths, target_lengths)]
        if targets.ndim != 2:
            raise RuntimeError("ctc_loss: in a program, targets have two dimensions")
    else:
        lengths, sizes = _host_lengths(input_lengths), _host_lengths(target_lengths)
        _check(log_probs, lengths, sizes, blank)
        rows = targets if targets.ndim == 2 else _padded(targets, sizes)
        _check_rows(rows, targets, int(sizes.max(initial=0)))
        on_device = [_on(x, n) for n in (lengths, sizes)]
    loss = _ctc(x, rows.long(), *on_device, blank)
    if zero_infinity:
        loss = loss.masked_fill(loss == float("inf"), 0)
    if how == "mean":
        divisor = on_device[1].clamp_min(1).to(dtype_of(loss))
        return (loss / divisor).mean()
    if how == "sum":
        return loss.sum()
    return loss if log_probs.ndim == 3 else loss.reshape(*size_of(log_probs)[2:])
