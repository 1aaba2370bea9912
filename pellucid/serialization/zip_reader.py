"""Reading the zip container of a `.pt` file.

In: a `Source` that starts with a zip's local header. Out: `ZipReader`, a mapping from record name to bytes, and each
record's place in the file (for mapping). True always: every record read lies inside the file, before the directory,
overlaps no other record, has the declared length and, where the writer stored one, the declared checksum; no name is
ever used as a path. Format: PKWARE APPNOTE 6.3.10, restricted to what PyTorch and ordinary zip tools write.
"""

from __future__ import annotations

import bisect
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from .errors import CheckpointLimitError, CorruptCheckpointError, UnsupportedCheckpointError
from .limits import Limits
from .source import Source

__all__ = ["LOCAL_MAGIC", "Record", "ZipReader", "check_not_foreign"]

LOCAL_MAGIC = b"PK\x03\x04"
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_MAX32, _MAX16 = 0xFFFFFFFF, 0xFFFF
_STORED, _DEFLATED = 0, 8
_DAMAGED = "the file is damaged or was altered: fetch it again, or save it again with torch.save or pellucid.save"


@dataclass(frozen=True, slots=True)
class Record:
    """One directory entry. `header` is the place of the local header, sizes are in bytes."""

    name: str
    header: int
    stored_size: int
    size: int
    method: int
    flags: int
    crc: int


