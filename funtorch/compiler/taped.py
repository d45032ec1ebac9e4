"""A compiled call with gradients: its ops and those of its gradient, each recorded at one go.

The function is captured once with a tape, and the tape is walked at once. What was recorded is kept as
two blocks (`lowering.Block`): a call appends the first to the trace and leaves one node, whose backward
appends the second. The trace reads as if the Python code had run, so it is the same program.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from funtorch.autograd import engine
from funtorch.compiler.closed import OpenError
from funtorch.compiler.signature import call_key, refuse_shared
from funtorch.compiler.state import within
from funtorch.dispatch import read
from funtorch.func.stateful import Pure, plain_state, purify
from funtorch.grad_mode import mode
from funtorch.lowering import Block, Value, constant, record_block, scope, vjp_dependencies
from funtorch.lowering.program import Step, prune
from funtorch.lowering.record import owner
from funtorch.tape import BlockNode, Node, Recipe, gradient_edge
from funtorch.tensor import Tensor, wrap
from funtorch.views import store

_serial = itertools.count()


class _Part(NamedTuple):
    """A stretch of a program. inputs, outputs: positions of what it reads and of what is wanted.
    numbers: for each position that it makes, which output of the block that is."""

    block: Block
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    scalars: list[Any]
    numbers: dict[int, int]


class _Tape(NamedTuple):
    """What the walk over the tape found, while the function was being captured.

    roots: which results have gradients. wrt: which of state and arguments they go to. reached: for
    each of `wrt` the roots that it depends on, if a gradient arrives.
    """

    boundary: int
    roots: list[int]
    wrt: list[int]
    cotangents: list[Value]
    reached: list[frozenset[int] | None]


class Joint(NamedTuple):
    """A call and its gradient, by positions in its program.

    leaves: position of each leaf that is given: state, arguments. constants: the others' values.
    recipe: the ops of the gradient, for which `kept` are the values to save; among them `versioned`
    are leaves by number. uses: the same ops by position. results: position, strides, and which
    output of the node each is, -1 if of none.
    """

    function: Callable[..., Any]
    label: tuple[Any, str]
    state: list[Tensor]
    avals: list[Any]
    leaves: list[int]
    constants: dict[int, Value]
    forward: _Part
    recipe: Recipe
    uses: tuple[Step, ...]
    kept: list[int]
    versioned: list[int]
    changed: list[tuple[int, int]]
    results: list[tuple[int, Any, int]]
    tape: _Tape
    out_avals: list[Any]
    place: Any
    rebuild: Callable[[list[Tensor]], Any]


class CompiledFunctionBackward(BlockNode):
    """The tape node of a compiled call (PyTorch's name)."""

    __slots__ = ("call", "joint")

    joint: Joint
    call: Any

    def apply(self, grads: list[Tensor | None]) -> list[Tensor | None]:
        """The gradients of state and arguments, recorded at one go."""
        if self.values is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time: the saved values of a "
                "compiled call were freed. Specify retain_graph=True if you need to backward "
                "through the graph a second time."
            )
        self._check()
        if mode.enabled:
            return self._again(grads)
        recipe = self.recipe
        arriving = list(map(self._cotangent, grads, self.out_avals))
        inputs = [self.values[s] if s >= 0 else arriving[~s] for s in recipe.sources]
        assert self.scope is not None
        scopes = [self.scope.backward()] * len(recipe.block.steps)
        place = self.out_avals[0].place
        made = record_block(recipe.block, inputs, recipe.scalars, scopes, place)
        known = {number: v for (number, _), v in zip(recipe.block.outputs, made, strict=True)}
        given = {i for i, g in enumerate(grads) if g is not None}
        return [
            wrap(known[at] if at >= 0 else inputs[~at])
            if at is not None and reached is not None and given & reached
            else None
            for at, reached in zip(recipe.gradients, self.joint.tape.reached, strict=True)
        ]

    def release(self) -> None:
        """Forget what was saved."""
        self.values, self.versions, self.call = None, (), None

    def _cotangent(self, grad: Tensor | None, aval: Any) -> Value:
        if grad is None:
            return constant(np.zeros(aval.shape, aval.dtype), aval.place)
        return read(engine.fitting(grad, aval))

    def _check(self) -> None:
        """Raise if what backward reads was changed in place."""
        for storage, version, position in self.versions:
            if storage.version == version or not storage.writes_since(version):
                continue
            if any(_flows(step, position) for step in self.joint.uses):
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an "
                    f"inplace operation: {storage.value.aval!r}, used by {self.joint.label[1]}, is "
                    f"at version {storage.version}; expected version {version} instead."
                )

    def _again(self, grads: list[Tensor | None]) -> list[Tensor | None]:
        """Gradients that have gradients: the function runs again, op by op."""
        args, kwargs = self.call
        state = [self.joint.state[i] for i, _ in self.joint.changed]
        before = [(t._storage, t._storage.value, t._storage.version) for t in state]
        outs: list[Tensor] = []
        call_key(self.joint.function(*args, **kwargs), outs)
        for storage, value, version in before:
            storage.value, storage.version = value, version
        pairs = zip([outs[i] for i in self.joint.tape.roots], grads, strict=True)
        given = [(out, g) for out, g in pairs if g is not None]
        roots = [(out._node, out._out) for out, _ in given]
        cotangents = [g for _, g in given]
        return engine.run(
            roots,  # type: ignore[arg-type]
            cotangents,
            keep=True,
            create_graph=True,
            inputs=self.edges,  # type: ignore[arg-type]
            accumulate=False,
            bare=True,
        )


