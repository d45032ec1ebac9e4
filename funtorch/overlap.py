"""Views that show an element several times, written in place.

PyTorch's loop comes by such an element as often as the view shows it, and reads what it wrote before:
`x.unfold(0, 2, 1).add_(1)` adds two to the inner elements. Here an op in place takes as many turns; in
each an element gets the new value of one of its places.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

Ints = tuple[int, ...]
Turn = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@functools.lru_cache(maxsize=256)
def turns(shape: Ints, stride: Ints) -> tuple[Turn, ...]:
    """Empty if no element shows twice. Else for each turn two arrays of the view's shape: the flat
    place whose new value the element at a place takes, and whether it takes one."""
    if _apart(shape, stride):
        return ()
    steps = zip(np.indices(shape, sparse=True), stride, strict=True)
    address = np.broadcast_to(sum(i * s for i, s in steps), shape).reshape(-1)
    order = np.argsort(address, kind="stable")
    begins = np.diff(address[order], prepend=-1) != 0
    element = np.cumsum(begins) - 1  # of each entry in `order`
    number = np.arange(order.size) - np.flatnonzero(begins)[element]
    element_at = np.empty_like(order)
    element_at[order] = element
    made = []
    for turn in range(number.max() + 1):
        now = number == turn
        place = np.full(element[-1] + 1, -1)
        place[element[now]] = order[now]
        found = place[element_at].reshape(shape)
        made.append((np.maximum(found, 0), found >= 0))
    return tuple(made) if len(made) > 1 else ()


def _apart(shape: Ints, stride: Ints) -> bool:
    """Do the strides alone say that no element shows twice?"""
    reach = 0
    for step, extent in sorted(zip(stride, shape, strict=True)):
        if extent > 1:
            if step <= reach:
                return not math.prod(shape)
            reach += (extent - 1) * step
    return True
