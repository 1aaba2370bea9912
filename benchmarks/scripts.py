"""PyTorch users' own scripts, unmodified, on pellucid and on PyTorch: are the losses the same, and which is quicker?

    python benchmarks/scripts.py FOLDER [--data DIR] [--steps 50] [--parts float64,float32,time] [--compiled] [NAME ...]

In: FOLDER holds the repositories as they were fetched (`FOLDER/examples`, `FOLDER/nanoGPT`, `FOLDER/minGPT`); DIR holds
`tinyshakespeare.txt`, `mnist-small` and `cifar10-jpeg.tar.gz`. Out: for each script, of its first steps,
- float64: the largest relative difference of a loss between PyTorch and pellucid; of scripts that write text, of a number in it (`inf` if
  the words differ), also when one reads the checkpoint that the other wrote;
- float32: the same difference between PyTorch with 2 threads and PyTorch with 1 thread and no more than AVX2 ("torch's own"), between
  PyTorch with 2 threads and pellucid ("ours"), and ours over torch's own (taken as one rounding, 1.2e-7, where it is less);
- nudged64 and nudged, if asked for: the same differences between PyTorch and PyTorch with each parameter moved by one rounding before its
  first use, in float64 and in float32: what grows so much is chaos, and says nothing about pellucid;
- time: of a step in float32, over at least 3 s: PyTorch's, pellucid's, and the ratio (above 1, pellucid is quicker). With `--compiled` the modules that the
  script itself calls are compiled on both sides.
What stays true: each run is a process of its own in a fresh copy of the script's folder; both sides are seeded and watched by the same
code (`side`), which notes the value and the time of every `backward()` (a step, in most scripts); nothing is written into FOLDER.
`scripts_cifar.py` and `scripts_notebooks.py` compare the models of pytorch-cifar and the notebooks of how-to-read-pytorch.
"""
from __future__ import annotations

import argparse
import gzip
import importlib
import importlib.util
import json
import os
import random
import re
import runpy
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
from PIL import Image

from _side_by_side import ROOT, THREADS

