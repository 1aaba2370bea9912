"""PyTorch users' own scripts, unmodified, on pellucid and on PyTorch: are the losses the same, and which is quicker?

    python benchmarks/scripts.py FOLDER [--data DIR] [--steps 50] [--rounds 3] [NAME ...]

In: FOLDER holds the repositories as they were fetched (`FOLDER/examples`, `FOLDER/nanoGPT`, `FOLDER/minGPT`, `FOLDER/micrograd`); DIR
holds `tinyshakespeare.txt` and `mnist-small`. Out: for each script the largest relative difference of its first losses in float64, and
the time of a step in float32: PyTorch's, pellucid's, and the ratio (above 1, pellucid is quicker).
What stays true: each run is a process of its own in a fresh copy of the script's folder; both sides are seeded and watched by the same
code (`side`), which notes the value and the time of every `backward()` (a step, in most scripts); nothing is written into FOLDER.
"""
from __future__ import annotations

import argparse
import gzip
import importlib
import json
import os
import random
import runpy
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from _side_by_side import ROOT, THREADS

DATA = ROOT.parent / "shared" / "data"
SIDES = ("torch", "pellucid")


def words(folder: Path, data: Path) -> None:
    """Three texts for word_language_model; its own are not in every copy of the repository."""
    text = (data / "tinyshakespeare.txt").read_text().splitlines(keepends=True)
    (folder / "text").mkdir()
    for name, lines in (("train", text[:1500]), ("valid", text[1500:1600]), ("test", text[1600:1700])):
        (folder / "text" / f"{name}.txt").write_text("".join(lines))


def characters(folder: Path, data: Path) -> None:
    """What nanoGPT's data/shakespeare_char/prepare.py writes."""
    home = folder / "data" / "shakespeare_char"
    shutil.copy(data / "tinyshakespeare.txt", home / "input.txt")
    subprocess.run([sys.executable, "prepare.py"], cwd=home, check=True, stdout=subprocess.DEVNULL)


def play(folder: Path, data: Path) -> None:
    """minGPT's chargpt reads input.txt."""
    shutil.copy(data / "tinyshakespeare.txt", folder / "projects" / "chargpt" / "input.txt")


def digits(folder: Path, data: Path) -> None:
    """MNIST where torchvision's MNIST(root) looks: ../data, and data; unpacked, since packed files are fetched anew."""
    for root in (folder.parent / "data", folder / "data"):
        shutil.copytree(data / "mnist-small", root, dirs_exist_ok=True)
        for packed in root.rglob("*.gz"):
            packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))


def photographs(folder: Path, data: Path) -> None:
    """Twenty images of each class of CIFAR-10 to train on and four for validation, in folders by class, as main.py of imagenet reads."""
    with tarfile.open(data / "cifar10-jpeg.tar.gz") as archive:
        for member in archive:
            _, part, *rest = Path(member.name).parts
            if member.isfile() and int(rest[1].partition(".")[0]) < (20 if part == "train" else 4):
                target = folder / "pictures" / ("train" if part == "train" else "val") / "/".join(rest)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.extractfile(member).read())      # type: ignore[union-attr]


