"""`torch.onnx.export`: from a model and example arguments to an ONNXProgram."""

from __future__ import annotations

import enum
import functools
import re
import sys
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from funtorch.compiler.state import within
from funtorch.dispatch import read, to_host
from funtorch.export.build import (
    Axes,
    Recording,
    Request,
    argument_names,
    axes_of,
    describe,
    guesses,
    purified,
    recorded,
)
from funtorch.export.dims import Dim
from funtorch.export.program import ExportedProgram
from funtorch.export.runtime import entries_of
from funtorch.func.pure import in_order, is_leaf, tree
from funtorch.func.stateful import module_state
from funtorch.grad_mode import no_grad
from funtorch.library import CustomOpDef, kept_whole
from funtorch.lowering.symbolic import ShapeError
from funtorch.lowering.x64 import x64
from funtorch.nn.module import Module
from funtorch.onnx.module import OnnxModule, as_arrays
from funtorch.onnx.writing import check
from funtorch.onnx.writing.emit import Emitter, constants_of, library, weights_of
from funtorch.onnx.writing.exportable import ExportableModule
from funtorch.onnx.writing.graph import Graph
from funtorch.onnx.writing.kept import by_own_nodes
from funtorch.onnx.writing.program import ONNXProgram
from funtorch.onnx.writing.proto import Finished
from funtorch.onnx.writing.table import OnnxExporterError
from funtorch.onnx.writing.values import Val
from funtorch.ops.aten import OpOverloadPacket
from funtorch.tensor import Tensor

OPSETS = range(18, 27)
DEFAULT_OPSET = 20


class TrainingMode(enum.IntEnum):
    """Kept for old calls: a model is written in the mode it is in."""

    EVAL = 0
    PRESERVE = 1
    TRAINING = 2


class OperatorExportTypes(enum.IntEnum):
    """Kept for old calls: there is only ONNX."""

    ONNX = 0


def export(
    model: Any,
    args: Any = (),
    f: Any = None,
    *,
    kwargs: dict[str, Any] | None = None,
    verbose: bool | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset_version: int | None = None,
    dynamo: bool = True,
    external_data: bool = True,
    dynamic_shapes: Any = None,
    custom_translation_table: Mapping[Any, Callable[..., Any]] | None = None,
    report: bool = False,
    optimize: bool = True,
    verify: bool = True,
    profile: bool = False,
    dump_exported_program: bool = False,
    artifacts_dir: Any = ".",
    export_params: bool = True,
    keep_initializers_as_inputs: bool = False,
    dynamic_axes: Mapping[str, Any] | None = None,
    training: Any = TrainingMode.EVAL,
    operator_export_type: Any = OperatorExportTypes.ONNX,
    do_constant_folding: bool = True,
    custom_opsets: Mapping[str, int] | None = None,
    export_modules_as_functions: bool | Collection[type] = False,
    autograd_inlining: bool = True,
) -> ONNXProgram | None:
    """Write a module's forward for these arguments as ONNX, and to the path `f` if there is one.

    The model is captured in the mode it is in, at opsets 18 to 26 (default 20). Dimensions named in
    `dynamic_shapes` (as for torch.export.export; strings do as names) or `dynamic_axes` stay
    symbolic all through. verify: the written model is run on the example arguments, in onnxruntime
    if that is installed, and must agree with funtorch; not so with nodes of one's own domains.

    custom_translation_table: op -> rule(g, *arguments of the op) -> value (see `writing.table`), or a
    function of onnxscript's, which gets the op's tensors.
    export_modules_as_functions: each module's call becomes one node, that of a local function (True), or
    only those of these classes.

    A loaded model that cannot be captured (strings, shapes that depend on values) is written by its own
    nodes with its present weights; a warning says so.

    Raises UnsupportedOps, which names every op without a form in ONNX; ShapeError; VerificationError.
    """
    for name, asked in (("report", report), ("profile", profile),
                        ("dump_exported_program", dump_exported_program)):  # fmt: skip
        if asked:
            raise NotImplementedError(f"torch.onnx.export({name}=True) is not there")
    if isinstance(model, ExportableModule):
        args, kwargs = (args, kwargs) if args or kwargs else model.example_arguments()
        input_names = input_names or model.input_names()
        output_names = output_names or model.output_names()
        dynamic_shapes = model.dynamic_shapes() if dynamic_shapes is None else dynamic_shapes
    args, kwargs = _arguments(args, kwargs, dynamo)
    asked = Asked(
        input_names, output_names, opset_version, dynamic_shapes, dynamic_axes,
        custom_translation_table, custom_opsets, export_modules_as_functions, verify,
    )  # fmt: skip
    try:
        program = _captured(model, args, kwargs, asked)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as why:
        if not (isinstance(model, OnnxModule) and asked.plain) or isinstance(
            why, check.VerificationError
        ):
            raise
        if opset_version not in (None, model.opset):
            raise
        program = by_own_nodes(model, args, kwargs, verify, why)
    if verbose:
        print(program)
    if f is not None:
        program.save(
            f,
            include_initializers=export_params,
            keep_initializers_as_inputs=keep_initializers_as_inputs,
            external_data=external_data and not hasattr(f, "write"),
        )
    return program if dynamo else None


