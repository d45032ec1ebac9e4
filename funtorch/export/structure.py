"""Nested arguments and results as JSON: containers, and numbered leaves where tensors are."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

from funtorch import containers
from funtorch.tensor import Tensor

_PLAIN = (bool, int, float, str, type(None))


def described(node: Any, leaves: list[Tensor], paths: list[str], path: str) -> Any:
    """JSON for `node`; its tensors are appended to `leaves`, their places to `paths`."""
    if isinstance(node, Tensor):
        leaves.append(node)
        paths.append(path)
        return {"leaf": len(leaves) - 1}
    if isinstance(node, _PLAIN):
        return {"value": node}
    found = containers.by_class.get(type(node))
    if found is not None:
        children, context, names = containers.children_of(node, found)
        places = zip(children, names, strict=True)
        return {
            "node": [described(x, leaves, paths, f"{path}.{n}") for x, n in places],
            "type": found.name,
            "names": names,
            "context": described(found.dump(context), [], [], f"{path}'s context"),
        }
    if isinstance(node, tuple | list):
        kind = "list" if isinstance(node, list) else "tuple"
        fields = getattr(node, "_fields", None)
        names = fields or range(len(node))
        items = [
            described(x, leaves, paths, f"{path}.{n}" if fields else f"{path}[{n}]")
            for n, x in zip(names, node, strict=True)
        ]
        named = {"name": type(node).__name__, "fields": list(fields)} if fields else {}
        return {kind: items, **named}
    if isinstance(node, dict):
        if not all(isinstance(k, str | int) for k in node):
            raise TypeError(f"{path}: keys of an exported dictionary are strings or integers")
        items = [[k, described(x, leaves, paths, f"{path}[{k!r}]")] for k, x in node.items()]
        return {"dict": items}
    raise TypeError(
        f"{path} is a {type(node).__name__}: exported functions take and return tensors, numbers, "
        "strings, None, and tuples, lists and dicts of those; classes have to be registered "
        "(torch.export.register_dataclass, torch.utils._pytree.register_pytree_node)"
    )


def rebuilt(spec: Any, leaves: Sequence[Any]) -> Any:
    """The nested value that `described` described, with these leaves."""
    if "leaf" in spec:
        return leaves[spec["leaf"]]
    if "value" in spec:
        return spec["value"]
    if "dict" in spec:
        return {k: rebuilt(x, leaves) for k, x in spec["dict"]}
    if "node" in spec:
        parts = [rebuilt(x, leaves) for x in spec["node"]]
        found = containers.by_name.get(spec["type"])
        if found is None:
            return containers.Fields(zip(spec["names"], parts, strict=True))
        return found.unflatten(parts, found.load(rebuilt(spec["context"], ())))
    items = [rebuilt(x, leaves) for x in spec.get("tuple", spec.get("list"))]
    if "fields" in spec:
        return namedtuple(spec["name"], spec["fields"])(*items)  # type: ignore[misc]
    return tuple(items) if "tuple" in spec else items


def differs(given: Any, wanted: Any, path: str) -> str | None:
    """Where two descriptions differ, in words; None if they are equal."""
    if given == wanted:
        return None
    if "value" in given and "value" in wanted:
        return f"{path} is {given['value']!r}, the program was made for {wanted['value']!r}"
    for kind in ("tuple", "list", "dict"):
        if kind in given and kind in wanted:
            ours, theirs = given[kind], wanted[kind]
            if len(ours) != len(theirs):
                return f"{path} has {len(ours)} entries, the program was made for {len(theirs)}"
            for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
                if kind == "dict":
                    if a[0] != b[0]:
                        return f"{path} has the key {a[0]!r} where {b[0]!r} is expected"
                    a, b, i = a[1], b[1], a[0]
                found = differs(a, b, f"{path}[{i!r}]")
                if found:
                    return found
            return None
    if "node" in given and "node" in wanted and given["type"] == wanted["type"]:
        for a, b, name in zip(given["node"], wanted["node"], wanted["names"], strict=False):
            found = differs(a, b, f"{path}.{name}")
            if found:
                return found
        return f"{path} has other fields than the {given['type']} that the program was made for"
    return f"{path} is {_word(given)}, the program was made for {_word(wanted)}"


def _word(spec: Any) -> str:
    if "leaf" in spec:
        return "a tensor"
    if "node" in spec:
        return f"a {spec['type']}"
    return next(iter(spec)) if "value" not in spec else repr(spec["value"])
