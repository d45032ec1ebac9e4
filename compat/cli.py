"""The command line: `funtorch run train.py --epochs 5`, `funtorch compile`, `funtorch inspect`."""

from __future__ import annotations

import argparse
import difflib
import runpy
import sys
import traceback
from pathlib import Path
from types import ModuleType

from funtorch.compat import aot_commands, spawned, torch_alias

from funtorch.distributed import run as launcher

COMMANDS = ("run", "compile", "inspect", "bench")


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="funtorch", description="Run PyTorch programs on XLA, unchanged."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a program; `import torch` in it means funtorch")
    run.add_argument(
        "--report",
        action="store_true",
        help="say at the end what was compiled and how long that took",
    )
    launcher.add_options(run)
    run.add_argument("program", help="the Python file")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="the program's own arguments")
    aot_commands.add_to(commands)
    args = parser.parse_args(argv)
    if args.command != "run":
        return aot_commands.run(args)
    if (args.nproc_per_node, args.nnodes) != ("1", "1") or args.no_python:
        return launcher.run(args, launcher.command_of(args, args.program, args.arguments))
    return run_program(args.program, args.arguments, report=args.report, module=args.module)


def run_program(
    program: str, arguments: list[str], *, report: bool = False, module: bool = False
) -> int:
    """Run a file (or module) as __main__ under the alias; errors of missing names are explained."""
    path = Path(program)
    if not module and not path.is_file():
        print(f"funtorch: can't open file '{program}'", file=sys.stderr)
        return 2
    torch_alias.install()
    sys.argv = [program, *arguments]
    own = str(Path.cwd() if module else path.resolve().parent)
    sys.path[:0] = [own, str(Path(spawned.__file__).parent)]
    try:
        if module:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(program, run_name="__main__")
    except (AttributeError, ImportError) as error:
        traceback.print_exc()
        hint = explain_missing(error, path)
        if hint:
            print(f"\nfuntorch: {hint}", file=sys.stderr)
        return 1
    if report:
        import funtorch

        print(funtorch.explain())
    return 0


def explain_missing(error: BaseException, program: Path) -> str:
    """What is missing, the user's line, and the nearest thing there is; '' if it is not ours."""
    owner = getattr(error, "obj", None)
    name = getattr(error, "name", None)
    if isinstance(error, ImportError):
        owner, name = _imported(error)
    if not name or not _is_ours(owner):
        return ""
    shown = owner.__name__ if isinstance(owner, ModuleType | type) else type(owner).__name__
    shown = shown.replace("funtorch", "torch", 1)
    near = difflib.get_close_matches(name, dir(owner), n=1, cutoff=0.5)
    nearest = f"; the nearest there is: {shown}.{near[0]}" if near else ""
    return f"{shown}.{name} is not there (yet), wanted {_line(error, program)}{nearest}"


def _imported(error: ImportError) -> tuple[object, str | None]:
    """(the module that was asked, the name it lacks) of a failed import."""
    words = str(error).split("'")
    if "cannot import name" in str(error) and len(words) >= 4:
        return sys.modules.get(words[3]), words[1]
    if error.name and error.name.startswith("torch"):
        parent, _, leaf = error.name.rpartition(".")
        return sys.modules.get(parent), leaf
    return None, None


def _is_ours(owner: object) -> bool:
    if isinstance(owner, ModuleType):
        return owner.__name__.split(".")[0] in ("funtorch", "torch")
    kind = owner if isinstance(owner, type) else type(owner)
    return kind.__module__.split(".")[0] == "funtorch"


def _line(error: BaseException, program: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename).name == program.name] or frames[-1:]
    return f"in {own[-1].filename}, line {own[-1].lineno}: {own[-1].line}"


if __name__ == "__main__":
    raise SystemExit(main())
