"""Image files as tensors, and the clear error where Pillow is absent."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image  # noqa: E402

import pellucid as torch  # noqa: E402
from pellucid.vision import io  # noqa: E402


def test_png_and_jpeg(tmp_path: Path) -> None:
    x = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (3, 9, 7)).astype(np.uint8))
    io.write_png(x, tmp_path / "a.png")
    assert torch.equal(io.read_image(tmp_path / "a.png"), x) and torch.equal(io.decode_png(io.encode_png(x, 9)), x)
    smooth = torch.arange(63).reshape(1, 9, 7).to(torch.uint8).repeat(3, 1, 1)
    io.write_jpeg(smooth, tmp_path / "a.jpg", quality=95)
    back = io.read_image(str(tmp_path / "a.jpg"))
    assert (back.int() - smooth.int()).abs().max() < 6
    with Image.open(tmp_path / "a.jpg") as image:
        assert np.array_equal(np.asarray(image).transpose(2, 0, 1), back.numpy())
    several = io.decode_jpeg(io.encode_jpeg([smooth, smooth[:1]]), mode=io.ImageReadMode.RGB)
    assert [tuple(s.shape) for s in several] == [(3, 9, 7), (3, 9, 7)]
    io.write_file(tmp_path / "copy", io.read_file(tmp_path / "a.jpg"))
    assert torch.equal(io.decode_image(tmp_path / "copy"), back)


def test_modes_and_formats(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 3), (10, 20, 30, 40)).save(tmp_path / "a.png")
    shapes = {mode: io.read_image(tmp_path / "a.png", mode).shape[0] for mode in ("unchanged", "gray", "gray_alpha", "RGB", "rgb_alpha")}
    assert list(shapes.values()) == [4, 1, 2, 3, 4]
    Image.fromarray(np.array([[0, 65535], [256, 1]], np.uint16)).save(tmp_path / "b.png")
    assert io.read_image(tmp_path / "b.png").dtype == torch.uint16 and int(io.read_image(tmp_path / "b.png")[0, 0, 1]) == 65535
    Image.new("RGB", (4, 3), (200, 0, 0)).save(tmp_path / "c.webp", lossless=True)
    assert io.decode_webp(io.read_file(tmp_path / "c.webp"))[0].float().mean() == 200
    frames = [Image.new("RGB", (4, 3), (k * 100, 0, 0)) for k in range(3)]
    frames[0].save(tmp_path / "d.gif", save_all=True, append_images=frames[1:])
    assert io.decode_gif(io.read_file(tmp_path / "d.gif")).shape == (3, 3, 3, 4)
    turned = Image.new("L", (4, 3))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "e.jpg", exif=exif)
    assert io.read_image(tmp_path / "e.jpg").shape == (1, 3, 4) and io.read_image(tmp_path / "e.jpg",
                                                                                  apply_exif_orientation=True).shape == (1, 4, 3)


def test_what_is_no_image() -> None:
    png = io.encode_png(torch.from_numpy(np.random.RandomState(0).randint(0, 256, (1, 32, 32)).astype(np.uint8)))
    for call, said in ((lambda: io.decode_jpeg(png), "no JPEG"), (lambda: io.decode_image(png[:500]), "damaged"),
                       (lambda: io.decode_image(torch.zeros(0, dtype=torch.uint8)), "non empty 1-dimensional"),
                       (lambda: io.encode_png(torch.zeros(1, 2, 2)), "uint8 image"), (lambda: io.decode_jpeg(png, device="cuda"), "CPU")):
        with pytest.raises(RuntimeError, match=said):
            call()
    with pytest.raises(ValueError, match="between 1 and 100"):
        io.encode_jpeg(torch.zeros(1, 2, 2, dtype=torch.uint8), 0)


def test_without_pillow() -> None:
    """Importing needs no Pillow, and tensors do not; an image does, and the error says what to install."""
    code = """
import sys
sys.modules["PIL"] = None
import pellucid as torch
from pellucid.vision import datasets, io, transforms, utils
from pellucid.vision.transforms import v2
assert transforms.Compose([transforms.RandomCrop(3), transforms.RandomHorizontalFlip()])(torch.rand(3, 5, 5)).shape == (3, 3, 3)
assert utils.make_grid(torch.rand(4, 3, 5, 5)).shape == (3, 9, 30) and utils.flow_to_image(torch.rand(2, 5, 5)).shape == (3, 5, 5)
black = torch.zeros(3, 8, 8, dtype=torch.uint8)
for call in (lambda: io.encode_png(black), lambda: utils.draw_bounding_boxes(black, torch.tensor([[1, 1, 4, 4]])),
             lambda: utils.save_image(torch.zeros(3, 2, 2), "a.png")):
    try:
        call()
    except ImportError as e:
        print(e)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(Path(__file__).parents[3])})
    for said in ("to write a PNG", "to draw", "to make an image of an array"):
        assert f"Pillow is needed {said}" in done.stdout and done.stdout.count("pellucid[vision]") == 3, done.stderr
    loaded = ("import sys, pellucid.vision.transforms, pellucid.vision.datasets, pellucid.vision.io, pellucid.vision.utils; "
              "print('PIL' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True,
                          env={"PYTHONPATH": str(Path(__file__).parents[3])})
    assert done.stdout.strip() == "False", done.stderr
