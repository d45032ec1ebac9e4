"""A program as text: one op to a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funtorch.lowering.program import Program, prune


def listing(program: Program, names: Sequence[str], scalars: Sequence[Any]) -> str:
    """`%5 : float32[2,3] = linear(%x, %weight, %bias)` for each op, inputs first."""
    steps = prune(program).steps
    used = {p for step in steps for p in step.inputs} | set(program.outputs)
    called = {p: f"%{n}" for p, n in zip(program.leaves, names, strict=False)}
    called.update({p: f"%constant.{p}" for p in program.leaves if p not in called})
    lines = ["graph("]
    for position, aval in zip(program.leaves, program.leaf_avals, strict=True):
        if position in used:
            lines.append(f"      {called[position]} : {aval!r},")
    lines[-1] = lines[-1].rstrip(",") + "):" if len(lines) > 1 else "graph():"
    for step in steps:
        outs = []
        for offset, aval in enumerate(step.inst.out_avals):
            called[step.first_output + offset] = f"%{step.first_output + offset}"
            outs.append(f"%{step.first_output + offset} : {aval!r}")
        first = step.first_scalar
        numbers = scalars[first : first + len(step.inst.scalar_types)]
        given = [called[p] for p in step.inputs] + [repr(n) for n in numbers]
        lines.append(f"  {', '.join(outs)} = {step.inst.op.label}({', '.join(given)})")
    lines.append(f"  return ({', '.join(called[p] for p in program.outputs)})")
    return "\n".join(lines) + "\n"
