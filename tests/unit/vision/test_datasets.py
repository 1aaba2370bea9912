"""Data sets: folders, IDX files, CIFAR's pickles; downloads from a server of our own that breaks off, resumes and lies."""
from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import struct
import tarfile
import threading
import zipfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image  # noqa: E402

import pellucid as torch  # noqa: E402
from pellucid import hub  # noqa: E402
from pellucid.serialization import UnsafeCheckpointError  # noqa: E402
from pellucid.utils.data import DataLoader  # noqa: E402
from pellucid.vision import datasets, transforms  # noqa: E402
from pellucid.vision.datasets import utils  # noqa: E402

SHARED = Path(__file__).parents[4] / "shared" / "data"


# ----------------------------------------------------------------------------------------------------- folders
@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k, name in enumerate(("cat", "ant", "dog")):
        (tmp_path / name / "more").mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8 + i, 9), (10 * k, i, 0)).save(tmp_path / name / ("more" if i == 2 else "") / f"{i}.png")
        (tmp_path / name / "notes.txt").write_text("no image")
    return tmp_path


def test_image_folder(folder: Path) -> None:
    data = datasets.ImageFolder(folder, transform=transforms.ToTensor(), target_transform=lambda t: t + 10)
    assert data.classes == ["ant", "cat", "dog"] and data.class_to_idx == {"ant": 0, "cat": 1, "dog": 2}
    assert [Path(p).relative_to(folder).as_posix() for p, _ in data.samples[:3]] == ["ant/0.png", "ant/1.png", "ant/more/2.png"]
    assert data.imgs is data.samples and data.targets == [0] * 3 + [1] * 3 + [2] * 3 and len(data) == 9
    image, target = data[4]
    assert image.shape == (3, 9, 9) and target == 11
    assert torch.allclose(image[:, 0, 0] * 255, torch.tensor([0.0, 1.0, 0.0]))
    assert repr(data).splitlines()[:3] == ["Dataset ImageFolder", "    Number of datapoints: 9", f"    Root location: {folder}"]
    assert "Transform: ToTensor()" in repr(data)


def test_folders_with_a_loader_of_ones_own(folder: Path) -> None:
    texts = datasets.DatasetFolder(folder, loader=lambda p: Path(p).read_text(), extensions=(".txt",))
    assert len(texts) == 3 and texts[0] == ("no image", 0)
    some = datasets.ImageFolder(folder, is_valid_file=lambda p: p.endswith("1.png"))
    assert len(some) == 3 and some[0][0].size == (9, 9) and some[0][0].mode == "RGB"
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no valid file for the classes empty.*") as e:
        datasets.ImageFolder(folder)
    assert "allow_empty=True" in str(e.value) and ".jpg" in str(e.value)
    assert len(datasets.ImageFolder(folder, allow_empty=True).classes) == 4
    with pytest.raises(FileNotFoundError, match="Couldn't find any class folder"):
        datasets.ImageFolder(folder / "empty")
    with pytest.raises(ValueError, match="extensions and is_valid_file"):
        datasets.DatasetFolder(folder, str)
    with pytest.raises(ValueError, match="Only transforms or transform"):
        datasets.VisionDataset(folder, transforms=lambda a, b: (a, b), transform=str)


def test_fake_data_depends_on_the_index_only() -> None:
    data = datasets.FakeData(5, (3, 6, 7), 4, transform=transforms.PILToTensor())
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    a, b = data[3], data[3]
    assert torch.equal(a[0], b[0]) and a[1] == b[1] and a[0].shape == (3, 6, 7) and torch.equal(torch.rand(1), expected)
    torch.manual_seed(3)
    noise = torch.randn(3, 6, 7)
    inside = (noise >= 0) & (noise <= 1)                   # what the rest wraps to is the processor's business
    assert a[0].dtype == torch.uint8 and inside.sum() > 20 and torch.equal(a[0][inside], (noise[inside] * 255).to(torch.uint8))
    with pytest.raises(IndexError):
        data[5]


