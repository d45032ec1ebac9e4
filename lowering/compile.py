"""Compilation and its caches: from a program to an XLA executable.

Executables are kept by structure (the flat trace, wanted outputs, donated leaves). Python scalars
are not part of the structure: they begin as constants, and become inputs when they first differ.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from funtorch.lowering.allocator import give_back
from funtorch.lowering.aval import Place
from funtorch.lowering.diskcache import switch_on
from funtorch.lowering.forked import check
from funtorch.lowering.op import lowering_for, platform
from funtorch.lowering.program import Program, ScalarPlan, prune, run
from funtorch.lowering.stats import Compilation, stats
from funtorch.lowering.x64 import x64
from funtorch.lowering.xla import compile_lowered
from jax.sharding import SingleDeviceSharding

Compiled = Callable[..., list[Any]]


COMPILERS = min(os.cpu_count() or 1, 8)
"""Pieces compiled at a time. XLA uses several cores for one only where it is large."""

_PACKED = ("int4", "uint4", "int2", "uint2", "float4_e2m1fn")


class Executable:
    """A compiled program with the plan of its scalars. Call it with leaf arrays and scalars.

    packed: which leaves have elements of less than a byte.
    """

    __slots__ = ("compiled", "packed", "plan")

    def __init__(self, compiled: Compiled, plan: ScalarPlan, packed: Sequence[int] = ()) -> None:
        self.compiled = compiled
        self.plan = plan
        self.packed = tuple(packed)

    def __call__(self, leaves: Sequence[Any], scalars: tuple[Any, ...]) -> list[Any]:
        check()
        stats.executions += 1
        if self.packed:
            leaves = list(leaves)
            for i in self.packed:  # JAX misstates the layout of those that are bound to a device
                leaves[i] = jnp.asarray(np.asarray(leaves[i]))
        if self.plan.dynamic:
            # NumPy's 64-bit scalars would be cut to 32 bits on the way in without this.
            with x64():
                return self.compiled(*leaves, *self.plan.pack(scalars))
        return self.compiled(*leaves)


class Entry:
    """Everything known of one structure: how often it was seen, and its executable."""

    __slots__ = ("executable", "pending", "plan", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self.plan: ScalarPlan | None = None
        self.executable: Executable | None = None
        self.pending: Future[Executable] | None = None

    def observe(self, scalars: tuple[Any, ...]) -> str:
        """Count a sighting and widen the plan; says why a compilation will be needed, or ''."""
        self.seen += 1
        if self.plan is None:
            self.plan = ScalarPlan(scalars, frozenset())
            return "new structure"
        if not self.plan.fits(scalars):
            self.plan = self.plan.widened(scalars)
            return "a Python number changed: it is an input of the program from now on"
        return ""

    def ready(self, scalars: tuple[Any, ...]) -> Executable | None:
        """The executable, if there is one and it is right for these scalars."""
        if self.pending is not None and self.pending.done():
            done, self.pending = self.pending, None
            self.executable = done.result()
            give_back()  # what compiling it, and running in pieces meanwhile, took
        if self.executable is not None and self.executable.plan.fits(scalars):
            return self.executable
        return None


class Cache:
    """Entries by structural key, and the one thread that compiles in the background.

    Compiling a whole trace must pay: a program whose traces keep changing their shape (a sequence
    length) would compile without end. So whole compilations have a budget, which running what they
    made fills again; beyond it only a structure that was seen often is compiled whole.
    """

    BUDGET = 12.0  # compilations
    EARNED = 0.02  # by each run of a whole program
    OFTEN = 16  # sightings

    def __init__(self) -> None:
        self.entries: dict[Any, Entry] = {}
        self.lock = threading.RLock()
        self.budget = self.BUDGET
        self._pool: ThreadPoolExecutor | None = None
        self._helpers: ThreadPoolExecutor | None = None

    def grants(self, entry: Entry) -> bool:
        """May this structure be compiled whole? Takes the compilation off the budget."""
        with self.lock:
            if self.budget < 1 and entry.seen < self.OFTEN:
                return False
            self.budget = max(0.0, self.budget - 1)
        return True

    def earn(self) -> None:
        """A whole program ran."""
        self.budget = min(self.BUDGET, self.budget + self.EARNED)

    def entry(self, key: Any) -> Entry:
        """The entry of a structure, made if it is new."""
        found = self.entries.get(key)
        if found is None:
            with self.lock:
                found = self.entries.setdefault(key, Entry())
        return found

    def background(self, work: Callable[[], Executable]) -> Future[Executable]:
        """Compile in the background thread."""
        with self.lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="funtorch-compile")
        return self._pool.submit(work)

    def compiling(self, work: Callable[[], Executable]) -> Future[Executable]:
        """Compile now, beside others of the same trace."""
        with self.lock:
            if self._helpers is None:
                self._helpers = ThreadPoolExecutor(COMPILERS, thread_name_prefix="funtorch-piece")
        return self._helpers.submit(work)

    def clear(self) -> None:
        """Forget every executable."""
        with self.lock:
            self.entries.clear()
            self.budget = self.BUDGET


cache = Cache()


def compile_program(
    program: Program,
    plan: ScalarPlan,
    place: Place,
    donated: tuple[int, ...] = (),
    what: str = "program",
    reason: str = "new structure",
    brief: bool = False,
) -> Executable:
    """Compile a program for one device. `donated` are indices into its leaves.

    brief: it will not run often.
    """
    check()
    pruned = prune(program)
    n_leaves = len(program.leaves)

    def pure(*args: Any) -> list[Any]:
        return run(pruned, args[:n_leaves], plan.unpack(args[n_leaves:]))

    switch_on()
    start = time.perf_counter()
    with x64(), lowering_for(place):
        sharding = SingleDeviceSharding(place)
        structs = [
            jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding) for a in program.leaf_avals
        ]
        packed = [jax.ShapeDtypeStruct(p.shape, p.dtype) for p in plan.pack(plan.values)]
        jitted = jax.jit(pure, donate_argnums=donated, keep_unused=True, out_shardings=sharding)
        compiled = compile_lowered(jitted.lower(*structs, *packed), platform(), brief=brief)
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    scratch = 0 if memory is None else int(memory.temp_size_in_bytes)
    stats.compiled(Compilation(what, len(pruned.steps), seconds, reason, scratch))
    narrow = [i for i, a in enumerate(program.leaf_avals) if a.dtype.name in _PACKED]
    return Executable(compiled, plan, narrow)
