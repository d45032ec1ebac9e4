"""torch.multiprocessing: Python's own, and `spawn`. Tensors reach other processes as copies."""

from __future__ import annotations

import multiprocessing as _processes
import multiprocessing.connection
import signal as _signals
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing import *  # noqa: F403
from pathlib import Path
from typing import Any

__all__ = [
    *_processes.__all__,
    "ProcessContext",
    "ProcessException",
    "ProcessExitedException",
    "ProcessRaisedException",
    "SpawnContext",
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "set_sharing_strategy",
    "spawn",
    "start_processes",
]


class ProcessException(Exception):  # noqa: N818  (PyTorch's name)
    """A process failed. Base of the two ways in which it can."""

    def __init__(self, msg: str, error_index: int, pid: int | None) -> None:
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid

    def __reduce__(self) -> Any:
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """An exception ended the process; the message holds its traceback."""


class ProcessExitedException(ProcessException):
    """The process ended by a signal or with an exit status other than 0."""

    def __init__(
        self,
        msg: str,
        error_index: int,
        error_pid: int | None,
        exit_code: int,
        signal_name: str | None = None,
    ) -> None:
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self) -> Any:
        given = (self.msg, self.error_index, self.pid, self.exit_code, self.signal_name)
        return type(self), given


def _run(function: Callable[..., Any], index: int, args: tuple[Any, ...], report: str) -> None:
    try:
        function(index, *args)
    except KeyboardInterrupt:
        pass
    except Exception:
        Path(report).write_text(traceback.format_exc())
        raise SystemExit(1) from None


class ProcessContext:
    """Processes that were started together; `join` waits for them and passes on their errors."""

    def __init__(self, processes: list[Any], reports: list[str]) -> None:
        self.processes = processes
        self._reports = reports
        self._sentinels = {process.sentinel: i for i, process in enumerate(processes)}

    def pids(self) -> list[int]:
        """The ids of the processes."""
        return [int(process.pid) for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until one ends. True once all have; if one fails the others are ended."""
        if not self._sentinels:
            return True
        ended = multiprocessing.connection.wait(self._sentinels.keys(), timeout=timeout)
        indices = [self._sentinels.pop(sentinel) for sentinel in ended]  # type: ignore[index]
        for index in indices:
            self.processes[index].join()
        failed = next((i for i in indices if self.processes[i].exitcode != 0), None)
        try:
            if failed is not None:
                self._end_others(grace_period)
                raise self._error(failed)
        finally:
            if failed is not None or not self._sentinels:
                self._forget_reports()
        return not self._sentinels

    def _forget_reports(self) -> None:
        for report in self._reports:
            Path(report).unlink(missing_ok=True)

    def _end_others(self, grace_period: float | None) -> None:
        if grace_period is not None:
            for process in self.processes:
                process.join(timeout=grace_period)
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        for process in self.processes:
            process.join()

    def _error(self, index: int) -> ProcessException:
        process = self.processes[index]
        report = Path(self._reports[index])
        if report.exists() and report.stat().st_size:
            text = f"\n\n-- Process {index} terminated with the following error:\n"
            return ProcessRaisedException(text + report.read_text(), index, process.pid)
        status = int(process.exitcode)
        if status < 0:
            name = _signals.Signals(-status).name
            text = f"process {index} terminated with signal {name}"
            return ProcessExitedException(text, index, process.pid, status, name)
        text = f"process {index} terminated with exit code {status}"
        return ProcessExitedException(text, index, process.pid, status)


SpawnContext = ProcessContext


def start_processes(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
    numa_options: Any = None,
) -> ProcessContext | None:
    """Run `fn(i, *args)` in `nprocs` processes; with join=True wait for them.

    Raises ProcessRaisedException or ProcessExitedException for the first that fails.
    """
    processes: list[Any] = []
    reports: list[str] = []
    made: Any = _processes.get_context(start_method)
    for index in range(nprocs):
        with tempfile.NamedTemporaryFile(prefix="funtorch-process-", delete=False) as file:
            reports.append(file.name)
        given = (fn, index, args, file.name)
        processes.append(made.Process(target=_run, args=given, daemon=daemon))
        processes[-1].start()
    context = ProcessContext(processes, reports)
    if not join:
        return context
    while not context.join():
        pass
    return None


def spawn(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """`start_processes` with fresh interpreters."""
    return start_processes(fn, args, nprocs, join, daemon, start_method)


_STRATEGIES = ["file_descriptor"]


def get_all_sharing_strategies() -> set[str]:
    """PyTorch's names. They make no difference: tensors are pickled, so nothing is shared."""
    return {"file_descriptor", "file_system"}


def get_sharing_strategy() -> str:
    """What `set_sharing_strategy` set."""
    return _STRATEGIES[0]


def set_sharing_strategy(new_strategy: str) -> None:
    """Kept without effect. Raises AssertionError for a name that PyTorch does not know."""
    if new_strategy not in get_all_sharing_strategies():
        raise AssertionError(f"Expected a sharing strategy PyTorch knows, got {new_strategy!r}")
    _STRATEGIES[0] = new_strategy
