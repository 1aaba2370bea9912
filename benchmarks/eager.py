"""Eager speed of pellucid beside torch: small operators, a training step, large composites, peak memory.

    python benchmarks/eager.py [--rounds 15] [--only NAME] [--json FILE]

Two processes, 2 threads each, take turns round by round; the idle one sleeps. Printed: both medians and the median of the
rounds' ratios torch / pellucid (above 1: pellucid is faster). Cases marked * must reach 1.0; the large ones are for the
record until the native engine exists. The same code runs on both sides.
"""
from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import _side_by_side as side_by_side
from _side_by_side import ROOT, Side, load, ratio, rounds, timed

GOAL = 1.0


def cases(torch) -> dict:
    """name -> (calls per round, must reach the goal, factory of the timed function)."""
    F = torch.nn.functional

    def small(grad):
        def make():
            x, y = torch.randn(16), torch.randn(16)
            if grad:
                x.requires_grad_()
            return lambda: x + y
        return make

    def add_sum_backward():
        x, y = torch.randn(16).requires_grad_(), torch.randn(16)

        def run():
            x.grad = None
            (x + y).sum().backward()
        return run

    def chain():
        x, y = torch.randn(16).requires_grad_(), torch.rand(16) + 0.5

        def run():                      # 20 operators, forward and backward
            x.grad = None
            a = (x * y).exp() + y
            b = (a.tanh() * 2.0 - y).relu()
            c = ((b * b + 1.0).log()).sigmoid()
            d = (c * y).sin().abs() + 0.5
            e = d.sqrt() / d
            (-e).mean().backward()
        return run

    def mlp(optimizer):
        def make():
            torch.manual_seed(0)
            model = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
            opt = optimizer(model.parameters())
            x, y = torch.randn(64, 784), torch.randint(0, 10, (64,))

            def run():
                opt.zero_grad()
                F.cross_entropy(model(x), y).backward()
                opt.step()
            return run
        return make

    def large(fn, *shape, backward=False):
        def make():
            x = torch.randn(*shape)
            if not backward:
                def run():
                    with torch.no_grad():
                        fn(x)
                return run
            x.requires_grad_()
            g = torch.randn(*fn(x).shape)

            def run():
                x.grad = None
                fn(x).backward(g)
            return run
        return make

    def attention(x):
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)

    def norm(x):
        return F.layer_norm(x, (x.shape[-1],))

    def softmax(x):
        return F.softmax(x, dim=-1)

    return {
        "add, 16 floats": (20000, True, small(False)),
        "add, 16 floats, recording": (20000, True, small(True)),
        "add + sum + backward, 16 floats": (2000, True, add_sum_backward),
        "chain of 20 operators + backward": (400, True, chain),
        "MLP 784-128-10 step, batch 64, SGD": (100, True, mlp(lambda p: torch.optim.SGD(p, lr=0.01))),
        "MLP 784-128-10 step, batch 64, Adam": (100, True, mlp(lambda p: torch.optim.Adam(p))),
        "softmax 4096x1024": (3, False, large(softmax, 4096, 1024)),
        "softmax 4096x1024 + backward": (2, False, large(softmax, 4096, 1024, backward=True)),
        "layer_norm 4096x1024": (3, False, large(norm, 4096, 1024)),
        "layer_norm 4096x1024 + backward": (2, False, large(norm, 4096, 1024, backward=True)),
        "gelu 4M": (3, False, large(F.gelu, 4096, 1024)),
        "gelu 4M + backward": (2, False, large(F.gelu, 4096, 1024, backward=True)),
        "causal attention 8x4x256x64": (3, False, large(attention, 8, 4, 256, 64)),
        "causal attention 8x4x256x64 + backward": (2, False, large(attention, 8, 4, 256, 64, backward=True)),
    }


def serve(framework: str) -> None:
    """One side: for each `NAME` one round; answers seconds per call."""
    torch = load(framework)
    table, made = cases(torch), {}

    def answer(name: str) -> float:
        calls, _, factory = table[name]
        if name not in made:
            made.clear()                # one case's memory at a time
            made[name] = factory()
            for _ in range(max(calls // 10, 2)):
                made[name]()
        return timed(made[name], calls)

    side_by_side.serve(answer)


def import_seconds(framework: str) -> float:
    """Wall time of a fresh `import`, without the interpreter's own start."""
    code = f"import sys, time; sys.path.insert(0, {str(ROOT)!r}); t = time.perf_counter(); import {framework}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve)
    ours, peer = sides = [Side(__file__, framework) for framework in ("pellucid", "torch")]
    figures, missed = {}, []
    print(f"{'case':42s} {'pellucid':>12s} {'torch':>12s}   ratio")
    for name, (_, goal, _) in cases(load("pellucid")).items():
        if args.only not in name:
            continue
        a, b = rounds(sides, name, args.rounds)
        faster = ratio(b, a)
        figures[name] = {"pellucid": statistics.median(a), "torch": statistics.median(b), "ratio": faster}
        if goal and faster < GOAL:
            missed.append(name)
        print(f"{name + (' *' if goal else ''):42s} {statistics.median(a) * 1e6:9.1f} us {statistics.median(b) * 1e6:9.1f} us  {faster:5.2f}x",
              flush=True)
    ours.close()
    peer.close()
    if not args.only:
        pairs = [(import_seconds("pellucid"), import_seconds("torch")) for _ in range(5)]
        a, b = (statistics.median(t) for t in zip(*pairs))
        figures["import"] = {"pellucid": a, "torch": b, "ratio": b / a}
        print(f"{'import':42s} {a * 1e3:9.1f} ms {b * 1e3:9.1f} ms  {b / a:5.2f}x")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    print("every case marked * reached its goal" if not missed else f"below {GOAL}: {', '.join(missed)}")


if __name__ == "__main__":
    main()
