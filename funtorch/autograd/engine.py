"""The backward pass: walks the tape and records one gradient op per node.

Nothing is executed here. Gradients are recorded ops like the forward pass, so hooks, accumulation and
whatever comes after land in the same program. With `create_graph` they are taped too.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

from funtorch import dtypes
from funtorch.anomaly import check_gradients, forward_origin
from funtorch.autograd.plans import differentiated, planned, record_plan
from funtorch.composed import Composed, elements
from funtorch.dispatch import OpInfo, read, record_taped
from funtorch.grad_mode import mode
from funtorch.lowering import (
    Value,
    record,
    residual_vjp_instance,
    vjp_dependencies,
    vjp_instance,
    within,
)
from funtorch.saving import Packed
from funtorch.tape import AccumulateGrad, Node, OpNode
from funtorch.tensor import Tensor, wrap

Grads = list[Tensor | None]


class Task:
    """One backward pass: which nodes wait for what, and what is wanted."""

    def __init__(self, roots: Sequence[tuple[Node, int]], keep: bool, bare: bool = False) -> None:
        self.keep, self.bare = keep, bare
        self.pending: dict[Node, list[Tensor | None]] = {}
        self.waiting = _dependencies([node for node, _ in roots])
        self.captures: dict[tuple[Node, int], Tensor | None] = {}
        self.captured_nodes: set[Node] = set()
        self.needed: set[Node] | None = None

    def capture(self, edges: Sequence[tuple[Node, int]], roots: Sequence[Node]) -> None:
        """Collect the gradients that arrive at `edges` instead of accumulating leaves."""
        self.captures = dict.fromkeys(edges)
        self.captured_nodes = {node for node, _ in edges}
        self.needed = _leading_to(roots, self.captured_nodes)

    def reaches(self, node: Node) -> bool:
        """Will a gradient come by this node?"""
        return node in self.waiting and (self.needed is None or node in self.needed)


running: list[Task] = []
"""The backward passes that are under way, the innermost last."""

listeners: WeakValueDictionary[int, Any] = WeakValueDictionary()
_numbers = itertools.count()


def listen(listener: Any) -> None:
    """After a backward pass call `listener.after_backward(leaves whose gradient was changed)`.

    Listeners are called in the order in which they came, which processes rely on.
    """
    listeners[next(_numbers)] = listener


_changed: list[Tensor] = []


def _dependencies(roots: Sequence[Node]) -> dict[Node, int]:
    """How many edges lead to each node reachable from the roots."""
    count: dict[Node, int] = dict.fromkeys(roots, 0)
    stack = list(dict.fromkeys(roots))
    while stack:
        node = stack.pop()
        for edge in node.edges:
            if edge is not None:
                if edge[0] not in count:
                    count[edge[0]] = 0
                    stack.append(edge[0])
                count[edge[0]] += 1
    return count


def _leading_to(roots: Sequence[Node], targets: set[Node]) -> set[Node]:
    """Nodes from which a target can be reached (targets too)."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(root, False) for root in roots]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
            continue
        if node in seen:
            continue
        seen.add(node)
        stack.append((node, True))
        stack.extend((edge[0], False) for edge in node.edges if edge is not None)
    needed = set(targets)
    for node in order:
        if any(edge is not None and edge[0] in needed for edge in node.edges):
            needed.add(node)
    return needed


def run(
    roots: Sequence[tuple[Node, int]],
    grads: Sequence[Tensor],
    *,
    keep: bool,
    create_graph: bool,
    inputs: Sequence[tuple[Node, int]] | None = None,
    accumulate: bool = True,
    bare: bool = False,
) -> list[Tensor | None]:
    """Walk the tape from `roots`, whose gradients are given.

    inputs: edges whose gradients are wanted (None: all leaves). accumulate: into `.grad`; otherwise
    the gradients at `inputs` are returned and no leaf is touched. bare: without the hooks there.
    """
    simple = inputs is None and not create_graph and len(roots) == 1
    before, mode.enabled = mode.enabled, create_graph
    if not running:
        _changed.clear()
    try:
        if simple and _run_planned(*roots[0], grads[0], keep):
            _tell()
            return []
        task = Task(roots, keep, bare)
        if inputs is not None:
            task.capture(inputs, [node for node, _ in roots])
        for (node, index), grad in zip(roots, grads, strict=True):
            _add(task, node, index, grad)
        running.append(task)
        try:
            _walk(task, create_graph, accumulate)
        finally:
            running.pop()
        _tell()
    finally:
        mode.enabled = before
    return [task.captures.get(edge) for edge in inputs or ()]


