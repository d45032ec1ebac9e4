"""One of two processes that run the cases of a file; started by `pair.py`, not collected by pytest."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
import warnings
from datetime import timedelta
from pathlib import Path


def plain(found):
    """Results as JSON can hold them."""
    if isinstance(found, dict):
        return {str(k): plain(v) for k, v in found.items()}
    if isinstance(found, list | tuple):
        return [plain(v) for v in found]
    if hasattr(found, "tolist"):
        return plain(found.detach().tolist())
    return found if isinstance(found, int | float | str | None) else str(found)


def main(library: str, cases: str, rank: int, folder: str) -> None:
    warnings.simplefilter("ignore")
    os.environ["PAIR_FOLDER"] = f"{folder}/{library}"
    t = importlib.import_module(library)
    d = importlib.import_module(f"{library}.distributed")
    store = f"file://{folder}/store-{library}"
    limit = timedelta(seconds=60)
    d.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=limit)
    found = {}
    for name, case in importlib.import_module(f"tests.distributed.{cases}").CASES.items():
        try:
            found[name] = plain(case(t, d, rank))
        except Exception as error:
            found[name] = ["raised", type(error).__name__]
            Path(f"{folder}/{library}-{rank}-{name}.txt").write_text(traceback.format_exc())
        d.barrier()
    Path(f"{folder}/{library}-{rank}.json").write_text(json.dumps(found))
    d.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
