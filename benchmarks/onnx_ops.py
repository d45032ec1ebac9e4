"""PyTorch's op database as ONNX: each sample is a model of its own, written and compared in onnxruntime.

python -m benchmarks.onnx_ops [pattern [samples]] prints what is refused, and how many samples are written and
right, refused with a reason, or wrong. Real PyTorch gives the samples; needs expecttest.
"""

from __future__ import annotations

import collections
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch as real

import funtorch as torch
from funtorch.utils._pytree import tree_flatten, tree_map, tree_unflatten


class Call(torch.nn.Module):
    """A function whose tensors are inputs, and whose other arguments are constants."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        super().__init__()
        self.function = function
        self.leaves, self.spec = tree_flatten((args, kwargs))

    @property
    def tensors(self) -> tuple[Any, ...]:
        """The inputs."""
        return tuple(x for x in self.leaves if isinstance(x, torch.Tensor))

    def forward(self, *tensors: Any) -> Any:
        """The function."""
        given = iter(tensors)
        leaves = [next(given) if isinstance(x, torch.Tensor) else x for x in self.leaves]
        args, kwargs = tree_unflatten(leaves, self.spec)
        return self.function(*args, **kwargs)


def ours(value: Any) -> Any:
    """PyTorch's tensors and dtypes as funtorch's."""
    if isinstance(value, real.Tensor):
        return torch.from_numpy(np.array(value.detach().numpy()))
    if isinstance(value, real.dtype):
        return getattr(torch, str(value).removeprefix("torch."))
    return value


def calls(pattern: re.Pattern[str], count: int) -> Iterator[tuple[str, Call]]:
    """(name, model) for the first samples of each op that is there and runs, in float32 or int64."""
    from torch.testing._internal.common_methods_invocations import op_db

    for op in op_db:
        function: Any = torch
        for part in op.name.split("."):
            function = getattr(function, part, None)
        kinds = [d for d in (real.float32, real.int64) if d in op.supported_dtypes("cpu")]
        if not callable(function) or not kinds or not pattern.search(op.name):
            continue
        for sample in list(op.sample_inputs("cpu", kinds[0]))[:count]:
            given = tree_map(ours, (sample.input, *sample.args)), tree_map(ours, sample.kwargs)
            call = Call(function, *given)
            try:
                result = call(*call.tensors)
            except Exception:  # it is not about running
                continue
            if any(isinstance(x, torch.Tensor) for x in tree_flatten(result)[0]):
                yield f"{op.name} {op.variant_test_name}".strip(), call


def outcome(call: Call) -> tuple[str, str]:
    """What becomes of a model, and the reason."""
    try:
        torch.onnx.export(call, call.tensors)
    except torch.onnx.UnsupportedOps as error:
        return "refused by name", str(error).splitlines()[-1].strip()
    except torch.onnx.OnnxExporterError as error:
        words = str(error)
        return ("complex outputs" if "view_as_real" in words else "wrong"), words
    except RuntimeError as error:
        words = str(error)
        return ("reads values" if "asked for inside" in words else "error"), words
    except Exception as error:  # a fault of the runtime, say
        return "error", f"{type(error).__name__}: {error}"
    return "right", ""


def main() -> None:
    """All ops, or those whose name matches a pattern."""
    warnings.simplefilter("ignore")
    pattern = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    counts: collections.Counter[str] = collections.Counter()
    for name, call in calls(pattern, count):
        what, why = outcome(call)
        counts[what] += 1
        if why:
            print(f"{what}: {name}: {why[:160]}", flush=True)
    print("\n| samples | of |\n| --- | --- |")
    for what, n in counts.most_common():
        print(f"| {what} | {n} |")


if __name__ == "__main__":
    main()
