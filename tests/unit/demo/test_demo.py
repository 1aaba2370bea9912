"""The demo as a user runs it: `pellucid demo` on real labels and on shuffled ones, and what it leaves behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pellucid
from pellucid.demo import digits
from pellucid.demo.report import COLUMNS, SAMPLES, Epoch, Prediction, Report, write_html, write_png

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Run:
    text: str
    out: Path

    @property
    def accuracy(self) -> float:
        return float(re.search(r"^test accuracy: ([\d.]+) %", self.text, re.M)[1])

    @property
    def mistakes(self) -> int:
        right, images = re.search(r"\((\d+) of (\d+) images\)$", self.text, re.M).groups()
        return int(images) - int(right)


def run_demo(out: Path, *arguments: str) -> Run:
    command = [sys.executable, "-m", "pellucid", "demo", "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=os.environ | ONE_THREAD)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return Run(done.stdout, out)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_demo(tmp_path_factory.mktemp("demo") / "real")


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_demo(tmp_path_factory.mktemp("demo") / "shuffled", "--shuffle-labels")


def test_learns_real_labels(real: Run) -> None:
    assert real.accuracy >= 97
    assert "real labels" in real.text


def test_learns_nothing_from_shuffled_labels(shuffled: Run) -> None:
    assert shuffled.accuracy < 20
    assert "SHUFFLED" in shuffled.text


def test_validates_after_every_epoch(real: Run) -> None:
    line = r"^epoch +(\d+)/(\d+)  training loss [\d.]+  validation loss [\d.]+  accuracy +[\d.]+ %  [\d.]+ s(  saved)?$"
    epochs = re.findall(line, real.text, re.M)
    assert [int(number) for number, _, _ in epochs] == list(range(1, digits.Settings().epochs + 1))
    best = int(re.search(r"^best epoch (\d+)", real.text, re.M)[1])
    assert best == max(int(number) for number, _, saved in epochs if saved)


def test_the_checkpoint_holds_the_accuracy_that_was_printed(real: Run) -> None:
    """Another process loads it and counts for itself, with NumPy, what the demo counted."""
    model = digits.DigitNet()
    model.load_state_dict(pellucid.load(real.out / "digits.pt")["model"])
    model.eval()
    images, labels = digits.split(digits.Settings())[2].tensors
    with pellucid.no_grad():
        guesses = model(images).numpy().argmax(axis=1)
    assert len(labels) == digits.TEST
    assert 100 * np.mean(guesses == labels.numpy()) == pytest.approx(real.accuracy, abs=0.005)


def test_only_the_results_are_left(real: Run) -> None:
    assert sorted(path.name for path in real.out.iterdir()) == ["digits.pt", "report.html", "report.png"]


def test_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    def losses(name: str, seed: str) -> list[str]:
        text = run_demo(tmp_path / name, "--epochs", "1", "--seed", seed).text
        return re.findall(r"loss ([\d.]+)", text)

    first = losses("first", "5")
    assert first == losses("again", "5")
    assert first != losses("other", "6")


@pytest.mark.parametrize("labels", ["real", "shuffled"])
def test_png_shows_every_mistake(labels: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(labels)
    with Image.open(run.out / "report.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    # Red frames: a row of the picture that crosses a frame's top holds one long run of red for each mistake.
    red = (pixels == (0xC9, 0x2A, 0x2A)).all(axis=2)
    frames = 0
    for row in np.flatnonzero(red.sum(axis=1) > 100):
        if not red[row - 1].sum() > 100:
            edges = np.flatnonzero(np.diff(np.concatenate([[False], red[row], [False]]).astype(int)))
            frames += int((np.diff(edges)[::2] > 100).sum())
    wrong_samples = sum(line_is_wrong(run))
    # Each frame has a top and a bottom edge.
    assert frames == 2 * (run.mistakes + wrong_samples)


def line_is_wrong(run: Run) -> list[bool]:
    """For each sample shown: is it a mistake? (Read from the checkpoint, not from the picture.)"""
    settings = digits.Settings(shuffle_labels="SHUFFLED" in run.text)
    model = digits.DigitNet()
    model.load_state_dict(pellucid.load(run.out / "digits.pt")["model"])
    model.eval()
    images, labels = digits.split(settings)[2].tensors
    with pellucid.no_grad():
        guesses = model(images).argmax(dim=1)
    return (guesses != labels)[:SAMPLES].tolist()


class Page(HTMLParser):
    """Collects tags, and every address that the page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_html_needs_no_other_file(real: Run) -> None:
    text = (real.out / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.addresses and all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert page.tags.count("image") == SAMPLES + real.mistakes
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
    assert f"{real.accuracy:.2f} %" in " ".join(page.words)
    assert page.tags.count("tr") == 1 + digits.Settings().epochs


def test_a_bar_is_drawn_on_a_terminal(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    pytest.importorskip("rich")
    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "pellucid", "demo", "--epochs", "1", "--out", str(tmp_path)]
    environment = os.environ | ONE_THREAD | {"TERM": "xterm-256color", "COLUMNS": "120"}
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, env=environment) as process:
        os.close(writer)
        seen = b""
        while True:
            try:
                part = os.read(reader, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not part:
                break
            seen += part
        errors = process.stderr.read()
    os.close(reader)
    assert process.returncode == 0, errors
    assert "━".encode() in seen and b"epoch  1/1" in seen


PREDICTION = Prediction(np.eye(8, dtype=np.float32), label=3, guess=3, confidence=0.9)
REPORT = Report(
    accuracy=1.0,
    predictions=[PREDICTION] * (COLUMNS + 1),
    epochs=[Epoch(1, 0.1, 2.0, 1.0, 0.9, True, 0.5)],
    best_epoch=1,
    parameters=1234,
    seed=0,
    shuffled=False,
    seconds=0.5,
    version="0 <&>",
)


@pytest.mark.parametrize(
    "report",
    [
        REPORT,
        replace(REPORT, accuracy=0.0, predictions=[replace(PREDICTION, guess=4)]),
        replace(REPORT, epochs=[Epoch(n, 0.1, 0.0, 0.0, 1.0, True, 0.5) for n in (1, 2)]),
    ],
    ids=["one epoch, no mistake", "nothing but a mistake", "no loss"],
)
def test_reports_of_odd_runs(report: Report, tmp_path: Path) -> None:
    write_png(report, tmp_path / "r.png")
    write_html(report, tmp_path / "r.html")
    with Image.open(tmp_path / "r.png") as picture:
        picture.verify()
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.tags.count("image") == len(report.predictions) + len(report.mistakes)
    assert any("0 <&>" in words for words in page.words)
    assert ("No mistakes" in page.words) == (not report.mistakes)


def test_the_data_is_the_uci_set() -> None:
    images, labels = digits.load_digits()
    assert images.shape == (1797, 1, 8, 8) and images.dtype == pellucid.float32
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (images.min().item(), images.max().item()) == (0.0, 1.0)
    assert images.sum().item() == pytest.approx(561718 / 16)
    assert "CC BY 4.0" in (digits.DATA.parent / "README.md").read_text()


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_split_is_a_partition_and_shuffling_spares_the_test_labels(shuffle: bool) -> None:
    true = [part.tensors for part in digits.split(digits.Settings())]
    parts = [part.tensors for part in digits.split(digits.Settings(shuffle_labels=shuffle))]
    assert [len(labels) for _, labels in parts] == [1257, 180, 360]
    everything = pellucid.cat([images for images, _ in parts]).reshape(1797, 64)
    original = digits.load_digits()[0].reshape(1797, 64)
    assert sorted(everything.tolist()) == sorted(original.tolist())
    assert pellucid.equal(parts[2][1], true[2][1])
    same = (pellucid.cat([parts[0][1], parts[1][1]]) == pellucid.cat([true[0][1], true[1][1]])).float().mean().item()
    assert (same < 0.2) if shuffle else (same == 1)
