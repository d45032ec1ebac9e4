"""`import torch` means funtorch; run in processes of their own, because it is for whole programs."""

import subprocess
import sys
import tempfile
import textwrap

import pytest


def run(code, *args):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *args],
        capture_output=True,
        text=True,
        cwd=tempfile.gettempdir(),  # the tree must not hide the installed package
    )


def test_the_same_module_objects():
    found = run("""
        from funtorch.compat import torch_alias
        torch_alias.install()
        import torch, torch.nn as nn, torch.nn.functional as F
        from torch.utils.data import DataLoader
        import funtorch
        assert torch is funtorch and nn is funtorch.nn and F is funtorch.nn.functional
        assert DataLoader is funtorch.utils.data.DataLoader
        assert torch.__spec__.name == "funtorch"
        torch_alias.uninstall()
        import sys
        assert "torch" not in sys.modules
        print("fine")
    """)
    assert found.stdout.strip() == "fine", found.stderr


def test_what_is_installed_is_told_of_funtorch():
    """Libraries ask `importlib` for torch and its version before they import it."""
    found = run("""
        import importlib.metadata, importlib.util
        from funtorch.compat import torch_alias
        torch_alias.install()
        import funtorch, sys
        assert "torch" not in sys.modules
        assert importlib.util.find_spec("torch") is not None
        assert importlib.util.find_spec("torch.nothing_like_it") is None
        assert importlib.metadata.version("torch") == funtorch.__version__
        told = importlib.metadata.distribution("torch")
        assert told.metadata["Name"] == "torch" and told.files is None
        assert "torch" in importlib.metadata.packages_distributions()["torch"]
        print("fine")
    """)
    assert found.stdout.strip() == "fine", found.stderr


def test_what_is_missing_says_so():
    found = run("""
        from funtorch.compat import torch_alias
        torch_alias.install()
        import torch.nothing_like_it
    """)
    assert "ModuleNotFoundError" in found.stderr


def test_real_torch_first_is_refused():
    pytest.importorskip("torch", reason="real PyTorch is the oracle")
    found = run("""
        import torch
        from funtorch.compat import torch_alias
        torch_alias.install()
    """)
    assert "real PyTorch is imported already" in found.stderr


PROGRAM = """
import sys
import torch
print(torch.__name__, sys.argv[1:])
if "--wrong" in sys.argv:
    torch.ones(3).sortt()
"""


@pytest.mark.parametrize("how", [["run"], []])
def test_the_command_line(tmp_path, how):
    program = tmp_path / "train.py"
    program.write_text(PROGRAM)
    found = subprocess.run(
        [sys.executable, "-m", "funtorch", *how, str(program), "--epochs", "5"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert found.stdout.strip() == "funtorch ['--epochs', '5']", found.stderr
    assert found.returncode == 0


def test_the_command_line_names_what_is_missing(tmp_path):
    program = tmp_path / "train.py"
    program.write_text(PROGRAM)
    found = subprocess.run(
        [sys.executable, "-m", "funtorch", str(program), "--wrong"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert found.returncode == 1
    assert "Tensor.sortt is not there" in found.stderr
    assert "line 6" in found.stderr
    assert "Tensor.sort" in found.stderr


def test_spawned_processes_see_the_alias(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import torch\n"
        "import torch.multiprocessing as mp\n"
        "def work(rank, queue):\n"
        "    queue.put((rank, torch.__name__, float(torch.ones(2).sum())))\n"
        "if __name__ == '__main__':\n"
        "    queue = mp.get_context('spawn').SimpleQueue()\n"
        "    mp.spawn(work, (queue,), nprocs=1)\n"
        "    print(queue.get())\n"
    )
    command = [sys.executable, "-m", "funtorch", "run", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "(0, 'funtorch', 2.0)", done.stderr
