"""What a run of the digits demo leaves to look at: loss curve, accuracy, confusion, predictions, every mistake.

In: a `Report`, plain numbers and arrays. Out: `write_png` and `write_html`, each one self-contained file.
What stays true: one layout (`draw`) makes both pictures; nothing here knows about tensors or training.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from pellucid.demo.canvas import Canvas, PngCanvas, SvgCanvas

WIDTH, MARGIN = 1080, 36
INK, FAINT, GRID = "#222222", "#767676", "#e4e4e4"
BLUE, ORANGE, GREEN, RED = "#1f6fb4", "#e07b1a", "#2b8a3e", "#c92a2a"
CHART_TOP, CHART_HEIGHT = 120, 220
DIGIT, CELL_WIDTH, CELL_HEIGHT = 56, 84, 92
COLUMNS = (WIDTH - 2 * MARGIN) // CELL_WIDTH
SAMPLES = 2 * COLUMNS


@dataclass(frozen=True)
class Epoch:
    """What one epoch did; `saved` says that it became the checkpoint."""

    number: int
    learning_rate: float
    train_loss: float
    validation_loss: float
    accuracy: float
    saved: bool
    seconds: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """One test image (8, 8), its label, the network's guess and the probability it gave to it."""

    image: np.ndarray
    label: int
    guess: int
    confidence: float

    @property
    def right(self) -> bool:
        return self.label == self.guess


@dataclass(frozen=True)
class Report:
    """A finished run. `predictions` holds every test image in order."""

    accuracy: float
    predictions: list[Prediction]
    epochs: list[Epoch]
    best_epoch: int
    parameters: int
    seed: int
    shuffled: bool
    seconds: float
    version: str

    @property
    def mistakes(self) -> list[Prediction]:
        """The wrong predictions, the most confident first."""
        return sorted((p for p in self.predictions if not p.right), key=lambda p: -p.confidence)

    @property
    def title(self) -> str:
        return f"Handwritten digits: {100 * self.accuracy:.2f} % of {len(self.predictions)} test images read right"

    @property
    def subtitle(self) -> str:
        labels = "training labels shuffled (nothing to learn)" if self.shuffled else "real training labels"
        return (
            f"pellucid {self.version}, {self.parameters:,} parameters, {len(self.epochs)} epochs in "
            f"{self.seconds:.1f} s, checkpoint of epoch {self.best_epoch}, seed {self.seed}, {labels}"
        )


def write_png(report: Report, path: Path) -> None:
    """The report as one PNG picture (needs Pillow: pellucid[demo])."""
    canvas = PngCanvas(WIDTH, _height(report))
    draw(report, canvas)
    canvas.save(path)


