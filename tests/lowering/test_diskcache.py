"""Executables on disk: found by the next process, and harmless when damaged."""

import os
import subprocess
import sys
import tempfile

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


def test_it_can_be_switched_off(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert run("0")
    assert not list(tmp_path.rglob("*-cache"))
