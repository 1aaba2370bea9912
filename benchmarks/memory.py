"""Peak memory of eager training, pellucid beside torch.

    python benchmarks/memory.py [--steps 20]

Each figure is the peak resident memory of a fresh process after training steps with Adam: a 784-128-10 network at batch 64, and
a small convolutional network with batch norm on 32 images of 3x64x64. Printed: both peaks and pellucid / torch (at most 1.1).
"""
from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def train(framework: str, case: str, steps: int) -> None:
    """Run in a fresh process; prints its peak in MiB."""
    if framework == "torch":
        import torch
    else:
        sys.path.insert(0, str(ROOT))
        import pellucid as torch
    nn = torch.nn
    torch.set_num_threads(2)
    torch.manual_seed(0)
    if case == "MLP":
        model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
        x = torch.randn(64, 784)
    else:
        model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
                              nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
                              nn.Flatten(), nn.Linear(64 * 16 * 16, 10))
        x = torch.randn(32, 3, 64, 64)
    y = torch.randint(0, 10, (x.shape[0],))
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def peak(framework: str, case: str, steps: int) -> float:
    done = subprocess.run([sys.executable, __file__, "--serve", framework, "--case", case, "--steps", str(steps)],
                          capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return train(args.serve, args.case, args.steps)
    for case in ("MLP", "ConvNet"):
        ours, theirs = peak("pellucid", case, args.steps), peak("torch", case, args.steps)
        print(f"{case:8s} pellucid {ours:6.0f} MiB   torch {theirs:6.0f} MiB   ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
