"""Building and running C++ programs that include lowering/cpp.

Needs g++ and a PJRT plugin with its header: pip install xla-cpu-pjrt, or FUNTORCH_PJRT=FOLDER.
"""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _plugin_folder():
    if "FUNTORCH_PJRT" in os.environ:
        return Path(os.environ["FUNTORCH_PJRT"])
    try:
        found = importlib.util.find_spec("xla_plugins.xla_cpu_pjrt")
    except ModuleNotFoundError:
        return None
    return None if found is None else Path(found.submodule_search_locations[0])


FOLDER = _plugin_folder()
PLUGIN = None if FOLDER is None else FOLDER / "xla_cpu_pjrt.so"
needs_cpp = pytest.mark.skipif(
    FOLDER is None or shutil.which("g++") is None, reason="needs g++ and xla-cpu-pjrt"
)


def built(source, target):
    """Compile one file in one call. Unoptimised: the work is the plugin's."""
    flags = ["-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror"]
    include = ["-I", ROOT / "lowering" / "cpp", "-I", FOLDER / "include"]
    subprocess.run(["g++", *flags, *include, source, "-o", target, "-ldl"], check=True)
    return target


def run(program, *arguments):
    """Run to the end, whatever its status."""
    return subprocess.run([str(x) for x in (program, *arguments)], capture_output=True, text=True)
