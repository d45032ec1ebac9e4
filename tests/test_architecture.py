"""Imports run one way: compat -> funtorch -> lowering -> jax. Read from the syntax trees."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "lowering": ("funtorch", "torch", "compat"),
    "funtorch": ("funtorch.compat", "torch", "compat", "lowering"),
    "compat": ("torch", "lowering", "compat"),
}
ALLOWED = {"lowering": ("funtorch.lowering",), "funtorch": (), "compat": ()}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def within(name, prefixes):
    return any(name == p or name.startswith(f"{p}.") for p in prefixes)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_import_points_up(folder):
    bad = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / folder).rglob("*.py")
        for name in imported(path)
        if within(name, FORBIDDEN[folder]) and not within(name, ALLOWED[folder])
    ]
    assert bad == []


def test_the_core_names_no_op():
    from funtorch.ops._declare import TABLE

    names = {name for name in TABLE if len(name) > 5} | {"softmax", "conv2d", "matmul"}
    for path in (ROOT / "lowering").glob("*.py"):
        strings = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not strings & names, path
