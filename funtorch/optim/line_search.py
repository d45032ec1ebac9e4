"""A line search for the strong Wolfe conditions (Nocedal and Wright, Numerical Optimization, ch. 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from funtorch.tensor import Tensor

ARMIJO, CURVATURE = 1e-4, 0.9  # PyTorch's c1 and c2
SHORTEST = 1e-9  # the search ends when no parameter would move by more


class Point(NamedTuple):
    """What is known after `step` times the direction: slopes along it and of the steepest parameter,
    and how far the parameter moved that moved most. gradient: [n]; given: what the closure returned."""

    step: float
    gradient: Tensor
    loss: float
    slope: float
    steepest: float
    longest: float
    given: Any


Evaluate = Callable[[float], Point]


def strong_wolfe(evaluate: Evaluate, first: Point, most: int) -> tuple[Point, int]:
    """(a point that fulfils the conditions, or the best one seen; evaluations).

    first: where the search starts, with the step to try first and the longest move for a step of 1;
    most: iterations.
    """
    length, start = first.longest, first._replace(step=0.0, longest=0.0)
    bracket, done, tries = _bracketed(evaluate, evaluate(first.step), start, most)
    evaluations = tries + 1
    stalled = False
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    while not done and tries < most:
        if abs(bracket[1].step - bracket[0].step) * length < SHORTEST:
            break
        step, stalled = _trial(bracket, stalled)
        point = evaluate(step)
        evaluations, tries = evaluations + 1, tries + 1
        if _too_high(point, start) or point.loss >= bracket[low].loss:
            bracket[high] = point
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        if abs(point.slope) <= -CURVATURE * start.slope:
            done = True
        elif point.slope * (bracket[high].step - bracket[low].step) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = point
    return bracket[low], evaluations


def _bracketed(
    evaluate: Evaluate, point: Point, start: Point, most: int
) -> tuple[list[Point], bool, int]:
    """(points around one that will do, or that one; whether it does; iterations)."""
    before = start
    for tries in range(most):
        if _too_high(point, start) or (tries > 1 and point.loss >= before.loss):
            return [before, point], False, tries
        if abs(point.slope) <= -CURVATURE * start.slope:
            return [point], True, tries
        if point.slope >= 0:
            return [before, point], False, tries
        bounds = (point.step + 0.01 * (point.step - before.step), point.step * 10)
        step = _cubic_minimum(before, point, bounds)
        before, point = point, evaluate(step)
    return [start, point], False, most


def _too_high(point: Point, start: Point) -> bool:
    """Does the loss not fall enough?"""
    return point.loss > start.loss + ARMIJO * point.step * start.slope


def _trial(bracket: list[Point], stalled: bool) -> tuple[float, bool]:
    """(the next step to try, whether it was near an end of the bracket)."""
    step = _cubic_minimum(*bracket)
    left, right = sorted(p.step for p in bracket)
    margin = 0.1 * (right - left)
    if min(right - step, step - left) >= margin:
        return step, False
    if not stalled and left < step < right:
        return step, True
    near_right = abs(step - right) < abs(step - left)
    return (right - margin if near_right else left + margin), False


def _cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two points with slopes is smallest, kept within bounds."""
    low, high = sorted((a.step, b.step)) if bounds is None else bounds
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = square**0.5
    left, right = (a, b) if a.step <= b.step else (b, a)
    width = right.step - left.step
    at = right.step - width * ((right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2))
    return min(max(at, low), high)
