"""Batches of sequences of different lengths.

In: sequences, or a padded batch with their lengths. Out: a padded batch, or a ``PackedSequence``: the elements of all
sequences in one tensor, time step by time step, longest sequence first. What stays true: packing and padding only move
rows, so gradients pass through, and ``pad_packed_sequence(pack_padded_sequence(x, lengths))`` gives back what lay
within the lengths.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from typing import Any

from ...core.errors import fail
from ...core import dtype as dt
from ...tensor import Tensor
from ...tensor import functions as T

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpad_sequence",
    "pack_sequence",
    "unpack_sequence",
]

_Fields = namedtuple("PackedSequence", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"])
_Fields.__annotations__ = {
    "data": Tensor,
    "batch_sizes": Tensor,
    "sorted_indices": "Tensor | None",
    "unsorted_indices": "Tensor | None",
}


class PackedSequence(_Fields):
    """Sequences of different lengths, as recurrent layers take and return them. Made by ``pack_sequence`` and
    ``pack_padded_sequence``.

    Attributes:
        data: (sum of the lengths, *): all elements, time step by time step.
        batch_sizes: 1-d int64 on the CPU: how many sequences are still running at each time step.
        sorted_indices: which sequence of the user's order comes first, second, ...; None when it was sorted already.
        unsorted_indices: the inverse permutation.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            # An old form: (data, batch_sizes) as one pair.
            if not (isinstance(data, (list, tuple)) and len(data) == 2):
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be created manually. "
                "They should be instantiated by functions like pack_sequence and pack_padded_sequences in "
                "nn.utils.rnn."
            )
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Move or cast the data (arguments of ``Tensor.to``); returns self when nothing changes."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        # The indices follow the data to its device, but keep their dtype.
        index_options = {k: v for k, v in kwargs.items() if k in ("non_blocking", "copy")}
        sorted_indices, unsorted_indices = (
            None if index is None else index.to(data.device, **index_options)
            for index in (self.sorted_indices, self.unsorted_indices)
        )
        return type(self)(data, self.batch_sizes, sorted_indices, unsorted_indices)

    def pin_memory(self) -> PackedSequence:
        """The same sequence in pinned memory."""
        indices = [None if i is None else i.pin_memory() for i in (self.sorted_indices, self.unsorted_indices)]
        return type(self)(self.data.pin_memory(), self.batch_sizes, *indices)

    def is_pinned(self) -> bool:
        """Whether the data lies in pinned memory."""
        return self.data.is_pinned()

    @property
    def is_cuda(self) -> bool:
        """Whether the data lies on a CUDA device."""
        return self.data.is_cuda

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequence on the CPU."""
        return self.to(*args, device="cpu", **kwargs)

    def double(self) -> PackedSequence:
        """The same sequence in float64."""
        return self.to(dtype=dt.float64)

    def float(self) -> PackedSequence:
        """The same sequence in float32."""
        return self.to(dtype=dt.float32)

    def half(self) -> PackedSequence:
        """The same sequence in float16."""
        return self.to(dtype=dt.float16)

    def long(self) -> PackedSequence:
        """The same sequence in int64."""
        return self.to(dtype=dt.int64)

    def int(self) -> PackedSequence:
        """The same sequence in int32."""
        return self.to(dtype=dt.int32)

    def short(self) -> PackedSequence:
        """The same sequence in int16."""
        return self.to(dtype=dt.int16)

    def char(self) -> PackedSequence:
        """The same sequence in int8."""
        return self.to(dtype=dt.int8)

    def byte(self) -> PackedSequence:
        """The same sequence in uint8."""
        return self.to(dtype=dt.uint8)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes ``permutation`` (1-d int64); None for None."""
    return None if permutation is None else T.argsort(permutation)


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | list[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch.

    Args:
        input: (T, B, *), or (B, T, *) with ``batch_first``.
        lengths: the length of each of the B sequences, each at least 1: a list, or a 1-d tensor on the CPU.
        enforce_sorted: require that the lengths are in decreasing order; otherwise the batch is sorted here.

    Raises:
        RuntimeError: the lengths do not fit the batch or are not sorted, or the batch is empty.
    """
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    lengths = T.as_tensor(lengths, dtype=dt.int64, device="cpu")
    sorted_indices = None
    if not enforce_sorted:
        lengths, sorted_indices = T.sort(lengths, descending=True)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    if lengths.dim() != 1:
        raise RuntimeError(f"'lengths' argument should be a 1D CPU int64 tensor, but got {lengths.dim()}D cpu Long tensor")
    batch_size, steps = input.shape[:2] if batch_first else (input.size(1), input.size(0))
    sizes = lengths.tolist()
    if len(sizes) != batch_size:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} (batch_size={batch_size})"
        )
    if min(sizes) <= 0:
        fail(RuntimeError, "P657", "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0",
             fix="leave out empty sequences")
    if sizes != sorted(sizes, reverse=True):
        fail(RuntimeError, "P654", "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
             "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
             "do not need ONNX exportability.", fix="pass enforce_sorted=False")
    if sizes[0] > steps:
        fail(RuntimeError, "P655", f"Expected every length to be at most {steps}, the padded length, but got {sizes[0]}",
             fix="a length counts the valid steps of a padded sequence")
    batch_sizes = _counts_above(lengths, sizes[0])
    rows = _rows(batch_sizes, batch_size, steps, batch_first)
    data = input.reshape(batch_size * steps, *input.shape[2:]).index_select(0, rows)
    return PackedSequence(data, batch_sizes, sorted_indices)


def _counts_above(sizes: Tensor, n: int) -> Tensor:
    """For each i in 0..n-1, how many of ``sizes`` are greater than i (turns lengths to batch sizes, and back)."""
    return (sizes.unsqueeze(0) > T.arange(n).unsqueeze(1)).sum(1)


def _rows(batch_sizes: Tensor, batch_size: int, steps: int, batch_first: bool) -> Tensor:
    """Where the elements of a packed sequence lie among the ``batch_size * steps`` rows of the padded batch."""
    step, member = (T.arange(batch_size).unsqueeze(0) < batch_sizes.unsqueeze(1)).nonzero(as_tuple=True)
    return member * steps + step if batch_first else step * batch_size + member


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Unpack into a padded batch, in the user's order.

    Args:
        batch_first: give (B, T, *) instead of (T, B, *).
        padding_value: fills the rest.
        total_length: pad to this length instead of the longest sequence's.

    Returns:
        the batch, and the lengths (1-d int64).

    Raises:
        ValueError: ``total_length`` is too short.
    """
    batch_sizes = sequence.batch_sizes
    longest = batch_sizes.size(0)
    steps = longest if total_length is None else total_length
    if steps < longest:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {longest}"
        )
    data = sequence.data
    batch_size = int(batch_sizes[0])
    rows = _rows(batch_sizes, batch_size, steps, batch_first)
    padded = data.new_full((batch_size * steps, *data.shape[1:]), padding_value).index_copy(0, rows, data)
    padded = padded.reshape(*((batch_size, steps) if batch_first else (steps, batch_size)), *data.shape[1:])
    lengths = _counts_above(batch_sizes, batch_size)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(0 if batch_first else 1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices.cpu()]
    return padded, lengths


