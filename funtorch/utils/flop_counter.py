"""torch.utils.flop_counter: how many floating-point operations products and convolutions take.

PyTorch has a formula per op. Here every op is a JAX function, so the products are counted in what it
lowers to, gradients included, whatever the op is called.
"""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import partial_eval

from funtorch import lowering
from funtorch.lowering.op import Instance, instance_by_uid, lowering_for
from funtorch.lowering.record import Trace, watchers
from funtorch.lowering.scope import Scope
from funtorch.lowering.x64 import x64
from funtorch.nn.global_hooks import register_module_forward_pre_hook
from funtorch.nn.module import Module
from funtorch.ops.aten import OpOverloadPacket

__all__ = ["FlopCounterMode"]


def _of_dot(eqn: Any) -> int:
    """Products of matrices: two operations per product of numbers."""
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left, out = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    return 2 * math.prod(out) * math.prod(left[d] for d in contracted)


def _of_convolution(eqn: Any) -> int:
    """Every place of the output (of the input, if that is spread out) meets the whole filter."""
    left, right = (v.aval.shape for v in eqn.invars)
    numbers = eqn.params["dimension_numbers"]
    spread = math.prod(eqn.params["lhs_dilation"]) > 1
    shape, spec = (
        (left, numbers.lhs_spec) if spread else (eqn.outvars[0].aval.shape, numbers.out_spec)
    )
    batch = left[numbers.lhs_spec[0]] // eqn.params["batch_group_count"]
    return 2 * batch * math.prod(shape[d] for d in spec[2:]) * math.prod(right)


_COUNTED = {"dot_general": _of_dot, "conv_general_dilated": _of_convolution}


def _flops(jaxpr: Any) -> int:
    """The operations of a program; a loop of unknown length counts once, a branch as the longest."""
    total = 0
    for eqn in jaxpr.eqns:
        count = _COUNTED.get(eqn.primitive.name)
        if count is not None:
            total += count(eqn)
            continue
        inner = [_flops(program) for program in _programs(eqn.params.values())]
        if inner:
            whole = max(inner) if eqn.primitive.name == "cond" else sum(inner)
            total += whole * eqn.params.get("length", 1)
    return total


def _programs(params: Any) -> Iterator[Any]:
    for held in params:
        if isinstance(held, core.ClosedJaxpr):
            yield held.jaxpr
        elif isinstance(held, core.Jaxpr):
            yield held
        elif isinstance(held, list | tuple):
            yield from _programs(held)


@functools.lru_cache(maxsize=4096)
def _flops_of(instance: Instance) -> int:
    """The operations of one op at these shapes, without what its result does not need."""
    numbers = [kind(1) for kind in instance.scalar_types]
    avals = [aval.struct() for aval in instance.in_avals]
    with x64(), lowering_for(instance.out_avals[0].place):
        made = jax.make_jaxpr(lambda arrays: instance(arrays, numbers))(avals).jaxpr
    needed, _ = partial_eval.dce_jaxpr(made, [True] * len(made.outvars))
    return _flops(needed)


class FlopCounterMode:
    """Within this context floating-point operations are counted, per module and op.

    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    counter.get_total_flops()

    The counts of a module are under its path from the outermost module that was called
    ('Net.features.0'), those of everything under 'Global'. The inner keys are the ops recorded here,
    whose names are not always those of PyTorch's dispatcher.
    """

    def __init__(
        self, mods: Any = None, depth: int = 2, display: bool = True, custom_mapping: Any = None
    ) -> None:
        if custom_mapping:
            raise NotImplementedError("custom_mapping: operations are counted in what ops lower to")
        self.depth, self.display = depth, display
        self.flop_counts: dict[str, dict[Any, int]] = {}
        self._names: dict[int, str] = {}

    def __enter__(self) -> FlopCounterMode:
        lowering.flush()
        self.flop_counts = collections.defaultdict(lambda: collections.defaultdict(int))
        self._handle = register_module_forward_pre_hook(lambda module, args: self._name(module))
        watchers.append(self._count)
        return self

    def __exit__(self, *exc: object) -> None:
        lowering.flush()
        watchers.remove(self._count)
        self._handle.remove()
        if self.display:
            print(self.get_table(self.depth))

    def _name(self, module: Module) -> None:
        """Name a module, if nobody has called it within another, and those within it."""
        own = self._names.setdefault(id(module), type(module).__name__)
        for name, child in module.named_modules(prefix=own):
            self._names.setdefault(id(child), name)

    def _count(self, trace: Trace) -> None:
        """Add the ops of a trace that is about to be executed."""
        for start, scope in zip(trace.starts, trace.scopes, strict=True):
            done = instance_by_uid(trace.flat[start])
            flops = _flops_of(done)
            if not flops:
                continue
            packet = _packet(done.op.label)
            for name in {"Global", *self._around(scope)}:
                self.flop_counts[name][packet] += flops

    def _around(self, scope: Scope | None) -> Iterator[str]:
        while scope is not None:
            label = scope.label[1] if isinstance(scope.label, tuple) else scope.label
            if label in self._names:
                yield self._names[label]
            scope = scope.parent

    def get_total_flops(self) -> int:
        """All operations."""
        return sum(self.flop_counts["Global"].values()) if "Global" in self.flop_counts else 0

    def get_flop_counts(self) -> dict[str, dict[Any, int]]:
        """{path of a module: {op: operations}}"""
        return {name: dict(counts) for name, counts in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """The counts of modules down to a depth, as text."""
        depth = 999 if depth is None else depth
        total = self.get_total_flops()
        rows = [("Module", "FLOP", "% Total")]
        for name in sorted(self.flop_counts, key=lambda n: (n != "Global", n)):
            level = 0 if name == "Global" else name.count(".") + 1
            if level <= depth:
                flops = sum(self.flop_counts[name].values())
                rows.append((" " * level + name, f"{flops:,}", f"{flops / total:.2%}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows
        )


@functools.cache
def _packet(name: str) -> OpOverloadPacket:
    return OpOverloadPacket(name, None)
