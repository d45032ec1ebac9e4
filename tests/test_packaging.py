"""What is installed is what is in the tree."""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"funtorch": "funtorch", "lowering": "funtorch.lowering", "compat": "funtorch.compat"}


def packages_in_the_tree():
    for folder, name in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            yield ".".join((name, *parts))


def test_every_package_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(packages_in_the_tree())


def test_folders_refuse_their_bare_names():
    for folder in ("lowering", "compat"):
        found = subprocess.run(
            [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True
        )
        assert found.returncode != 0
        assert "second copy" in found.stderr


def test_import_needs_no_torch_and_no_flax():
    code = (
        "import sys, funtorch; "
        "print([m for m in ('torch', 'flax', 'onnx', 'tensorflow') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tempfile.gettempdir(),
    )
    assert found.stdout.strip() == "[]"
