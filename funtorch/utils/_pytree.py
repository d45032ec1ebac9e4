"""torch.utils._pytree: containers within containers, taken apart into leaves and put together again.

A node is registered once, here and with JAX, so that what a program registers is also seen by
`torch.func`, `torch.export` and the rest, which walk trees with JAX's functions.
"""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeAlias

from jax import tree_util

from funtorch import containers
from funtorch.size import Size

PyTree: TypeAlias = Any
Context: TypeAlias = Any
KeyPath: TypeAlias = tuple[Any, ...]
Leafy: TypeAlias = Callable[[PyTree], bool] | None


@dataclass(frozen=True)
class SequenceKey:
    """A place in a list or tuple."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, parent: Sequence[Any]) -> Any:
        """What is there."""
        return parent[self.idx]


@dataclass(frozen=True)
class MappingKey:
    """A key of a dict."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, parent: Mapping[Any, Any]) -> Any:
        """What is there."""
        return parent[self.key]


@dataclass(frozen=True)
class GetAttrKey:
    """An attribute."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, parent: Any) -> Any:
        """What is there."""
        return getattr(parent, self.name)


class NodeDef(NamedTuple):
    """How a kind of container is taken apart: flatten_fn(node) -> children, context; and back."""

    type: Any
    flatten_fn: Callable[[Any], tuple[list[Any], Context]]
    unflatten_fn: Callable[[Iterable[Any], Context], Any]
    flatten_with_keys_fn: Callable[[Any], tuple[list[tuple[Any, Any]], Context]] | None


def _keys_of_dict(node: Any) -> list[Any]:
    return [MappingKey(key) for key in node]


def _places(node: Any) -> list[Any]:
    return [SequenceKey(i) for i in range(len(node))]


def _names(node: Any) -> list[Any]:
    return [GetAttrKey(name) for name in node._fields]


def _default_context(node: Any) -> Context:
    return [node.default_factory, list(node)]


_KINDS: tuple[tuple[Any, Any, Any, Any, Any], ...] = (
    # kind, its children, its context, (children, context) -> node, its keys
    (tuple, list, lambda node: None, lambda made, _: tuple(made), _places),
    (list, list, lambda node: None, lambda made, _: list(made), _places),
    (Size, list, lambda node: None, lambda made, _: tuple(made), _places),
    (deque, list, lambda node: node.maxlen, lambda made, n: deque(made, maxlen=n), _places),
    (namedtuple, list, type, lambda made, kind: kind(*made), _names),
    (
        dict,
        lambda node: list(node.values()),
        list,
        lambda made, keys: dict(zip(keys, made, strict=True)),
        _keys_of_dict,
    ),
    (
        OrderedDict,
        lambda node: list(node.values()),
        list,
        lambda made, keys: OrderedDict(zip(keys, made, strict=True)),
        _keys_of_dict,
    ),
    (
        defaultdict,
        lambda node: list(node.values()),
        _default_context,
        lambda made, context: defaultdict(context[0], zip(context[1], made, strict=True)),
        _keys_of_dict,
    ),
)


def _built_in(kind: Any, children: Any, context: Any, build: Any, keys: Any) -> NodeDef:
    return NodeDef(
        kind,
        lambda node: (children(node), context(node)),
        build,
        lambda node: (list(zip(keys(node), children(node), strict=True)), context(node)),
    )


SUPPORTED_NODES: dict[Any, NodeDef] = {row[0]: _built_in(*row) for row in _KINDS}
BUILTIN_TYPES = frozenset(SUPPORTED_NODES)

# Programs build rules for classes of their own from those of lists, tuples and dicts.
_list_flatten, _list_unflatten, _list_flatten_with_keys = SUPPORTED_NODES[list][1:]
_tuple_flatten, _tuple_unflatten, _tuple_flatten_with_keys = SUPPORTED_NODES[tuple][1:]
_dict_flatten, _dict_unflatten, _dict_flatten_with_keys = SUPPORTED_NODES[dict][1:]


def register_pytree_node(
    cls: type,
    flatten_fn: Callable[[Any], tuple[list[Any], Context]],
    unflatten_fn: Callable[[Iterable[Any], Context], Any],
    *,
    serialized_type_name: str | None = None,
    to_dumpable_context: Any = None,
    from_dumpable_context: Any = None,
    flatten_with_keys_fn: Any = None,
) -> None:
    """Make a class a node. One that is a node already is registered anew, with a warning."""
    known = cls in SUPPORTED_NODES
    keyed = flatten_with_keys_fn
    containers.register(
        containers.Container(
            cls,
            serialized_type_name or f"{cls.__module__}.{cls.__qualname__}",
            flatten_fn,
            unflatten_fn,
            keyed and (lambda node: [str(key).strip(".[]'") for key, _ in keyed(node)[0]]),
            to_dumpable_context or (lambda context: context),
            from_dumpable_context or (lambda context: context),
        )
    )
    SUPPORTED_NODES[cls] = NodeDef(cls, flatten_fn, unflatten_fn, flatten_with_keys_fn)
    if known:
        warnings.warn(
            f"{cls} is already registered as pytree node. Overwriting the previous registration.",
            stacklevel=2,
        )
        return
    tree_util.register_pytree_node(
        cls,
        lambda node: SUPPORTED_NODES[cls].flatten_fn(node),
        lambda context, children: SUPPORTED_NODES[cls].unflatten_fn(children, context),
    )


_register_pytree_node = register_pytree_node


def register_dataclass(
    cls: type,
    *,
    field_names: list[str] | None = None,
    drop_field_names: list[str] | None = None,
    serialized_type_name: str | None = None,
) -> None:
    """Make a dataclass a node, whose children are its fields."""
    dropped = drop_field_names or ()
    names = field_names or [f.name for f in fields(cls) if f.init and f.name not in dropped]

    def flatten(node: Any) -> tuple[list[Any], Context]:
        held = [name for name in names if getattr(node, name) is not None]
        absent = [name for name in names if name not in held]
        return [getattr(node, name) for name in held], (held, absent)

    def unflatten(made: Iterable[Any], context: Context) -> Any:
        held, absent = context
        return cls(**dict(zip(held, made, strict=True)), **dict.fromkeys(absent))

    def with_keys(node: Any) -> tuple[list[tuple[Any, Any]], Context]:
        made, context = flatten(node)
        return list(zip(map(GetAttrKey, context[0]), made, strict=True)), context

    register_pytree_node(
        cls,
        flatten,
        unflatten,
        serialized_type_name=serialized_type_name,
        flatten_with_keys_fn=with_keys,
    )


def is_namedtuple_class(cls: type) -> bool:
    """Is it made by `namedtuple`?"""
    return issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_make")


def is_namedtuple(obj: Any) -> bool:
    """Is it a named tuple, or a class of such?"""
    return is_namedtuple_class(obj if isinstance(obj, type) else type(obj))


def is_namedtuple_instance(obj: Any) -> bool:
    """Is it a named tuple?"""
    return is_namedtuple_class(type(obj))


def _get_node_type(tree: PyTree) -> Any:
    kind = type(tree)
    return namedtuple if kind not in SUPPORTED_NODES and is_namedtuple_class(kind) else kind


def tree_is_leaf(tree: PyTree, is_leaf: Leafy = None) -> bool:
    """Is it no container?"""
    return (is_leaf is not None and is_leaf(tree)) or _get_node_type(tree) not in SUPPORTED_NODES


_is_leaf = tree_is_leaf


class TreeSpec:
    """A tree without its leaves; type None is the place of one leaf."""

    def __init__(self, type: Any, context: Context, children_specs: list[TreeSpec]) -> None:
        self.type, self.context, self._children = type, context, children_specs
        inner = type is not None
        self.num_children = len(children_specs)
        self.num_nodes = 1 + sum(child.num_nodes for child in children_specs)
        self.num_leaves = sum(child.num_leaves for child in children_specs) if inner else 1

    def __repr__(self, indent: int = 0) -> str:
        if self.is_leaf():
            return "*"
        shown = f",\n{' ' * (indent + 2)}".join(c.__repr__(indent + 2) for c in self._children)
        return f"TreeSpec({self.type.__name__}, {self.context}, [{shown}])"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TreeSpec):
            return NotImplemented
        mine = (self.type, self.context, self._children)
        return self is other or mine == (other.type, other.context, other._children)

    def __hash__(self) -> int:
        return hash((self.type, tuple(self._children)))

    def is_leaf(self) -> bool:
        """Does it stand for one leaf?"""
        return self.type is None

    @property
    def children_specs(self) -> list[TreeSpec]:
        """The children's structures."""
        return self._children

    def children(self) -> list[TreeSpec]:
        """The children's structures, in a list of their own."""
        return list(self._children)

    def child(self, index: int) -> TreeSpec:
        """One child's structure."""
        return self._children[index]

    def unflatten(self, leaves: Iterable[Any]) -> PyTree:
        """The tree with these leaves. Raises ValueError if they are not as many as it has."""
        held = list(leaves)
        if len(held) != self.num_leaves:
            raise ValueError(
                f"treespec.unflatten(leaves): `leaves` has length {len(held)} but the spec refers "
                f"to a pytree that holds {self.num_leaves} items ({self})."
            )
        return self._built(iter(held))

    def _built(self, leaves: Iterator[Any]) -> PyTree:
        if self.is_leaf():
            return next(leaves)
        made = [child._built(leaves) for child in self._children]
        return SUPPORTED_NODES[self.type].unflatten_fn(made, self.context)

    def flatten_up_to(self, tree: PyTree) -> list[PyTree]:
        """The subtrees at the places of this structure's leaves. Raises ValueError if it differs."""
        if self.is_leaf():
            return [tree]
        kind = _get_node_type(tree)
        if kind != self.type:
            raise ValueError(f"Node type mismatch; expected {self.type!r}, but got {kind!r}.")
        children, context = SUPPORTED_NODES[kind].flatten_fn(tree)
        if kind is dict and set(context) == set(self.context):
            children, context = [tree[key] for key in self.context], self.context
        if len(children) != self.num_children:
            raise ValueError(
                f"Node arity mismatch; expected {self.num_children}, but got {len(children)}."
            )
        if context != self.context:
            raise ValueError(
                f"Node context mismatch; expected {self.context!r}, but got {context!r}."
            )
        pairs = zip(self._children, children, strict=True)
        return [leaf for spec, child in pairs for leaf in spec.flatten_up_to(child)]


