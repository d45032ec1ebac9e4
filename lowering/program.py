"""Programs: a finished stretch of trace, decoded, and as a pure function.

A trace is a flat list of integers: for each op its instance's uid, then the positions of its inputs.
Positions count leaves and outputs in the order in which they appear, so the list determines itself:
an input whose position equals the count so far is a leaf seen for the first time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from funtorch.lowering.aval import Aval
from funtorch.lowering.op import Instance, instance_by_uid


class Step(NamedTuple):
    """One op of a program: where its inputs are, where its outputs and scalars begin."""

    inst: Instance
    inputs: tuple[int, ...]
    first_output: int
    first_scalar: int


class Program(NamedTuple):
    """Steps, with the positions of leaves (in order of appearance) and of wanted outputs."""

    steps: tuple[Step, ...]
    leaves: tuple[int, ...]
    leaf_avals: tuple[Aval, ...]
    outputs: tuple[int, ...]
    scalar_types: tuple[type, ...]

    def output_avals(self) -> list[Aval]:
        """Avals of the wanted outputs."""
        wanted = set(self.outputs)
        found: dict[int, Aval] = dict(zip(self.leaves, self.leaf_avals, strict=True))
        for step in self.steps:
            for offset, aval in enumerate(step.inst.out_avals):
                if step.first_output + offset in wanted:
                    found[step.first_output + offset] = aval
        return [found[position] for position in self.outputs]


def decode(flat: Sequence[int], outputs: Iterable[int], known: Collection[int] = ()) -> Program:
    """The program that a flat trace spells. `known`: positions that are leaves whoever reads them
    first, for traces whose placeholders were numbered before their first op."""
    steps: list[Step] = []
    leaves: list[int] = []
    leaf_avals: list[Aval] = []
    scalar_types: list[type] = []
    at, count = 0, 0
    while at < len(flat):
        inst = instance_by_uid(flat[at])
        arity = len(inst.in_avals)
        inputs = tuple(flat[at + 1 : at + 1 + arity])
        at += 1 + arity
        while count in known:
            count += 1
        for position, aval in zip(inputs, inst.in_avals, strict=True):
            if position == count:
                leaves.append(position)
                leaf_avals.append(aval)
                count += 1
        steps.append(Step(inst, inputs, count, len(scalar_types)))
        scalar_types.extend(inst.scalar_types)
        count += len(inst.out_avals)
    return Program(
        tuple(steps), tuple(leaves), tuple(leaf_avals), tuple(outputs), tuple(scalar_types)
    )


def prune(program: Program) -> Program:
    """The same program without steps that no wanted output needs. Leaves stay as they are."""
    needed = set(program.outputs)
    kept: list[Step] = []
    for step in reversed(program.steps):
        last = step.first_output + len(step.inst.out_avals)
        if any(p in needed for p in range(step.first_output, last)):
            kept.append(step)
            needed.update(step.inputs)
    return program._replace(steps=tuple(reversed(kept)))


def run(program: Program, leaves: Sequence[Any], scalars: Sequence[Any]) -> list[Any]:
    """Lower a program: leaf arrays and scalars in, wanted outputs out. Pure; runs under tracing."""
    env: dict[int, Any] = dict(zip(program.leaves, leaves, strict=True))
    for step in program.steps:
        n_scalars = len(step.inst.scalar_types)
        outs = step.inst(
            [env[p] for p in step.inputs],
            scalars[step.first_scalar : step.first_scalar + n_scalars],
        )
        for offset, out in enumerate(outs):
            env[step.first_output + offset] = out
    return [env[p] for p in program.outputs]


class ScalarPlan(NamedTuple):
    """Which scalars of a program are constants (with these values), and which are inputs."""

    values: tuple[Any, ...]
    dynamic: frozenset[int]

    def fits(self, scalars: tuple[Any, ...]) -> bool:
        """Does an executable made for this plan compute the right thing for these scalars?"""
        if scalars == self.values:
            return True
        if not self.dynamic:
            return False
        return all(
            i in self.dynamic or now == then
            for i, (now, then) in enumerate(zip(scalars, self.values, strict=True))
        )

    def widened(self, scalars: tuple[Any, ...]) -> ScalarPlan:
        """This plan, with every scalar that differs now an input from now on."""
        differing = {
            i
            for i, (now, then) in enumerate(zip(scalars, self.values, strict=True))
            if now != then and type(now) in (int, float, complex)
        }
        return ScalarPlan(scalars, self.dynamic | differing)

    def pack(self, scalars: tuple[Any, ...]) -> tuple[np.ndarray[Any, Any], ...]:
        """The dynamic scalars as arrays: float64, int64, complex128. Empty plan: no arrays."""
        if not self.dynamic:
            return ()
        kinds = ((float, np.float64), (int, np.int64), (complex, np.complex128))
        return tuple(
            np.array([scalars[i] for i in sorted(self.dynamic) if type(scalars[i]) is kind], dtype)
            for kind, dtype in kinds
        )

    def unpack(self, packed: Sequence[Any]) -> list[Any]:
        """All scalars again: Python constants, and 0-d tracers for the dynamic ones."""
        taken = dict.fromkeys((float, int, complex), 0)
        order = {float: 0, int: 1, complex: 2}
        out: list[Any] = []
        for i, value in enumerate(self.values):
            if i in self.dynamic:
                kind = type(value)
                out.append(packed[order[kind]][taken[kind]])
                taken[kind] += 1
            else:
                out.append(value)
        return out
