"""From a function that reads and changes state to a pure one: state in, new state out.

The function is traced while the storages of its state hold placeholders, so that every window on
them (parameters, views, what an optimiser holds) sees a placeholder too, and what it writes in place
becomes an output. Afterwards everything is as it was.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from funtorch.device import place_of
from funtorch.dispatch import read
from funtorch.func.pure import in_order, is_leaf, tree
from funtorch.grad_mode import capturing
from funtorch.lowering import Aval, Captured, Value, aval_of, capture
from funtorch.lowering.op import lowering_for
from funtorch.lowering.program import Program, prune
from funtorch.lowering.program import run as run_program
from funtorch.random_mode import randomness_within
from funtorch.tensor import Storage, Tensor, wrap

_FIELDS = (
    *("_value", "_seen", "_node", "_out", "_requires", "_grad", "_accumulator", "_hooks"),
    *("_storage", "_chain", "_base_tensor"),
)
# Versions of borrowed storages: far from those that counting reaches, and never the same twice, so
# that a window which saw a placeholder can tell afterwards that it is out of date.
_versions = itertools.count(1 << 40, 1 << 20)


class Pure(NamedTuple):
    """A function as a program: (state, key, inputs, constants) -> outputs, changed state, inputs.

    Leaves of the program, in order: one per storage of the state, the key (uint32 [2]), the inputs,
    the constants. Outputs: the function's own, then `changed` (indices into state), then
    `written` (indices into the inputs).
    """

    captured: Captured
    names: tuple[str, ...]
    aliases: dict[str, str]
    n_inputs: int
    n_outputs: int
    changed: tuple[int, ...]
    written: tuple[int, ...]
    draws: bool
    out_tree: Any
    out_spec: list[Any]

    @property
    def program(self) -> Program:
        """The steps."""
        return self.captured.program

    @property
    def constants(self) -> list[Value]:
        """What the function closed over besides its state."""
        return self.captured.closed_over

    def __call__(
        self,
        state: Sequence[Any],
        key: Any,
        inputs: Sequence[Any],
        constants: Sequence[Any],
    ) -> list[Any]:
        """Arrays in, arrays out; pure. In the width of the JAX program around it (see `narrow`)."""
        place = self.captured.program.leaf_avals[len(state)].place
        with lowering_for(place):
            leaves = [*state, key, *inputs, *constants]
            return run_program(prune(self.captured.program), leaves, list(self.captured.scalars))

    def rebuild(self, outputs: Sequence[Any]) -> Any:
        """The function's return value with these leaves."""
        leaves = iter(outputs)
        full = [next(leaves) if s is None else s for s in self.out_spec]
        return tree.tree_unflatten(self.out_tree, full)


class _Borrowed:
    """A state's tensors while their storages hold placeholders."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.fields = [(t, [getattr(t, f) for f in _FIELDS]) for t in tensors]
        # A view is state by what it shows: it gets a storage of that size for the time being.
        own: dict[Any, Storage] = {}
        for tensor in tensors:
            if tensor._chain:
                storage = Storage(read(tensor), tensor._stride)
                tensor._storage = own.setdefault(window_key(tensor), storage)
                tensor._chain, tensor._base_tensor = (), None
        self.storages = {id(t._storage): t._storage for t in tensors}
        self.before = {k: (s.value, s.version, s.host) for k, s in self.storages.items()}

    def put(self, storage: Any, value: Value) -> None:
        storage.value, storage.version, storage.host = value, next(_versions), None

    def give_back(self) -> None:
        for key, storage in self.storages.items():
            storage.value, storage.version, storage.host = self.before[key]
        for tensor, fields in self.fields:
            for name, value in zip(_FIELDS, fields, strict=True):
                setattr(tensor, name, value)


def window_key(tensor: Tensor) -> Any:
    """Equal for tensors that look at the same elements in the same way."""
    chain = [(step.op.name, step.args) for step in tensor._chain]
    return id(tensor._storage), tuple(chain)


def plain_state(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(one tensor per window, alias -> name of the tensor that is the same)."""
    first: dict[Any, str] = {}
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name, tensor in state.items():
        other = first.setdefault(window_key(tensor), name)
        if other != name:
            aliases[name] = other
        else:
            kept[name] = tensor
    return kept, aliases


