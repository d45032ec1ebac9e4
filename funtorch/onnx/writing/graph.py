"""The graph under construction, and what rules do with it.

y = g.op("Gemm", x, weight, bias, transB=1)     # a node; its output
g.reshape(y, (batch, 4))                         # shapes may hold symbolic dimensions
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from funtorch.onnx.writing.sizes import Sizes
from funtorch.onnx.writing.values import Block, Node, Pair, Shape, Val, is_one, merged, static

_COMPARING = {
    *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"),
    *("And", "Or", "Xor", "Not", "IsNaN", "IsInf"),
}
BROADCASTING = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Where", "PRelu"),
    *("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift", "Cast", "Neg", "Abs"),
    *("Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Sign", "Floor", "Ceil", "Round", "Sigmoid"),
    *("Tanh", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh"),
    *("Atanh", "Relu", "Elu", "Selu", "Celu", "LeakyRelu", "Softplus", "Softsign", "Gelu"),
    *("HardSigmoid", "HardSwish", "Mish", "ThresholdedRelu", "Clip"),
    *_COMPARING,
}  # fmt: skip
"""Ops that broadcast their inputs, so that these need not have been broadcast before."""

FOLDED = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Neg": np.negative, "Sqrt": np.sqrt,
    "Max": np.maximum, "Min": np.minimum, "Not": np.logical_not, "Equal": np.equal,
    "Less": np.less, "Greater": np.greater, "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal, "And": np.logical_and, "Or": np.logical_or,
}  # fmt: skip
_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
SMALL = 1024  # elements up to which constants are nodes, and are computed with
RANDOM = {"RandomNormalLike", "RandomUniformLike", "RandomNormal", "RandomUniform", "Bernoulli",
          "Dropout", "Multinomial"}  # fmt: skip


class Origin:
    """Where a node comes from: op, module path, classes, source line."""

    def __init__(self, op: str, names: Sequence[str], classes: Sequence[str], line: str) -> None:
        self.op, self.names, self.classes, self.line = op, tuple(names), tuple(classes), line

    @property
    def path(self) -> str:
        """The path of the innermost module."""
        return self.names[-1] if self.names else ""


class Graph:
    """Values, nodes, constants and sizes. Equal nodes are made once."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.main = self.block = Block()
        self.first = Block()  # constants and sizes, before everything else
        self.initializers: dict[str, Any] = {}
        self.domains: dict[str, int] = {}
        self.functions: dict[str, Any] = {}  # FunctionProtos that translations brought
        self.sizes = Sizes(self)
        self.origin: Origin | None = None
        self.inst: Any = None  # the recorded op whose rule runs
        self._constants: dict[Any, Val] = {}
        self._names: dict[str, int] = {}
        self.random = False

    # Names and values ---------------------------------------------------------------------------

    def fresh(self, base: str) -> str:
        """A name nobody has."""
        count = self._names.get(base)
        self._names[base] = 1 if count is None else count + 1
        return base if count is None else self.fresh(f"{base}_{count}")

    def value(self, base: str, dtype: Any, shape: Shape | None) -> Val:
        """A value without a producer: an input or an initialiser."""
        return Val(self, self.fresh(base), dtype, shape)

    def initializer(self, name: str, array: Any) -> Val:
        """A weight; a complex one is two."""
        if array.dtype.kind == "c":
            parts = ("real", array.real), ("imag", array.imag)
            return Pair(*(self.initializer(f"{name}.{n}", part) for n, part in parts))
        made = self.value(name, array.dtype, tuple(array.shape))
        self.initializers[made.name] = array
        return made

    def const(self, value: Any, dtype: Any = None) -> Val:
        """A constant; large ones become initialisers."""
        array = np.asarray(value, None if dtype is None else np.dtype(dtype))
        if array.dtype.kind == "c":
            return Pair(self.const(array.real), self.const(array.imag))
        key = (array.dtype, array.shape, array.tobytes())
        made = self._constants.get(key)
        if made is None:
            if array.size > SMALL:
                made = self.initializer("constant", array)
            else:
                made = self.value(self._constant_name(array), array.dtype, array.shape)
                self.first.nodes.append(Node("Constant", "", (), (made,), {"value": array}, None))
            made.array = array
            self._constants[key] = made
        return made

    @staticmethod
    def _constant_name(array: np.ndarray[Any, Any]) -> str:
        return f"c_{array.item()}" if array.ndim == 0 else "c"

    def ints(self, values: Sequence[int]) -> Val:
        """int64 [n]"""
        return self.const(np.array(values, np.int64))

    def shape(self, dims: Sequence[Any]) -> Val:
        """A shape as int64 [n], computed where dimensions are symbolic."""
        if static(tuple(dims)):
            return self.ints(dims)
        parts: list[Val] = []
        plain: list[int] = []
        for dim in [*dims, None]:
            if isinstance(dim, int):
                plain.append(dim)
                continue
            if plain:
                parts.append(self.ints(plain))
                plain = []
            if dim is not None:
                parts.append(self.sizes.of(dim))
        with self.preamble():
            return self.concat(parts, 0)

    def number(self, dim: Any, dtype: Any = np.int64) -> Val:
        """A dimension as a 0-d value."""
        if isinstance(dim, int | float | bool | np.generic):
            return self.const(dim, dtype)
        return self.cast(self.squeeze(self.sizes.of(dim), [0]), dtype)

    @contextlib.contextmanager
    def preamble(self) -> Iterator[None]:
        """Within, nodes go before all others: they depend on constants and input sizes only."""
        before, origin = self.block, self.origin
        self.block, self.origin = self.first, None
        try:
            yield
        finally:
            self.block, self.origin = before, origin

    @contextlib.contextmanager
    def within(self, block: Block) -> Iterator[Block]:
        """Within, nodes go to this block, the body of a subgraph."""
        before, self.block = self.block, block
        try:
            yield block
        finally:
            self.block = before

    # Nodes --------------------------------------------------------------------------------------

    def op(
        self,
        kind: str,
        *inputs: Val | None,
        n: int = 1,
        dtype: Any = None,
        shape: Shape | None = None,
        domain: str = "",
        **attrs: Any,
    ) -> Any:
        """Add a node; returns its output, or the tuple of its `n` outputs.

        dtype: of the outputs (else that of the first input). shape: of the first output, which
        elementwise ops work out themselves.
        """
        elementwise = kind in BROADCASTING and not domain
        if elementwise:
            simpler = self._simplified(kind, inputs, attrs)
            if simpler is not None:
                return simpler
        else:
            inputs = tuple(None if x is None else self.full(x) for x in inputs)
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        attrs = {k: v for k, v in attrs.items() if v is not None}
        key = self._key(kind, domain, inputs, attrs, n)
        found = self._known(key)
        if found is None:
            found = self._added(kind, domain, inputs, n, dtype, shape, attrs, elementwise)
            if key is not None:
                self.block.seen[key] = found
        return found[0] if n == 1 else found

    def _added(
        self, kind: str, domain: str, inputs: Any, n: int, dtype: Any, shape: Any, attrs: Any,
        elementwise: bool,
    ) -> tuple[Val, ...]:  # fmt: skip
        given = [x for x in inputs if x is not None]
        if dtype is None:
            dtype = np.bool_ if kind in _COMPARING else inputs[1 if kind == "Where" else 0].dtype
        names = [self.fresh(kind.lower() if n == 1 else f"{kind.lower()}_{i}") for i in range(n)]
        outs = tuple(Val(self, name, dtype, None) for name in names)
        outs[0].shape = outs[0].held = shape
        if elementwise and all(x.shape is not None for x in given):
            outs[0].shape = merged([x.shape for x in given])
            outs[0].held = merged([x.held for x in given])
        if domain and domain not in self.domains:
            self.domains[domain] = 1
        self.random = self.random or kind in RANDOM
        self.block.nodes.append(Node(kind, domain, tuple(inputs), outs, attrs, self.origin))
        return outs

    def _key(self, kind: str, domain: str, inputs: Any, attrs: Any, n: int) -> Any:
        if (
            kind in RANDOM
            or kind == "Identity"
            or any(isinstance(v, Block | np.ndarray) for v in attrs.values())
        ):
            return None
        flat = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in attrs.items())
        names = tuple(
            None if x is None else (x.name, x.shape if x.partial else None) for x in inputs
        )
        return kind, domain, names, flat, n

    def _known(self, key: Any) -> tuple[Val, ...] | None:
        block: Block | None = self.block
        while block is not None and key is not None:
            if key in block.seen:
                return block.seen[key]
            block = block.parent
        return None

    def _simplified(self, kind: str, inputs: Any, attrs: Any) -> Val | None:
        """Arithmetic on constants, and with neutral elements, is done here."""
        if kind in FOLDED and all(
            x is not None and x.array is not None and x.array.size <= SMALL and not x.partial
            for x in inputs
        ):
            with np.errstate(all="ignore"):
                made = FOLDED[kind](*(x.array for x in inputs))
            return self.const(np.asarray(made))
        neutral = _NEUTRAL.get(kind)
        if neutral is None:
            return None
        x, y = inputs
        for this, other in ((y, x), (x, y)) if kind in ("Add", "Mul") else ((y, x),):
            if (
                this.array is not None
                and this.array.size == 1
                and this.array.item() == neutral
                and other.shape is not None
                and merged([this.shape, other.shape]) == other.shape
            ):
                return other  # type: ignore[no-any-return]
        return None

    # What most rules need -----------------------------------------------------------------------

    def full(self, x: Val) -> Val:
        """Write the broadcast that was put off, if there is one."""
        return self.expanded(x, x.shape) if x.partial else x

    def expanded(self, x: Val, shape: Any) -> Val:
        """Expand as a node."""
        if x.array is not None and static(shape) and np.prod(shape, dtype=np.int64) <= 16:
            return self.const(np.broadcast_to(x.array, shape))
        if static(shape) and 0 in shape:  # onnxruntime keeps an extent of one
            return self.const(np.zeros(shape, x.dtype))
        bare = x.broadcast(x.held)
        return self.op("Expand", bare, self.shape(shape), shape=tuple(shape))  # type: ignore[no-any-return]

    def cast(self, x: Val, dtype: Any) -> Val:
        """To another dtype."""
        dtype = np.dtype(dtype)
        if x.dtype == dtype:
            return x
        if x.array is not None and x.array.size <= SMALL and not x.partial:
            with np.errstate(all="ignore"):
                return self.const(x.array.astype(dtype))
        # What does not fit float8 becomes infinite or NaN, here as in PyTorch.
        extra = {"saturate": 0} if dtype.name.startswith("float8") else {}
        return self.op("Cast", x, to=dtype, dtype=dtype, **extra)  # type: ignore[no-any-return]

    def reshape(self, x: Val, shape: Sequence[Any]) -> Val:
        """Reshape. -1 is written for one symbolic dimension, so that no size is computed."""
        shape = tuple(shape)
        if x.shape == shape:
            return x
        if x.partial:
            lifted = self._reshaped_lazily(x, shape)
            if lifted is not None:
                return lifted
            x = self.full(x)
        if x.array is not None and static(shape) and x.array.size <= SMALL:
            return self.const(x.array.reshape(shape))
        free = [i for i, n in enumerate(shape) if not isinstance(n, int)]
        has_zero = any(isinstance(n, int) and n == 0 for n in shape)
        if len(free) == 1 and not has_zero:
            target = self.ints([-1 if i == free[0] else n for i, n in enumerate(shape)])
        else:
            target = self.shape(shape)
        extra = {"allowzero": 1} if has_zero else {}
        return self.op("Reshape", x, target, shape=shape, **extra)  # type: ignore[no-any-return]

    def _reshaped_lazily(self, x: Val, shape: Shape) -> Val | None:
        """Adding or removing ones keeps a broadcast unwritten."""
        if [n for n in x.shape or () if not is_one(n)] != [n for n in shape if not is_one(n)]:
            return None
        assert x.shape is not None and x.held is not None
        kept = iter([h for n, h in zip(x.shape, x.held, strict=True) if not is_one(n)])
        held = tuple(1 if is_one(n) else next(kept) for n in shape)
        return self.reshape(x.broadcast(x.held), held).broadcast(shape)

    def transpose(self, x: Val, order: Sequence[int]) -> Val:
        """Permuted."""
        order = [int(i) for i in order]
        if order == list(range(len(order))):
            return x
        if x.partial:
            assert x.shape is not None and x.held is not None
            moved = self.transpose(x.broadcast(x.held), order)
            return moved.broadcast(tuple(x.shape[i] for i in order))
        shape = None if x.shape is None else tuple(x.shape[i] for i in order)
        return self.op("Transpose", x, perm=order, shape=shape)  # type: ignore[no-any-return]

    def unsqueeze(self, x: Val, axes: Sequence[int]) -> Val:
        """With dimensions of 1 at `axes` of the result."""
        if not axes:
            return x
        rank = x.ndim + len(axes)
        axes = sorted(a % rank for a in axes)
        shape: list[Any] = list(x.shape)  # type: ignore[arg-type]
        for a in axes:
            shape.insert(a, 1)
        if x.partial:
            return self.unsqueeze(x.broadcast(x.held), axes).broadcast(tuple(shape))  # type: ignore[arg-type]
        if x.array is not None and x.array.size <= SMALL:
            return self.const(x.array.reshape(shape))
        return self.op("Unsqueeze", x, self.ints(axes), shape=tuple(shape))  # type: ignore[no-any-return]

    def squeeze(self, x: Val, axes: Sequence[int]) -> Val:
        """Without these dimensions of 1."""
        if not axes:
            return x
        axes = sorted(a % x.ndim for a in axes)
        shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)  # type: ignore[arg-type]
        if x.partial:
            return self.squeeze(x.broadcast(x.held), axes).broadcast(shape)  # type: ignore[arg-type]
        if x.array is not None and x.array.size <= SMALL:
            return self.const(x.array.reshape(shape))
        return self.op("Squeeze", x, self.ints(axes), shape=shape)  # type: ignore[no-any-return]

    def concat(self, parts: Sequence[Val], axis: int) -> Val:
        """Joined along an axis; what has no elements is left out."""
        if all(p.shape is not None for p in parts):
            empty = [isinstance(p.shape[axis], int) and p.shape[axis] == 0 for p in parts]  # type: ignore[index]
            parts = [p for p, e in zip(parts, empty, strict=True) if not e] or parts[:1]
        if len(parts) == 1:
            return parts[0]
        shape = None
        if all(p.shape is not None for p in parts):
            sizes = [p.shape[axis] for p in parts]  # type: ignore[index]
            first: Any = parts[0].shape
            shape = (*first[:axis], sum(sizes[1:], sizes[0]), *first[axis + 1 :])
        return self.op("Concat", *parts, axis=axis, shape=shape)  # type: ignore[no-any-return]

    def slice(
        self, x: Val, axis: int, start: Any, stop: Any, step: int = 1, size: Any = None
    ) -> Val:
        """x[start:stop:step] along an axis; bounds are numbers, dimensions or int64 [1] values."""

        def bound(b: Any) -> Val:
            return b if isinstance(b, Val) else self.shape([b])

        shape = None
        if size is not None and x.shape is not None:
            shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        return self.op(  # type: ignore[no-any-return]
            "Slice", x, bound(start), bound(stop), self.ints([axis]), self.ints([step]), shape=shape
        )

    def reduce(self, kind: str, x: Val, axes: Sequence[int], keep: bool) -> Val:
        """ReduceSum and its kin; no axes means that nothing is reduced."""
        if not len(axes):
            return x
        axes = sorted(int(a) % x.ndim for a in axes)
        assert x.shape is not None
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes)
        return self.op(kind, x, self.ints(axes), keepdims=int(keep), shape=shape)  # type: ignore[no-any-return]

    def index(self, x: Val) -> Val:
        """Indices in a type that Gather and its kin take."""
        return x if x.dtype.name in ("int32", "int64") else self.cast(x, np.int64)

    def where(self, test: Val, yes: Val, no: Val) -> Val:
        """Where."""
        return self.op("Where", test, yes, no)  # type: ignore[no-any-return]

    def like(self, number: Any, x: Val) -> Val:
        """A number as a 0-d constant of x's dtype."""
        return number if isinstance(number, Val) else self.const(number, x.dtype)