PyTreeSpec = TreeSpec


class LeafSpec(TreeSpec):
    """The structure of one leaf."""

    def __init__(self) -> None:
        super().__init__(None, None, [])


_LEAF = LeafSpec()


def tree_flatten(tree: PyTree, is_leaf: Leafy = None) -> tuple[list[Any], TreeSpec]:
    """The leaves, from left to right, and the structure. Dicts keep the order of their keys."""
    leaves: list[Any] = []

    def walk(node: PyTree) -> TreeSpec:
        if tree_is_leaf(node, is_leaf):
            leaves.append(node)
            return _LEAF
        kind = _get_node_type(node)
        children, context = SUPPORTED_NODES[kind].flatten_fn(node)
        return TreeSpec(kind, context, [walk(child) for child in children])

    return leaves, walk(tree)


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> PyTree:
    """`treespec.unflatten(leaves)`. Raises TypeError if it is no structure."""
    if not isinstance(treespec, TreeSpec):
        raise TypeError(
            "tree_unflatten(leaves, treespec): Expected `treespec` to be instance of PyTreeSpec "
            f"but got item of type {type(treespec)}."
        )
    return treespec.unflatten(leaves)


def tree_leaves(tree: PyTree, is_leaf: Leafy = None) -> list[Any]:
    """The leaves."""
    return tree_flatten(tree, is_leaf)[0]


