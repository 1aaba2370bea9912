"""How much a file may ask for: `Limits`, and the `Budget` that one `load` spends.

In: the size of the file. Out: nothing, or a `CheckpointLimitError`. True always: memory taken while reading is bounded
by a small multiple of the file's own size plus the fixed limits below, whatever sizes the file declares.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import CheckpointLimitError

__all__ = ["Budget", "Limits"]

MiB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds on what a checkpoint may make `load` build. The defaults pass every checkpoint of ordinary use.

    Attributes:
        opcodes: pickle instructions interpreted.
        containers: lists, dicts, tuples, sets built.
        memo: objects the pickle may refer back to.
        depth: containers inside containers.
        expanded: objects reached when every shared container is counted once per reference.
        marks: open MARK instructions.
        unusual_keys: dictionary keys and set elements that are tuples, complex or very large integers.
        int_bytes: length of one integer.
        pickle_bytes: length of the pickle stream in a zip file.
        inflated_bytes: sum of the compressed records of a zip file after inflation (PyTorch writes none compressed).
        records: entries of a zip file.
        header_bytes: length of a safetensors header.
        header_items: brackets in a safetensors header (three a tensor).
    """

    opcodes: int = 100_000_000
    containers: int = 10_000_000
    memo: int = 10_000_000
    depth: int = 256
    expanded: int = 1_000_000_000
    marks: int = 1_000
    unusual_keys: int = 10_000
    int_bytes: int = 1_024
    pickle_bytes: int = 1_024 * MiB
    inflated_bytes: int = 256 * MiB
    records: int = 1_000_000
    header_bytes: int = 100_000_000
    header_items: int = 3_000_000


class Budget:
    """Bytes that may be copied out of a file of `size` bytes while it is read; spent by whatever makes a copy."""

    __slots__ = ("allowed", "file", "spent")

    def __init__(self, size: int, file: str):
        self.allowed, self.spent, self.file = 8 * size + 64 * 1024, 0, file

    def spend(self, amount: int, what: str) -> None:
        self.spent += amount
        if self.spent > self.allowed:
            raise CheckpointLimitError(
                f"{what} would take more memory than the file can account for",
                file=self.file,
                found=f"{self.spent:,} bytes asked for, {self.allowed:,} allowed for a file of this size",
                mend="the same bytes are used over and over: save the object again, or get the file from its author",
            )
