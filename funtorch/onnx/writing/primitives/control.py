"""Conditions and loops: If, Loop and Scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funtorch.onnx.writing.lowered import translate
from funtorch.onnx.writing.primitives.structure import counted
from funtorch.onnx.writing.table import primitive
from funtorch.onnx.writing.values import Block, Val


def closing(g: Any, block: Block, outputs: Sequence[Val], avals: Sequence[Any]) -> None:
    """Make these the outputs of a body; each must be made in it, and only once."""
    full = [g.full(out) for out in outputs]
    free = {o.name for node in block.nodes for o in node.outputs}
    for out, aval in zip(full, avals, strict=True):
        if out.name not in free:
            out = g.op("Identity", out)
        free.discard(out.name)
        out.shape = out.held = tuple(aval.shape)
        block.outputs.append(out)


def shaped(outs: Any, avals: Sequence[Any]) -> list[Val]:
    """Outputs of a node with the types they have."""
    outs = outs if isinstance(outs, tuple) else (outs,)
    for out, aval in zip(outs, avals, strict=False):
        out.dtype = np.dtype(aval.dtype)
        out.shape = out.held = tuple(aval.shape)
    return list(outs)


def _avals(variables: Sequence[Any]) -> list[Any]:
    return [v.aval for v in variables]


@primitive("platform_index")
def platform_index(g: Any, eqn: Any) -> Any:
    """Written as for a CPU."""
    every = eqn.params["platforms"]
    chosen = next((i for i, p in enumerate(every) if p is None or "cpu" in p), 0)
    return g.const(chosen, eqn.outvars[0].aval.dtype)


@primitive("cond")
def cond(g: Any, eqn: Any, which: Val, *operands: Val) -> Any:
    if which.array is not None:
        return translate(g, eqn.params["branches"][int(which.array)], operands)
    return _chosen(g, which, list(eqn.params["branches"]), operands, _avals(eqn.outvars), 0)


def _chosen(
    g: Any, which: Val, branches: list[Any], operands: Any, avals: list[Any], first: int
) -> list[Val]:
    if len(branches) == 1:
        return translate(g, branches[0], operands)
    if len(branches) == 2 and not first:
        test = g.cast(which, np.bool_)
    else:
        test = g.op("Greater", which, g.const(first, which.dtype))
    bodies = []
    for rest in (branches[1:], branches[:1]):
        block = Block(g.block)
        with g.within(block):
            outs = _chosen(g, which, rest, operands, avals, first + 1)
            closing(g, block, outs, avals)
        bodies.append(block)
    made = g.op("If", test, n=len(avals), dtype=np.float32, then_branch=bodies[0],
                else_branch=bodies[1])  # fmt: skip
    return shaped(made, avals)


def _inputs(g: Any, block: Block, names: Sequence[str], avals: Sequence[Any]) -> list[Val]:
    made = [g.value(n, a.dtype, tuple(a.shape)) for n, a in zip(names, avals, strict=True)]
    block.inputs += made
    return made


@primitive("while")
def while_(g: Any, eqn: Any, *operands: Val) -> Any:
    p = eqn.params
    n, m = p["cond_nconsts"], p["body_nconsts"]
    test_consts, body_consts, state = operands[:n], operands[n : n + m], operands[n + m :]
    avals = _avals(eqn.outvars)
    (start,) = translate(g, p["cond_jaxpr"], [*test_consts, *state])
    block = Block(g.block)
    with g.within(block):
        block.inputs += [g.value("step", np.int64, ()), g.value("go_on", np.bool_, ())]
        own = _inputs(g, block, ["state"] * len(avals), avals)
        new = translate(g, p["body_jaxpr"], [*body_consts, *own])
        (going,) = translate(g, p["cond_jaxpr"], [*test_consts, *new])
        truth = p["cond_jaxpr"].jaxpr.outvars[0].aval
        closing(g, block, [going, *new], [truth, *avals])
    made = g.op("Loop", None, start, *state, n=len(avals), dtype=np.float32, body=block)
    return shaped(made, avals)


@primitive("scan")
def scan(g: Any, eqn: Any, *operands: Val) -> Any:
    p = eqn.params
    n, m = p["num_consts"], p["num_carry"]
    consts, carry, xs = operands[:n], operands[n : n + m], list(operands[n + m :])
    inner = p["jaxpr"].jaxpr
    in_avals, out_avals = _avals(inner.invars), _avals(inner.outvars)
    bare = not xs  # ONNX's Scan wants something to go over
    if bare:
        xs = [counted(g, p["length"])]
    block = Block(g.block)
    with g.within(block):
        own = _inputs(g, block, ["carry"] * m, in_avals[n : n + m])
        slices = [
            g.value("element", x.dtype, tuple(x.shape[1:]))  # type: ignore[index]
            for x in xs
        ]
        block.inputs += slices
        outs = translate(g, p["jaxpr"], [*consts, *own, *([] if bare else slices)])
        closing(g, block, outs, out_avals)
    ys = len(out_avals) - m
    back = [int(p["reverse"])]
    made = g.op(
        "Scan", *carry, *xs, n=m + ys, dtype=np.float32, body=block, num_scan_inputs=len(xs),
        scan_input_directions=back * len(xs), scan_output_directions=back * ys,
    )  # fmt: skip
    return shaped(made, _avals(eqn.outvars))
