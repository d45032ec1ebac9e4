"""torchrun: starts a program in several processes and watches them.

    python -m funtorch.distributed.run --nproc-per-node 2 train.py --epochs 5
    funtorch run --nproc-per-node 2 train.py --epochs 5

Each process is told by RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT who it is; `import
torch` in it means funtorch. If one fails, the others are ended, and all started again as often as
`--max-restarts` says.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funtorch.device import gpu_count
from funtorch.distributed.errors import DistNetworkError
from funtorch.distributed.sockets import listen
from funtorch.distributed.store import TCPStore, own_address


def get_args_parser() -> argparse.ArgumentParser:
    """torchrun's options, as far as they mean something here."""
    parser = argparse.ArgumentParser(prog="funtorch.distributed.run", description=__doc__)
    add_options(parser)
    parser.add_argument("training_script", help="the program (or module, or command)")
    parser.add_argument("training_script_args", nargs=argparse.REMAINDER)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how many processes, and where."""

    def option(name: str, short: str | None = None, **how: Any) -> None:
        names = [f"--{name}", f"--{name.replace('-', '_')}"] if "-" in name else [f"--{name}"]
        parser.add_argument(*([short] if short else []), *names, **how)

    option("nproc-per-node", default="1", help="processes here: a number, cpu, gpu or auto")
    option("nnodes", default="1", help="number of machines")
    option("node-rank", type=int, default=0, help="this machine's number, where none is agreed on")
    option("master-addr", default="127.0.0.1")
    option("master-port", type=int, default=None)
    option("standalone", action="store_true", help="one machine, any free port")
    option("rdzv-backend", default="static", choices=["static", "c10d"])
    option("rdzv-endpoint", default="", help="host:port at which machines agree on numbers")
    option("rdzv-id", default=None)
    option("max-restarts", type=int, default=0)
    option("monitor-interval", type=float, default=0.1)
    option("role", default="default")
    option("log-dir", default=None)
    option("redirects", "-r", default="0", help="into --log-dir: 1 stdout, 2 stderr, 3 both")
    option("module", "-m", action="store_true", help="the program is a module's name")
    option("no-python", action="store_true", help="the program is a command")


@dataclass
class _Plan:
    """What to start. nodes, node: number of machines and this one's number among them."""

    command: list[str]
    local: int
    nodes: int
    node: int
    host: str
    port: int
    options: argparse.Namespace

    def environment(self, local_rank: int, attempt: int) -> dict[str, str]:
        """What process `local_rank` is told."""
        rank, size = self.node * self.local + local_rank, self.nodes * self.local
        told = {
            "RANK": rank,
            "LOCAL_RANK": local_rank,
            "WORLD_SIZE": size,
            "LOCAL_WORLD_SIZE": self.local,
            "GROUP_RANK": self.node,
            "GROUP_WORLD_SIZE": self.nodes,
            "ROLE_RANK": rank,
            "ROLE_WORLD_SIZE": size,
            "ROLE_NAME": self.options.role,
            "MASTER_ADDR": self.host,
            "MASTER_PORT": self.port,
            "TORCHELASTIC_RESTART_COUNT": attempt,
            "TORCHELASTIC_MAX_RESTARTS": self.options.max_restarts,
            "TORCHELASTIC_RUN_ID": self.options.rdzv_id or "none",
        }
        threads = {"OMP_NUM_THREADS": "1"} if self.local > 1 else {}
        return {**threads, **os.environ, **{k: str(v) for k, v in told.items()}}


def _count(said: str) -> int:
    """How many processes "4", "cpu", "gpu" or "auto" are."""
    if said.isdigit():
        return int(said)
    kinds = {"cpu": os.cpu_count() or 1, "gpu": gpu_count()}
    kinds["auto"] = kinds["gpu"] or kinds["cpu"]
    if not kinds.get(said):
        raise ValueError(f"--nproc-per-node {said}: not a number, cpu, gpu or auto that is here")
    return kinds[said]


def _free_port() -> int:
    with listen("127.0.0.1", 0) as found:
        return int(found.getsockname()[1])