DATA = ROOT.parent / "shared" / "data"
SIDES = ("torch", "pellucid")
PARTS = ("float64", "nudged64", "float32", "nudged", "time")
LONG = 3.0                 # seconds of steps that are timed: a step may be 0.1 ms
ROUNDING = 2.0 ** -23      # of float32: no divergence is taken to be less
NARROW = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


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
    `first`: a script that runs before. `vision`: it imports torchvision. `steps`: more of them take too long. `text`: not its losses, but
    what it writes is compared, into this file ("-": what it prints)."""

    name: str
    folder: str
    command: tuple[str, ...]
    start: str = "."
    prepare: Callable[[Path, Path], None] | None = None
    first: tuple[str, ...] = ()
    vision: bool = False
    steps: int = 1000
    text: str = ""


LM = ("main.py", "--data", "text", "--epochs", "1", "--batch_size", "4", "--emsize", "100", "--nhid", "100")
TRAIN = ("train.py", "config/train_shakespeare_char.py", "--device=cpu", "--eval_iters=2", "--log_interval=10", "--block_size=64",
         "--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128", "--lr_decay_iters=2000", "--dtype=float32")
GPT = (*TRAIN, "--max_iters=2000")
SAMPLE = ("sample.py", "--out_dir=out-shakespeare-char", "--device=cpu", "--dtype=float32", "--num_samples=2", "--max_new_tokens=200")
SAVED = (*TRAIN, "--compile=False", "--max_iters=20", "--eval_interval=10")
RESNET = ("--epochs", "1", "-b", "4", "-j", "0", "--seed", "1", "--lr", "0.0001")

# At its own rate of 20 the GRU is chaotic: PyTorch nudged by one rounding leaves itself as fast (1e-6 in 40 steps, 1e-4 in 45).
# Compiled, PyTorch draws other random numbers than it does by itself; so nothing is dropped there.
SCRIPTS = (
    Script("regression", "examples/regression", ("main.py",)),
    Script("word_language_model LSTM", "examples/word_language_model", LM, prepare=words),
    Script("word_language_model GRU", "examples/word_language_model", (*LM, "--model", "GRU", "--lr", "2"), prepare=words),
    Script("word_language_model Transformer", "examples/word_language_model", (*LM, "--model", "Transformer", "--lr", "5"), prepare=words),
    Script("time_sequence_prediction", "examples/time_sequence_prediction", ("train.py", "--steps", "3"), first=("generate_sine_wave.py",)),
    Script("generate", "examples/word_language_model", ("generate.py", "--data", "text", "--words", "100"), prepare=words,
           first=LM, text="generated.txt"),
    Script("reinforce", "examples/reinforcement_learning", ("reinforce.py",)),
    Script("actor_critic", "examples/reinforcement_learning", ("actor_critic.py",)),
    Script("nanoGPT", "nanoGPT", (*GPT, "--compile=False"), prepare=characters),
    Script("nanoGPT compile", "nanoGPT", (*GPT, "--dropout=0.0", "--compile=True"), prepare=characters),
    Script("sample", "nanoGPT", SAMPLE, prepare=characters, first=SAVED, text="-"),
    Script("minGPT adder", "minGPT", ("adder.py",), start="projects/adder"),
    Script("minGPT chargpt", "minGPT", ("chargpt.py", "--model.model_type=gpt-micro", "--trainer.batch_size=16"),
           start="projects/chargpt", prepare=play),
    Script("mnist", "examples/mnist", ("main.py", "--epochs", "1"), prepare=digits, vision=True),
    Script("mnist_rnn", "examples/mnist_rnn", ("main.py", "--epochs", "1"), prepare=digits, vision=True),
    Script("mnist_forward_forward", "examples/mnist_forward_forward", ("main.py", "--epochs", "25", "--no_accel"), prepare=digits,
           vision=True),
    Script("vae", "examples/vae", ("main.py", "--epochs", "1"), prepare=digits, vision=True),
    Script("siamese_network", "examples/siamese_network", ("main.py", "--epochs", "1", "--batch-size", "8"), prepare=digits, vision=True),
    Script("dcgan", "examples/dcgan",
           ("main.py", "--dataset", "fake", "--niter", "1", "--manualSeed", "1", "--workers", "0", "--batchSize", "8"), vision=True),
    Script("imagenet dummy", "examples/imagenet", ("main.py", "--dummy", *RESNET), vision=True),
    Script("imagenet", "examples/imagenet", ("main.py", "pictures", *RESNET), prepare=photographs, vision=True),
    Script("super_resolution", "examples/super_resolution",
           ("main.py", "--upscale_factor", "4", "--batchSize", "2", "--threads", "0", "--nEpochs", "13"), prepare=mosaics, vision=True),
)


class Enough(BaseException):
    """Raised by backward() when all steps that were asked for are done."""


def started(framework: str, wide: bool, shim: str) -> ModuleType:
    """`torch`, seeded: PyTorch, with the module `shim` imported before torchvision, or pellucid under its name; in float64 if `wide`."""
    sys.path.insert(0, str(ROOT))
    if framework == "pellucid":
        importlib.import_module("pellucid.torch_alias")
    elif shim:
        importlib.import_module(shim)
    import torch
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if framework == "torch":
        torch.storage._dtype_to_storage_type_map()      # a table made on first use: before the names in it change
    if wide:            # one definition for both; by its file, because importing the package takes torch's name
        runpy.run_path(str(ROOT / "pellucid" / "torch_alias" / "float64.py"))["float64"](torch)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    return torch


def at_first_call(torch: ModuleType, act: Callable) -> None:
    """`act` on each module before it is first called from outside of all modules. Inside, the class is as it was: only that is captured."""
    Module = torch.nn.Module
    call, known = Module.__call__, weakref.WeakSet()

    def outermost(self, *args, **kwargs):
        Module.__call__ = call
        try:
            if self not in known:
                known.add(self)
                act(self)
            return call(self, *args, **kwargs)
        finally:
            Module.__call__ = outermost

    Module.__call__ = outermost


def nudge(module) -> None:
    signs = np.random.RandomState(0)
    for p in module.parameters():
        p.data *= 1 + np.finfo(str(p.dtype).partition(".")[2]).eps * p.data.new_tensor(signs.choice([-1.0, 1.0], tuple(p.shape)))


def side(framework: str, notes_file: str, steps: int, how: list[str], shim: str, command: list[str]) -> None:
    """Run one script with `framework` as torch; write what every backward() saw: the loss, and when."""
    torch = started(framework, "float64" in how, shim)
    if importlib.util.find_spec("matplotlib") is None:             # what would be drawn is no part of the losses
        sys.modules.update({name: MagicMock() for name in ("matplotlib", "matplotlib.pyplot")})
    for word, act in (("compiled", lambda module: module.compile()), ("nudged", nudge)):
        if word in how:
            at_first_call(torch, act)
    notes: list[tuple[float, float]] = []
    at_least = LONG if "timed" in how else 0.0
    backward = torch.Tensor.backward

    def noted(self, *args, **kwargs):
        backward(self, *args, **kwargs)
        notes.append((float(self.detach().sum()), time.perf_counter()))
        if 0 < steps <= len(notes) and notes[-1][1] - notes[0][1] >= at_least:
            raise Enough

    torch.Tensor.backward = noted
    try:
        if framework == "pellucid":
            sys.modules["pellucid.torch_alias"].run(command[0], command[1:])
        else:
            sys.argv[:] = command
            sys.path[0] = os.getcwd()
            runpy.run_path(command[0], run_name="__main__")
    except Enough:
        pass
    Path(notes_file).write_text(json.dumps(notes))


def process(arguments: list[str], folder: Path, narrow: bool = False, tail: int = 3000, home: Path | None = None) -> str:
    """What `python arguments` prints, run in `folder`, with `THREADS` threads, or (`narrow`) one and AVX2. RuntimeError if it fails."""
    count = str(1 if narrow else THREADS)
    env = dict(os.environ, OMP_NUM_THREADS=count, OPENBLAS_NUM_THREADS=count, MKL_NUM_THREADS=count, MPLBACKEND="Agg",
               TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1",           # examples that save arrays are older than that check of PyTorch's
               PYTHONPATH=os.pathsep.join([str(home or folder), os.environ.get("PYTHONPATH", "")]), **(NARROW if narrow else {}))
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=env, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"failed:\n{(done.stdout + done.stderr)[-tail:]}")
    return done.stdout


def run(script: Script, framework: str, options: argparse.Namespace, *how: str, first: str = "") -> list:
    """The notes of one run, in a copy of the script's folder; or the words that it wrote, from what the framework `first` trained.
    `how`: float64, narrow, compiled, nudged, timed."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "repository" / "folder"
        shutil.copytree(options.folder / script.folder, folder, ignore=shutil.ignore_patterns(".git"))
        if script.prepare:
            script.prepare(folder, options.data)
        notes = Path(temporary) / "notes.json"
        printed = ""
        for by, command, steps in ((first or framework, script.first, 0), (framework, script.command, min(script.steps, options.steps))):
            if command:
                arguments = [__file__, "--side", by, str(notes), str(steps), ",".join(how), options.shim if script.vision else "",
                             *command]
                try:
                    printed = process(arguments, folder / script.start, "narrow" in how, options.tail, folder)
                except RuntimeError as error:
                    raise RuntimeError(f"{command[0]} of {script.name} on {by} {error}") from None
        if script.text:
            return words_of(printed if script.text == "-" else (folder / script.start / script.text).read_text())
        return json.loads(notes.read_text())


