"""All of `onnx.backend.test` against funtorch, skips counted as failures: `make onnx`.

python -m benchmarks.onnx_suite [pattern] prints the failures, and a table of passes per suite.
`in one program` counts the models whose run flushed the recorder once, or never: nothing in them had
to be read on the host before the end.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
import unittest
import warnings
from collections.abc import Iterator
from typing import Any

from funtorch.lowering import flush
from funtorch.lowering.stats import stats

from funtorch.onnx.backend import FuntorchBackend, FuntorchRep

SUITES = {
    "OnnxBackendNodeModelTest": "node",
    "OnnxBackendSimpleModelTest": "simple",
    "OnnxBackendPyTorchConvertedModelTest": "pytorch-converted",
    "OnnxBackendPyTorchOperatorModelTest": "pytorch-operator",
    "OnnxBackendRealModelTest": "real (light)",
}


class Counting(FuntorchRep):
    """Counts how often a run flushes."""

    flushes = 0

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Run, and add up the flushes."""
        flush()
        before = stats.flushes
        outputs = super().run(inputs, **kwargs)
        Counting.flushes = max(Counting.flushes, stats.flushes - before)
        return outputs


class CountingBackend(FuntorchBackend):
    """Prepares models that count."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> FuntorchRep:
        """Check the model and load it."""
        FuntorchBackend.prepare.__func__(cls, model, device, **kwargs)
        return Counting(model, device)


def cases(backend: Any = CountingBackend) -> Iterator[tuple[str, str, unittest.TestCase]]:
    """(suite, name, test) for every test of the CPU."""
    from onnx.backend.test import BackendTest

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's examples overflow on purpose
        found = BackendTest(backend, __name__).test_cases
    for case_name, case in sorted(found.items()):
        for name in sorted(dir(case)):
            if name.startswith("test_") and name.endswith("_cpu"):
                yield SUITES[case_name], name, case(name)


def failure(test: unittest.TestCase) -> str:
    """Why a test fails; '' if it passes. A skip is a failure."""
    result = unittest.TestResult()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        test.run(result)
    for _, text in (*result.errors, *result.failures, *result.skipped):
        lines = [line for line in text.strip().splitlines() if line.strip()]
        return lines[-1]
    return ""


def main() -> None:
    """Run everything, or what matches a pattern."""
    pattern = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    counts = {suite: [0, 0, 0] for suite in SUITES.values()}
    begun = time.time()
    with tempfile.TemporaryDirectory() as home:
        os.environ["ONNX_HOME"] = home  # ONNX writes inputs and outputs of its light models there
        for suite, name, test in cases():
            if not pattern.search(name):
                continue
            Counting.flushes = 0
            why = failure(test)
            row = counts[suite]
            row[0] += 1
            row[1] += not why
            row[2] += not why and Counting.flushes <= 1
            if why:
                print(f"{suite}: {name}: {why}", flush=True)
    print("\n| suite | tests | passed | in one program |\n| --- | --- | --- | --- |")
    for suite, (total, passed, single) in counts.items():
        if total:
            print(f"| {suite} | {total} | {passed} | {single} |")
    print(f"\n{time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()