def _tell() -> None:
    """The outermost backward pass is over."""
    if _changed and not running:
        leaves = _changed[:]
        _changed.clear()
        for _, listener in sorted(listeners.items()):
            listener.after_backward(leaves)


def _run_planned(root: Node, index: int, grad: Tensor, keep: bool) -> bool:
    """Record the whole backward pass at one go, if there is a plan for this tape."""
    found = planned(root, index, grad)
    if found is None:
        return False
    plan, nodes = found
    for node, value in record_plan(plan, nodes, grad._value):
        _receive(node, value)  # type: ignore[arg-type]
    if not keep:
        for node in nodes:
            if type(node) is not AccumulateGrad:
                _free(node)  # type: ignore[arg-type]
    return True


def _free(node: OpNode) -> None:
    node.values = node.residuals = None
    node.versions = ()  # they hold storages, and with them values
    if node.notes is not None:
        node.notes.pop("packed", None)


def _walk(task: Task, create_graph: bool, accumulate: bool) -> None:
    ready = [(-n.sequence, id(n), n) for n in task.pending if task.waiting.get(n, 0) == 0]
    heapq.heapify(ready)
    while ready:
        node = heapq.heappop(ready)[2]
        grads = task.pending.pop(node, None)
        skip = task.needed is not None and node not in task.needed
        if grads is not None and not skip and not (task.bare and node in task.captured_nodes):
            grads = _prehooks(node, grads)
        if grads is not None and node in task.captured_nodes:
            _collect(task, node, grads)
        if isinstance(node, AccumulateGrad):
            if grads is not None and not skip and accumulate:
                _accumulate(node, grads[0], create_graph)
            continue
        onward = task.needed is None or _goes_on(task, node)
        if grads is None or skip or not onward or all(g is None for g in grads):
            made: Grads = [None] * len(node.edges)
        else:
            made = _apply(node, grads, task, create_graph)
            made = _hooks(node, made, grads)
        for edge, grad in zip(node.edges, made, strict=True):
            if edge is None:
                continue
            if grad is not None:
                _add(task, edge[0], edge[1], grad)
            task.waiting[edge[0]] -= 1
            if task.waiting[edge[0]] == 0:
                heapq.heappush(ready, (-edge[0].sequence, id(edge[0]), edge[0]))


def _goes_on(task: Task, node: Node) -> bool:
    assert task.needed is not None
    return any(edge is not None and edge[0] in task.needed for edge in node.edges)


def _collect(task: Task, node: Node, grads: Grads) -> None:
    for target, index in task.captures:
        if target is node and index < len(grads):
            task.captures[target, index] = grads[index]


def _add(task: Task, node: Node, index: int, grad: Tensor) -> None:
    slots = task.pending.setdefault(node, [None] * max(len(node.out_avals), 1))
    slots[index] = grad if slots[index] is None else _sum(slots[index], grad)


def _sum(one: Any, other: Any) -> Any:
    """A strided and a sparse gradient only add in this order."""
    return other + one if isinstance(one, Composed) else one + other


# One node -----------------------------------------------------------------------------------


def _apply(node: Node, grads: Grads, task: Task, create_graph: bool) -> Grads:
    with within(node.scope.backward() if node.scope is not None else None):
        if isinstance(node, OpNode):
            made = _apply_op(node, grads, create_graph)
            if not task.keep:
                _free(node)
        else:
            made = node.apply(grads)
            if not task.keep:
                _release(node)
    check_gradients(node, [elements(g) for g in made])
    return made


def _release(node: Node) -> None:
    release = getattr(type(node), "release", None)
    if release is not None:
        release(node)