def write_html(report: Report, path: Path) -> None:
    """The report as one HTML page that needs no other file (needs Pillow: pellucid[demo])."""
    canvas = SvgCanvas(WIDTH, _height(report))
    draw(report, canvas)
    rows = "\n".join(
        f"<tr><td>{e.number}</td><td>{e.learning_rate:.5f}</td><td>{e.train_loss:.4f}</td>"
        f"<td>{e.validation_loss:.4f}</td><td>{100 * e.accuracy:.1f} %</td><td>{e.seconds:.2f} s</td>"
        f"<td>{'saved' if e.saved else ''}</td></tr>"
        for e in report.epochs
    )
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(report.title)}</title>
<style>
body {{ margin: 0 auto; max-width: {WIDTH}px; font-family: sans-serif; color: {INK}; background: #ffffff }}
svg {{ max-width: 100%; height: auto }}
h2 {{ margin: 24px {MARGIN}px 8px; font-size: 16px }}
table {{ margin: 0 {MARGIN}px 40px; border-collapse: collapse; font-size: 14px }}
th, td {{ padding: 4px 14px; text-align: right; border-bottom: 1px solid {GRID} }}
</style>
</head>
<body>
{canvas.render()}
<h2>Every epoch</h2>
<table>
<thead><tr><th>epoch</th><th>learning rate</th><th>training loss</th><th>validation loss</th>
<th>validation accuracy</th><th>time</th><th>checkpoint</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""
    path.write_text(page, encoding="utf-8")


def draw(report: Report, canvas: Canvas) -> None:
    """The whole picture, from top to bottom."""
    canvas.text(MARGIN, 48, report.title, size=24)
    canvas.text(MARGIN, 74, report.subtitle, size=13, colour=FAINT)

    epochs = report.epochs
    losses = [
        ("training", BLUE, [e.train_loss for e in epochs]),
        ("validation", ORANGE, [e.validation_loss for e in epochs]),
    ]
    highest = max(max(values) for _, _, values in losses)
    _chart(canvas, MARGIN, "loss", losses, (0, highest), "{:.2f}")
    accuracy = [100 * e.accuracy for e in epochs]
    lowest = 10 * (max(0, min(accuracy) - 1) // 10)
    _chart(canvas, MARGIN + 390, "accuracy", [("validation", ORANGE, accuracy)], (lowest, 100), "{:.4g} %")
    _confusion(canvas, MARGIN + 780, report.predictions)

    top = CHART_TOP + CHART_HEIGHT + 64
    samples = report.predictions[:SAMPLES]
    top = _gallery(canvas, top, f"The first {len(samples)} test images", samples)
    mistakes = report.mistakes
    words = f"All mistakes ({len(mistakes)}), the most confident first" if mistakes else "No mistakes"
    _gallery(canvas, top, words, mistakes)


def _height(report: Report) -> int:
    rows = -(-min(SAMPLES, len(report.predictions)) // COLUMNS) + -(-len(report.mistakes) // COLUMNS)
    return CHART_TOP + CHART_HEIGHT + 64 + 2 * 40 + rows * CELL_HEIGHT + 16


def _chart(
    canvas: Canvas,
    left: float,
    name: str,
    curves: list[tuple[str, str, list[float]]],
    limits: tuple[float, float],
    ticks: str,
) -> None:
    """Curves (label, colour, one value an epoch) over epochs, the vertical axis between `limits`."""
    width, bottom = 300, CHART_TOP + CHART_HEIGHT
    left += 40
    low, high = limits
    count = len(curves[0][2])

    def place(epoch: int, value: float) -> tuple[float, float]:
        across = left + width * (epoch / (count - 1) if count > 1 else 0.5)
        return across, bottom - CHART_HEIGHT * (value - low) / ((high - low) or 1)

    canvas.text(left, CHART_TOP - 14, name, size=14)
    for tick in range(5):
        value = low + (high - low) * tick / 4
        y = place(0, value)[1]
        canvas.line([(left, y), (left + width, y)], GRID)
        canvas.text(left - 6, y + 4, ticks.format(value), 11, FAINT, "end")
    for epoch in sorted({0, count // 2, count - 1}):
        canvas.text(place(epoch, 0)[0], bottom + 18, str(epoch + 1), 11, FAINT, "middle")
    canvas.text(left + width / 2, bottom + 34, "epoch", 11, FAINT, "middle")
    for order, (label, colour, values) in enumerate(curves):
        points = [place(epoch, value) for epoch, value in enumerate(values)]
        for x, y in points:
            canvas.rectangle(x - 2, y - 2, 4, 4, colour)
        canvas.line(points, colour, width=2)
        canvas.text(left + width - 80 * order, CHART_TOP - 14, label, 12, colour, "end")


def _confusion(canvas: Canvas, left: float, predictions: list[Prediction]) -> None:
    """How often digit (row) was read as digit (column)."""
    counts = np.zeros((10, 10), dtype=int)
    for p in predictions:
        counts[p.label, p.guess] += 1
    side = CHART_HEIGHT / 10
    left += 24
    canvas.text(left, CHART_TOP - 14, "digit (row), read as (column)", size=14)
    for row in range(10):
        middle = CHART_TOP + (row + 0.5) * side + 4
        canvas.text(left - 8, middle, str(row), 11, FAINT, "end")
        canvas.text(left + (row + 0.5) * side, CHART_TOP + CHART_HEIGHT + 18, str(row), 11, FAINT, "middle")
        for column in range(10):
            count = counts[row, column]
            strength = count / max(1, counts[row].sum())
            colour = _blend(GREEN if row == column else RED, strength ** 0.5)
            canvas.rectangle(left + column * side, CHART_TOP + row * side, side - 1, side - 1, colour)
            if count:
                ink = "#ffffff" if strength > 0.3 else INK
                canvas.text(left + (column + 0.5) * side, middle, str(count), 11, ink, "middle")


def _gallery(canvas: Canvas, top: float, title: str, predictions: list[Prediction]) -> float:
    """Images in rows, each with what was read; returns where the next section starts."""
    canvas.text(MARGIN, top, title, size=14)
    for number, p in enumerate(predictions):
        row, column = divmod(number, COLUMNS)
        x, y = MARGIN + column * CELL_WIDTH, top + 14 + row * CELL_HEIGHT
        colour = GREEN if p.right else RED
        canvas.rectangle(x - 2, y - 2, DIGIT + 4, DIGIT + 4, colour)
        canvas.digit(x, y, DIGIT, p.image)
        words = f"{p.guess}" if p.right else f"{p.guess}, is {p.label}"
        canvas.text(x, y + DIGIT + 17, f"{words} ({100 * p.confidence:.0f} %)", 11, colour)
    rows = -(-len(predictions) // COLUMNS)
    return top + rows * CELL_HEIGHT + 40


def _blend(colour: str, strength: float) -> str:
    """`colour` on white, between #f6f6f6 (strength 0) and itself (1)."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(246 + (c - 246) * strength):02x}" for c in channels)
