"""Downloads and archives: checked, resumed, and never outside of the folder they are for.

In: URLs, paths, MD5 sums. Out: files. What stays true: a file under its own name is complete, and its checksum, where one is
known, was right; what is being fetched is called `name.part`, and a later call goes on with it; no archive writes outside
the folder it is extracted to.
"""
from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import sys
import tarfile
import urllib.error
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ...core.errors import fail
from ...hub import fetch
from ...serialization.atomic import atomic_writer

__all__ = ["calculate_md5", "check_integrity", "check_md5", "download_and_extract_archive", "download_url", "extract_archive", "list_dir",
           "list_files", "verify_str_arg"]

_PathLike = str | os.PathLike


def calculate_md5(fpath: _PathLike, chunk_size: int = 1024 * 1024) -> str:
    """The MD5 sum of a file."""
    md5 = hashlib.md5(usedforsecurity=False)
    with open(fpath, "rb") as file:
        while chunk := file.read(chunk_size):
            md5.update(chunk)
    return md5.hexdigest()


def check_md5(fpath: _PathLike, md5: str, **kwargs: Any) -> bool:
    """Whether a file has this MD5 sum."""
    return md5 == calculate_md5(fpath, **kwargs)


def check_integrity(fpath: _PathLike, md5: str | None = None) -> bool:
    """Whether the file is there and, where a sum is given, whole."""
    return os.path.isfile(fpath) and (md5 is None or check_md5(fpath, md5))


def download_url(url: str, root: _PathLike, filename: _PathLike | None = None, md5: str | None = None, max_redirect_hops: int = 3) -> None:
    """Fetch `url` to `root/filename` unless it is there and whole; go on where an earlier call was cut off."""
    target = Path(root).expanduser() / (filename or os.path.basename(url))
    if check_integrity(target, md5):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        resumed = fetch(url, part)
        if resumed and md5 is not None and not check_md5(part, md5):       # what was there belonged to something else
            part.unlink()
            fetch(url, part)
    except (urllib.error.URLError, OSError) as error:
        fail(urllib.error.URLError if isinstance(error, urllib.error.URLError) else RuntimeError, "P5510",
             f"could not download {url}: {error}",
             fix=f"with another machine or a browser, put the file at {target}, and run again" +
             (f"; what has come so far is kept in {part}" if part.exists() else ""))
    if md5 is not None and not check_md5(part, md5):
        got = calculate_md5(part)
        part.unlink()
        fail(RuntimeError, "P5511", f"File not found or corrupted: {url}", got=f"MD5 {got}, expected {md5}",
             fix=f"try again, or put the right file at {target}")
    os.replace(part, target)


# ----------------------------------------------------------------------------------------------------- archives
_ARCHIVES = (".tar", ".zip")
_OPENERS: dict[str, Callable[..., Any]] = {".bz2": bz2.open, ".gz": gzip.open, ".xz": lzma.open}
_ALIASES = {".tbz": (".tar", ".bz2"), ".tbz2": (".tar", ".bz2"), ".tgz": (".tar", ".gz")}


def _kind(path: _PathLike) -> tuple[str, str | None, str | None]:
    """(the suffix, .tar or .zip or None, the compression or None)."""
    suffixes = Path(path).suffixes
    last = suffixes[-1] if suffixes else ""
    if last in _ALIASES:
        return (last, *_ALIASES[last])
    if last in _ARCHIVES:
        return last, last, None
    if last in _OPENERS:
        inner = suffixes[-2] if len(suffixes) > 1 and suffixes[-2] in _ARCHIVES else None
        return (inner or "") + last, inner, last
    fail(RuntimeError, "P5512", f"Unknown compression or archive type: '{last}'", got=str(path),
         fix=f"known suffixes: {', '.join([*_ALIASES, *_ARCHIVES, *_OPENERS])}")


def extract_archive(from_path: _PathLike, to_path: _PathLike | None = None, remove_finished: bool = False) -> Any:
    """Extract an archive, or decompress a file, next to it or into `to_path`; returns where it went."""
    folder = Path(to_path if to_path is not None else os.path.dirname(os.fspath(from_path)))
    suffix, archive, compression = _kind(from_path)
    if archive is None:
        folder = folder / os.path.basename(os.fspath(from_path)).removesuffix(suffix)
        with _OPENERS[compression or ""](from_path, "rb") as source, atomic_writer(folder) as target:
            shutil.copyfileobj(source, target, 1 << 20)
    else:
        try:
            if archive == ".tar":
                with tarfile.open(from_path, f"r:{compression[1:]}" if compression else "r:") as tar:
                    tar.extractall(folder, filter="data")     # refuses what would land outside, links that lead there, devices
            else:
                _extract_zip(from_path, folder)
        except tarfile.FilterError as error:
            fail(RuntimeError, "P5513", f"{from_path} holds a file that would be written outside of {folder}: {error}",
                 fix="do not use this archive; get it from its source again")
    if remove_finished:
        os.remove(from_path)
    return os.fspath(folder) if isinstance(from_path, str) else folder


def _extract_zip(from_path: _PathLike, folder: Path) -> None:
    home = folder.resolve()
    with zipfile.ZipFile(from_path) as archive:
        for name in archive.namelist():
            if not (home / name).resolve().is_relative_to(home):
                fail(RuntimeError, "P5514", f"{from_path} holds a file that would be written outside of {folder}: {name}",
                     fix="do not use this archive; get it from its source again")
        archive.extractall(folder)


def download_and_extract_archive(url: str, download_root: _PathLike, extract_root: _PathLike | None = None,
                                 filename: _PathLike | None = None,
                                 md5: str | None = None, remove_finished: bool = False) -> None:
    """`download_url`, then `extract_archive`."""
    root = os.path.expanduser(os.fspath(download_root))
    filename = filename or os.path.basename(url)
    download_url(url, root, filename, md5)
    archive = os.path.join(root, filename)
    print(f"Extracting {archive} to {extract_root or root}", file=sys.stderr)
    extract_archive(archive, extract_root or root, remove_finished)


# ----------------------------------------------------------------------------------------------------- folders and arguments
def list_dir(root: _PathLike, prefix: bool = False) -> list[str]:
    """The folders in `root`; with `prefix`, with the path before their names."""
    root = os.path.expanduser(root)
    names = [n for n in os.listdir(root) if os.path.isdir(os.path.join(root, n))]
    return [os.path.join(root, n) for n in names] if prefix else names


def list_files(root: _PathLike, suffix: Any, prefix: bool = False) -> list[str]:
    """The files in `root` whose name ends in `suffix`."""
    root = os.path.expanduser(root)
    names = [n for n in os.listdir(root) if os.path.isfile(os.path.join(root, n)) and n.endswith(suffix)]
    return [os.path.join(root, n) for n in names] if prefix else names


def verify_str_arg(value: Any, arg: str | None = None, valid_values: Iterable[str] | None = None, custom_msg: str | None = None) -> str:
    """`value`, if it is one of the strings `valid_values`."""
    known = None if valid_values is None else list(valid_values)
    if not isinstance(value, str) or known is not None and value not in known:
        fail(ValueError, "P5515", custom_msg or f"Unknown value '{value}' for argument {arg or 'of type str'}.",
             fix="Valid values are " + ", ".join(repr(v) for v in known or ["any string"]))
    return value
