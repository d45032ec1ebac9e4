"""Executables on disk: found by the next process, and harmless when damaged."""

import os
import subprocess
import sys
import tempfile

from funtorch.lowering import diskcache

PROGRAM = """
import funtorch as torch
torch.manual_seed(0)
net = torch.nn.Sequential(*[torch.nn.Conv2d(4, 4, 3, padding=1) for _ in range(12)])
out = net(torch.ones(2, 4, 8, 8)).sum()
out.backward()
print(out.item())
"""


def run(folder):
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", PROGRAM],
        env={**os.environ, "FUNTORCH_CACHE": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        cwd=tempfile.gettempdir(),
    )
    return done.stdout.strip()


def test_entries_are_written_read_and_dropped_when_damaged(tmp_path):
    folder = tmp_path / "cache"
    first = run(folder)
    entries = [p for p in folder.iterdir() if p.name.endswith("-cache")]
    assert entries
    assert run(folder) == first
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:100])
    assert run(folder) == first


def test_the_oldest_entries_go_first(tmp_path):
    for age in range(5):
        entry = tmp_path / f"{age}-cache"
        entry.write_bytes(bytes(100))
        os.utime(entry, (1e9 - age, 1e9 - age))
    diskcache.trim(tmp_path, 250)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0-cache", "1-cache"]


def test_it_can_be_switched_off(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert run("0")
    assert not list(tmp_path.rglob("*-cache"))