def _apply_op(node: OpNode, grads: Grads, create_graph: bool) -> Grads:
    if node.values is None:
        raise RuntimeError(
            "Trying to backward through the graph a second time (or directly access saved "
            "tensors after they have already been freed). Saved intermediate values of the graph "
            "are freed when you call .backward() or autograd.grad(). Specify retain_graph=True "
            "if you need to backward through the graph a second time or if you need to access "
            "saved tensors after calling backward."
        )
    inst = node.inst
    given = tuple(i for i, g in enumerate(grads) if g is not None)
    wrt = differentiated(node)
    if node.sources is not None:
        wrt = tuple(i for i in wrt if any(i in node.sources[g] for g in given))
    if not wrt:
        return [None] * len(node.edges)
    cotangents = [fitting(grads[i], inst.out_avals[i]) for i in given]
    _check_versions(node, wrt, given)
    if node.residuals is not None and not create_graph:
        all_wrt, residuals = node.residuals
        vjp = residual_vjp_instance(inst, all_wrt, given)
        values = [*node.values, *residuals]
        wrt = all_wrt
    else:
        vjp = vjp_instance(inst, wrt, given, node.saved)
        values = _saved(node)
    if create_graph:
        outs = _record_taped(node, vjp, values, cotangents)
    else:
        place = inst.out_avals[0].place
        values.extend([g._value for g in cotangents])
        outs = [wrap(v) for v in record(vjp, values, node.scalars, place)]
    made: Grads = [None] * len(node.edges)
    for i, out in zip(wrt, outs, strict=True):
        made[i] = out
    return made


def _saved(node: OpNode) -> list[Value]:
    """What a node saved, unpacked if it went through hooks."""
    packed: Packed | None = node.note("packed")
    if packed is None:
        return list(node.values or ())
    return [read(tensor) for tensor in packed.tensors() if tensor is not None]


def fitting(grad: Tensor | None, aval: Any) -> Tensor:
    """A gradient in the dtype of the output it belongs to."""
    assert grad is not None
    if isinstance(grad, Composed):
        grad = grad.to_dense()
    if grad._seen != grad._storage.version:
        grad = grad.detach()
    if grad._value.aval.dtype != aval.dtype:
        return _cast(grad, aval.dtype)
    return grad


def _cast(grad: Tensor, dtype: Any) -> Tensor:
    from_real = grad.real if grad.is_complex() and dtype.kind != "c" else grad
    return _cast_op[0](from_real, dtypes.of(dtype))


_cast_op: list[Any] = []
"""The cast op, put here by the package's __init__ (ops stand above the engine's imports)."""


def _record_taped(
    node: OpNode, vjp: Any, values: list[Any], cotangents: Sequence[Tensor]
) -> list[Tensor]:
    """Record a gradient op so that it can be differentiated itself (create_graph)."""
    tensors: list[Tensor] = []
    indices: list[int | None] = list(node.saved)
    indices.extend([None] * (len(values) - len(indices)))
    for value, index in zip(values, indices, strict=True):
        tensor = wrap(value)
        edge = node.edges[index] if index is not None else None
        if edge is not None and value.aval.dtype.kind in "fcV":
            tensor._node, tensor._out = edge
            tensor._requires = True
        tensors.append(tensor)
    tensors.extend(cotangents)
    info = _gradient_info(node)
    all_values = [t._value for t in tensors]
    if any(t._requires for t in tensors):
        outs = record_taped(info, vjp, None, tensors, all_values, node.scalars)
        _cut_independent(outs, tensors, vjp_dependencies(vjp), node.name() in _TOGETHER)
        return outs
    place = vjp.out_avals[0].place
    return [wrap(v) for v in record(vjp, all_values, node.scalars, place)]


_TOGETHER = {
    "ConvolutionBackward0",
    "GridSamplerBackward0",
    "NativeBatchNormBackward0",
    "NativeLayerNormBackward0",
}
"""Nodes for which PyTorch has one gradient function of several results: all require grad at once."""


