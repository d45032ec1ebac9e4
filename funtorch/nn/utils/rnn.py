"""Sequences of several lengths in one batch: padded, and packed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from funtorch import dtypes
from funtorch.dispatch import to_host
from funtorch.ops.creation import full
from funtorch.ops.from_data import as_tensor
from funtorch.ops.joining import cat, stack
from funtorch.tensor import Tensor, from_host


class PackedSequence(NamedTuple):
    """The elements of sequences, time step by time step, without padding.

    data: [sum of lengths, ...]; batch_sizes: how many sequences reach each time step (on the CPU).
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    def _map(self, change: Any) -> PackedSequence:
        moved = [None if i is None else change(i) for i in self[2:]]
        return PackedSequence(change(self.data), self.batch_sizes, *moved)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The data to a dtype or device."""
        return PackedSequence(self.data.to(*args, **kwargs), *self[1:])

    def cpu(self) -> PackedSequence:
        """On the CPU."""
        return self._map(lambda t: t.cpu())

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """On a GPU."""
        return self._map(lambda t: t.cuda(*args, **kwargs))

    @property
    def is_cuda(self) -> bool:
        """On a GPU?"""
        return self.data.is_cuda

    def pin_memory(self) -> PackedSequence:
        """With its tensors in pinned memory."""
        return self._map(lambda t: t.pin_memory())

    def is_pinned(self) -> bool:
        """Is the data in pinned memory?"""
        return self.data.is_pinned()

    def double(self) -> PackedSequence:
        """The data in float64."""
        return self.to(dtypes.float64)

    def float(self) -> PackedSequence:
        """The data in float32."""
        return self.to(dtypes.float32)

    def half(self) -> PackedSequence:
        """The data in float16."""
        return self.to(dtypes.float16)

    def long(self) -> PackedSequence:
        """The data in int64."""
        return self.to(dtypes.int64)

    def int(self) -> PackedSequence:
        """The data in int32."""
        return self.to(dtypes.int32)

    def short(self) -> PackedSequence:
        """The data in int16."""
        return self.to(dtypes.int16)

    def char(self) -> PackedSequence:
        """The data in int8."""
        return self.to(dtypes.int8)

    def byte(self) -> PackedSequence:
        """The data in uint8."""
        return self.to(dtypes.uint8)


def _positions(lengths: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
    """(time, sequence) of each packed element, for lengths that do not increase."""
    inside = np.arange(lengths.max())[:, None] < lengths[None, :]
    return np.nonzero(inside)


def lengths_of(batch_sizes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Lengths of the sequences (in packed order) from the sizes of the time steps."""
    return (batch_sizes[None, :] > np.arange(batch_sizes[0])[:, None]).sum(1)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another."""
    return None if permutation is None else from_host(np.argsort(to_host(permutation)))


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch. input: [T, B, ...] ([B, T, ...] with batch_first), lengths: [B]"""
    sizes = to_host(lengths) if isinstance(lengths, Tensor) else np.asarray(lengths)
    sizes = sizes.astype(np.int64)
    if batch_first:
        input = input.transpose(0, 1)  # noqa: A001
    if len(sizes) != input.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} "
            f"(batch_size={input.shape[1]})"
        )
    if sizes.size == 0 or (sizes <= 0).any():
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0"
        )
    if sizes.max() > input.shape[0]:
        raise RuntimeError(f"a length of {sizes.max()} exceeds the padded length {input.shape[0]}")
    order = None
    if not enforce_sorted:
        order = np.argsort(-sizes, kind="stable")
        sizes = sizes[order]
    elif (np.diff(sizes) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You "
            "can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
            "sidestep this requirement if you do not need ONNX exportability."
        )
    time, row = _positions(sizes)
    source = row if order is None else order[row]
    data = input[from_host(time), from_host(source)]
    batch_sizes = from_host(np.bincount(time).astype(np.int64))
    if order is None:
        return PackedSequence(data, batch_sizes)
    return PackedSequence(data, batch_sizes, from_host(order), from_host(np.argsort(order)))


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(padded batch, lengths) of a packed one, in the original order."""
    lengths = lengths_of(to_host(sequence.batch_sizes))
    longest = int(lengths.max())
    if total_length is not None:
        if total_length < longest:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, "
                f"but got total_length={total_length} and max sequence length being {longest}"
            )
        longest = total_length
    padded = unpacked(sequence.data, lengths, longest, padding_value)
    if sequence.unsorted_indices is not None:
        back = to_host(sequence.unsorted_indices)
        padded, lengths = padded.index_select(1, sequence.unsorted_indices), lengths[back]
    return (padded.transpose(0, 1) if batch_first else padded), from_host(lengths)


def unpacked(
    data: Tensor, lengths: np.ndarray[Any, Any], longest: int, padding: float = 0.0
) -> Tensor:
    """Packed elements as a padded batch in packed order. [n, ...] -> [T, B, ...]"""
    shape = (longest, len(lengths), *data.shape[1:])
    time, row = _positions(lengths)
    empty = full(shape, padding, dtype=data.dtype, device=data.device)
    return empty.index_put((from_host(time), from_host(row)), data)


def packed(padded: Tensor, lengths: np.ndarray[Any, Any]) -> Tensor:
    """A padded batch in packed order as packed elements. [T, B, ...] -> [n, ...]"""
    time, row = _positions(lengths)
    return padded[from_host(time), from_host(row)]


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:  # fmt: skip
    """Sequences of several lengths stacked and padded. -> [T, B, ...] or [B, T, ...]"""
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side should be 'left' or 'right', got {padding_side}")
    longest = max(s.shape[0] for s in sequences)
    rows = []
    for s in sequences:
        gap = s.new_full((longest - s.shape[0], *s.shape[1:]), padding_value)
        rows.append(cat([gap, s] if padding_side == "left" else [s, gap]))
    return stack(rows, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Any, batch_first: bool = False
) -> list[Tensor]:
    """The sequences of a padded batch, each with its own length."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    sizes = to_host(as_tensor(lengths)).tolist()
    return [row[:n] for row, n in zip(rows.unbind(0), sizes, strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences of several lengths, packed."""
    lengths = [s.shape[0] for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed batch."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
