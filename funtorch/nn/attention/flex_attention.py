"""flex_attention in its reference form: the whole score matrix, changed by functions of indices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from funtorch import dtypes
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor

__all__ = [
    "AuxOutput",
    "AuxRequest",
    "BlockMask",
    "and_masks",
    "create_block_mask",
    "create_mask",
    "flex_attention",
    "or_masks",
]

ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

_DEFAULT_SPARSE_BLOCK_SIZE = 128


class AuxRequest(NamedTuple):
    """What `flex_attention` shall return beside its output."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What was requested, each [b, h, q]; None for what was not."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


def _indices(b: int, h: int, q: int, k: int, device: Any) -> tuple[Tensor, ...]:
    """Index tensors of batch, head, query and key, which broadcast to [b, h, q, k]."""
    arange = TABLE["arange"].facade
    return tuple(
        arange(n, device=device).reshape([n if d == i else 1 for d in range(4)])
        for i, n in enumerate((b, h, q, k))
    )


class BlockMask:
    """A mask given by a function of indices. `None` for batch or heads means: all the same."""

    def __init__(self, mask_mod: MaskMod, shape: tuple[int, int, int, int], device: Any) -> None:
        self.mask_mod, self.shape, self.device = mask_mod, shape, device

    def to_dense(self) -> Tensor:
        """The mask itself. -> [b, h, q, k] bool"""
        return create_mask(self.mask_mod, *self.shape, device=self.device)

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape})"


def create_mask(
    mod_fn: MaskMod,
    B: int | None,
    H: int | None,
    Q_LEN: int,
    KV_LEN: int,
    device: Any = None,
) -> Tensor:
    """The values of a mask function at all indices. -> [B or 1, H or 1, Q_LEN, KV_LEN] bool"""
    shape = (B or 1, H or 1, Q_LEN, KV_LEN)
    return mod_fn(*_indices(*shape, device)).to(dtypes.bool_).expand(*shape)


def create_block_mask(
    mask_mod: MaskMod,
    B: int | None,
    H: int | None,
    Q_LEN: int,
    KV_LEN: int,
    device: Any = None,
    BLOCK_SIZE: Any = _DEFAULT_SPARSE_BLOCK_SIZE,
    _compile: bool = False,
) -> BlockMask:
    """A mask for `flex_attention`. The blocks' size plays no part: nothing is left out."""
    return BlockMask(mask_mod, (B or 1, H or 1, Q_LEN, KV_LEN), device)


def and_masks(*mask_mods: MaskMod) -> MaskMod:
    """Both (all) of several masks."""

    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        found = mask_mods[0](b, h, q, k)
        for mod in mask_mods[1:]:
            found = found & mod(b, h, q, k)
        return found

    return mask


def or_masks(*mask_mods: MaskMod) -> MaskMod:
    """Either (any) of several masks."""

    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        found = mask_mods[0](b, h, q, k)
        for mod in mask_mods[1:]:
            found = found | mod(b, h, q, k)
        return found

    return mask


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: ScoreMod | None = None,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    kernel_options: dict[str, Any] | None = None,
    *,
    return_aux: AuxRequest | None = None,
) -> Any:
    """softmax(score_mod(q @ k.T * scale)) @ v. [b, h, q, d], [b, h, k, d], [b, h, k, e] -> [b, h, q, e]

    score_mod(score, b, h, q, k) gets the whole score matrix and index tensors that broadcast to it.
    Returns (output, lse) with return_lse, (output, AuxOutput) with return_aux.
    """
    if return_lse and return_aux is not None:
        raise ValueError(
            "Cannot specify both return_lse and return_aux. return_lse is deprecated, please use "
            "return_aux=AuxRequest(lse=True) instead."
        )
    for name, x in (("query", query), ("key", key), ("value", value)):
        if x.ndim != 4:
            raise ValueError(f"Expected {name} to have 4 dimensions, but got {x.ndim}")
    b, h, q, d = query.shape
    heads = key.shape[1]
    if heads != h:
        if not enable_gqa or h % heads:
            raise ValueError(
                f"Expect query and key/value to have the same number of heads but got Hq={h} and "
                f"Hkv={heads}. Try setting enable_gqa=True for GQA."
            )
        key, value = (x.repeat_interleave(h // heads, dim=1) for x in (key, value))
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(d) if scale is None else scale)
    places = _indices(b, h, q, key.shape[2], query.device)
    if score_mod is not None:
        scores = score_mod(scores, *places)
    if block_mask is not None:
        scores = scores.masked_fill(~block_mask.mask_mod(*places).to(dtypes.bool_), -math.inf)
    lse = scores.logsumexp(-1)
    weights = (scores - lse.unsqueeze(-1)).exp()
    weights = weights.masked_fill((lse == -math.inf).unsqueeze(-1), 0)  # rows without any key
    out = weights.to(value.dtype) @ value
    if return_aux is not None:
        top = scores.amax(-1) if return_aux.max_scores else None
        return out, AuxOutput(lse if return_aux.lse else None, top)
    return (out, lse) if return_lse else out
