"""Writing the zip container of a `.pt` file, byte for byte as PyTorch's writer lays it out.

In: an object with `write`, record names and their bytes. Out: a zip file whose records are stored uncompressed, each
beginning at a multiple of 64 bytes (so that a mapped file gives aligned tensors), with a zip64 directory. True always:
the output is written front to back, never seeked, so pipes and sockets work.
Layout followed: PyTorch's caffe2/serialize/inline_container (the padding block "FB" in the local extra field, lengths in
a data descriptor behind each record).
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

__all__ = ["ZipWriter"]

ALIGNMENT = 64
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_UTF8, _DESCRIPTOR = 0x0800, 0x0008
_MAX32, _MAX16 = 0xFFFFFFFF, 0xFFFF
_CHUNK = 1 << 24


class ZipWriter:
    """Writes records under one folder. Call `close` to write the directory."""

    def __init__(self, file: Any, folder: str):
        self._file, self._folder, self._at = file, folder, 0
        self._directory: list[bytes] = []
        self.checksum = self.names_checksum = 0           # of all contents, and of all names

    def _put(self, data: Any) -> None:
        self._file.write(data)
        self._at += len(data)

    def write(self, name: str, data: Any) -> None:
        """Append one record. `data`: bytes or a flat uint8 array."""
        raw_name = f"{self._folder}/{name}".encode()
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        size, header, crc = len(view), self._at, zlib.crc32(view)
        big = size >= _MAX32 or header >= _MAX32
        flags = _UTF8 | (_DESCRIPTOR if size else 0)
        numbers = struct.pack("<QQ", size, size) if size >= _MAX32 else b""
        numbers += struct.pack("<Q", header) if header >= _MAX32 else b""
        zip64 = struct.pack("<HH", 1, len(numbers)) + numbers if big else b""
        begin = header + _LOCAL.size + len(raw_name) + len(zip64) + 4
        fill = -begin % ALIGNMENT
        extra = zip64 + b"FB" + struct.pack("<H", fill) + b"Z" * fill
        self._put(_LOCAL.pack(b"PK\x03\x04", 0, flags, 0, 0, 0, 0, 0, 0, len(raw_name), len(extra)) + raw_name + extra)
        for at in range(0, size, _CHUNK):                # a file-like without readinto copies what it is given
            self._put(view[at : at + _CHUNK])
        if size:
            self._put(struct.pack("<4sIQQ" if big else "<4sIII", b"PK\x07\x08", crc, size, size))
        short = min(size, _MAX32)
        self._directory.append(_CENTRAL.pack(
            b"PK\x01\x02", 0, 0, flags, 0, 0, 0, crc, short, short, len(raw_name), len(zip64), 0, 0, 0, 0, min(header, _MAX32),
        ) + raw_name + zip64)
        self.checksum = zlib.crc32(struct.pack("<IQ", crc, size), self.checksum)
        self.names_checksum = zlib.crc32(raw_name, self.names_checksum)

    def close(self) -> None:
        """Write the directory and its two ends. The file itself stays open."""
        directory, count, place = b"".join(self._directory), len(self._directory), self._at
        end64 = place + len(directory)
        self._put(directory)
        self._put(struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 0x031E, 45, 0, 0, count, count, len(directory), place))
        self._put(struct.pack("<4sIQI", b"PK\x06\x07", 0, end64, 1))
        self._put(struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, min(count, _MAX16), min(count, _MAX16),
                              min(len(directory), _MAX32), min(place, _MAX32), 0))
