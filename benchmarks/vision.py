"""Speed of pellucid's vision models, eager and compiled, beside torchvision's on eager torch: a forward pass, a training step.

    python benchmarks/vision.py [--rounds 7] [--only NAME ...] [--import MODULE]

Two processes of one thread each take turns round by round; the idle one sleeps. Counted is the time of the processor (so that
other programs on the machine disturb little); printed are each side's least milliseconds and their ratio torch / pellucid (above
1: pellucid is faster). `--import` names a module that torch's side imports before torchvision.
"""
from __future__ import annotations

import argparse
import importlib
import sys
import time

import _side_by_side as side_by_side
from _side_by_side import Side, load

IMAGES = {"mobilenet_v2": (2, 128), "efficientnet_b0": (2, 128), "convnext_tiny": (2, 128), "vit_b_16": (2, 224), "resnet18": (2, 128)}
WAYS = ("eager forward", "eager step", "compiled forward", "compiled step")


def case(torch, models, name: str, way: str):
    """The function to time."""
    count, size = IMAGES[name]
    torch.manual_seed(0)
    model = getattr(models, name)(weights=None)
    x, target = torch.randn(count, 3, size, size), torch.randint(0, 1000, (count,))
    compiled = way.startswith("compiled") and torch.__name__ == "pellucid"
    if way.endswith("forward"):
        model.eval()

        @torch.no_grad()
        def run():
            return model(x)
        if compiled:
            model = torch.compile(model)
        return run

    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return loss
    return torch.compile(step) if compiled else step


def serve(framework: str, first: str) -> None:
    torch = load(framework)
    torch.set_num_threads(1)
    if framework == "torch" and first:
        importlib.import_module(first)
    models = importlib.import_module("torchvision.models" if framework == "torch" else "pellucid.vision.models")
    made: dict[str, object] = {}

    def answer(line: str) -> float:
        if line not in made:
            made.clear()                            # one model at a time
            made[line] = case(torch, models, *line.split(maxsplit=1))
            for _ in range(4):
                made[line]()
        run, best = made[line], float("inf")
        for _ in range(3):
            start = time.process_time()
            run()
            best = min(best, time.process_time() - start)
        return best
    side_by_side.serve(answer)


def main() -> None:
    if "--serve" in sys.argv:
        return serve(*sys.argv[sys.argv.index("--serve") + 1:])
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the cases' names")
    parser.add_argument("--import", dest="first", default="")
    args = parser.parse_args()
    print(f"{'':36}{'pellucid ms':>12}{'torch ms':>12}{'ratio':>8}")
    with Side(__file__, "pellucid", args.first, threads=1) as ours, Side(__file__, "torch", args.first, threads=1) as peer:
        for line in (f"{name} {way}" for name in IMAGES for way in WAYS):
            if any(part in line for part in args.only):
                mine, theirs = map(min, side_by_side.rounds((ours, peer), line, args.rounds))
                print(f"{line:36}{1e3 * mine:12.1f}{1e3 * theirs:12.1f}{theirs / mine:8.2f}", flush=True)


if __name__ == "__main__":
    main()