def mosaics(folder: Path, data: Path) -> None:
    """Eight pictures of 256 by 256 where super_resolution looks for BSDS300; and what it takes from `six`, which few have today."""
    photographs(folder, data)
    found = sorted((folder / "pictures" / "train").rglob("*.jpg"))
    for part, count in (("train", 8), ("test", 1)):
        target = folder / "dataset" / "BSDS300" / "images" / part
        target.mkdir(parents=True)
        for n in range(count):
            picture = Image.new("RGB", (256, 256))
            for at in range(64):
                picture.paste(Image.open(found[(n * 23 + at) % len(found)]), (at % 8 * 32, at // 8 * 32))
            picture.save(target / f"{n}.png")
    (folder / "six").mkdir()
    (folder / "six" / "__init__.py").touch()
    (folder / "six" / "moves.py").write_text("import urllib.request\n")


@dataclass(frozen=True)
class Script:
    """`command`: the script and its arguments, run in `folder` (below FOLDER), or in its part `start`. `prepare`: writes its data;
    `first`: a script that the same side runs before. `vision`: it imports torchvision. `steps`: more of them take too long."""

    name: str
    folder: str
    command: tuple[str, ...]
    start: str = "."
    prepare: Callable[[Path, Path], None] | None = None
    first: tuple[str, ...] = ()
    vision: bool = False
    steps: int = 1000


LM = ("main.py", "--data", "text", "--epochs", "1", "--batch_size", "4", "--emsize", "100", "--nhid", "100")
GPT = ("train.py", "config/train_shakespeare_char.py", "--device=cpu", "--eval_iters=2", "--log_interval=10", "--block_size=64",
       "--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128", "--max_iters=100", "--lr_decay_iters=100", "--dtype=float32")
RESNET = ("--epochs", "1", "-b", "4", "-j", "0", "--seed", "1")

# At its own rate of 20 the GRU is chaotic: PyTorch nudged by one rounding leaves itself as fast (1e-6 in 40 steps, 1e-4 in 45).
# Compiled, PyTorch draws other random numbers than it does by itself; so nothing is dropped there.
SCRIPTS = (
    Script("regression", "examples/regression", ("main.py",)),
    Script("word_language_model LSTM", "examples/word_language_model", LM, prepare=words),
    Script("word_language_model GRU", "examples/word_language_model", (*LM, "--model", "GRU", "--lr", "2"), prepare=words),
    Script("word_language_model Transformer", "examples/word_language_model", (*LM, "--model", "Transformer", "--lr", "5"), prepare=words),
    Script("time_sequence_prediction", "examples/time_sequence_prediction", ("train.py", "--steps", "3"), first=("generate_sine_wave.py",), steps=6),
    Script("reinforce", "examples/reinforcement_learning", ("reinforce.py",)),
    Script("actor_critic", "examples/reinforcement_learning", ("actor_critic.py",)),
    Script("nanoGPT", "nanoGPT", (*GPT, "--compile=False"), prepare=characters),
    Script("nanoGPT compile", "nanoGPT", (*GPT, "--dropout=0.0", "--compile=True"), prepare=characters),
    Script("minGPT adder", "minGPT", ("adder.py",), start="projects/adder"),
    Script("minGPT chargpt", "minGPT", ("chargpt.py", "--model.model_type=gpt-micro"), start="projects/chargpt", prepare=play),
    Script("mnist", "examples/mnist", ("main.py", "--epochs", "1"), prepare=digits, vision=True),
    Script("mnist_rnn", "examples/mnist_rnn", ("main.py", "--epochs", "1"), prepare=digits, vision=True),
    Script("mnist_forward_forward", "examples/mnist_forward_forward", ("main.py", "--epochs", "2", "--no_accel"), prepare=digits, vision=True),
    Script("vae", "examples/vae", ("main.py", "--epochs", "1"), prepare=digits, vision=True),
    Script("siamese_network", "examples/siamese_network", ("main.py", "--epochs", "1", "--batch-size", "8"), prepare=digits, vision=True),
    Script("dcgan", "examples/dcgan",
           ("main.py", "--dataset", "fake", "--niter", "1", "--manualSeed", "1", "--workers", "0", "--batchSize", "8"), vision=True),
    Script("imagenet dummy", "examples/imagenet", ("main.py", "--dummy", *RESNET), vision=True),
    Script("imagenet", "examples/imagenet", ("main.py", "pictures", *RESNET), prepare=photographs, vision=True),
    Script("super_resolution", "examples/super_resolution", ("main.py", "--upscale_factor", "4", "--batchSize", "2", "--threads", "0"),
           prepare=mosaics, vision=True),
)


class Enough(BaseException):
    """Raised by backward() when all steps that were asked for are done."""


def side(framework: str, notes_file: str, steps: int, wide: bool, shim: str, command: list[str]) -> None:
    """Run one script with `framework` as torch; write what every backward() saw: the loss, and when."""
    sys.path.insert(0, str(ROOT))
    if framework == "pellucid":
        from pellucid import torch_alias
        start = torch_alias.run
    else:
        def start(script: str, arguments: list[str]) -> None:
            sys.argv[:] = [script, *arguments]
            sys.path[0] = os.getcwd()
            runpy.run_path(script, run_name="__main__")
        if shim:
            importlib.import_module(shim)
    import torch
    torch.set_num_threads(THREADS)
    if framework == "torch":
        torch.storage._dtype_to_storage_type_map()      # a table made on first use: before the names in it change
    if wide:            # one definition for both; by its file, because importing the package takes torch's name
        runpy.run_path(str(ROOT / "pellucid" / "torch_alias" / "float64.py"))["float64"](torch)
    notes: list[tuple[float, float]] = []
    backward = torch.Tensor.backward

    def noted(self, *args, **kwargs):
        backward(self, *args, **kwargs)
        notes.append((float(self.detach().sum()), time.perf_counter()))
        if len(notes) == steps:
            raise Enough

    torch.Tensor.backward = noted
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    try:
        start(command[0], command[1:])
    except Enough:
        pass
    Path(notes_file).write_text(json.dumps(notes))


def run(script: Script, framework: str, options: argparse.Namespace, wide: bool) -> list[tuple[float, float]]:
    """The notes of one run, in a copy of the script's folder; its output is shown if it fails."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "repository" / "folder"
        shutil.copytree(options.folder / script.folder, folder, ignore=shutil.ignore_patterns(".git"))
        if script.prepare:
            script.prepare(folder, options.data)
        count = str(THREADS)
        env = dict(os.environ, OMP_NUM_THREADS=count, OPENBLAS_NUM_THREADS=count, MKL_NUM_THREADS=count, MPLBACKEND="Agg",
                   TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1",           # examples that save arrays are older than that check of PyTorch's
                   PYTHONPATH=os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        notes = Path(temporary) / "notes.json"
        for command, steps in ((script.first, 0), (script.command, min(script.steps, options.steps))):
            if command:
                done = subprocess.run([sys.executable, __file__, "--side", framework, str(notes), str(steps), str(int(wide)),
                                       options.shim if script.vision else "", *command], cwd=folder / script.start, env=env, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                if done.returncode:
                    raise RuntimeError(f"{script.name} failed on {framework}:\n{done.stdout[-options.tail:]}")
        return json.loads(notes.read_text())


def difference(peer: list[float], ours: list[float]) -> float:
    """The largest |ours - peer| / |peer|; infinite if one side has more steps."""
    if len(peer) != len(ours) or not peer:
        return float("inf")
    return max(abs(a - b) / max(abs(a), 1e-12) for a, b in zip(peer, ours))


def seconds(notes: list[tuple[float, float]]) -> float:
    """Per step, the first fifth left out: what is compiled on first use is compiled in it."""
    times = [t for _, t in notes][len(notes) // 5:]
    return (times[-1] - times[0]) / (len(times) - 1)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path, help="holds the fetched repositories")
    arguments.add_argument("names", nargs="*", metavar="NAME", help="only scripts whose name starts so")
    arguments.add_argument("--data", type=Path, default=DATA, help="holds tinyshakespeare.txt and mnist-small")
    arguments.add_argument("--steps", type=int, default=50)
    arguments.add_argument("--rounds", type=int, default=3, help="of the timing; 0: compare the losses only")
    arguments.add_argument("--shim", default="", metavar="MODULE", help="imported first beside PyTorch by scripts that use torchvision")
    arguments.add_argument("--tail", type=int, default=3000, help="how much of a failing script's output to show")
    options = arguments.parse_intermixed_args()
    ratios = []
    print(f"{'script':30} {'steps':>5} {'rel. difference':>15} {'torch s/step':>12} {'pellucid':>9} {'ratio':>6}")
    for script in SCRIPTS:
        if options.names and not script.name.startswith(tuple(options.names)):
            continue
        try:
            losses = [[loss for loss, _ in run(script, framework, options, True)] for framework in SIDES]
            row = f"{script.name:30} {len(losses[0]):5} {difference(*losses):15.1e}"
            taken: list[list[float]] = [[], []]
            for turn in range(options.rounds):
                for k in (turn % 2, 1 - turn % 2):
                    taken[k].append(seconds(run(script, SIDES[k], options, False)))
            if options.rounds:
                ratios.append(statistics.median(p / o for p, o in zip(*taken)))
                row += f" {statistics.median(taken[0]):12.4f} {statistics.median(taken[1]):9.4f} {ratios[-1]:6.2f}"
            print(row, flush=True)
        except RuntimeError as error:
            print(f"{script.name:30} {str(error)}", flush=True)
    if ratios:
        print(f"{'geometric mean':30} {'':5} {'':15} {'':12} {'':9} {statistics.geometric_mean(ratios):6.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5] == "1", sys.argv[6], sys.argv[7:])
    else:
        main()
