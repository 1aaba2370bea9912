"""The progress of a training run: a live bar (rich) on a terminal, one plain line an epoch anywhere else.

In: the mean loss after each step, an `Epoch` after each epoch. Out: text on standard output.
What stays true: every epoch leaves exactly one line behind, the same text in both forms.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from pellucid.demo.report import Epoch


class Progress:
    """Use as a context manager; call `step(loss)` after each batch and `epoch(result)` after each epoch."""

    def __init__(self, epochs: int, steps: int) -> None:
        self.epochs, self.steps = epochs, steps
        self.bar = _bar() if sys.stdout.isatty() else None
        self.task = None

    def __enter__(self) -> Progress:
        if self.bar is not None:
            self.bar.start()
            self.task = self.bar.add_task("epoch 1", total=self.steps, loss="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def step(self, loss: float) -> None:
        """One batch is done; `loss` is the mean of the epoch so far."""
        if self.bar is not None:
            self.bar.update(self.task, advance=1, loss=f"loss {loss:.3f}")

    def epoch(self, result: Epoch) -> None:
        """One epoch is done."""
        line = (
            f"epoch {result.number:2d}/{self.epochs}  training loss {result.train_loss:.3f}  "
            f"validation loss {result.validation_loss:.3f}  accuracy {100 * result.accuracy:5.1f} %  "
            f"{result.seconds:.1f} s{'  saved' if result.saved else ''}"
        )
        if self.bar is None:
            print(line, flush=True)
            return
        self.bar.console.print(line, highlight=False)
        if result.number < self.epochs:
            self.bar.reset(self.task, description=f"epoch {result.number + 1}", loss="")
        else:
            self.bar.remove_task(self.task)


def _bar() -> Any:
    """rich's live bar, or None where rich is not installed (it is optional, and slow to import)."""
    try:
        from rich import progress
    except ImportError:
        return None
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=32),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[loss]}"),
        transient=True,
    )
