"""Files are the old ones or the complete new ones: atomic writing, killed processes, streams."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pellucid
from pellucid.serialization import load, safetensors, save
from pellucid.serialization.atomic import atomic_writer

# Saves two files by turns in forked children and kills each at a random moment of its writing.
KILLING = """
import json, os, random, signal, sys, time, warnings
warnings.simplefilter("ignore")                       # of forking with BLAS threads around: the children do not compute
import pellucid
from pellucid.serialization import load, safetensors, save

path, seed, named = sys.argv[1], sys.argv[2], sys.argv[3] == "named"
if named:
    del os.O_TMPFILE
rng = random.Random(seed)
versions = [{"version": pellucid.full((1,), float(v)), "data": pellucid.full((1 << 19,), float(v))} for v in (0, 1)]
write = safetensors.save_file if path.endswith(".safetensors") else save
took = []
for version in (1, 0):
    start = time.perf_counter()
    write(versions[version], path)
    took.append(time.perf_counter() - start)
killed, finished, current = 0, 0, 0
for run in range(int(sys.argv[4])):
    wanted = 1 - current
    child = os.fork()
    if child == 0:
        try:
            write(versions[wanted], path)
        finally:
            os._exit(0)
    time.sleep(rng.random() * 1.5 * min(took))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    killed, finished = killed + (status != 0), finished + (status == 0)
    found = load(path)
    seen = found["version"].item()
    assert set(found["data"]._a.tolist()[:: 1 << 12]) == {seen} and (found["data"]._a == seen).all()
    assert seen == wanted or status != 0              # a child that finished has replaced the file
    current = int(seen)
print(json.dumps({"killed": killed, "finished": finished, "left": sorted(os.listdir(os.path.dirname(path)))}))
"""


def kill_runs(path: Path, runs: int, how: str = "unnamed") -> dict:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                   "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(pellucid.__file__).parents[1]), os.environ.get("PYTHONPATH")]))}
    seed = os.environ.get("PELLUCID_TEST_SEED", "0")
    out = subprocess.run([sys.executable, "-c", KILLING, str(path), seed, how, str(runs)], env=environment, capture_output=True,
                         text=True, timeout=100)
    assert out.returncode == 0, out.stderr[-2000:]
    return json.loads(out.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_200_runs_killed_while_saving_leave_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    found = kill_runs(path, 200)
    assert found["killed"] + found["finished"] == 200 and found["killed"] >= 40
    if hasattr(os, "O_TMPFILE"):
        # Between getting its name and replacing the old file (microseconds) a stray temporary is possible: the next save removes it.
        assert len(found["left"]) <= 5 and "model.pt" in found["left"]
    pellucid.save({"w": pellucid.ones(2)}, path)
    assert os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("name, how", [("model.pt", "named"), ("model.safetensors", "unnamed")])
def test_the_same_with_named_temporaries_and_safetensors(name: str, how: str, tmp_path: Path) -> None:
    found = kill_runs(tmp_path / name, 40, how)
    assert found["killed"] + found["finished"] == 40 and name in found["left"]
    assert all(left == name or left.endswith(".tmp") for left in found["left"])


@pytest.mark.parametrize("named", [False, True])
def test_what_fails_leaves_the_old_file_and_nothing_else(named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_writer(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk on fire")))
    with pytest.raises(OSError, match="disk on fire"), atomic_writer(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("named", [False, True])
def test_links_are_followed_and_permissions_kept(named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    path, link = tmp_path / "real.pt", tmp_path / "link.pt"
    save(1, path)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    path.chmod(0o640)
    link.symlink_to("real.pt")
    save(2, link)
    assert link.is_symlink() and load(path) == 2 and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link.pt", "real.pt"]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save(1, tmp_path / "no folder" / "x.pt")
    with pytest.raises(IsADirectoryError):
        save(1, tmp_path)
    save(1, os.devnull)                                   # a device is written in place
    assert not stat.S_ISREG(os.stat(os.devnull).st_mode) and os.listdir(tmp_path) == []


def test_the_longest_name_is_possible(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 252 + ".pt")
    save({"a": 1}, path)
    assert load(path) == {"a": 1}


@pytest.mark.parametrize("name, folder", [("x.pt", "x"), ("a.b.pt", "a.b"), ("noend", "noend"), (".hidden", "hidden"), ("grün.pt", "archive"), ("...", "archive")])
def test_the_folder_in_the_archive(name: str, folder: str, tmp_path: Path) -> None:
    if name == "...":
        name = "... .pt"
        folder = "... "
    save(1, tmp_path / name)
    assert zipfile.ZipFile(tmp_path / name).namelist()[0] == f"{folder}/data.pkl"
    assert load(tmp_path / name) == 1


class Pipe:
    """A stream that can only be written to, and takes what it is given in pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data) -> int:
        self.pieces.append(bytes(data))
        return len(data)


@pytest.mark.parametrize("zipped", [True, False])
def test_streams_without_seek(zipped: bool) -> None:
    pipe = Pipe()
    save({"a": pellucid.arange(10_000)}, pipe, _use_new_zipfile_serialization=zipped)
    assert load(io.BytesIO(b"".join(pipe.pieces)))["a"].sum().item() == 49995000


@pytest.mark.parametrize("zipped", [True, False])
def test_after_what_a_stream_already_holds(zipped: bool, tmp_path: Path) -> None:
    with open(tmp_path / "x", "w+b") as file:
        file.write(b"header")
        save([pellucid.ones(3)], file, _use_new_zipfile_serialization=zipped)
        file.seek(6)
        assert load(file)[0].tolist() == [1, 1, 1]


def test_storages_begin_at_multiples_of_64(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    save([pellucid.ones(n) for n in (0, 1, 3, 100)], path)
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as z:
        for info in z.infolist():
            begin = info.header_offset + 30 + int.from_bytes(raw[info.header_offset + 26 : info.header_offset + 28], "little") \
                + int.from_bytes(raw[info.header_offset + 28 : info.header_offset + 30], "little")
            assert begin % 64 == 0
        assert z.testzip() is None


def test_the_same_object_gives_the_same_bytes() -> None:
    one, other = io.BytesIO(), io.BytesIO()
    save({"a": pellucid.ones(3)}, one)
    save({"a": pellucid.ones(3)}, other)
    assert one.getvalue() == other.getvalue()


def test_top_level_names() -> None:
    assert pellucid.save is save and pellucid.load is load and pellucid.serialization.safetensors is safetensors