class Asked(NamedTuple):
    """What `export` was asked of the graph."""

    input_names: Sequence[str] | None = None
    output_names: Sequence[str] | None = None
    opset_version: int | None = None
    dynamic_shapes: Any = None
    dynamic_axes: Mapping[str, Any] | None = None
    translations: Mapping[Any, Callable[..., Any]] | None = None
    custom_opsets: Mapping[str, int] | None = None
    functions: bool | Collection[type] = False
    verify: bool = True

    @property
    def plain(self) -> bool:
        """Nothing but an opset?"""
        return self._replace(opset_version=None, verify=True) == Asked()


def _captured(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], asked: Asked
) -> ONNXProgram:
    """Record the call, write its ops, check what was written."""
    request = _request(model, args, kwargs)._replace(gradient=False)
    names = input_names_of(request, asked.input_names)
    table = translations(asked.translations)
    with within("onnx"), kept_whole(table):
        recording = _recording(model, request, names, asked.dynamic_shapes, asked.dynamic_axes)
    finished = _finished(recording, asked.opset_version, names, asked.output_names, table, model)
    finished.domains.update(asked.custom_opsets or {})
    if asked.functions:
        finished.fold(asked.functions)
    given = model if isinstance(model, ExportedProgram) else None
    program = ONNXProgram(finished, given, functools.partial(_flat_arguments, request))
    check.checked(program)
    if asked.verify and not finished.foreign:
        inputs = as_arrays(describe(request)[1])
        feeds = dict(zip(program.input_names, inputs, strict=True))
        check.compared(program, feeds, _expected(model, request, recording, inputs))
        program.release()
    return program