def _flows(step: Step, position: int) -> bool:
    """Do a step's results depend on the value at this position?"""
    places = {i for i, p in enumerate(step.inputs) if p == position}
    return bool(places) and any(places & found for found in vjp_dependencies(step.inst))


# Making ---------------------------------------------------------------------------------------


def captured(
    function: Callable[..., Any],
    args: Any,
    kwargs: Any,
    state: Mapping[str, Tensor],
    label: tuple[Any, str],
) -> Joint | None:
    """Capture a call with its gradient; None if it draws random numbers or changes an argument.

    Raises OpenError where results share memory, and what the function raises.
    """
    tensors = list(plain_state(state)[0].values())
    given: list[Tensor] = []
    call_key([args, kwargs], given)
    requires = [t._requires for t in given]
    tapes: list[_Tape] = []
    outs: list[Tensor] = []

    def watched(*own: Any, **named: Any) -> Any:
        inputs: list[Tensor] = []
        call_key([own, named], inputs)
        for tensor, flag in zip(inputs, requires, strict=True):
            tensor._requires = flag
        for tensor in tensors:
            tensor._accumulator = None
        before = [(t._node, t._requires) for t in tensors]
        sources = [*tensors, *inputs]
        edges = [gradient_edge(t) for t in sources]
        result = function(*own, **named)
        call_key(result, outs)
        refuse_shared(outs, sources)
        if before != [(t._node, t._requires) for t in tensors]:
            raise OpenError("a buffer becomes part of the tape")
        grads = _walked(outs, edges, tapes)
        return result, grads

    with within("compiling"):
        pure = purify(watched, args, kwargs, state, gradient=False)
    tape = tapes[0]
    if pure.written or pure.draws or not outs:
        return None
    return _joined(function, pure, tape, outs, tensors, label)


def _walked(outs: list[Tensor], edges: Sequence[Any], tapes: list[_Tape]) -> list[Tensor]:
    """Record the gradient of the results; returns the gradients that there are."""
    trace = owner().capture
    assert trace is not None
    boundary = trace.count
    roots = [i for i, out in enumerate(outs) if out._node is not None and out._requires]
    wrt = [i for i, edge in enumerate(edges) if edge is not None]
    nodes: list[Any] = [(outs[i]._node, outs[i]._out) for i in roots]
    avals = [node.out_avals[index] for node, index in nodes]
    cotangents = [wrap(constant(np.zeros(a.shape, a.dtype), a.place)) for a in avals]
    wanted = [edges[i] for i in wrt]
    reach = [_reachable(node) for node, _ in nodes]
    grads = engine.run(
        nodes, cotangents, keep=False, create_graph=False, inputs=wanted, accumulate=False
    )
    reached = [
        None if g is None else frozenset(i for i, r in enumerate(reach) if edge[0] in r)
        for edge, g in zip(wanted, grads, strict=True)
    ]
    tapes.append(_Tape(boundary, roots, wrt, [c._value for c in cotangents], reached))
    return [g for g in grads if g is not None]


def _reachable(root: Node) -> set[Node]:
    seen, stack = {root}, [root]
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and edge[0] not in seen:
                seen.add(edge[0])
                stack.append(edge[0])
    return seen


def _joined(
    function: Any, pure: Pure, tape: _Tape, outs: list[Tensor], tensors: list[Tensor], label: Any
) -> Joint | None:
    if any(tensors[i]._requires for i in pure.changed):
        return None
    program, scalars = prune(pure.program), pure.captured.scalars
    first = [s for s in program.steps if s.first_output < tape.boundary]
    second = tuple(s for s in program.steps if s.first_output >= tape.boundary)
    n_outs, n_given = len(outs), len(program.leaves) - len(pure.constants)
    positions = list(program.outputs)
    ends = n_outs + sum(r is not None for r in tape.reached)
    arriving = iter(positions[n_outs:ends])
    gradients = [None if r is None else next(arriving) for r in tape.reached]
    constants = dict(zip(program.leaves[n_given:], pure.constants, strict=True))
    cotangents = {p: tape.cotangents.index(v) for p, v in constants.items() if v in tape.cotangents}
    backward = _part(second, scalars, [p for p in gradients if p is not None])
    own_avals = [a for i, a in enumerate(program.leaf_avals[:n_given]) if i != len(tensors)]
    avals = tuple(own_avals[i] for i in tape.wrt)
    recipe, kept = _recipe(backward, cotangents, gradients, avals)
    changed = list(zip(pure.changed, positions[ends:], strict=True))
    leaves = [p for i, p in enumerate(program.leaves[:n_given]) if i != len(tensors)]  # no key
    taped = {out: i for i, out in enumerate(tape.roots)}
    places = zip(positions, outs, strict=False)
    return Joint(
        function,
        label,
        tensors,
        [read(t).aval for t in tensors],
        leaves,
        {p: v for p, v in constants.items() if p not in cotangents},
        _part(first, scalars, [*positions[:n_outs], *(p for _, p in changed), *kept]),
        recipe,
        second,
        kept,
        [i for i, p in enumerate(leaves) if p in kept],
        changed,
        [(p, t._stride, taped.get(i, -1)) for i, (p, t) in enumerate(places)],
        tape,
        [v.aval for v in tape.cotangents],
        program.leaf_avals[len(tensors)].place,
        _rebuilder(pure, n_outs, ends),
    )


