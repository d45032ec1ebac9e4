"""Backward passes that were made before, recorded again at one go.

Most steps of a training loop leave a tape of the same structure: the same op instances, joined in the
same way. What the engine would record for it is then known. A plan keeps that, by structure; a tape
with hooks, custom functions, values changed in place or gradients of another dtype has no plan and
is walked node by node.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from funtorch import anomaly
from funtorch.lowering import (
    Block,
    Value,
    record_block,
    residual_vjp_instance,
    settings,
    sum_instance,
    vjp_instance,
)
from funtorch.lowering.record import owner
from funtorch.tape import AccumulateGrad, BlockNode, Node, OpNode
from funtorch.tensor import Tensor

_MOST = 2000  # plans kept: a loop over ever new shapes must not fill the memory


class Plan(NamedTuple):
    """What to record for a tape.

    The block's inputs are the saved values of all nodes and then the gradient of the root.
    nodes: for each step the node it belongs to, -1 for sums. numbers: the nodes whose numbers are
    read, in order. leaves: for each output of the block the node that accumulates it.
    """

    block: Block
    nodes: tuple[int, ...]
    numbers: tuple[int, ...]
    leaves: tuple[int, ...]


_plans: dict[Any, Plan | None] = {}


def planned(root: Node, index: int, grad: Tensor) -> tuple[Plan, list[Node]] | None:
    """The plan for a tape and its nodes by number, or None where the engine must walk."""
    if anomaly.state.enabled or settings.mode == "eager" or owner().capture is not None:
        return None
    if grad._seen != grad._storage.version or grad._value.aval != root.out_avals[index]:
        return None
    found = _survey(root)
    if found is None:
        return None
    key, nodes = found
    key = (index, *key)
    if key not in _plans:
        if len(_plans) >= _MOST:
            _plans.clear()
        _plans[key] = _Maker(nodes, index).plan()
    plan = _plans[key]
    return None if plan is None else (plan, nodes)


def _survey(root: Node) -> tuple[list[Any], list[Node]] | None:
    """The structure of a tape and its nodes in the order of their numbers; None: no plan."""
    numbers = {root: 0}
    nodes = [root]
    key: list[Any] = []
    for node in nodes:
        if node.hooks or node.prehooks or node.notes:
            return None
        if type(node) is AccumulateGrad:
            key.append(-1)
            continue
        if not isinstance(node, OpNode | BlockNode) or node.values is None:
            return None
        for storage, version, _ in node.versions:
            if storage.version != version:
                return None
        if isinstance(node, BlockNode):
            key.append(("block", node.recipe.uid))
        else:
            key.append(node.inst.uid)
            key.append(node.saved if node.residuals is None else node.residuals[0])
        for edge in node.edges:
            if edge is None:
                key.append(-2)
                continue
            number = numbers.get(edge[0])
            if number is None:
                number = numbers[edge[0]] = len(nodes)
                nodes.append(edge[0])
            key.append(number)
            key.append(edge[1])
    return key, nodes


def record_plan(plan: Plan, nodes: Sequence[Node], grad: Value) -> Iterator[tuple[Node, Value]]:
    """Record the gradient ops of a tape; gives each leaf's node with the gradient that arrives."""
    inputs: list[Value] = []
    for node in nodes:
        inputs.extend(_saved_values(node))
    inputs.append(grad)
    around = owner().scope
    scopes = []
    scalars: list[Any] = []
    for number in plan.nodes:
        node = nodes[number]
        if number < 0:
            scopes.append(around)
            continue
        scopes.append(node.scope.backward() if node.scope is not None else None)
    for number in plan.numbers:
        node = nodes[number]
        scalars.extend(node.recipe.scalars if isinstance(node, BlockNode) else node.scalars)  # type: ignore[attr-defined]
    made = record_block(plan.block, inputs, scalars, scopes, grad.aval.place)
    return zip([nodes[number] for number in plan.leaves], made, strict=True)


def _saved_values(node: Any) -> Sequence[Value]:
    if type(node) is AccumulateGrad:
        return ()
    if isinstance(node, BlockNode):
        return node.values or ()
    return node.values if node.residuals is None else (*node.values, *node.residuals[1])