def pad_sequence(
    sequences: Tensor | Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences of shape (L_i, *) into one batch (T, B, *), or (B, T, *), T being the longest length.

    Args:
        padding_value: fills the rest.
        padding_side: 'right' (after the elements) or 'left'.

    Raises:
        RuntimeError: no iterable, no sequences, trailing shapes that differ, or another ``padding_side``.
    """
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    elif not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("right", "left"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    first = sequences[0]
    longest = max(sequence.size(0) for sequence in sequences)
    rows = []
    for sequence in sequences:
        sequence = sequence.to(first.dtype)
        if sequence.shape[1:] != first.shape[1:]:
            fail(RuntimeError, "P656", "pad_sequence: Expected all sequences to have the same size in every dimension but the first, but "
                 f"got {tuple(sequence.shape)} and {tuple(first.shape)}",
                 fix="only the first dimension, the length, may differ")
        missing = longest - sequence.size(0)
        if missing:
            filler = first.new_full((missing, *first.shape[1:]), padding_value)
            sequence = T.cat([sequence, filler] if padding_side == "right" else [filler, sequence])
        rows.append(sequence)
    return T.stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded batch, each cut to its length."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [sequence[: int(length)] for sequence, length in zip(padded_sequences, lengths)]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences of shape (L_i, *); with ``enforce_sorted`` they must come in decreasing order of length."""
    lengths = [sequence.size(0) for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a PackedSequence, in the user's order."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