# ----------------------------------------------------------------------------------------------------- MNIST
def idx(array: np.ndarray, code: int = 8) -> bytes:
    return struct.pack(f">HBB{array.ndim}i", 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("compressed", [False, True])
def test_mnist(tmp_path: Path, compressed: bool) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.arange(4 * 28 * 28, dtype=np.uint32).reshape(4, 28, 28).astype(np.uint8)
    files = {"train-images-idx3-ubyte": idx(images), "train-labels-idx1-ubyte": idx(np.array([3, 1, 4, 1], np.uint8))}
    for name, data in files.items():
        (raw / (name + ".gz" * compressed)).write_bytes(gzip.compress(data) if compressed else data)
    data = datasets.MNIST(str(tmp_path), train=True, download=False)
    assert data.data.dtype == torch.uint8 and np.array_equal(data.data.numpy(), images) and data.targets.tolist() == [3, 1, 4, 1]
    image, target = data[2]
    assert image.mode == "L" and np.array_equal(np.asarray(image), images[2]) and target == 4 and type(target) is int
    assert data.class_to_idx["4 - four"] == 4 and "Split: Train" in repr(data)
    with pytest.raises(RuntimeError, match="Dataset not found. You can use download=True") as e:
        datasets.MNIST(tmp_path, train=False)
    assert "t10k-images-idx3-ubyte" in str(e.value) and str(raw) in str(e.value)
    (raw / ("train-images-idx3-ubyte" + ".gz" * compressed)).write_bytes(gzip.compress(files["train-images-idx3-ubyte"][:-5]) if compressed
                                                                          else files["train-images-idx3-ubyte"][:-5])
    with pytest.raises(RuntimeError, match="no whole IDX file"):
        datasets.MNIST(tmp_path)


def test_the_kin_of_mnist(tmp_path: Path) -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    labels = np.array([1, 0], np.uint8)
    for cls in (datasets.FashionMNIST, datasets.KMNIST):
        raw = tmp_path / cls.__name__ / "raw"
        raw.mkdir(parents=True)
        (raw / "t10k-images-idx3-ubyte").write_bytes(idx(images))
        (raw / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
        assert cls(tmp_path, train=False)[0][1] == 1 and len(cls.classes) == 10
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "emnist-letters-train-images-idx3-ubyte").write_bytes(idx(images))
    (raw / "emnist-letters-train-labels-idx1-ubyte").write_bytes(idx(labels))
    letters = datasets.EMNIST(tmp_path, "letters")
    assert letters.classes[1] == "a" and len(letters) == 2
    assert [len(datasets.EMNIST.classes_split_dict[s]) for s in datasets.EMNIST.splits] == [62, 47, 47, 27, 10, 10]
    with pytest.raises(ValueError, match="Unknown value 'x' for argument split"):
        datasets.EMNIST(tmp_path, "x")
    raw = tmp_path / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "qmnist-test-images-idx3-ubyte").write_bytes(idx(images))
    (raw / "qmnist-test-labels-idx2-int").write_bytes(idx(np.arange(16).reshape(2, 8).astype(">i4"), 12))
    assert datasets.QMNIST(tmp_path, train=False)[1][1] == 8
    assert datasets.QMNIST(tmp_path, "test", compat=False)[1][1].tolist() == list(range(8, 16))
    assert len(datasets.QMNIST(tmp_path, "test50k")) == 0


# ----------------------------------------------------------------------------------------------------- CIFAR
def python2_pickle(values: dict) -> bytes:
    """What Python 2 wrote with protocol 2: strings and the bytes of arrays both as its `str`."""
    def put(v: object) -> bytes:
        if isinstance(v, (str, bytes)):
            v = v.encode() if isinstance(v, str) else v
            return b"T" + struct.pack("<I", len(v)) + v
        if isinstance(v, int):
            return b"J" + struct.pack("<i", v)
        if isinstance(v, list):
            return b"](" + b"".join(map(put, v)) + b"e"
        shape = b"".join(b"J" + struct.pack("<i", n) for n in v.shape)
        return (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape + bytes([0x85 + v.ndim - 1])
                + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
                b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + put(v.tobytes()) + b"tb")
    return b"\x80\x02}(" + b"".join(put(k) + put(v) for k, v in values.items()) + b"u."


class SmallCIFAR(datasets.CIFAR10):
    train_list = [["data_batch_1", ""], ["data_batch_2", ""]]
    test_list = [["test_batch", ""]]


def write_cifar(root: Path, extra: bytes | None = None) -> np.ndarray:
    home = root / "cifar-10-batches-py"
    home.mkdir(exist_ok=True)
    pixels = np.random.RandomState(0).randint(0, 256, (6, 3072)).astype(np.uint8)
    files = {name: python2_pickle({"data": pixels[2 * k:2 * k + 2], "labels": [k, k + 1], "filenames": ["a.png", "b.png"]})
             for k, name in enumerate(("data_batch_1", "data_batch_2", "test_batch"))}
    files["batches.meta"] = python2_pickle({"label_names": [f"class{i}" for i in range(10)]})
    if extra is not None:
        files["test_batch"] = extra
    for entry in (*SmallCIFAR.train_list, *SmallCIFAR.test_list):
        entry[1] = hashlib.md5(files[entry[0]]).hexdigest()
    SmallCIFAR.meta = SmallCIFAR.meta | {"md5": hashlib.md5(files["batches.meta"]).hexdigest()}
    for name, data in files.items():
        (home / name).write_bytes(data)
    return pixels


