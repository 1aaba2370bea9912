"""The 40 operators that PyTorch programs use most, eager, beside torch, at three sizes, forward and with backward.

    python benchmarks/operators.py [--rounds 7] [--only NAME] [--json FILE]

The choice follows the demand curve of real projects (compute, not views or queries). Sizes are elements of the main
operand: 16, 8 thousand, 4 million. Printed: both medians, the median of the rounds' ratios torch / pellucid (above 1:
pellucid is faster), and the geometric means. `benchmarks/eager.py` says how the two sides take turns.
"""
from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path

from _side_by_side import Side, load, ratio, rounds, serve, timed
from models import resnet, transformer

SIZES = {"16": 16, "8k": 8192, "4M": 1 << 22}


def matrix(n: int) -> tuple[int, int]:
    """Rows and columns of a matrix of n elements."""
    return {16: (4, 4), 8192: (64, 128), 1 << 22: (4096, 1024)}[n]


def image(n: int) -> tuple[int, int, int, int]:
    """Samples, channels, height and width of n elements."""
    return {16: (1, 1, 4, 4), 8192: (2, 4, 32, 32), 1 << 22: (16, 64, 64, 64)}[n]


def operators(torch) -> dict:
    """name -> (shape of the main operand from n, function of it and of what `extra` made, extra)."""
    F = torch.nn.functional
    flat = lambda n: (n,)                                                # noqa: E731
    none = lambda shape: ()                                              # noqa: E731
    like = lambda shape: (torch.randn(shape),)                           # noqa: E731
    table = {}

    def unary(**functions):
        for name, f in functions.items():
            table[name] = (flat, f, none)

    unary(relu=F.relu, exp=torch.exp, log=lambda x: torch.log(x), sqrt=lambda x: torch.sqrt(x), tanh=torch.tanh,
          sigmoid=torch.sigmoid, sin=torch.sin, cos=torch.cos, abs=torch.abs, gelu=F.gelu, silu=F.silu,
          clamp=lambda x: x.clamp(-1, 1), pow=lambda x: x.pow(2), clone=lambda x: x.clone(), neg=lambda x: -x,
          double=lambda x: x.double(), dropout=lambda x: F.dropout(x, 0.1), zeros_like=torch.zeros_like)
    for name, f in {"add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "div": lambda x, y: x / y,
                    "mse_loss": F.mse_loss}.items():
        table[name] = (flat, f, like)
    table["where"] = (flat, lambda x, m: torch.where(m, x, 0.0), lambda s: (torch.randn(s) > 0,))
    table["masked_fill"] = (flat, lambda x, m: x.masked_fill(m, 0.0), lambda s: (torch.randn(s) > 0,))
    table["sum"] = (matrix, lambda x: x.sum(), none)
    table["mean of rows"] = (matrix, lambda x: x.mean(-1), none)
    table["max of rows"] = (matrix, lambda x: x.max(-1)[0], none)
    table["argmax"] = (matrix, lambda x: x.argmax(-1), none)
    table["norm"] = (matrix, lambda x: x.norm(), none)
    table["softmax"] = (matrix, lambda x: F.softmax(x, -1), none)
    table["log_softmax"] = (matrix, lambda x: F.log_softmax(x, -1), none)
    table["layer_norm"] = (matrix, lambda x, w, b: F.layer_norm(x, w.shape, w, b),
                           lambda s: (torch.ones(s[1]), torch.zeros(s[1])))
    table["cross_entropy"] = (matrix, lambda x, t: F.cross_entropy(x, t), lambda s: (torch.randint(0, s[1], (s[0],)),))
    table["cat"] = (matrix, lambda x, y: torch.cat([x, y], 1), like)
    table["transposed copy"] = (matrix, lambda x: x.t().contiguous(), none)
    table["embedding"] = (matrix, lambda w, i: F.embedding(i, w), lambda s: (torch.randint(0, s[0], (s[0],)),))
    table["gather"] = (matrix, lambda x, i: x.gather(1, i), lambda s: (torch.randint(0, s[1], s),))
    table["tril"] = (matrix, lambda x: x.tril(), none)
    table["linear"] = (matrix, lambda x, w, b: F.linear(x, w, b), lambda s: (torch.randn(64, s[1]), torch.randn(64)))
    table["matmul"] = (matrix, lambda x, y: x @ y, lambda s: (torch.randn(s[1], 64),))
    table["conv2d"] = (image, lambda x, w: F.conv2d(x, w, padding=1), lambda s: (torch.randn(8, s[1], 3, 3),))
    table["max_pool2d"] = (image, lambda x: F.max_pool2d(x, 2), none)
    table["batch_norm"] = (image, lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
                           lambda s: (torch.ones(s[1]), torch.zeros(s[1])))
    table["pad"] = (image, lambda x: F.pad(x, (1, 1, 1, 1)), none)
    return table


