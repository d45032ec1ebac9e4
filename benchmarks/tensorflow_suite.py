"""All of `onnx.backend.test` against the way to TensorFlow, skips counted as failures.

python -m benchmarks.tensorflow_suite [pattern] prints the failures, and a table of passes per suite.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time

from benchmarks.onnx_suite import SUITES, cases, failure
from funtorch.tensorflow.backend import TensorFlowBackend


def main() -> None:
    """Run everything, or what matches a pattern."""
    pattern = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    counts = {suite: [0, 0] for suite in SUITES.values()}
    begun = time.time()
    with tempfile.TemporaryDirectory() as home:
        os.environ["ONNX_HOME"] = home  # ONNX writes inputs and outputs of its light models there
        for suite, name, test in cases(TensorFlowBackend):
            if not pattern.search(name):
                continue
            why = failure(test)
            counts[suite][0] += 1
            counts[suite][1] += not why
            if why:
                print(f"{suite}: {name}: {why[:300]}", flush=True)
    print("\n| suite | tests | passed |\n| --- | --- | --- |")
    for suite, (total, passed) in counts.items():
        if total:
            print(f"| {suite} | {total} | {passed} |")
    print(f"\n{time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()
