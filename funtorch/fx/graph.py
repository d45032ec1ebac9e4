"""Graph: nodes in the order in which they run, and the Python code that runs them."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import funtorch
from funtorch.fx.names import Namespace, qualified_name, snake_case
from funtorch.fx.node import Argument, Node, Target, map_arg, type_text


class PythonCode(NamedTuple):
    """The source of `forward`, and the objects that it names."""

    src: str
    globals: dict[str, Any]


class _Nodes:
    """A graph's nodes as a sequence that may be changed while it is walked."""

    def __init__(self, graph: Graph, direction: str = "_next") -> None:
        self._graph, self._direction = graph, direction

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Node]:
        root = self._graph._root
        current = getattr(root, self._direction)
        while current is not root:
            if not current._erased:
                yield current
            current = getattr(current, self._direction)

    def __reversed__(self) -> _Nodes:
        return _Nodes(self._graph, "_prev" if self._direction == "_next" else "_next")


class Graph:
    """A function as a list of nodes."""

    def __init__(self, owning_module: Any = None, tracer_cls: Any = None) -> None:
        self._root = Node(self, "", "root", "", (), {})
        self._insert_point = self._root
        self._namespace = Namespace()
        self.owning_module = owning_module
        self._tracer_cls = tracer_cls

    @property
    def nodes(self) -> Any:
        """All nodes, in order."""
        return _Nodes(self)

    # Building -----------------------------------------------------------------------------------

    def create_node(
        self,
        op: str,
        target: Target,
        args: tuple[Argument, ...] | None = None,
        kwargs: dict[str, Argument] | None = None,
        name: str | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Add a node at the insertion point."""
        hint = name if name is not None else self._name_of(target)
        node = Node(
            self, self._namespace.create_name(hint), op, target, args or (), kwargs or {}, type_expr
        )
        self._insert_point.prepend(node)
        return node

    def _name_of(self, target: Target) -> str:
        text = target if isinstance(target, str) else getattr(target, "__name__", "call")
        if text.startswith("__") and text.endswith("__"):
            text = text[2:-2]
        return snake_case(text)

    def placeholder(self, name: str, type_expr: Any = None, *default: Any) -> Node:
        """Add a parameter."""
        return self.create_node("placeholder", name, default, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """Add the reading of a parameter, buffer or module."""
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_module(
        self, module_name: str, args: Any = None, kwargs: Any = None, type_expr: Any = None
    ) -> Node:
        """Add the call of a submodule."""
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def call_method(
        self, method_name: str, args: Any = None, kwargs: Any = None, type_expr: Any = None
    ) -> Node:
        """Add the call of a method of args[0]."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_function(
        self,
        the_function: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        type_expr: Any = None,
        name: str | None = None,
    ) -> Node:
        """Add the call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, name, type_expr)

    def output(self, result: Argument, type_expr: Any = None) -> Node:
        """Add the return."""
        return self.create_node("output", "output", (result,), type_expr=type_expr)

    def output_node(self) -> Node:
        """The node that returns. Raises AssertionError if there is none."""
        last = self._root._prev
        if last.op != "output":
            raise AssertionError("the graph has no output")
        return last

    def find_nodes(self, *, op: str, target: Target | None = None, sort: bool = True) -> list[Node]:
        """Nodes of a kind, and with a target if one is given."""
        return [
            n for n in self.nodes if n.op == op and (target is None or n.target == target)
        ]

    # Changing -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _inserting(self, node: Node) -> Iterator[None]:
        before, self._insert_point = self._insert_point, node
        try:
            yield
        finally:
            self._insert_point = before

    def inserting_before(self, n: Node | None = None) -> Any:
        """A context in which new nodes come before a node; None: at the very front."""
        return self._inserting(self._root._next if n is None else n)

    def inserting_after(self, n: Node | None = None) -> Any:
        """A context in which new nodes come after a node; None: at the very end."""
        return self._inserting(self._root if n is None else n._next)

    def erase_node(self, to_erase: Node) -> None:
        """Take a node away. Raises RuntimeError if others use it."""
        if to_erase.users:
            raise RuntimeError(
                f"Tried to erase Node {to_erase} but it still had {len(to_erase.users)} users in "
                f"the graph: {to_erase.users}!"
            )
        to_erase._set((), {})
        to_erase._unlink()
        to_erase._erased = True

    def node_copy(
        self, node: Node, arg_transform: Callable[[Node], Argument] = lambda x: x
    ) -> Node:
        """Add a copy of a node of another graph; arg_transform maps its arguments to this one."""
        args, kwargs = map_arg(node.args, arg_transform), map_arg(node.kwargs, arg_transform)
        made = self.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        made.meta = dict(node.meta)
        return made

    def graph_copy(
        self, g: Graph, val_map: dict[Node, Node], return_output_node: bool = False
    ) -> Argument:
        """Add copies of all nodes of a graph but its output; returns what that returned."""
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                result = map_arg(node.args[0], lambda n: val_map[n])
                return (result, node) if return_output_node else result
            val_map[node] = self.node_copy(node, lambda n: val_map[n])
        return None

    def __deepcopy__(self, memo: Any = None) -> Graph:
        made = Graph(tracer_cls=self._tracer_cls)
        found = made.graph_copy(self, {}, return_output_node=True)
        if found is not None:
            result, old = found
            made.output(result, old.type).meta = dict(old.meta)
        return made

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Erase nodes whose results nobody uses; True if there were any."""
        changed = False
        for node in reversed(self.nodes):
            impure = node.is_impure() if is_impure_node is None else is_impure_node(node)
            if not impure and not node.users:
                self.erase_node(node)
                changed = True
        return changed

    def lint(self) -> None:
        """Raise RuntimeError if a node is used before it is there, or belongs elsewhere."""
        seen: set[Node] = set()
        for node in self.nodes:
            for given in node.all_input_nodes:
                if given.graph is not self:
                    raise RuntimeError(f"Argument '{given}' of Node '{node}' is of another graph")
                if given not in seen:
                    raise RuntimeError(
                        f"Argument '{given}' of Node '{node}' was used before it has been defined!"
                    )
            seen.add(node)
            if node.op in ("get_attr", "call_module") and self.owning_module is not None:
                _attribute(self.owning_module, str(node.target), node)

    # Text ---------------------------------------------------------------------------------------

    def __str__(self) -> str:
        lines = [node.format_node() for node in self.nodes]
        return "\n    ".join(["graph():", *(line for line in lines if line)])

    def print_tabular(self) -> None:
        """Print one row per node."""
        rows = [("opcode", "name", "target", "args", "kwargs")]
        rows += [
            (n.op, n.name, str(n.target), str(n.args), str(n.kwargs)) for n in self.nodes
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        rule = tuple("-" * width for width in widths)
        for row in (rows[0], rule, *rows[1:]):
            print("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())

    def python_code(self, root_module: str = "self", **options: Any) -> PythonCode:
        """`forward` as Python source."""
        return _Code(self, root_module).result()


def _attribute(module: Any, path: str, node: Node) -> Any:
    for part in path.split("."):
        if not hasattr(module, part):
            raise RuntimeError(
                f"Node {node} target {path} references nonexistent attribute {part} of {module}"
            )
        module = getattr(module, part)
    return module


_INFIX = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.floordiv: "//",
    operator.truediv: "/",
    operator.mod: "%",
    operator.pow: "**",
    operator.matmul: "@",
    operator.lshift: "<<",
    operator.rshift: ">>",
    operator.and_: "&",
    operator.or_: "|",
    operator.xor: "^",
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.gt: ">",
    operator.le: "<=",
    operator.ge: ">=",
}
_PREFIX = {operator.pos: "+", operator.neg: "-", operator.invert: "~"}
_IN_PLACE = {
    operator.iadd: "+=",
    operator.isub: "-=",
    operator.imul: "*=",
    operator.itruediv: "/=",
    operator.ifloordiv: "//=",
    operator.ipow: "**=",
    operator.imatmul: "@=",
}


class _Code:
    """Writes a graph as a function, letting go of values that are not needed any more."""

    def __init__(self, graph: Graph, root: str) -> None:
        self.graph, self.root = graph, root
        self.globals: dict[str, Any] = {}
        self.parameters: list[str] = []
        self.body: list[str] = []
        self.returns = ""
        self.last_uses: dict[Node, list[Node]] = {}
        seen: set[Node] = set()
        for node in reversed(graph.nodes):
            for given in node.all_input_nodes:
                if given not in seen:
                    seen.add(given)
                    self.last_uses.setdefault(node, []).append(given)

    def result(self) -> PythonCode:
        for node in self.graph.nodes:
            self._add(node)
        head = ", ".join([self.root, *self.parameters])
        body = "".join(self.body) or "pass\n"
        lines = body.rstrip("\n").replace("\n", "\n    ")
        source = f"\n\n\ndef forward({head}){self.returns}:\n    {lines}\n    "
        return PythonCode(source, self.globals)

    def _add(self, node: Node) -> None:
        if node.op == "placeholder":
            self._add_parameter(node)
            return
        if node.op == "output":
            if node.type is not None:
                self.returns = f" -> {self._type(node.type)}"
            self.body.append(f"return {self._text(node.args[0])}\n")
            return
        kind = "" if node.type is None else f" : {self._type(node.type)}"
        self.body.append(f"{self._statement(node, f'{node.name}{kind}')}{self._freed(node)}\n")

    def _add_parameter(self, node: Node) -> None:
        target = str(node.target)
        kind = "" if node.type is None else f" : {self._type(node.type)}"
        default = f" = {self._text(node.args[0])}" if node.args else ""
        self.parameters.append(f"{target}{kind}{default}")
        if (bare := target.lstrip("*")) != node.name:
            self.body.append(f"{node.name} = {bare}\n")

    def _freed(self, node: Node) -> str:
        last = list(self.last_uses.get(node, []))
        if not node.users:
            last.append(node)
        return f";  {' = '.join([*map(repr, last), 'None'])}" if last else ""

    def _statement(self, node: Node, left: str) -> str:
        if node.op == "get_attr":
            return f"{left} = {_path(self.root, str(node.target))}"
        if node.op == "call_module":
            return f"{left} = {_path(self.root, str(node.target))}({self._arguments(node)})"
        if node.op == "call_method":
            on = self._text(node.args[0])
            return f"{left} = {_path(on, str(node.target))}({self._arguments(node, 1)})"
        return self._function(node, left)

    def _function(self, node: Node, left: str) -> str:
        target: Any = node.target
        texts = [self._text(a) for a in node.args]
        if not node.kwargs and len(texts) == 2 and target in _INFIX:
            return f"{left} = {texts[0]} {_INFIX[target]} {texts[1]}"
        if not node.kwargs and len(texts) == 1 and target in _PREFIX:
            return f"{left} = {_PREFIX[target]}{texts[0]}"
        if not node.kwargs and len(texts) == 2 and target in _IN_PLACE:
            return f"{texts[0]} {_IN_PLACE[target]} {texts[1]};  {left} = {texts[0]}"
        if target is getattr and len(texts) == 2 and str(node.args[1]).isidentifier():
            return f"{left} = {_path(texts[0], node.args[1])}"
        if target is operator.getitem and len(texts) == 2:
            return f"{left} = {texts[0]}[{texts[1]}]"
        return f"{left} = {self._global(target)}({self._arguments(node)})"

    def _arguments(self, node: Node, skip: int = 0) -> str:
        positional = [self._text(a) for a in node.args[skip:]]
        return ", ".join(positional + [f"{k} = {self._text(v)}" for k, v in node.kwargs.items()])

    def _global(self, held: Any) -> str:
        """A name for an object in the code."""
        name = qualified_name(held)
        if name.startswith("torch.") or "." not in name:
            self.globals.setdefault(name.split(".")[0], funtorch if "." in name else held)
            return name
        name = name.replace(".", "_")
        while self.globals.get(name, held) is not held:
            name += "_"
        self.globals[name] = held
        return name

    def _type(self, kind: Any) -> str:
        text = type_text(kind)
        if isinstance(kind, type) and not text.startswith("torch.") and "." in text:
            return self._global(kind)
        if text.startswith(("torch.", "typing.")):
            self.globals.setdefault("torch", funtorch)
        return text

    def _text(self, a: Argument) -> str:
        if isinstance(a, tuple) and hasattr(a, "_fields"):
            return f"{self._global(type(a))}({', '.join(map(self._text, a))})"
        if isinstance(a, tuple):
            return f"({', '.join(map(self._text, a))}{',' if len(a) == 1 else ''})"
        if isinstance(a, list):
            return f"[{', '.join(map(self._text, a))}]"
        if isinstance(a, dict):
            return f"{{{', '.join(f'{k!r}: {self._text(v)}' for k, v in a.items())}}}"
        if isinstance(a, slice):
            return f"slice({', '.join(self._text(x) for x in (a.start, a.stop, a.step))})"
        if callable(a) and hasattr(a, "__name__") and not isinstance(a, Node):
            return self._global(a)
        text = repr(a)
        if text.startswith("torch."):
            self.globals.setdefault("torch", funtorch)
        elif text.startswith(("device(", "inf", "-inf", "nan")):
            self.globals.update({n: getattr(funtorch, n) for n in ("device", "inf", "nan")})
        return text


def _path(base: str, target: str) -> str:
    """`base.a.b`; parts that are no identifiers by getattr, as 'layers.0'."""
    for part in target.split("."):
        base = f"{base}.{part}" if part.isidentifier() else f'getattr({base}, "{part}")'
    return base
