"""Averaging as it is done without a hook, and in 16 bits. Each: (group or None, bucket) -> future."""

from __future__ import annotations

from typing import Any

from funtorch import dtypes
from funtorch.distributed.buckets import GradBucket
from funtorch.distributed.collectives import all_reduce
from funtorch.distributed.groups import member_of
from funtorch.futures import Future
from funtorch.tensor import Tensor

__all__ = ["allreduce_hook", "bf16_compress_hook", "fp16_compress_hook"]


def _averaged(process_group: Any, buffer: Tensor) -> Future[Tensor]:
    work = all_reduce(
        buffer.div(member_of(process_group).size()), group=process_group, async_op=True
    )
    assert work is not None
    return work.get_future().then(lambda future: future.value()[0])


def allreduce_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:
    """The mean."""
    return _averaged(process_group, bucket.buffer())


def _compressed(dtype: Any, process_group: Any, bucket: GradBucket) -> Future[Tensor]:
    own = bucket.buffer()
    done = _averaged(process_group, own.to(dtype))
    return done.then(lambda future: future.value().to(own.dtype))


def fp16_compress_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:
    """The mean, sent as float16."""
    return _compressed(dtypes.float16, process_group, bucket)


def bf16_compress_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:
    """The mean, sent as bfloat16."""
    return _compressed(dtypes.bfloat16, process_group, bucket)
