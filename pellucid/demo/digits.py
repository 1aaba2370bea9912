"""Train a small convolutional network on the handwritten digits that ship with pellucid.

In: `Settings` (epochs, seed, device, output folder, whether to shuffle the labels).
Out: a checkpoint, a report (PNG and HTML) in the output folder, and the `Report` itself.
What stays true: the test images are seen once, at the end, by a fresh model that was loaded from the checkpoint.

It is an ordinary PyTorch program: `import pellucid as torch` is its only difference.
"""

from __future__ import annotations

import gzip
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import pellucid as torch
from pellucid import nn, optim
from pellucid.demo.progress import Progress
from pellucid.demo.report import Epoch, Prediction, Report, write_html, write_png
from pellucid.nn import functional as F
from pellucid.utils.data import DataLoader, TensorDataset

DATA = Path(__file__).parent / "data" / "digits.csv.gz"
VALIDATION, TEST = 180, 360  # images; the other 1,257 are for training


@dataclass(frozen=True)
class Settings:
    """What `pellucid demo` takes from the command line."""

    epochs: int = 10
    seed: int = 0
    batch_size: int = 32
    learning_rate: float = 4e-3
    device: str = "cpu"
    shuffle_labels: bool = False
    out: Path = Path("demo-output")


class DigitNet(nn.Module):
    """8 x 8 pixels -> two convolutions, pooled between -> two linear layers -> 10 scores."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(32 * 4 * 4, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images))


def load_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """The 1,797 images as float32 (N, 1, 8, 8) between 0 and 1, and their labels as int64 (N,)."""
    with gzip.open(DATA, "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    images = torch.from_numpy(table[:, :-1].reshape(-1, 1, 8, 8) / 16)
    labels = torch.from_numpy(table[:, -1].astype(np.int64))
    return images, labels


def split(settings: Settings) -> tuple[TensorDataset, TensorDataset, TensorDataset]:
    """Training, validation and test set, by a permutation that the seed alone decides.

    With `shuffle_labels` the labels that the network learns from (training and validation) are permuted: nothing is
    left to learn about the test images, whose labels stay true.
    """
    images, labels = load_digits()
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(images), generator=generator)
    learn, test = order[:-TEST], order[-TEST:]
    if settings.shuffle_labels:
        labels[learn] = labels[learn][torch.randperm(len(learn), generator=generator)]
    train, validation = learn[:-VALIDATION], learn[-VALIDATION:]
    return tuple(TensorDataset(images[part], labels[part]) for part in (train, validation, test))


def train_epoch(
    model: nn.Module, loader: DataLoader, optimizer: optim.Optimizer, device: torch.device, progress: Progress
) -> float:
    """One pass over the training images; returns the mean loss."""
    model.train()
    total, seen = 0.0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(images)
        seen += len(images)
        progress.step(total / seen)
    return total / seen


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader, device: torch.device) -> tuple[float, float, torch.Tensor]:
    """Mean loss, accuracy and the probabilities (N, 10) of every image, in the loader's order."""
    model.eval()
    total, right, probabilities = 0.0, 0, []
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        scores = model(images)
        total += F.cross_entropy(scores, labels, reduction="sum").item()
        right += (scores.argmax(dim=1) == labels).sum().item()
        probabilities.append(scores.softmax(dim=1))
    count = len(loader.dataset)
    return total / count, right / count, torch.cat(probabilities)


def train(settings: Settings, checkpoint: Path) -> tuple[list[Epoch], DataLoader]:
    """Fit the network, keep the epoch with the lowest validation loss in `checkpoint`.

    Returns what happened in each epoch, and the loader of the test images.
    """
    device = torch.device(settings.device)
    torch.manual_seed(settings.seed)
    train_set, validation_set, test_set = split(settings)
    train_loader = DataLoader(train_set, batch_size=settings.batch_size, shuffle=True)
    validation_loader = DataLoader(validation_set, batch_size=256)

    model = DigitNet().to(device)
    optimizer = optim.Adam(model.parameters(), lr=settings.learning_rate)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=settings.epochs)

    history: list[Epoch] = []
    best = float("inf")
    with Progress(settings.epochs, len(train_loader)) as progress:
        for number in range(1, settings.epochs + 1):
            started = time.perf_counter()
            rate = scheduler.get_last_lr()[0]
            train_loss = train_epoch(model, train_loader, optimizer, device, progress)
            loss, accuracy, _ = evaluate(model, validation_loader, device)
            scheduler.step()
            improved = loss < best
            if improved:
                best = loss
                state = {"model": model.state_dict(), "epoch": number, "validation_loss": loss}
                torch.save(state, checkpoint)  # atomic: an interrupted run leaves the former best, whole
            history.append(
                Epoch(number, rate, train_loss, loss, accuracy, improved, time.perf_counter() - started)
            )
            progress.epoch(history[-1])
    return history, DataLoader(test_set, batch_size=256)


def evaluate_checkpoint(
    checkpoint: Path, loader: DataLoader, device: torch.device
) -> tuple[int, float, list[Prediction]]:
    """Load the checkpoint into a fresh network: its epoch, its accuracy on the test images, its predictions."""
    saved = torch.load(checkpoint, map_location=device)
    model = DigitNet().to(device)
    model.load_state_dict(saved["model"])
    _, accuracy, probabilities = evaluate(model, loader, device)
    confidence, guess = probabilities.max(dim=1)
    images, labels = loader.dataset.tensors
    predictions = [
        Prediction(image=image[0].numpy(), label=label, guess=guess, confidence=confidence)
        for image, label, guess, confidence in zip(
            images, labels.tolist(), guess.tolist(), confidence.tolist(), strict=True
        )
    ]
    return saved["epoch"], accuracy, predictions


def run(settings: Settings) -> Report:
    """Train, test, draw; say on standard output what is being done."""
    started = time.perf_counter()
    settings.out.mkdir(parents=True, exist_ok=True)
    checkpoint = settings.out / "digits.pt"
    parameters = sum(p.numel() for p in DigitNet().parameters())
    what = "labels SHUFFLED: there is nothing to learn" if settings.shuffle_labels else "real labels"
    print(f"pellucid {torch.__version__}: {parameters:,} parameters learn 1,797 handwritten digits ({what})")

    history, loader = train(settings, checkpoint)
    best, accuracy, predictions = evaluate_checkpoint(checkpoint, loader, torch.device(settings.device))
    report = Report(
        accuracy=accuracy,
        predictions=predictions,
        epochs=history,
        best_epoch=best,
        parameters=parameters,
        seed=settings.seed,
        shuffled=settings.shuffle_labels,
        seconds=time.perf_counter() - started,
        version=torch.__version__,
    )
    print(f"best epoch {best}, loaded back from {checkpoint}")
    right = len(predictions) - len(report.mistakes)
    print(f"test accuracy: {100 * accuracy:.2f} % ({right} of {len(predictions)} images)")
    for write, name in ((write_png, "report.png"), (write_html, "report.html")):
        write(report, settings.out / name)
        print(f"written: {settings.out / name}")
    print(f"done in {time.perf_counter() - started:.1f} s")
    return report
