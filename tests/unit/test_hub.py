"""pellucid.hub: entry points of a folder's hubconf.py, and weights by their address (here, of a file)."""
from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pellucid as torch
from pellucid import hub

CONF = '''
dependencies = ["numpy"]
from layers import Net as _Net

def net(size, bias=True):
    """A small net."""
    return _Net(size, size, bias=bias)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "hubconf.py").write_text(CONF)
    (tmp_path / "layers.py").write_text("from pellucid.nn import Linear as Net\n")
    yield tmp_path
    sys.modules.pop("layers", None)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    hub.set_dir(tmp_path / "hub")
    yield tmp_path / "hub"
    hub._dir = None


def test_a_local_folder(folder: Path) -> None:
    before = list(sys.path)
    model = hub.load(str(folder), "net", 3, source="local", bias=False)
    assert isinstance(model, torch.nn.Linear) and model.bias is None and model.weight.shape == (3, 3)
    assert hub.list(folder, source="local") == ["net"] and hub.help(folder, "net", source="local") == "A small net."
    assert sys.path == before


def test_what_the_hub_of_pytorch_has_cached(folder: Path, home: Path) -> None:
    home.mkdir()
    (home / "owner_name_main").symlink_to(folder)
    assert hub.load("owner/name", "net", 2).weight.shape == (2, 2) == hub.load("owner/name:main", "net", 2).weight.shape


def test_errors_say_how_to_go_on(folder: Path, home: Path) -> None:
    with pytest.raises(RuntimeError, match="(?s)there is no .*owner_name_v2.*git clone.*source='local'"):
        hub.load("owner/name:v2", "net")
    with pytest.raises(ValueError, match="Unknown source"):
        hub.load(folder, "net", source="gitlab")
    with pytest.raises(RuntimeError, match="(?s)Cannot find callable nett in hubconf.*did you mean 'net'"):
        hub.load(folder, "nett", source="local")
    (folder / "hubconf.py").write_text("dependencies = ['no_such_package']\n")
    with pytest.raises(RuntimeError, match="Missing dependencies: no_such_package"):
        hub.load(folder, "net", source="local")


def test_where_files_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert hub.get_dir() == str(tmp_path / "hub")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert hub.get_dir() == str(tmp_path / "torch" / "hub")


def test_weights_by_address(tmp_path: Path, home: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "weights.pt")
    digest = hashlib.sha256((tmp_path / "weights.pt").read_bytes()).hexdigest()
    (tmp_path / "weights.pt").rename(tmp_path / f"net-{digest[:8]}.pt")
    url = (tmp_path / f"net-{digest[:8]}.pt").as_uri()
    assert hub.load_state_dict_from_url(url, check_hash=True)["w"].tolist() == [1, 1]
    (tmp_path / f"net-{digest[:8]}.pt").unlink()
    assert hub.load_state_dict_from_url(url)["w"].tolist() == [1, 1]          # it is in the cache now
    wrong = tmp_path / "net-00000000.pt"
    wrong.write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="invalid hash value"):
        hub.load_state_dict_from_url(wrong.as_uri(), check_hash=True)
    with pytest.raises(OSError):
        hub.download_url_to_file((tmp_path / "nowhere").as_uri(), str(tmp_path / "copy"))
    assert sorted(p.name for p in (home / "checkpoints").iterdir()) == [f"net-{digest[:8]}.pt"]