class _Maker:
    """Walks a tape as the engine does, with numbers in place of gradients."""

    def __init__(self, nodes: Sequence[Any], index: int) -> None:
        self.nodes = nodes
        self.number = {node: i for i, node in enumerate(nodes)}
        self.first_input: list[int] = []
        n_inputs = 0
        for node in nodes:
            self.first_input.append(n_inputs)
            n_inputs += len(_saved_values(node))
        self.steps: list[tuple[int, tuple[int, ...], int]] = []
        self.owners: list[int] = []
        self.numbers: list[int] = []
        self.leaves: list[tuple[int, int]] = []
        self.n_outs = 0
        self.fits = True
        self.place = nodes[0].out_avals[index].place
        self.pending: dict[int, list[int | None]] = {}
        self.arrive(0, index, ~n_inputs)

    def plan(self) -> Plan | None:
        """The plan, or None if the tape needs what only the engine does."""
        for number in self.order():
            grads = self.pending.pop(number, None)
            if grads is None:
                continue
            if type(self.nodes[number]) is AccumulateGrad:
                assert grads[0] is not None
                self.leaves.append((number, grads[0]))
            elif isinstance(self.nodes[number], BlockNode):
                self.through_block(number, grads)
            else:
                self.through(number, grads)
        if not self.fits or any(source < 0 for _, source in self.leaves):
            return None
        outputs = tuple((source, self.nodes[number].out_avals[0]) for number, source in self.leaves)
        return Plan(
            Block(tuple(self.steps), outputs),
            tuple(self.owners),
            tuple(self.numbers),
            tuple(number for number, _ in self.leaves),
        )

    def order(self) -> Iterator[int]:
        """Numbers of nodes, each after all that lead to it; of several the newest first."""
        waiting = [0] * len(self.nodes)
        for node in self.nodes:
            for edge in node.edges:
                if edge is not None:
                    waiting[self.number[edge[0]]] += 1
        ready = [(-self.nodes[0].sequence, 0)]
        while ready:
            number = heapq.heappop(ready)[1]
            yield number
            for edge in self.nodes[number].edges:
                if edge is not None:
                    target = self.number[edge[0]]
                    waiting[target] -= 1
                    if waiting[target] == 0:
                        heapq.heappush(ready, (-self.nodes[target].sequence, target))

    def arrive(self, number: int, index: int, source: int) -> None:
        """A gradient for output `index` of a node; a second one is added to the first."""
        node = self.nodes[number]
        slots = self.pending.setdefault(number, [None] * max(len(node.out_avals), 1))
        before = slots[index]
        if before is not None:
            source = self.step(sum_instance(node.out_avals[index]), (before, source), -1)
        slots[index] = source

    def step(self, inst: Any, sources: tuple[int, ...], owner_number: int) -> int:
        """Append an op; returns the number of its first output."""
        self.fits = self.fits and inst.out_avals[0].place is self.place
        first = self.n_outs
        self.steps.append((inst.uid, sources, len(inst.out_avals)))
        self.owners.append(owner_number)
        self.n_outs += len(inst.out_avals)
        return first

    def through(self, number: int, grads: Sequence[int | None]) -> None:
        """Append the gradient op of a node, and send its outputs on."""
        node = self.nodes[number]
        inst = node.inst
        wrt, given = differentiated(node), tuple(i for i, g in enumerate(grads) if g is not None)
        if not wrt:
            return
        if node.residuals is not None:
            wrt = node.residuals[0]
            vjp = residual_vjp_instance(inst, wrt, given)
        else:
            vjp = vjp_instance(inst, wrt, given, node.saved)
        first = self.first_input[number]
        saved = [~i for i in range(first, first + len(_saved_values(node)))]
        cotangents = [g for g in grads if g is not None]
        out = self.step(vjp, (*saved, *cotangents), number)
        self.numbers.append(number)
        for offset, i in enumerate(wrt):
            edge = node.edges[i]
            if edge is not None:
                target = self.number[edge[0]]
                self.fits = self.fits and edge[0].out_avals[edge[1]] == inst.in_avals[i]
                self.arrive(target, edge[1], out + offset)

    def through_block(self, number: int, grads: Sequence[int | None]) -> None:
        """Append the gradient ops of a node that has several, and send its outputs on."""
        node = self.nodes[number]
        recipe, first, base = node.recipe, self.first_input[number], self.n_outs
        if None in grads:
            self.fits = False
            return
        given = [~(first + s) if s >= 0 else grads[~s] for s in recipe.sources]
        for uid, sources, n_outs in recipe.block.steps:
            inputs = tuple(base + s if s >= 0 else given[~s] for s in sources)
            self.steps.append((uid, inputs, n_outs))  # type: ignore[arg-type]
            self.owners.append(number)
            self.n_outs += n_outs
        self.numbers.append(number)
        for edge, source, aval in zip(node.edges, recipe.gradients, recipe.avals, strict=True):
            if edge is None or source is None:
                continue
            self.fits = self.fits and edge[0].out_avals[edge[1]] == aval
            out = base + source if source >= 0 else given[~source]
            self.arrive(self.number[edge[0]], edge[1], out)  # type: ignore[arg-type]


def differentiated(node: OpNode) -> tuple[int, ...]:
    """Indices of the inputs of a node's op whose gradients go somewhere."""
    return tuple(
        i
        for i, edge in enumerate(node.edges)
        if edge is not None and node.inst.in_avals[i].dtype.kind in "fcV"
    )
