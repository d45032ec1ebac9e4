"""A training step as ONNX: forward, backward and the optimiser's update in one graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from funtorch.bridge import as_tensor
from funtorch.compiler.state import within
from funtorch.dispatch import to_host
from funtorch.export.build import Recording, axes_of, describe, recorded
from funtorch.export.training import step_request
from funtorch.library import kept_whole
from funtorch.nn.module import Module
from funtorch.onnx.writing import check, exporter
from funtorch.onnx.writing.emit import Emitter, constants_of, weights_of
from funtorch.onnx.writing.graph import Graph
from funtorch.onnx.writing.program import ONNXProgram
from funtorch.onnx.writing.proto import Finished
from funtorch.onnx.writing.runtimes import runner, typed
from funtorch.tensor import Tensor

NEXT = ".next"
STATE = "funtorch.state"  # metadata: which output is the next value of which initialiser


class TrainingProgram(ONNXProgram):
    """A training step as ONNX, with its state.

    The graph's inputs are the step's arguments, the learning rate, and the state by name; its outputs
    are the step's results and, as NAME.next, the new state. The initial state is the inputs' default,
    so that the file alone is enough to begin with. Calling it runs a step and keeps the new state.
    """

    def __init__(
        self, finished: Finished, arguments: Any, state: Sequence[str], rates: Mapping[str, float]
    ) -> None:
        super().__init__(finished, None, arguments)
        self._changing = list(state)
        self.rates = dict(rates)
        self.state = {n: finished.initializers[n] for n in state}

    @property
    def input_names(self) -> list[str]:
        """Names of the step's arguments; the learning rate and the state come behind."""
        own = {*self._changing, *self.rates}
        return [v.name for v in self._finished.inputs if v.name not in own]

    def __call__(self, *args: Any, lr: Any = None, **kwargs: Any) -> list[Tensor]:
        """One step; its results as a list. lr: another learning rate, or several by name."""
        if self._runner is None:
            self._runner = runner(self)
        rates = lr if isinstance(lr, dict) else dict.fromkeys(self.rates, lr)
        rates = {n: v if rates.get(n) is None else rates[n] for n, v in self.rates.items()}
        feeds = dict(zip(self.input_names, self._flat(args, kwargs), strict=True))
        feeds.update({n: np.asarray(v, np.float32) for n, v in rates.items()})
        outs = typed(self._runner({**feeds, **self.state}), self._finished.outputs)
        n = len(outs) - len(self._changing)
        self.state = dict(zip(self._changing, outs[n:], strict=True))
        return [as_tensor(a) for a in outs[:n]]

    def state_dict(self) -> dict[str, Tensor]:
        """The model's parameters and buffers as they are now."""
        every = {**self._finished.initializers, **self.state}
        return {n: as_tensor(a) for n, a in every.items() if not n.startswith("optimizer.")}


def export_training_step(
    step: Callable[..., Any],
    args: tuple[Any, ...],
    f: Any = None,
    *,
    model: Module,
    optimizer: Any,
    kwargs: dict[str, Any] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset_version: int | None = None,
    dynamic_shapes: Any = None,
    custom_translation_table: Mapping[Any, Callable[..., Any]] | None = None,
    external_data: bool = True,
    verify: bool = True,
) -> TrainingProgram:
    """Write `step(*args)`, which trains `model` with `optimizer`, as one ONNX graph.

    The step is recorded, not executed: it calls zero_grad, backward and optimizer.step as ever. The
    optimiser must have its state already (run one step first) and keep it in tensors. The learning
    rate is an input. Raises UnsupportedOps, ShapeError, VerificationError.
    """
    kwargs = dict(kwargs or {})
    request, _ = step_request(step, tuple(args), kwargs, model, optimizer, exporter.caller)
    names = exporter.input_names_of(request, input_names)
    table = exporter.translations(custom_translation_table)
    with within("onnx"), kept_whole(table):
        recording = recorded(request, axes_of(request, exporter.with_dims(dynamic_shapes, {})))
    pure = recording.pure
    g = Graph(exporter.checked_opset(opset_version))
    inputs = [
        g.value(name, aval.dtype, tuple(aval.shape))
        for name, aval in zip(names, recording.in_avals, strict=True)
    ]
    rates = {n: g.value(n, np.float32, ()) for n in request.numbers}
    changing = [pure.names[i] for i in pure.changed]
    wanted = exporter.output_names_of(pure.n_outputs, output_names)
    wanted += [n + NEXT for n in changing]
    for name in wanted:
        g.fresh(name)
    exporter.sources(g, inputs)
    weights = [g.initializer(n, a) for n, a in weights_of(recording)]
    leaves = [*weights, g.value("rng_key", np.uint32, (2,)), *inputs]
    leaves += [g.const(a) for a in constants_of(recording)]
    program = recording.needed()
    kept = pure.n_outputs + len(changing)
    program = program._replace(outputs=program.outputs[:kept])
    scalars = list(recording.scalars)
    for name, places in recording.where.items():
        for index in places:
            scalars[index] = rates[name]
    emitter = Emitter(g, recording, exporter.modules_of(model), table)
    outs = emitter.run(program, leaves, scalars)
    state = [weights[i] for i in pure.changed]
    finished = Finished(g, [*inputs, *rates.values(), *state], outs, wanted)
    for value in state:  # also those that nothing reads
        finished.initializers.setdefault(value.name, g.initializers[value.name])
    finished.metadata[STATE] = json.dumps({n: n + NEXT for n in changing})
    numbers = {n: float(v) for n, (v, _) in request.numbers.items()}
    finished.metadata["funtorch.rates"] = json.dumps(numbers)
    flat = lambda a, k: describe(request._replace(args=tuple(a), kwargs=dict(k)))[1]  # noqa: E731
    made = TrainingProgram(finished, flat, changing, numbers)
    check.checked(made)
    if verify:
        _verify(made, recording, numbers, kept)
    if f is not None:
        made.save(f, external_data=external_data and not hasattr(f, "write"))
    return made


def _verify(
    made: TrainingProgram, recording: Recording, rates: Mapping[str, float], n: int
) -> None:
    """One step against funtorch's. What rounding alone moves that far is no difference: Adam makes
    whole steps of a gradient that is nothing but rounding, as a bias's before a normalisation."""
    inputs = [np.asarray(to_host(t.detach())) for t in describe(recording.request)[1]]
    run = exporter.pure_outputs(recording, n)
    state = weights_of(recording)
    expected = run(state, inputs)
    nudged = run([(k, _nudged(a)) for k, a in state], [_nudged(a) for a in inputs])
    slack = [_distance(a, b) for a, b in zip(expected, nudged, strict=True)]
    feeds = dict(zip(made.input_names, inputs, strict=True))
    feeds.update({k: np.asarray(v, np.float32) for k, v in rates.items()})
    check.compared(made, {**feeds, **made.state}, expected, slack)
    made.release()


def _nudged(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Every other element larger by a few units in the last place."""
    if array.dtype.kind not in "fV":
        return array
    factor = np.where(np.arange(array.size) % 2, 1 + 4 * np.finfo(np.float32).eps, 1)
    return (array.reshape(-1) * factor).astype(array.dtype).reshape(array.shape)


def _distance(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    if a.dtype.kind not in "fV" or not a.size:
        return 0.0
    return 4 * float(np.nanmax(np.abs(a.astype(np.float64) - b.astype(np.float64))))