def _cut_independent(
    outs: Sequence[Tensor],
    tensors: Sequence[Tensor],
    sources: Sequence[frozenset[int]],
    together: bool,
) -> None:
    """Gradients that depend on nothing that requires grad do not require it, as in PyTorch.

    sources: for each of `outs` the indices of the `tensors` it depends on.
    """
    node: Any = next(out._node for out in outs if out._node is not None)
    node.sources = sources
    used: set[int] = set()
    for out, inputs in zip(outs, sources, strict=True):
        if together or any(tensors[i]._requires for i in inputs):
            used |= inputs
        else:
            out._node, out._requires = None, False
    node.edges = tuple([edge if i in used else None for i, edge in enumerate(node.edges)])


_infos: dict[str, OpInfo] = {}


def _gradient_info(node: OpNode) -> OpInfo:
    name = node.name()
    info = _infos.get(name)
    if info is None:
        info = _infos[name] = OpInfo(
            node.inst.op,
            grad_name=f"{name[:-1]}{int(name[-1]) + 1}"
            if name[-1].isdigit()
            else f"{name}Backward0",
        )
    return info


def _check_versions(node: OpNode, wrt: tuple[int, ...], given: tuple[int, ...]) -> None:
    for storage, version, index in node.versions:
        if storage.version == version or not storage.writes_since(version):
            continue
        if index >= 0:
            at = node.saved.index(index)
            sources = vjp_dependencies(vjp_instance(node.inst, wrt, given, node.saved))
            if not any(at in inputs for inputs in sources):
                continue  # the values that were changed play no part in these gradients
        aval = storage.value.aval
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an "
            f"inplace operation: [{aval.dtype.name} {list(aval.shape)}], used by {node.name()}, is "
            f"at version {version + storage.writes_since(version)}; expected version {version} "
            f"instead.{forward_origin(node)} Hint: enable anomaly detection to find the operation "
            "that failed to compute its gradient, with torch.autograd.set_detect_anomaly(True)."
        )


# Hooks ----------------------------------------------------------------------------------------


def _prehooks(node: Node, grads: Grads) -> Grads:
    tensor_hooks = node.note("tensor hooks")
    if tensor_hooks:
        grads = list(grads)
        for index, hooks in tensor_hooks:
            for hook in list(hooks.values()):
                if grads[index] is not None:
                    replaced = hook(grads[index])
                    if replaced is not None:
                        grads[index] = replaced
    if node.prehooks:
        for hook in list(node.prehooks.values()):
            replaced = hook(tuple(grads))
            if replaced is not None:
                grads = list(replaced) if isinstance(replaced, tuple | list) else [replaced]
    retained = node.note("retained")
    if retained:
        for index, ref in retained:
            tensor = ref()
            if tensor is not None and grads[index] is not None:
                grad = grads[index]
                tensor._grad = grad if tensor._grad is None else tensor._grad + grad
    return grads


def _hooks(node: Node, made: Grads, grads: Grads) -> Grads:
    if node.hooks:
        for hook in list(node.hooks.values()):
            replaced = hook(tuple(made), tuple(grads))
            if replaced is not None:
                made = list(replaced) if isinstance(replaced, tuple | list) else [replaced]
    return made


def _receive(node: AccumulateGrad, value: Value) -> None:
    """A gradient that nobody else holds, of a leaf without hooks."""
    variable = node.variable
    if variable._grad is not None or value.aval.dtype is not variable._value.aval.dtype:
        _accumulate(node, wrap(value), create_graph=False)
        return
    variable._grad = wrap(value)
    if listeners:
        _changed.append(variable)


def _accumulate(node: AccumulateGrad, grad: Tensor | None, create_graph: bool) -> None:
    variable = node.variable
    if grad is None:
        return
    aval = variable._value.aval
    if grad._value.aval.dtype != aval.dtype:
        grad = _cast(grad, aval.dtype)
    if variable._grad is None:
        # A storage of its own: accumulating later must not change a gradient others hold too.
        if create_graph:
            variable._grad = grad
        else:
            variable._grad = grad.detach() if isinstance(grad, Composed) else wrap(read(grad))
    elif create_graph or isinstance(variable._grad, Composed):
        variable._grad = _sum(variable._grad, grad)
    else:
        variable._grad.add_(grad)
    if listeners:
        _changed.append(variable)
    _hooks(node, [], [grad])
    post = node.note("post accumulate")
    if post:
        for hook in list(post.values()):
            hook(variable)