def words_of(text: str) -> list[str | float]:
    """The words, those that are numbers as such; addresses (`0x7f…`, Pillow's `0x7F…`) left out."""
    found: list[str | float] = []
    for word in re.findall(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|[A-Za-z_]+|\S", re.sub(r"0x[0-9a-fA-F]+", "", text)):
        try:
            found.append(float(word))
        except ValueError:
            found.append(word)
    return found


def difference(peer: list, ours: list, least: float = 1e-12) -> float:
    """The largest |ours - peer| / max(|peer|, least); infinite if there are more of one, or words (a text has words too) are not equal."""
    if len(peer) != len(ours) or not peer:
        return float("inf")
    return max((float("inf") if isinstance(a, str) or isinstance(b, str) else abs(a - b) / max(abs(a), least)) if a != b else 0.0
               for a, b in zip(peer, ours))


def losses(notes: list) -> list:
    return [note if isinstance(note, (str, float)) else note[0] for note in notes]


def seconds(notes: list[tuple[float, float]]) -> float:
    """Per step, the first fifth left out: what is compiled on first use is compiled in it."""
    times = [t for _, t in notes][len(notes) // 5:]
    return (times[-1] - times[0]) / (len(times) - 1)


def row(script: Script, options: argparse.Namespace) -> tuple[str, float | None]:
    """The line of the table, and the ratio of the times."""
    line, ratio = f"{script.name:30}", None
    if {"float64", "nudged64"} & set(options.parts):
        peer = losses(run(script, "torch", options, "float64"))
    if "float64" in options.parts:
        apart = difference(peer, losses(run(script, "pellucid", options, "float64")))
        if script.text:
            apart = max(apart, difference(peer, losses(run(script, "torch", options, "float64", first="pellucid"))))
        line += f" {len(peer):5} {apart:9.1e}"
    if "nudged64" in options.parts and not script.text:
        line += f" {difference(peer, losses(run(script, 'torch', options, 'float64', 'nudged'))):9.1e}"
    if {"float32", "nudged"} & set(options.parts) and not script.text:
        peer = losses(run(script, "torch", options))
        line += f" {len(peer):5}"
    if "float32" in options.parts and not script.text:
        own = difference(peer, losses(run(script, "torch", options, "narrow")))
        apart = difference(peer, losses(run(script, "pellucid", options)))
        line += f" {own:9.1e} {apart:9.1e} {apart / max(own, ROUNDING):6.2f}"
    if "nudged" in options.parts and not script.text:
        line += f" {difference(peer, losses(run(script, 'torch', options, 'nudged'))):9.1e}"
    if "time" in options.parts and not script.text and options.rounds:
        taken: list[list[float]] = [[], []]
        how = ["timed", "compiled"] if options.compiled and "--compile=True" not in script.command else ["timed"]
        for turn in range(options.rounds):
            for k in (turn % 2, 1 - turn % 2):
                taken[k].append(seconds(run(script, SIDES[k], options, *how)))
        ratio = statistics.median(p / o for p, o in zip(*taken))
        line += f" {statistics.median(taken[0]):12.4f} {statistics.median(taken[1]):9.4f} {ratio:6.2f}"
    return line, ratio


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path, help="holds the fetched repositories")
    arguments.add_argument("names", nargs="*", metavar="NAME", help="only scripts whose name starts so (\"mnist \": not mnist_rnn)")
    arguments.add_argument("--data", type=Path, default=DATA, help="holds tinyshakespeare.txt, mnist-small and cifar10-jpeg.tar.gz")
    arguments.add_argument("--steps", type=int, default=50)
    arguments.add_argument("--parts", type=lambda text: text.split(","), default=("float64", "float32", "time"),
                           help="of " + ",".join(PARTS))
    arguments.add_argument("--rounds", type=int, default=3, help="of the timing")
    arguments.add_argument("--compiled", action="store_true", help="time the modules that the script calls compiled, on both sides")
    arguments.add_argument("--shim", default="", metavar="MODULE", help="imported first beside PyTorch by scripts that use torchvision")
    arguments.add_argument("--tail", type=int, default=3000, help="how much of a failing script's output to show")
    options = arguments.parse_intermixed_args()
    ratios = []
    heads = {"float64": f"{'steps':>5} {'float64':>9}", "nudged64": f"{'nudged64':>9}",
             "float32": f"{'steps':>5} {'own':>9} {'ours':>9} {'ratio':>6}", "nudged": f"{'nudged':>9}",
             "time": f"{'torch s/step':>12} {'pellucid':>9} {'ratio':>6}"}
    print(f"{'script':30}", *(heads[part] for part in PARTS if part in options.parts))
    for script in SCRIPTS:
        if options.names and not f"{script.name} ".startswith(tuple(options.names)):
            continue
        try:
            line, ratio = row(script, options)
            ratios += [ratio] if ratio else []
        except RuntimeError as error:
            line = f"{script.name:30} {error}"
        print(line, flush=True)
    if ratios:
        print(f"geometric mean of the times' ratios {statistics.geometric_mean(ratios):.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5].split(","), sys.argv[6], sys.argv[7:])
    else:
        main()