def tree_iter(tree: PyTree, is_leaf: Leafy = None) -> Iterator[Any]:
    """The leaves, one by one."""
    yield from tree_leaves(tree, is_leaf)


def tree_structure(tree: PyTree, is_leaf: Leafy = None) -> TreeSpec:
    """The structure."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: Leafy = None) -> Any:
    """The tree of func(leaf, leaf of the next tree, ...)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    return spec.unflatten(map(func, leaves, *[spec.flatten_up_to(r) for r in rests]))


def tree_map_(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: Leafy = None) -> Any:
    """Call func on each leaf; returns the tree itself."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def map_only(wanted: Any, /) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """A decorator: the function on what is of these types (or fulfils this), all else as it is."""
    fits = wanted
    if isinstance(wanted, type | tuple) or not callable(wanted):
        fits = functools.partial(_is_instance, wanted)

    def wrap(func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return functools.wraps(func)(lambda x: func(x) if fits(x) else x)

    return wrap


def _is_instance(kinds: Any, obj: Any) -> bool:
    return isinstance(obj, kinds)


def tree_map_only(
    wanted: Any, /, func: Callable[[Any], Any], tree: PyTree, is_leaf: Leafy = None
) -> PyTree:
    """`tree_map` on the leaves of these types only."""
    return tree_map(map_only(wanted)(func), tree, is_leaf=is_leaf)


def tree_map_only_(
    wanted: Any, /, func: Callable[[Any], Any], tree: PyTree, is_leaf: Leafy = None
) -> PyTree:
    """`tree_map_` on the leaves of these types only."""
    return tree_map_(map_only(wanted)(func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: PyTree, is_leaf: Leafy = None) -> bool:
    """Does every leaf fulfil it?"""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: PyTree, is_leaf: Leafy = None) -> bool:
    """Does one leaf fulfil it?"""
    return any(map(pred, tree_iter(tree, is_leaf)))


def tree_all_only(
    kinds: Any, /, pred: Callable[[Any], bool], tree: PyTree, is_leaf: Leafy = None
) -> bool:
    """Does every leaf of these types fulfil it?"""
    return all(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, kinds))


def tree_any_only(
    kinds: Any, /, pred: Callable[[Any], bool], tree: PyTree, is_leaf: Leafy = None
) -> bool:
    """Does one leaf of these types fulfil it?"""
    return any(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, kinds))


def arg_tree_leaves(*args: PyTree, **kwargs: PyTree) -> list[Any]:
    """The leaves of a call's arguments."""
    return [*tree_leaves(args), *tree_leaves(kwargs)]


