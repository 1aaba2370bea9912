"""Images per second of a DataLoader over a folder of JPEGs, pellucid beside torch.

    python benchmarks/dataloader.py [--data cifar10-jpeg.tar.gz] [--images 2000] [--rounds 7]

The same dataset code on both sides: Pillow decodes and resizes to 64 x 64, then float32, scaled and normalised; batches
of 64, shuffled; 0 and 2 worker processes, whose start and end are part of the pass. Two processes take turns, round by
round; the idle one sleeps. Printed: the median rate of each, and the median of the rounds' ratios.
"""
from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "cifar10-jpeg.tar.gz"
BATCH, SIDE = 64, 64


def serve(framework: str, folder: Path, images: int) -> None:
    """One side: for each line `WORKERS` on stdin, one pass over the images; prints its seconds."""
    import numpy as np
    from PIL import Image
    if framework == "torch":
        import torch
        from torch.utils.data import DataLoader, Dataset
    else:
        sys.path.insert(0, str(ROOT))
        import pellucid as torch
        from pellucid.utils.data import DataLoader, Dataset

    class ImageFolder(Dataset):
        def __init__(self, folder: Path, count: int):
            classes = sorted(p.name for p in folder.iterdir() if p.is_dir())
            files = [(str(path), label) for label, name in enumerate(classes)
                     for path in sorted((folder / name).glob("*.jpg"))]
            self.files = files[::max(len(files) // count, 1)][:count]
            self.mean = torch.tensor([0.4914, 0.4822, 0.4465]).reshape(3, 1, 1)
            self.std = torch.tensor([0.2470, 0.2435, 0.2616]).reshape(3, 1, 1)

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, i: int):
            path, label = self.files[i]
            with Image.open(path) as image:
                image = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            # torchvision's ToTensor and Normalize, written out.
            x = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
            return x.sub_(self.mean).div_(self.std), label

    dataset = ImageFolder(folder, images)
    for line in sys.stdin:
        torch.manual_seed(0)
        start = time.perf_counter()
        seen, total = 0, 0.0
        for x, y in DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=int(line)):
            seen += len(y)
            total += float(x[0, 0, 0, 0])
        seconds = time.perf_counter() - start
        assert seen == len(dataset)
        print(f"@ {seconds!r} {seen} {total:.4f}", flush=True)


class Side:
    """A process that serves one framework."""

    def __init__(self, framework: str, folder: Path, images: int):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", framework, "--data", str(folder), "--images", str(images)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def run(self, workers: int) -> tuple[float, str]:
        """(images per second, a digest of what was loaded) of one pass."""
        self.process.stdin.write(f"{workers}\n")
        for line in self.process.stdout:
            if line.startswith("@ "):
                _, seconds, seen, digest = line.split()
                return int(seen) / float(seconds), digest
        raise SystemExit("a benchmark process ended")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help="the archive (an ImageFolder tree of JPEGs)")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.data, args.images)
    if not args.data.exists():
        raise SystemExit(f"{args.data} is not there: pass --data, an archive with train/CLASS/*.jpg inside")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(args.data) as archive:
            members = [m for m in archive if m.isdir() or "/train/" in m.name]
            archive.extractall(folder, members, filter="data")
        train = next(Path(folder).glob("**/train"))
        sides = [Side(framework, train, args.images) for framework in ("pellucid", "torch")]
        for workers in (0, 2):
            for side in sides:
                side.run(workers)                        # warm: imports, files in the page cache
            ours, peers = [], []
            for turn in range(args.rounds):
                order = (0, 1) if turn % 2 == 0 else (1, 0)
                results = {i: sides[i].run(workers) for i in order}
                if results[0][1] != results[1][1]:
                    print(f"note: the two sides loaded different numbers ({results[0][1]}, {results[1][1]})")
                ours.append(results[0][0])
                peers.append(results[1][0])
            ratio = statistics.median(a / b for a, b in zip(ours, peers))
            print(f"{workers} workers: pellucid {statistics.median(ours):7.0f} images/s   "
                  f"torch {statistics.median(peers):7.0f} images/s   ratio {ratio:.2f}x", flush=True)
        for side in sides:
            side.process.stdin.close()
            side.process.wait()


if __name__ == "__main__":
    main()