def test_cifar_is_read_without_unpickling(tmp_path: Path) -> None:
    pixels = write_cifar(tmp_path)
    data = SmallCIFAR(tmp_path)
    assert data.data.shape == (4, 32, 32, 3) and data.targets == [0, 1, 1, 2] and data.classes[3] == "class3"
    image, target = data[3]
    assert np.array_equal(np.asarray(image).transpose(2, 0, 1).reshape(-1), pixels[3]) and target == 2
    assert len(SmallCIFAR(tmp_path, train=False)) == 2
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="not found or corrupted") as e:
        SmallCIFAR(tmp_path)
    assert "cifar-10-python.tar.gz" in str(e.value)
    write_cifar(tmp_path, b"\x80\x02cos\nsystem\nU\x04echo\x85R.")
    with pytest.raises(UnsafeCheckpointError):
        SmallCIFAR(tmp_path, train=False)
    assert datasets.CIFAR100.meta["key"] == "fine_label_names"


# ----------------------------------------------------------------------------------------------------- downloads
class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `files`; the first `cuts` answers to a name end early; `ranges` off ignores Range."""

    files: dict[str, bytes] = {}
    cuts: dict[str, int] = {}
    ranges = True
    asked: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        name, wanted = self.path.lstrip("/"), self.headers.get("Range")
        self.asked.append((name, wanted))
        data = self.files.get(name)
        if data is None:
            self.send_error(404)
            return
        start = int(wanted[6:-1]) if wanted and self.ranges else 0
        if start >= len(data) > 0 and wanted:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data)
        if self.cuts.get(name, 0) > 0:
            self.cuts[name] -= 1
            end = start + (len(data) - start) // 2
        self.wfile.write(data[start:end])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server():
    Handler.files, Handler.cuts, Handler.ranges, Handler.asked = {}, {}, True, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()
        thread.join()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_was_cut_off(server: str, tmp_path: Path, ranges: bool) -> None:
    data = bytes(range(256)) * 4000
    Handler.files, Handler.cuts, Handler.ranges = {"a.bin": data}, {"a.bin": 1}, ranges
    with pytest.raises(RuntimeError, match="the connection ended after") as e:
        utils.download_url(server + "a.bin", tmp_path, md5=md5(data))
    assert str(tmp_path / "a.bin") in str(e.value) and not (tmp_path / "a.bin").exists() and (tmp_path / "a.bin.part").exists()
    utils.download_url(server + "a.bin", tmp_path, md5=md5(data))
    assert (tmp_path / "a.bin").read_bytes() == data and not (tmp_path / "a.bin.part").exists()
    assert Handler.asked[-1][1] == f"bytes={len(data) // 2}-"
    count = len(Handler.asked)
    utils.download_url(server + "a.bin", tmp_path, md5=md5(data))              # there and whole: nothing is asked
    assert len(Handler.asked) == count


def test_weights_that_were_cut_off_are_not_kept(server: str, tmp_path: Path) -> None:
    Handler.files, Handler.cuts = {"a.pt": bytes(1000)}, {"a.pt": 1}
    with pytest.raises(OSError, match="the connection ended after 500 of 1,000 bytes"):
        hub.download_url_to_file(server + "a.pt", str(tmp_path / "a.pt"))
    assert list(tmp_path.iterdir()) == []
    hub.download_url_to_file(server + "a.pt", str(tmp_path / "a.pt"))
    assert (tmp_path / "a.pt").read_bytes() == bytes(1000) and len(list(tmp_path.iterdir())) == 1


def test_what_was_left_over_of_another_file_is_not_kept(server: str, tmp_path: Path) -> None:
    Handler.files = {"a.bin": b"right" * 100}
    for left in (b"wrong" * 10, b"wrong" * 100, b"wrong" * 200):
        (tmp_path / "a.bin.part").write_bytes(left)
        (tmp_path / "a.bin").write_bytes(b"old")
        utils.download_url(server + "a.bin", tmp_path, md5=md5(b"right" * 100))
        assert (tmp_path / "a.bin").read_bytes() == b"right" * 100


def test_a_wrong_file_is_refused(server: str, tmp_path: Path) -> None:
    Handler.files = {"a.bin": b"something else"}
    with pytest.raises(RuntimeError, match="not found or corrupted.*") as e:
        utils.download_url(server + "a.bin", tmp_path, md5=md5(b"what was asked for"))
    assert md5(b"something else") in str(e.value) and list(tmp_path.iterdir()) == []
    with pytest.raises(URLError, match="could not download"):
        utils.download_url(server + "missing.bin", tmp_path)


def test_no_network_says_what_to_do(tmp_path: Path) -> None:
    class Nowhere(datasets.MNIST):
        mirrors = ["http://127.0.0.1:9/a/", "http://127.0.0.1:9/b/"]
    with pytest.raises(RuntimeError, match="Error downloading train-images-idx3-ubyte.gz") as e:
        Nowhere(tmp_path, download=True)
    assert str(tmp_path / "Nowhere" / "raw") in str(e.value)


def test_mnist_downloads(server: str, tmp_path: Path) -> None:
    images, labels = gzip.compress(idx(np.zeros((2, 28, 28), np.uint8))), gzip.compress(idx(np.array([1, 2], np.uint8)))

    class Local(datasets.MNIST):
        mirrors = ["http://127.0.0.1:9/", server]
        resources = [(name, md5(images if "images" in name else labels)) for name, _ in datasets.MNIST.resources]
    Handler.files = {name: images if "images" in name else labels for name, _ in Local.resources}
    assert len(Local(tmp_path, download=True)) == 2 and len(Handler.asked) == 4
    assert Local(tmp_path, train=False, download=True)[1][1] == 2 and len(Handler.asked) == 4
    assert (tmp_path / "Local" / "raw" / "train-images-idx3-ubyte").exists()


# ----------------------------------------------------------------------------------------------------- archives
def test_archives(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "a.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("folder/x.txt")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"hi"))
    with zipfile.ZipFile(tmp_path / "in" / "b.zip", "w") as z:
        z.writestr("y.txt", "ho")
    (tmp_path / "in" / "c.txt.gz").write_bytes(gzip.compress(b"hu"))
    utils.extract_archive(tmp_path / "in" / "a.tar.gz", tmp_path)
    assert utils.extract_archive(str(tmp_path / "in" / "b.zip"), str(tmp_path)) == str(tmp_path)
    assert utils.extract_archive(tmp_path / "in" / "c.txt.gz", tmp_path, remove_finished=True) == tmp_path / "c.txt"
    assert [(tmp_path / n).read_text() for n in ("folder/x.txt", "y.txt", "c.txt")] == ["hi", "ho", "hu"]
    assert not (tmp_path / "in" / "c.txt.gz").exists()
    (tmp_path / "in" / "d.txt.gz").write_bytes(gzip.compress(b"whole" * 99)[:-9])
    with pytest.raises(EOFError):
        utils.extract_archive(tmp_path / "in" / "d.txt.gz", tmp_path)
    assert not list(tmp_path.glob("d.txt*"))                   # nothing under the file's name, and nothing beside it
    with pytest.raises(RuntimeError, match="Unknown compression or archive type"):
        utils.extract_archive(tmp_path / "c.txt")
    assert sorted(utils.list_dir(tmp_path)) == ["folder", "in"] and utils.list_files(tmp_path, ".txt", prefix=True)


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/pellucid-out.txt", "a/../../out.txt"])
def test_an_archive_does_not_write_outside(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.writestr(name, "x")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        tar.addfile(link)
    for file in ("a.zip", "a.tar"):
        with pytest.raises(RuntimeError, match="would be written outside"):
            utils.extract_archive(tmp_path / file, home)
    assert not (tmp_path / "out.txt").exists() and not Path("/tmp/pellucid-out.txt").exists()


# ----------------------------------------------------------------------------------------------------- real data
@pytest.mark.skipif(not (SHARED / "mnist-small").is_dir(), reason="no shared/data/mnist-small")
def test_real_mnist_through_a_loader() -> None:
    data = datasets.MNIST(SHARED / "mnist-small", train=False, transform=transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]))
    x, y = next(iter(DataLoader(data, batch_size=64)))
    assert len(data) == 2000 and x.shape == (64, 1, 28, 28) and y.dtype == torch.int64 and abs(float(x.mean())) < 0.2


def test_checks_of_files(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    assert utils.calculate_md5(file) == md5(b"abc") and utils.check_md5(file, md5(b"abc")) and not utils.check_integrity(file, md5(b"abd"))
    assert utils.check_integrity(file) and not utils.check_integrity(tmp_path / "b")
    assert utils.verify_str_arg("a", "letter", ("a", "b")) == "a"
    with pytest.raises(ValueError, match="Unknown value 'c' for argument letter"):
        utils.verify_str_arg("c", "letter", ("a", "b"))


def test_fetching_and_unpacking(server: str, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as z:
        z.writestr("inside.txt", "hi")
    Handler.files = {"a.zip": packed.getvalue()}
    utils.download_and_extract_archive(server + "a.zip", tmp_path / "in", tmp_path / "out", md5=md5(packed.getvalue()),
                                       remove_finished=True)
    assert (tmp_path / "out" / "inside.txt").read_text() == "hi" and not (tmp_path / "in" / "a.zip").exists()
