"""torch.profiler: schedules as PyTorch's; blocks are counted and timed."""

from __future__ import annotations

import gzip
import json

import pytest

import funtorch
from funtorch import profiler as ours

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
theirs = torch.profiler

SCHEDULES = [
    {"wait": 1, "warmup": 1, "active": 2},
    {"wait": 1, "warmup": 1, "active": 2, "repeat": 2, "skip_first": 1},
    {"wait": 2, "warmup": 1, "active": 1, "skip_first": 2, "skip_first_wait": 1},
    {"wait": -1, "warmup": 1, "active": 1},
    {"wait": 1, "warmup": 1, "active": 0},
]


@pytest.mark.parametrize("given", SCHEDULES)
def test_schedule(given: dict[str, int]) -> None:
    made = []
    for profiler in (ours, theirs):
        try:
            action = profiler.schedule(**given)
            made.append([action(i).name for i in range(14)])
        except Exception as error:
            made.append(type(error))
    assert made[0] == made[1]


def steps(t, profiler):
    """What `on_trace_ready` sees of our own blocks."""
    seen = []

    def ready(p):
        rows = {e.key: e.count for e in p.key_averages()}
        seen.append((p.step_num, rows["mine"], rows["ProfilerStep*"]))

    plan = profiler.schedule(wait=1, warmup=1, active=2, repeat=2)
    with profiler.profile(
        activities=[profiler.ProfilerActivity.CPU], schedule=plan, on_trace_ready=ready
    ) as p:
        for _ in range(9):
            with profiler.record_function("mine"):
                t.ones(2) + 1
            p.step()
    return seen


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_steps() -> None:
    assert steps(funtorch, ours) == steps(torch, theirs)


def test_times_and_files(tmp_path) -> None:
    before = ours.profile()
    with pytest.raises(AssertionError):
        before.key_averages()

    @ours.record_function("decorated")
    def work():
        return (funtorch.ones(64, 64) @ funtorch.ones(64, 64)).sum()

    ready = ours.tensorboard_trace_handler(tmp_path, "w", use_gzip=True)
    with ours.profile(on_trace_ready=ready) as p, ours.record_function("outer"):
        kept = work()
        work()
    work()
    rows = {row.key: row for row in p.key_averages()}
    outer, inner = rows["outer"], rows["decorated"]
    assert (outer.count, inner.count, float(kept)) == (1, 2, 64.0**3)
    assert outer.self_cpu_time_total == pytest.approx(outer.cpu_time_total - inner.cpu_time_total)
    assert inner.cpu_time == inner.cpu_time_total / 2 > 0
    table = p.key_averages().table(sort_by="cpu_time_total", row_limit=1)
    assert "outer" in table and "decorated" not in table and "ops recorded" in table
    (written,) = tmp_path.glob("w.*.pt.trace.json.gz")
    events = json.loads(gzip.decompress(written.read_bytes()))["traceEvents"]
    assert sorted(e["name"] for e in events) == ["decorated", "decorated", "outer"]