def _arguments(args: Any, kwargs: Any, dynamo: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments. The old exporter took a last dict for the latter."""
    args = (args,) if isinstance(args, Tensor) else tuple(args)
    if not dynamo and kwargs is None and args and isinstance(args[-1], dict):
        return args[:-1], dict(args[-1])
    return args, dict(kwargs or {})


def _flat_arguments(request: Request, args: Any, kwargs: Any) -> list[Tensor]:
    return describe(request._replace(args=tuple(args), kwargs=dict(kwargs)))[1]


def caller() -> str:
    """The line of the user's code that is running: file without folders, line, function."""
    frame: Any = sys._getframe(2)
    own = library()
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith((*own, "<")):
            name = re.split(r"[\\/]", code.co_filename)[-1]
            return f'File "{name}", line {frame.f_lineno}, in {code.co_name}'
        frame = frame.f_back
    return ""


def _request(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
    if isinstance(model, ExportedProgram):
        if model._built is None:
            raise OnnxExporterError(
                "an ExportedProgram that was loaded from a file holds no ops any more: write the "
                "one that torch.export.export returned"
            )
        recording: Recording = model._built.recording
        return recording.request
    if isinstance(model, Module):
        state = module_state(model)
        roles = {n: e["role"] for n, e in entries_of(model).items()}
        names = argument_names(model.forward, args, kwargs)
        return Request(model, args, kwargs, state, roles, names, locate=caller)
    if not callable(model):
        raise TypeError(f"expected a Module, a function or an ExportedProgram, not {type(model)}")
    return Request(model, args, kwargs, {}, {}, argument_names(model, args, kwargs), locate=caller)


def input_names_of(request: Request, given: Sequence[str] | None) -> list[str]:
    paths = [re.sub(r"\W+", "_", p).strip("_") for p in describe(request)[2]]
    if given is not None and len(given) > len(paths):
        raise ValueError(f"{len(given)} input names for {len(paths)} inputs: {paths}")
    names = [*(given or ()), *paths[len(given or ()) :]]
    for i, name in enumerate(names):
        if name in names[:i]:
            names[i] = f"{name}_{i}"
    return names


def _recording(
    model: Any, request: Request, names: Sequence[str], dynamic_shapes: Any, dynamic_axes: Any
) -> Recording:
    if isinstance(model, ExportedProgram):
        return model._built.recording  # type: ignore[union-attr]
    axes = axes_of(request, with_dims(dynamic_shapes, {}))
    if dynamic_axes and dynamic_shapes is None:
        axes = _from_axes(dynamic_axes, names, request)
    with no_grad():
        for settled in guesses(axes, request):
            try:
                return recorded(request, settled)
            except ShapeError:
                continue
        return recorded(request, axes)


def with_dims(spec: Any, known: dict[str, Dim]) -> Any:
    """dynamic_shapes with a Dim for each string."""
    if isinstance(spec, str):
        return known.setdefault(spec, Dim(_identifier(spec)))
    if isinstance(spec, dict):
        return {k: with_dims(v, known) for k, v in spec.items()}
    if isinstance(spec, list | tuple):
        return type(spec)(with_dims(v, known) for v in spec)
    return spec


def _identifier(name: str) -> str:
    made = re.sub(r"\W", "_", name)
    return made if made.isidentifier() else f"d_{made}"


def _from_axes(dynamic_axes: Mapping[str, Any], names: Sequence[str], request: Request) -> Axes:
    """Dims by the names of inputs. They are hints: those that must be equal may become one."""
    dims: dict[str, Dim] = {}
    found: Axes = []
    for name, tensor in zip(names, describe(request)[1], strict=True):
        given = dynamic_axes.get(name, {})
        if not isinstance(given, Mapping):
            given = {axis: f"{name}_dynamic_axes_{i + 1}" for i, axis in enumerate(given)}
        own = {}
        for axis, label in given.items():
            dim = dims.get(label)
            if dim is None:
                dim = dims[label] = Dim(_identifier(label))
                dim.auto = dim.dynamic = True
            own[axis % max(tensor.ndim, 1)] = dim
        found.append(own)
    return found


def modules_of(model: Any) -> dict[int, tuple[str, str]]:
    """module id -> (its path, its class)"""
    if not isinstance(model, Module):
        return {}
    return {
        id(m): (n, f"{type(m).__module__}.{type(m).__qualname__}")
        for n, m in model.named_modules(remove_duplicate=False)
    }


def _finished(
    recording: Recording,
    opset: int | None,
    names: Sequence[str],
    output_names: Sequence[str] | None,
    table: Mapping[str, Callable[..., Any]],
    model: Any,
) -> Finished:
    pure = recording.pure
    if pure.changed:
        changed = ", ".join(pure.names[i] for i in pure.changed[:3])
        warnings.warn(
            f"the model changes its state ({changed}{', ...' if len(pure.changed) > 3 else ''}), "
            "which an ONNX graph cannot: outputs are right, the new state is left out "
            "(call eval() before exporting, or see torch.onnx.export_training_step)",
            stacklevel=3,
        )
    program = recording.needed()
    program = program._replace(outputs=program.outputs[: pure.n_outputs])
    g = Graph(checked_opset(opset))
    inputs = [
        g.value(name, aval.dtype, tuple(aval.shape))
        for name, aval in zip(names, recording.in_avals, strict=True)
    ]
    wanted = output_names_of(pure.n_outputs, output_names)
    for name in wanted:
        g.fresh(name)
    sources(g, inputs)
    leaves = [g.initializer(n, a) for n, a in weights_of(recording)]
    leaves += [g.value("rng_key", np.uint32, (2,)), *inputs]
    leaves += [g.const(a) for a in constants_of(recording)]
    emitter = Emitter(g, recording, modules_of(model), table)
    outs = emitter.run(program, leaves, recording.scalars)
    return Finished(g, inputs, outs, wanted)


def checked_opset(opset: int | None) -> int:
    """The opset to write. Raises ValueError for one that is not known."""
    opset = DEFAULT_OPSET if opset is None else opset
    if opset not in OPSETS:
        raise ValueError(f"opset_version is one of {OPSETS[0]} to {OPSETS[-1]}, not {opset}")
    return opset


def output_names_of(count: int, given: Sequence[str] | None) -> list[str]:
    """Those given, and output_1 and so on for the rest."""
    names = list(given or ())
    if len(names) > count:
        raise ValueError(f"{len(names)} output names for {count} outputs")
    return [*names, *(f"output_{i}" for i in range(len(names), count))]


def sources(g: Graph, inputs: Sequence[Any]) -> None:
    """Tell where each dimension can be read; those named plainly go first."""
    places = [(n, v, i) for v in inputs for i, n in enumerate(v.shape) if not isinstance(n, int)]
    for dim, value, axis in sorted(places, key=lambda p: len(str(p[0]))):
        g.sizes.source(dim, value, axis)


def translations(table: Mapping[Any, Callable[..., Any]] | None) -> dict[str, Callable[..., Any]]:
    """op name -> rule, from a table whose keys are ops, custom ops or names.

    Raises ValueError for what is never recorded under its own name.
    """
    found = {}
    for key, fn in (table or {}).items():
        facade = key._facade if isinstance(key, OpOverloadPacket) else key
        if isinstance(facade, CustomOpDef | str):
            name = facade if isinstance(facade, str) else facade.name
        elif getattr(facade, "info", None) is not None:
            name = facade.info.op.name
        else:
            raise ValueError(
                f"custom_translation_table: {key!r} is made of other ops, which are what is recorded: "
                "give rules for those, or make it a custom op (torch.library.custom_op)"
            )
        found[name] = _scripted(fn) if _is_scripted(fn) else fn
    return found


def _is_scripted(fn: Any) -> bool:
    """Is this a function of onnxscript's? Nobody has one who has not imported that."""
    onnxscript = sys.modules.get("onnxscript")
    return onnxscript is not None and isinstance(fn, onnxscript.OnnxFunction)


def _scripted(fn: Any) -> Callable[..., Any]:
    """A rule that calls onnxscript's function, which goes into the model as a local function."""
    proto = fn.to_function_proto()

    def write(g: Graph, *args: Any) -> Any:
        g.functions[proto.name] = proto
        given = [a for a in args if isinstance(a, Val)]
        avals = g.inst.out_avals
        outs = g.op(proto.name, *given, n=len(avals), domain=proto.domain, dtype=avals[0].dtype)
        outs = outs if isinstance(outs, tuple) else (outs,)
        for out, aval in zip(outs, avals, strict=True):
            out.dtype, out.shape, out.held = np.dtype(aval.dtype), aval.shape, aval.shape
        return list(outs)

    return write


def _expected(
    model: Any, request: Request, recording: Recording, inputs: Sequence[Any]
) -> list[np.ndarray[Any, Any]]:
    """What funtorch computes for the example arguments. Changes no state."""
    pure = recording.pure
    if not (pure.changed or pure.written or pure.draws):
        with no_grad():
            result = request.function(*request.args, **request.kwargs)
        leaves = tree.tree_flatten(in_order(result), is_leaf=is_leaf)[0]
        leaves = [x for x in leaves if isinstance(x, Tensor)]
        return [np.asarray(to_host(t.detach())) for t in leaves]
    return pure_outputs(recording, pure.n_outputs)(weights_of(recording), inputs)


def pure_outputs(recording: Recording, count: int) -> Callable[..., list[np.ndarray[Any, Any]]]:
    """(state by name, inputs) -> the first outputs of what was recorded. Touches no state."""
    request = recording.request
    again, where = purified(request, [read(t).aval for t in describe(request)[1]])
    scalars = list(again.captured.scalars)
    for name, places in where.items():
        for index in places:
            scalars[index] = request.numbers[name][0]
    again = again._replace(captured=again.captured._replace(scalars=tuple(scalars)))
    consts = [v.concrete() for v in again.constants]
    compiled = jax.jit(again.__call__)

    def run(state: Sequence[tuple[str, Any]], inputs: Sequence[Any]) -> list[Any]:
        with x64():
            outs = compiled([a for _, a in state], np.zeros(2, np.uint32), list(inputs), consts)
        return [np.asarray(o) for o in outs[:count]]

    return run
