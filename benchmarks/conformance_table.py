"""`docs/conformance.md` from the conformance tool's JSON: shares by aspect and family, and failures.

python -m benchmarks.conformance_table report.json [more.json ...] > docs/conformance.md
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

JUDGED = ("pass", "fail", "missing", "timeout", "crash")
SPACES = ("nn.functional", "linalg", "special", "fft", "masked", "signal", "sparse")

Cell = dict[str, Any]


def family(item: str) -> str:
    """'linalg.inv' -> 'linalg'; 'add' -> 'torch'."""
    return next((space for space in SPACES if item.startswith(f"{space}.")), "torch")


def row(name: str, cells: list[Cell]) -> str:
    """One line of a table: name, passes, judged, share."""
    counts = Counter(cell["status"] for cell in cells)
    judged = sum(counts[status] for status in JUDGED)
    share = f"{100 * counts['pass'] / judged:.1f}" if judged else "-"
    return f"| {name} | {counts['pass']} | {judged} | {share} |"


def table(title: str, cells: list[Cell], key: Any) -> list[str]:
    """Rows of cells grouped by `key`, in the order in which they come."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[key(cell)].append(cell)
    lines = [f"## {title}", "", "| | pass | judged | % |", "| --- | --- | --- | --- |"]
    return [*lines, *(row(name, group) for name, group in groups.items()), ""]


def failures(cells: list[Cell]) -> list[str]:
    """For every item that fails somewhere, the aspects in which it does."""
    bad: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        if cell["status"] in JUDGED[1:]:
            bad[f"{cell['section']} `{cell['item']}`"].append(cell["aspect"])
    lines = [f"- {item}: {', '.join(aspects)}" for item, aspects in sorted(bad.items())]
    return ["## What fails, by name", "", *lines, ""]


def document(reports: list[dict[str, Any]]) -> str:
    """The whole page."""
    cells = [cell for report in reports for cell in report["cells"]]
    versions = reports[0]["versions"]
    samples = sorted({report["settings"]["samples"] for report in reports})
    intro = [
        "# Conformance",
        "",
        "Measured against real PyTorch's own databases (`make conformance`), CPU, "
        f"{', '.join(map(str, samples))} samples per entry. A cell passes only if all its samples do.",
        "",
        f"Versions: {', '.join(f'{k} {v}' for k, v in versions.items())}.",
        "",
    ]
    body: list[str] = []
    for section in dict.fromkeys(cell["section"] for cell in cells):
        own = [cell for cell in cells if cell["section"] == section]
        body += table(f"{section}, by aspect", own, lambda cell: cell["aspect"])
        if section == "ops":
            forward = [cell for cell in own if cell["aspect"] == "forward"]
            body += table("ops, forward, by family", forward, lambda cell: family(cell["item"]))
    return "\n".join([*intro, *body, *failures(cells)])


def main(paths: list[str]) -> None:
    """Print the page for these reports."""
    reports = [json.loads(Path(path).read_text(encoding="utf-8")) for path in paths]
    print(document(reports), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