# Paths -------------------------------------------------------------------------------------------


def tree_leaves_with_path(tree: PyTree, is_leaf: Leafy = None) -> list[tuple[KeyPath, Any]]:
    """(keys from the root, leaf) of each leaf."""
    found: list[tuple[KeyPath, Any]] = []

    def walk(path: KeyPath, node: PyTree) -> None:
        if tree_is_leaf(node, is_leaf):
            found.append((path, node))
            return
        kind = SUPPORTED_NODES[_get_node_type(node)]
        if kind.flatten_with_keys_fn is None:
            raise ValueError(
                f"Did not find a flatten_with_keys_fn for type: {kind.type}. Please pass a "
                "flatten_with_keys_fn argument to register_pytree_node."
            )
        for key, child in kind.flatten_with_keys_fn(node)[0]:
            walk((*path, key), child)

    walk((), tree)
    return found


def tree_flatten_with_path(
    tree: PyTree, is_leaf: Leafy = None
) -> tuple[list[tuple[KeyPath, Any]], TreeSpec]:
    """The leaves with their paths, and the structure."""
    return tree_leaves_with_path(tree, is_leaf), tree_structure(tree, is_leaf)


def tree_map_with_path(
    func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: Leafy = None
) -> PyTree:
    """The tree of func(path, leaf, leaf of the next tree, ...)."""
    pairs, spec = tree_flatten_with_path(tree, is_leaf)
    others = [spec.flatten_up_to(r) for r in rests]
    return spec.unflatten(func(*pair, *more) for pair, *more in zip(pairs, *others, strict=True))


def keystr(kp: KeyPath) -> str:
    """A path as Python would write it: '[0].weight'."""
    return "".join(map(str, kp))


def key_get(obj: Any, kp: KeyPath) -> Any:
    """What lies at a path."""
    for key in kp:
        obj = key.get(obj)
    return obj