def _recipe(
    backward: _Part,
    cotangents: Mapping[int, int],
    gradients: Sequence[int | None],
    avals: tuple[Any, ...],
) -> tuple[Recipe, list[int]]:
    """The gradient's ops as a node has them, and the positions of what it saves for them."""
    # A gradient may be a cotangent as it came.
    through = [p for p in gradients if p is not None and p not in backward.numbers]
    inputs = list(dict.fromkeys((*backward.inputs, *through)))
    kept = sorted(set(inputs) - cotangents.keys())
    sources = tuple(~cotangents[p] if p in cotangents else kept.index(p) for p in inputs)
    numbers = {**{p: ~i for i, p in enumerate(inputs)}, **backward.numbers}
    found = tuple(None if p is None else numbers[p] for p in gradients)
    recipe = Recipe(next(_serial), backward.block, sources, found, avals, backward.scalars)
    return recipe, kept


def _rebuilder(pure: Pure, n_outs: int, ends: int) -> Callable[[list[Tensor]], Any]:
    """From the tensors of a result to the result."""
    rest: list[None] = [None] * (ends - n_outs)
    marks = [object() for _ in range(n_outs)]
    if pure.rebuild([*marks, *rest])[0] is marks[0]:
        return lambda outs: outs[0]
    return lambda outs: pure.rebuild([*outs, *rest])[0]


def _made(step: Step) -> range:
    return range(step.first_output, step.first_output + len(step.inst.out_avals))


def _part(steps: Sequence[Step], scalars: Sequence[Any], wanted: Sequence[int]) -> _Part:
    """Steps as a block; what they do not make themselves are inputs."""
    numbers: dict[int, int] = {}
    inputs: dict[int, int] = {}
    avals: dict[int, Any] = {}
    words, own = [], []
    for step in steps:
        sources = tuple(
            numbers[p] if p in numbers else ~inputs.setdefault(p, len(inputs)) for p in step.inputs
        )
        words.append((step.inst.uid, sources, len(step.inst.out_avals)))
        own.extend(scalars[step.first_scalar :][: len(step.inst.scalar_types)])
        for position, aval in zip(_made(step), step.inst.out_avals, strict=True):
            numbers[position], avals[position] = len(numbers), aval
    outputs = tuple(p for p in dict.fromkeys(wanted) if p in numbers)
    block = Block(tuple(words), tuple((numbers[p], avals[p]) for p in outputs))
    return _Part(block, tuple(inputs), outputs, own, numbers)


# Running --------------------------------------------------------------------------------------


def run(joint: Joint, args: Any, kwargs: Any, given: Sequence[Tensor]) -> tuple[bool, Any]:
    """(did it fit, the result) of a call on these tensors."""
    sources = [*joint.state, *given]
    values = [read(t) for t in sources]
    if any(v.aval is not aval for v, aval in zip(values, joint.avals, strict=False)):
        return False, None
    known = dict(zip(joint.leaves, values, strict=True))
    known.update(joint.constants)
    forward = joint.forward
    with scope(*joint.label, whole=True) as entered:
        scopes = [entered] * len(forward.block.steps)
        inputs = [known[p] for p in forward.inputs]
        made = record_block(forward.block, inputs, forward.scalars, scopes, joint.place)
        known.update(zip(forward.outputs, made, strict=True))
        node = _node(joint, known, (args, kwargs), sources) if joint.tape.roots else None
    for index, position in joint.changed:
        store(joint.state[index], known[position])
    outs = []
    for position, stride, taped in joint.results:
        out = wrap(known[position], stride)
        if node is not None and taped >= 0:
            out._node, out._out, out._requires = node, taped, True
        outs.append(out)
    return True, joint.rebuild(outs)


def _node(joint: Joint, known: Mapping[int, Value], call: Any, sources: Sequence[Tensor]) -> Node:
    edges = tuple([gradient_edge(sources[i]) for i in joint.tape.wrt])
    node = CompiledFunctionBackward(edges, joint.out_avals)
    node.joint, node.call, node.recipe = joint, call, joint.recipe
    node.values = [known[p] for p in joint.kept]
    node.versions = [
        (sources[i]._storage, sources[i]._storage.version, joint.leaves[i]) for i in joint.versioned
    ]
    return node


__all__ = ["Joint", "captured", "run"]