def _plan(options: argparse.Namespace, command: list[str]) -> _Plan:
    low, _, high = options.nnodes.partition(":")
    if high and low != high:
        raise ValueError(f"--nnodes {options.nnodes}: the number of machines has to be fixed")
    nodes, node = int(low), options.node_rank
    host, port = options.master_addr, options.master_port
    agreed = options.rdzv_backend == "c10d" and options.rdzv_endpoint and nodes > 1
    if agreed:
        node, host, port = _agree(options.rdzv_endpoint, options.rdzv_id or "none")
    elif options.rdzv_endpoint and nodes > 1:
        host, _, said = options.rdzv_endpoint.partition(":")
        port = int(said or 29500)
    elif nodes == 1 and (options.standalone or port is None):
        port = _free_port()
    local = _count(str(options.nproc_per_node))
    return _Plan(command, local, nodes, node, host, port or 29500, options)


_agreed: list[TCPStore] = []
"""The store that machines agree by lives as long as the launcher."""


def _agree(endpoint: str, run_id: str) -> tuple[int, str, int]:
    """This machine's number, and where the first one's rank 0 will be found."""
    host, _, said = endpoint.partition(":")
    port = int(said or 29400)
    try:
        here = socket.gethostbyname(host) in (
            "127.0.0.1",
            socket.gethostbyname(socket.gethostname()),
        )
        store = TCPStore(host, port, is_master=here, wait_for_workers=False)
    except DistNetworkError:
        store = TCPStore(host, port)
    _agreed.append(store)
    node = store.add(f"{run_id}/nodes", 1) - 1
    if node == 0:
        store.set(f"{run_id}/master", f"{own_address(store)} {_free_port()}")
    address, free = store.get(f"{run_id}/master").decode().split()
    return node, address, int(free)


def command_of(options: argparse.Namespace, program: str, arguments: Sequence[str]) -> list[str]:
    """What each process runs."""
    if options.no_python:
        return [program, *arguments]
    kind = ["--module"] if options.module else []
    return [sys.executable, "-u", "-m", "funtorch", "run", *kind, program, *arguments]


def run(options: argparse.Namespace, command: list[str], local_rank_argument: bool = False) -> int:
    """Start the processes and wait for them. Returns the exit status."""
    plan = _plan(options, command)
    for attempt in range(options.max_restarts + 1):
        if attempt and plan.nodes == 1:
            plan.port = _free_port()
        failed = _once(plan, attempt, local_rank_argument)
        if failed is None:
            return 0
        rank, status = failed
        why = f"exit code {status}" if status > 0 else f"signal {signal.Signals(-status).name}"
        again = attempt < options.max_restarts
        print(
            f"funtorch: rank {rank} of {plan.nodes * plan.local} ended with {why}; the others were "
            f"ended{', all are started again' if again else ''}",
            file=sys.stderr,
        )
    return 1


def _once(plan: _Plan, attempt: int, local_rank_argument: bool) -> tuple[int, int] | None:
    """Start all processes once; (rank, status) of the first that fails."""
    started: list[subprocess.Popen[bytes]] = []
    with _ended_with_us(started), contextlib.ExitStack() as files:
        for i in range(plan.local):
            own = list(plan.command)
            if local_rank_argument:
                at = len(own) - plan.options.n_arguments
                own.insert(at, f"--local-rank={i}")
            where = _logs(plan.options, i, files)
            started.append(subprocess.Popen(own, env=plan.environment(i, attempt), **where))
        while True:
            statuses = [process.poll() for process in started]
            for i, status in enumerate(statuses):
                if status:
                    return plan.node * plan.local + i, status
            if None not in statuses:
                return None
            time.sleep(plan.options.monitor_interval)


def _logs(options: argparse.Namespace, rank: int, files: contextlib.ExitStack) -> dict[str, Any]:
    """Where a process's output goes."""
    said = int(options.redirects)
    if not said:
        return {}
    folder = Path(options.log_dir or ".") / (options.rdzv_id or uuid.uuid4().hex[:8]) / str(rank)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {name: bit for name, bit in (("stdout", 1), ("stderr", 2)) if said & bit}
    return {name: files.enter_context((folder / f"{name}.log").open("wb")) for name in wanted}


@contextlib.contextmanager
def _ended_with_us(started: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """However this ends, the processes end too: asked to first, then made to."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        for process in started:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + 10
        for process in started:
            try:
                process.wait(max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main(args: Sequence[str] | None = None) -> None:
    """The command line. Ends the process with a status other than 0 if one of those started fails."""
    options = get_args_parser().parse_args(args)
    command = command_of(options, options.training_script, options.training_script_args)
    status = run(options, command)
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