_POSITIVE = frozenset(("log", "sqrt"))
_NO_GRAD = frozenset(("argmax", "zeros_like"))


def cases(torch) -> dict:
    """name -> (calls per round, must reach a goal, factory of the timed function)."""
    table = {}

    def make(name, shape, f, extra, backward):
        def factory():
            torch.manual_seed(0)
            x = torch.rand(shape) + 0.5 if name in _POSITIVE else torch.randn(shape)
            rest = extra(shape)
            if not backward:
                return lambda: f(x, *rest)
            x.requires_grad_()
            g = torch.randn(f(x, *rest).shape, dtype=f(x, *rest).dtype)

            def run():
                x.grad = None
                f(x, *rest).backward(g)
            return run
        return factory

    for name, (shape_of, f, extra) in operators(torch).items():
        for label, n in SIZES.items():
            for backward in (False, True):
                if backward and name in _NO_GRAD:
                    continue
                calls = {16: 300, 8192: 60, 1 << 22: 2}[n] // (2 if backward and n < 1 << 22 else 1)
                table[f"{name}, {label}{' + backward' if backward else ''}"] = (calls, False, make(name, shape_of(n), f, extra, backward))
    return table


def training_steps(torch) -> dict:
    """Whole eager training steps: name -> (calls per round, must reach a goal, factory)."""
    def make(build):
        def factory():
            work = build()
            batch = work.batches[0]
            return lambda: work.step(*batch)
        return factory

    images = torch.__name__ == "torch"          # torch is at its best with channels last
    return {"GPT training step": (1, True, make(lambda: transformer.gpt(torch, dropout=0.0))),
            "ResNet-18 training step": (1, True, make(lambda: resnet.training(torch, channels_last=images)))}


def answer_for(framework: str):
    torch = load(framework)
    table, made = {**cases(torch), **training_steps(torch)}, {}

    def answer(name: str) -> float:
        calls, _, factory = table[name]
        if name not in made:
            made.clear()                        # one case's memory at a time
            made[name] = factory()
            for _ in range(3):
                made[name]()
        return timed(made[name], calls)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(answer_for(args.serve))
    sides = [Side(__file__, framework) for framework in ("pellucid", "torch")]
    torch = load("pellucid")
    figures = {}
    print(f"{'case':42s} {'pellucid':>12s} {'torch':>12s}   ratio")
    for name in {**cases(torch), **training_steps(torch)}:
        if args.only not in name:
            continue
        ours, peer = rounds(sides, name, args.rounds)
        figures[name] = ratio(peer, ours)
        print(f"{name:42s} {statistics.median(ours) * 1e6:9.1f} us {statistics.median(peer) * 1e6:9.1f} us  {figures[name]:5.2f}x", flush=True)
    for side in sides:
        side.close()
    for size in SIZES:
        for backward in (False, True):
            some = [f for n, f in figures.items() if n.partition(", ")[2] == size + " + backward" * backward]
            if some:
                mean = math.exp(sum(map(math.log, some)) / len(some))
                print(f"{size + ' + backward' * backward:42s} geometric mean {mean:5.2f}x, least {min(some):.2f}x")
    operators_only = [f for n, f in figures.items() if ", " in n]
    if operators_only:
        print(f"{'all':42s} geometric mean {math.exp(sum(map(math.log, operators_only)) / len(operators_only)):5.2f}x [1.00], "
              f"below 0.50: {', '.join(n for n, f in figures.items() if f < 0.5 and ', ' in n) or 'none'}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