class ZipReader:
    """The records of a zip file by name without the archive's own leading folder (`data.pkl`, `data/0`, ...)."""

    def __init__(self, source: Source, limits: Limits):
        self.source, self.limits, self._inflated = source, limits, 0
        directory, count, self._records_end = self._find_directory()
        entries = self._parse_directory(directory, count)
        self.folder = self._common_folder(entries)
        skip = len(self.folder) + 1
        self.records = {entry.name[skip:]: entry for entry in entries}
        self._headers = sorted(entry.header for entry in entries)
        if len(set(self._headers)) != len(self._headers):
            raise self._corrupt("two records of the zip file share the same bytes")

    def __contains__(self, name: str) -> bool:
        return name in self.records

    def _corrupt(self, what: str, found: str | None = None) -> CorruptCheckpointError:
        return CorruptCheckpointError(what, file=self.source.name, found=found, mend=_DAMAGED)

    # -- the directory ---------------------------------------------------------------------------------------------

    def _find_directory(self) -> tuple[bytes, int, int]:
        """The central directory's bytes, its number of entries, and the place where the records end."""
        source = self.source
        tail_place = max(0, source.size - (_END.size + _MAX16))
        tail = source.read(tail_place, source.size - tail_place, "the end of the zip file")
        at = tail.rfind(b"PK\x05\x06")
        while at >= 0:                                   # the comment may contain the signature; its length must fit
            if at + _END.size <= len(tail):
                fields = _END.unpack_from(tail, at)
                if at + _END.size + fields[7] == len(tail):
                    break
            at = tail.rfind(b"PK\x05\x06", 0, at)
        if at < 0:
            raise self._corrupt(
                "failed finding central directory: the file begins as a zip file but does not end as one",
                f"{source.size:,} bytes, no end-of-directory record (is the copy or download complete?)",
            )
        _, disk, first_disk, here, count, size, place, _ = fields
        end = tail_place + at
        if disk or first_disk or here != count:
            raise self._corrupt("the zip file says that it continues in another file")
        if at >= _LOCATOR.size and tail.startswith(b"PK\x06\x07", at - _LOCATOR.size):
            _, disk, place64, disks = _LOCATOR.unpack_from(tail, at - _LOCATOR.size)
            record = source.read(place64, _END64.size, "the zip64 end of directory")
            magic, _, _, _, disk64, first64, here64, count64, size64, at64 = _END64.unpack(record)
            if magic != b"PK\x06\x06" or disk or disks > 1 or disk64 or first64 or here64 != count64:
                raise self._corrupt("the zip64 end of directory is malformed")
            for short, long, full in ((count, count64, _MAX16), (size, size64, _MAX32), (place, at64, _MAX32)):
                if short != full and short != long:
                    raise self._corrupt("the zip file's two ends of directory contradict each other", f"{short} and {long}")
            count, size, place, end = count64, size64, at64, place64
        if place + size > end:
            raise self._corrupt("the zip directory lies outside the file", f"{size:,} bytes at {place:,} of {end:,}")
        if count > self.limits.records or count * _CENTRAL.size > size:
            raise CheckpointLimitError(
                "the zip file announces too many records", file=source.name,
                found=f"{count:,} records in a directory of {size:,} bytes, at most {self.limits.records:,} are read",
                mend="pass limits=Limits(records=...) if you trust the file's origin",
            )
        return source.read(place, size, "the zip directory"), count, place

    def _parse_directory(self, data: bytes, count: int) -> list[Record]:
        entries: list[Record] = []
        names: set[str] = set()
        at = 0
        for _ in range(count):
            if at + _CENTRAL.size > len(data):
                raise self._corrupt("the zip directory is cut short", f"{len(entries)} of {count} records")
            (magic, _, _, flags, method, _, _, crc, stored, size, n_name, n_extra, n_comment,
             disk, _, _, header) = _CENTRAL.unpack_from(data, at)
            name_at = at + _CENTRAL.size
            at = name_at + n_name + n_extra + n_comment
            if magic != b"PK\x01\x02" or at > len(data) or disk not in (0, _MAX16):
                raise self._corrupt("the zip directory is malformed", f"at record {len(entries)} of {count}")
            name = self._name(data[name_at : name_at + n_name])
            if _MAX32 in (size, stored, header):
                extra = data[name_at + n_name : name_at + n_name + n_extra]
                size, stored, header = self._zip64(name, extra, size, stored, header)
            if name in names:
                raise self._corrupt("the zip file holds two records of the same name", repr(name))
            names.add(name)
            if name.endswith("/") and size == 0:         # a folder, as re-packing tools write
                continue
            if flags & 0x2041:
                raise UnsupportedCheckpointError(f"the record {name!r} is encrypted", file=self.source.name,
                                                 mend="decrypt the archive first")
            if method not in (_STORED, _DEFLATED):
                raise UnsupportedCheckpointError(f"the record {name!r} is compressed by method {method}",
                                                 file=self.source.name, mend="pack the archive again without compression")
            if method == _STORED and stored != size:
                raise self._corrupt(f"the record {name!r} has two lengths", f"{stored:,} and {size:,} bytes")
            if header + _LOCAL.size + stored > self._records_end:
                raise self._corrupt(f"the record {name!r} lies outside the file",
                                    f"{stored:,} bytes at {header:,}, the records end at {self._records_end:,}")
            entries.append(Record(name, header, stored, size, method, flags, crc))
        if at != len(data):
            raise self._corrupt("the zip directory holds more than it announces", f"{len(data) - at} bytes too many")
        return entries

    def _name(self, raw: bytes) -> str:
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self._corrupt("a record's name is not UTF-8", repr(raw[:80])) from None
        parts = name.rstrip("/").split("/")
        if not name or "\0" in name or "\\" in name or any(p in ("", ".", "..") for p in parts):
            raise self._corrupt("a record's name is not a plain relative one", repr(name[:80]))
        return name

    def _zip64(self, name: str, extra: bytes, *fields: int) -> list[int]:
        """Replace the fields that are all ones by those of the zip64 extra block, in order."""
        at, block = 0, b""
        while at + 4 <= len(extra):
            kind, length = struct.unpack_from("<HH", extra, at)
            if kind == 1:
                block = extra[at + 4 : at + 4 + length]
                break
            at += 4 + length
        out, at = [], 0
        for field in fields:
            if field == _MAX32:
                if at + 8 > len(block):
                    raise self._corrupt(f"the record {name!r} lacks its 64-bit lengths")
                field = int.from_bytes(block[at : at + 8], "little")
                at += 8
            out.append(field)
        return out

    def _common_folder(self, entries: list[Record]) -> str:
        if not entries:
            raise self._corrupt("the zip file is empty")
        folder, slash, _ = entries[0].name.partition("/")
        stray = next((e.name for e in entries if not e.name.startswith(folder + "/")), None)
        if not slash or stray is not None:
            raise CorruptCheckpointError(
                "this zip file is not a checkpoint: its records do not share one folder",
                file=self.source.name, found=repr(stray or entries[0].name),
                mend="pass the .pt file itself; a zip of several files has to be unpacked first",
            )
        return folder

    # -- the records -----------------------------------------------------------------------------------------------

    def place(self, name: str) -> tuple[int, Record]:
        """Where the bytes of a record begin, and its entry. Raises CorruptCheckpointError where there is none."""
        record = self.records.get(name)
        if record is None:
            raise self._corrupt(f"the record {name!r} is missing", f"{len(self.records)} records in folder {self.folder!r}")
        head = self.source.read(record.header, _LOCAL.size, f"the header of {name!r}")
        magic, _, flags, method, _, _, crc, stored, size, n_name, n_extra = _LOCAL.unpack(head)
        if magic != LOCAL_MAGIC:
            raise self._corrupt(f"the record {name!r} has no header", f"{magic!r} at {record.header:,}")
        own = self.source.read(record.header + _LOCAL.size, n_name, f"the name of {name!r}")
        if own.decode("utf-8", "replace") != record.name or method != record.method:
            raise self._corrupt(f"the record {name!r} and its directory entry differ", repr(own[:80]))
        if not flags & 8 and _MAX32 not in (stored, size) and (stored, size, crc) != (record.stored_size, record.size, record.crc):
            raise self._corrupt(f"the record {name!r} and its directory entry differ in length or checksum")
        begin = record.header + _LOCAL.size + n_name + n_extra
        following = bisect.bisect_right(self._headers, record.header)
        end = self._headers[following] if following < len(self._headers) else self._records_end
        if begin + record.stored_size > end:
            raise self._corrupt(f"the record {name!r} overlaps the next one", f"{record.stored_size:,} bytes at {begin:,}")
        return begin, record

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes of a small record. `limit` bounds its length."""
        _, record = self.place(name)
        if limit is not None and record.size > limit:
            raise CheckpointLimitError(f"the record {name!r} is too long", file=self.source.name,
                                       found=f"{record.size:,} bytes, at most {limit:,} are read",
                                       mend="pass limits=Limits(...) if you trust the file's origin")
        return self.read_array(name).tobytes()

    def read_array(self, name: str) -> np.ndarray:
        """The bytes of a record as a fresh uint8 array, checksum verified."""
        begin, record = self.place(name)
        data = self.source.read_array(begin, record.stored_size, f"the record {name!r}")
        if record.method == _DEFLATED:
            data = self._inflate(record, data)
        # PyTorch writes a zero where it was told not to compute checksums.
        if record.crc and zlib.crc32(data) != record.crc:
            raise self._corrupt(f"the record {name!r} does not match its checksum", f"CRC-32 {zlib.crc32(data):08x}, recorded {record.crc:08x}")
        return data

    def _inflate(self, record: Record, data: np.ndarray) -> np.ndarray:
        self._inflated += record.size
        if self._inflated > self.limits.inflated_bytes:
            raise CheckpointLimitError(
                "the compressed records of the zip file are too long", file=self.source.name,
                found=f"{record.stored_size:,} bytes that claim to hold {record.size:,}; {self.limits.inflated_bytes:,} are inflated at most",
                mend="pack the archive again without compression (as torch.save does), or pass limits=Limits(inflated_bytes=...)",
            )
        engine = zlib.decompressobj(-15)
        try:
            out = engine.decompress(data, record.size + 1)
        except zlib.error as error:
            raise self._corrupt(f"the record {record.name!r} cannot be inflated", str(error)) from None
        if len(out) != record.size or not engine.eof:
            raise self._corrupt(f"the record {record.name!r} does not inflate to its declared length", f"{record.size:,} bytes")
        return np.frombuffer(bytearray(out), np.uint8)


def describe_foreign(head: bytes) -> tuple[str, str] | None:
    """What the first bytes of a file that is no checkpoint look like, and what to do about it."""
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself", "run `git lfs pull`, or download the file itself"
    if head.lstrip()[:1] == b"<":
        return "a web page", "the download returned an error page: check the address, or log in first"
    if head.startswith(b"\x1f\x8b"):
        return "a gzip file", "decompress it first, or pass gzip.open(path)"
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file (Keras?)", "read it with h5py and build tensors from its arrays"
    if head.startswith(b"\x93NUMPY"):
        return "a NumPy .npy file", "use numpy.load and pellucid.from_numpy"
    if head[257:262] == b"ustar":
        return "a tar file", "unpack it first; PyTorch's own tar format ended with version 0.1.10: load and save it there"
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "a safetensors file", "use pellucid.serialization.safetensors.load_file"
    return None


def check_not_foreign(source: Source) -> None:
    """Raise an UnsupportedCheckpointError that says what the file is, where it is a well-known other thing."""
    known = describe_foreign(source.read(0, min(source.size, 512), "the beginning of the file"))
    if known is not None:
        raise UnsupportedCheckpointError("this is not a PyTorch checkpoint", file=source.name, found=known[0], mend=known[1])


