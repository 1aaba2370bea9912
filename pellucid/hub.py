"""`pellucid.hub`: models that a folder offers in its `hubconf.py`, and weights by their address.

In: a folder (`source="local"`, or one that PyTorch's hub has cached) and the name of an entry point; an address of a file. Out: what the
entry point returns; the loaded weights. Where: `get_dir()`, PyTorch's own folder, so that what it has cached is found.
What stays true: no repository is downloaded; weights are read by `pellucid.load`, which unpickles nothing. A download that stops leaves
no file under the final name. A `hubconf.py` that says `import torch` wants `import pellucid.torch_alias` first.
"""
from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

from .core.errors import fail, nearest
from .serialization import load as _load

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

USER_AGENT = "pellucid"
TIMEOUT = 30                    # seconds without any answer

_dir: str | None = None


def get_dir() -> str:
    """Where hub files are: what `set_dir` set, or `$TORCH_HOME/hub`, or `~/.cache/torch/hub`."""
    home = os.getenv("TORCH_HOME") or os.path.join(os.getenv("XDG_CACHE_HOME") or "~/.cache", "torch")
    return _dir or os.path.join(os.path.expanduser(home), "hub")


def set_dir(d: str | os.PathLike[str]) -> None:
    """Where hub files are from now on."""
    global _dir
    _dir = os.path.expanduser(d)


def load(repo_or_dir: str | os.PathLike[str], model: str, *args: Any, source: str = "github", trust_repo: Any = None, force_reload: bool = False,
         verbose: bool = True, skip_validation: bool = False, **kwargs: Any) -> Any:
    """Call the entry point `model` of a folder's hubconf.py with `args` and `kwargs`.

    With source="github", `repo_or_dir` is "owner/name[:branch]", and PyTorch's hub must have cached it. The other arguments are
    PyTorch's and have nothing to do here.

    Raises: RuntimeError if there is no such folder, entry point, or a package that the folder says it needs.
    """
    return _entry(_hubconf(repo_or_dir, source), model)(*args, **kwargs)


def list(github: str | os.PathLike[str], force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = None, verbose: bool = True,
         *, source: str = "github") -> Any:
    """The names of the entry points of a folder."""
    return _entries(_hubconf(github, source))


def help(github: str | os.PathLike[str], model: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = None,
         *, source: str = "github") -> str | None:
    """The docstring of an entry point."""
    return _entry(_hubconf(github, source), model).__doc__


def _folder(repo_or_dir: str | os.PathLike[str], source: str) -> Path:
    if source not in ("github", "local"):
        fail(ValueError, "P4101", f'Unknown source: "{source}". Allowed values: "github" | "local".', fix='source="local" for a folder')
    if source == "local":
        folder = Path(os.path.expanduser(repo_or_dir))
        found = [folder]
    else:
        owner, _, rest = str(repo_or_dir).partition("/")
        name, _, branch = rest.partition(":")
        folder = Path(get_dir()) / f"{owner}_{name}_{(branch or 'main').replace('/', '_')}"
        found = [folder, Path(get_dir()) / f"{owner}_{name}_master"] if not branch else [folder]
    for folder in found:
        if (folder / "hubconf.py").is_file():
            return folder
    fail(RuntimeError, "P4102", f"hub: there is no {found[0] / 'hubconf.py'}",
         fix="git clone the repository, and pass its folder with source='local'; pellucid.hub downloads no code")


def _hubconf(repo_or_dir: str | os.PathLike[str], source: str) -> ModuleType:
    folder = _folder(repo_or_dir, source)
    spec = importlib.util.spec_from_file_location("hubconf", folder / "hubconf.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    absent = [name for name in getattr(module, "dependencies", ()) if name not in sys.modules and importlib.util.find_spec(name) is None]
    if absent:
        fail(RuntimeError, "P4103", f"Missing dependencies: {', '.join(absent)}", fix="install them, or import pellucid.torch_alias for torch")
    return module


def _entries(module: ModuleType) -> Any:
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]


def _entry(module: ModuleType, name: str) -> Callable:
    entry = getattr(module, name, None)
    if not callable(entry):
        near = nearest(name, _entries(module))
        fail(RuntimeError, "P4104", f"Cannot find callable {name} in hubconf",
             fix=f"did you mean {near!r}?" if near else "hub.list() lists the names")
    return entry


def load_state_dict_from_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True, check_hash: bool = False,
                             file_name: str | None = None, weights_only: bool = False) -> Any:
    """Load the file at `url`; it is downloaded to `model_dir` (`get_dir()/checkpoints`) if it is not there already.

    check_hash: the file's name ends in `-<the first digits of its SHA-256>.ext`, which it must have (RuntimeError).
    """
    folder = Path(model_dir or os.path.join(get_dir(), "checkpoints"))
    name = file_name or os.path.basename(urlparse(url).path)
    target = folder / name
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        found = re.search(r"-([a-f0-9]{8,})\.", name) if check_hash else None
        download_url_to_file(url, str(target), found[1] if found else None, progress)
    return _load(str(target), map_location=map_location, weights_only=weights_only)


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Fetch `url` into the file `dst`. RuntimeError if its SHA-256 does not begin with `hash_prefix`; OSError if it cannot be fetched."""
    folder = os.path.dirname(os.path.abspath(dst))
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as made:
        part = Path(made.name)
    try:
        fetch(url, part)
        with open(part, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if hash_prefix and not digest.startswith(hash_prefix):
            fail(RuntimeError, "P4105", f'invalid hash value (expected "{hash_prefix}", got "{digest}")', fix="fetch it again, or from another place")
        os.replace(part, dst)
    finally:
        part.unlink(missing_ok=True)


def fetch(url: str, part: Path) -> bool:
    """Append what is missing of `url` to `part`; whether there was something to go on with. OSError if it does not come to its end."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": USER_AGENT} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:                       # nothing is missing
            return True
        raise
    with response:
        resumed = have > 0 and response.status == 206
        length = getattr(response, "length", None)           # there is none where the address is that of a file
        with open(part, "ab" if resumed else "wb") as file:
            shutil.copyfileobj(response, file, 1 << 18)
            written = file.tell() - (have if resumed else 0)
        if length is not None and written != length:
            raise OSError(f"the connection ended after {written:,} of {length:,} bytes")
    return resumed
