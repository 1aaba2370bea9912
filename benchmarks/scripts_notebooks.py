"""The notebooks 1 to 5 of davidbau/how-to-read-pytorch, unmodified: what their code cells print, on PyTorch and on pellucid.

    python benchmarks/scripts_notebooks.py FOLDER [--data DIR] [--shim MODULE] [N ...]

In: FOLDER holds `how-to-read-pytorch` as it was fetched; DIR holds `cifar10-jpeg.tar.gz`, from which the folders of pictures are made that
notebook 5 would download. Out: for each notebook how many cells ran, how many are errors on both sides, and the largest relative difference
of a number printed (of one below 1e-6, which is rounding: over 1e-6; `inf` if a word differs, or an error); each cell that differs, with
both texts. The name of `grad_fn` is left out: pellucid's is the operator that was called (`Linear`), PyTorch's the one inside (`Addmm`).
What stays true: both sides run the same code in float64, each in a process of its own, so that what is printed is equal to the last digit;
what draws or shows progress (matplotlib, IPython, tqdm) is put aside, the clock ticks once a look, and "cuda" is the CPU.
"""
from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import io
import json
import re
import sys
import tarfile
import tempfile
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

from PIL import Image

from scripts import DATA, SIDES, difference, process, started, words_of

DRAWING = ("matplotlib", "matplotlib.pyplot", "IPython", "IPython.display", "tqdm", "tqdm.notebook")


def miniplaces(folder: Path, data: Path) -> None:
    """`datasets/miniplaces` from CIFAR-10: of each of 100 classes 52 pictures to validate on, and one of MiniPlaces' size to train on."""
    with tarfile.open(data / "cifar10-jpeg.tar.gz") as archive:
        pictures = [archive.extractfile(member).read() for member in archive if member.name.endswith(".jpg")]   # type: ignore[union-attr]
    classes = ["golf_course", "yard", *(f"place_{k:02}" for k in range(98))]
    for c, name in enumerate(classes):
        for part, count, size in (("train", 1, 128), ("val", 52, 32)):
            home = folder / "datasets" / "miniplaces" / part / name
            home.mkdir(parents=True)
            for n in range(count):
                picture = Image.open(io.BytesIO(pictures[(c * 79 + n) % len(pictures)]))
                picture.resize((size, size)).save(home / (f"{n:08}.jpg" if n else "00001000.jpg"))


def cuda_is_cpu(torch: ModuleType) -> None:
    """The notebooks say `.cuda()` and `device="cuda"` where they mean the fastest device."""
    torch.Tensor.cuda = torch.nn.Module.cuda = torch.Tensor.pin_memory = lambda self, *args: self
    torch.cuda.synchronize = lambda *args: None
    for name in ("tensor", "randn"):
        make = getattr(torch, name)
        setattr(torch, name, functools.wraps(make)(
            lambda *args, make=make, device=None, **kwargs: make(*args, device=None if device == "cuda" else device, **kwargs)))


def subplots(rows: int, columns: int, **_: object) -> tuple:
    axes = [[MagicMock() for _ in range(columns)] for _ in range(rows)]
    return MagicMock(), axes if rows > 1 else axes[0]


def python(lines: list[str]) -> str:
    """A cell's code without what is IPython's: `%magic`, `!shell`, and `ls` alone."""
    return "".join("\n" if re.match(r"\s*[%!]|ls ", line) else line for line in lines)


def side(framework: str, shim: str, notebook: str) -> None:
    """Print, of each code cell, a line of JSON: what it printed and what its last line gave, and its error."""
    torch = started(framework, True, shim)
    cuda_is_cpu(torch)
    for name in DRAWING:
        sys.modules[name] = MagicMock()
        sys.modules[name].__spec__ = ModuleSpec(name, None)
    sys.modules["matplotlib"].pyplot = sys.modules["matplotlib.pyplot"]
    sys.modules["matplotlib.pyplot"].subplots = subplots
    sys.modules["tqdm"].tqdm = iter
    ticks = iter(range(1_000_000))
    time.time = lambda: float(next(ticks))
    names = {"__name__": "__main__", "display": print}
    for cell in json.loads(Path(notebook).read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        printed, failed = io.StringIO(), ""
        body = ast.parse(python(cell["source"])).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(ast.Module(body, []), notebook, "exec"), names)
                value = eval(compile(ast.Expression(last.value), notebook, "eval"), names) if last else None
                if value is not None and not isinstance(value, MagicMock):
                    print(repr(value))
        except Exception as error:
            failed = f"{type(error).__name__}: {error}"
        print(json.dumps([printed.getvalue(), failed]), flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path, help="holds how-to-read-pytorch")
    arguments.add_argument("numbers", nargs="*", type=int, metavar="N", help="only these notebooks")
    arguments.add_argument("--data", type=Path, default=DATA, help="holds cifar10-jpeg.tar.gz")
    arguments.add_argument("--shim", default="", metavar="MODULE", help="imported first beside PyTorch, before torchvision")
    options = arguments.parse_intermixed_args()
    print(f"{'notebook':30} {'cells':>5} {'errors':>6} {'float64':>9}")
    for number in options.numbers or range(1, 6):
        notebook = next((options.folder / "how-to-read-pytorch" / "notebooks").resolve().glob(f"{number}-*.ipynb"))
        found = []
        for framework in SIDES:
            with tempfile.TemporaryDirectory() as folder:
                if number == 5:
                    miniplaces(Path(folder), options.data)
                found.append([json.loads(line) for line in process([__file__, "--side", framework, options.shim if number == 5 else "",
                                                                    str(notebook)], Path(folder)).splitlines()])
        apart = []
        for n, (peer, ours) in enumerate(zip(*found, strict=True)):
            texts = [words_of(re.sub(r"grad_fn=<\w+>", "", text)) for text, _ in (peer, ours)]
            same = difference(*texts, least=1e-6) if any(texts) else 0.0
            apart.append(same if bool(peer[1]) == bool(ours[1]) else float("inf"))
            if apart[-1] > 1e-6:
                print(f"cell {n}: PyTorch {' '.join(peer)}\n        pellucid {' '.join(ours)}")
        print(f"{notebook.stem:30} {len(apart):5} {sum(bool(failed) for _, failed in found[0]):6} {max(apart):9.1e}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(*sys.argv[2:])
    else:
        main()