def purify(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    state: Mapping[str, Tensor],
    *,
    avals: Sequence[Aval] | None = None,
    locate: Callable[[], Any] | None = None,
    gradient: bool = True,
) -> Pure:
    """Trace `function(*args, **kwargs)`, whose state has these names, into a program.

    Tensors among the arguments become inputs (with `avals` instead of their own, if given), other
    arguments stay as they are. locate: see `capture`. gradient: may the program be differentiated?
    Then it says what has no gradient, and the function runs with gradients enabled. Raises
    RuntimeError if the function changes a tensor in place that is neither state nor input.
    """
    kept, aliases = plain_state(state)
    leaves, structure = tree.tree_flatten(in_order((args, kwargs)), is_leaf=is_leaf)
    given = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    found = [read(t).aval for t in given] if avals is None else list(avals)
    tensors = list(kept.values())
    own = [read(t).aval for t in tensors]
    place = (found or own or [aval_of((), np.dtype("f4"), place_of(None))])[0].place
    key_aval = aval_of((2,), np.dtype(np.uint32), place)
    watch = capturing(True) if gradient else contextlib.nullcontext()
    with watch, capture(place, locate) as recorder, borrowed(list(state.values())) as loan:
        recorder.trace.written = {}
        for tensor, aval in zip(tensors, own, strict=True):
            loan.put(tensor._storage, recorder.placeholder(aval))
        began = [t._storage.value for t in tensors]
        key = wrap(recorder.placeholder(key_aval))
        inputs = [wrap(recorder.placeholder(aval)) for aval in found]
        fill = iter(inputs)
        full = [next(fill) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        own_args, own_kwargs = tree.tree_unflatten(structure, full)
        try:
            with randomness_within(None, key):  # type: ignore[arg-type]
                result = function(*own_args, **own_kwargs)
            out_leaves, out_tree = tree.tree_flatten(in_order(result), is_leaf=is_leaf)
            outs = [read(leaf) for leaf in out_leaves if isinstance(leaf, Tensor)]
            ended, after = [t._storage.value for t in tensors], [read(t) for t in inputs]
        finally:
            check_written(recorder, [*loan.storages.values(), *(t._storage for t in inputs)])
        changed = _differing(ended, began)
        written = _differing(after, recorder.placeholders[len(own) + 1 :])
        wanted = [*outs, *(ended[i] for i in changed), *(after[i] for i in written)]
        captured = recorder.finish(wanted)
    draws = any(captured.program.leaves[len(own)] in s.inputs for s in captured.program.steps)
    spec = [None if isinstance(leaf, Tensor) else leaf for leaf in out_leaves]
    sizes = (len(found), len(outs))
    return Pure(captured, tuple(kept), aliases, *sizes, changed, written, draws, out_tree, spec)


def _differing(now: Sequence[Value], then: Sequence[Value]) -> tuple[int, ...]:
    pairs = enumerate(zip(now, then, strict=True))
    return tuple(i for i, (a, b) in pairs if a is not b)


@contextlib.contextmanager
def borrowed(tensors: Sequence[Tensor]) -> Iterator[_Borrowed]:
    """Within, the tensors' storages may hold anything; afterwards all is as it was."""
    loan = _Borrowed(tensors)
    for tensor in tensors:
        tensor._grad = None
    try:
        yield loan
    finally:
        loan.give_back()


def check_written(recorder: Any, known: Sequence[Any], who: str = "the function") -> None:
    """Undo writes to storages from outside that are not state; raise for the first of them."""
    allowed = {id(s) for s in known}
    trace = recorder.trace
    strangers = [
        (storage, old)
        for storage, old in trace.written.items()
        if id(storage) not in allowed and not recorder.made_inside(old[0])
    ]
    for storage, (value, version) in strangers:
        storage.value, storage.version = value, version
    trace.written = None
    if strangers:
        raise RuntimeError(
            f"{who} changes a tensor in place ({strangers[0][1][0].aval!r}) that is neither "
            "an argument nor a parameter or buffer; register it as a buffer, or pass it in"
        )


def module_state(module: Any) -> dict[str, Tensor]:
    """Parameters, then buffers (also those that no file holds), by name; shared ones repeatedly."""
    state: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    state.update(module.named_buffers(remove_duplicate=False))
    return state


def concrete(values: Sequence[Value]) -> list[Any]:
    """Arrays of values, executing what is pending."""
    return [v.concrete() for v in values]
