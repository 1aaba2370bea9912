"""Images per second of ImageFolder, transforms and DataLoader, pellucid beside torchvision.

    python benchmarks/imagefolder.py FOLDER_OR_ARCHIVE [--images 4000] [--rounds 9] [--size 32]

The data is `CLASS/*.jpg`, or a tar archive with such a tree in a folder `train`. On both sides RandomResizedCrop,
RandomHorizontalFlip, ToTensor and Normalize on Pillow images, batches of 64, shuffled with the same seed; 0 and 2 worker
processes, whose start and end are part of the pass. Two processes take turns; the sums of what they loaded are compared.
"""
from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from _side_by_side import Side, load, ratio, rounds, serve

BATCH = 64


def side(framework: str, folder: str, images: int, size: int) -> None:
    """For each line `WORKERS` one pass; answers its seconds."""
    torch = load(framework)
    if framework == "torch":
        if importlib.util.find_spec("tvshim") is not None:    # makes a torchvision of another build importable
            import tvshim  # noqa: F401
        from torch.utils.data import DataLoader, Subset
        from torchvision import datasets, transforms
    else:
        from pellucid.utils.data import DataLoader, Subset
        from pellucid.vision import datasets, transforms
    torch.set_num_threads(1)
    data = datasets.ImageFolder(folder, transforms.Compose([
        transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])]))
    step = max(len(data) // images, 1)
    data = Subset(data, range(0, len(data), step)[:images])

    def answer(line: str) -> float:
        if line == "images":
            return len(data)
        torch.manual_seed(0)
        start = time.perf_counter()
        total = seen = 0
        for x, y in DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=int(line.removeprefix("sum "))):
            seen += len(y)
            total += float(x.mean()) if line.startswith("sum") else 0
        assert seen == len(data)
        return total if line.startswith("sum") else time.perf_counter() - start
    serve(answer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return side(args.serve, str(args.data), args.images, args.size)
    with tempfile.TemporaryDirectory() as folder:
        data = args.data
        if data.is_file():
            with tarfile.open(data) as archive:
                archive.extractall(folder, filter="data")
            data = next(Path(folder).glob("**/train"))
        given = (str(data), "--images", str(args.images), "--size", str(args.size))
        with Side(__file__, "torch", *given) as peer, Side(__file__, "pellucid", *given) as ours:
            sums = [s.run("sum 0") for s in (peer, ours)]
            images = ours.run("images")
            print(f"sum of the batches' means: torchvision {sums[0]:.5f}, pellucid {sums[1]:.5f}")
            for workers in ("0", "2"):
                p, o = rounds((peer, ours), workers, args.rounds)
                mine, theirs = (images / statistics.median(seconds) for seconds in (o, p))
                print(f"{workers} workers: pellucid {mine:6.0f} images/s   torchvision {theirs:6.0f} images/s   ratio {ratio(p, o):.2f}x",
                      flush=True)


if __name__ == "__main__":
    sys.exit(main())
