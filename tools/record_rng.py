"""Writes tests/golden/rng.json: what PyTorch draws on CPU, call by call, for 5 seeds and odd sizes.

Run with torch 2.13 installed, on an AMD CPU with AVX2 (on Intel torch takes Bernoulli and exponential draws from MKL):
    python tools/record_rng.py
Each case pairs a method of `pellucid.core.rng.Engine` with the torch expression it must equal; tests/unit/core/test_rng.py
checks the recorded values, and evaluates the expressions side by side where torch is installed.
"""
import base64
import hashlib
import json
import pathlib
import zlib

import numpy as np
import torch

SEEDS = [0, 1, 42, 2**40 + 12345, -7]
FULL = [1, 7, 17]          # sizes whose values are kept
HASHED = [15, 16, 131, 1003, 20011]

# (Engine method, keyword arguments, torch expression in n)
CASES = [
    ("uniform", {}, "torch.rand(n)"),
    ("uniform", {"dtype": "float64"}, "torch.rand(n, dtype=torch.float64)"),
    ("uniform", {"dtype": "float16"}, "torch.rand(n, dtype=torch.float16)"),
    ("uniform", {"dtype": "bfloat16"}, "torch.rand(n, dtype=torch.bfloat16)"),
    ("uniform", {"dtype": "complex64"}, "torch.rand(n, dtype=torch.complex64)"),
    ("uniform", {"low": -0.0357, "high": 0.0357}, "torch.empty(n).uniform_(-0.0357, 0.0357)"),
    ("uniform", {"low": 1e6, "high": 1e6 + 1}, "torch.empty(n).uniform_(1e6, 1e6 + 1)"),
    ("uniform", {"low": -0.3, "high": 0.77, "dtype": "float64"}, "torch.empty(n, dtype=torch.float64).uniform_(-0.3, 0.77)"),
    ("uniform", {"low": -0.3, "high": 0.7, "dtype": "float16"}, "torch.empty(n, dtype=torch.float16).uniform_(-0.3, 0.7)"),
    ("uniform", {"low": -0.3, "high": 0.7, "dtype": "bfloat16"}, "torch.empty(n, dtype=torch.bfloat16).uniform_(-0.3, 0.7)"),
    ("normal", {}, "torch.randn(n)"),
    ("normal", {"dtype": "float64"}, "torch.randn(n, dtype=torch.float64)"),
    ("normal", {"dtype": "float16"}, "torch.randn(n, dtype=torch.float16)"),
    ("normal", {"dtype": "bfloat16"}, "torch.randn(n, dtype=torch.bfloat16)"),
    ("normal", {"dtype": "complex64"}, "torch.randn(n, dtype=torch.complex64)"),
    ("normal", {"dtype": "complex128"}, "torch.randn(n, dtype=torch.complex128)"),
    ("normal", {"std": 0.02}, "torch.empty(n).normal_(0, 0.02)"),
    ("normal", {"mean": 0.3, "std": 0.7}, "torch.empty(n).normal_(0.3, 0.7)"),
    ("normal", {"mean": 0.3, "std": 0.7, "dtype": "float64"}, "torch.empty(n, dtype=torch.float64).normal_(0.3, 0.7)"),
    ("normal", {"mean": 0.3, "std": 0.7, "dtype": "bfloat16"}, "torch.empty(n, dtype=torch.bfloat16).normal_(0.3, 0.7)"),
    ("normal", {"mean": 0.3, "std": 0.7, "dtype": "complex64"}, "torch.empty(n, dtype=torch.complex64).normal_(0.3, 0.7)"),
    ("normal", {"contiguous": False}, "torch.empty(n, 2)[:, 0].normal_()"),
    ("normal", {"contiguous": False, "mean": 0.3, "std": 0.7, "dtype": "float64"},
     "torch.empty(n, 2, dtype=torch.float64)[:, 0].normal_(0.3, 0.7)"),
    ("randint", {"low": 0, "high": 10}, "torch.randint(0, 10, (n,))"),
    ("randint", {"low": -5, "high": 2**28 - 6}, "torch.randint(-5, 2**28 - 6, (n,))"),
    ("randint", {"low": -5, "high": 2**28 - 5}, "torch.randint(-5, 2**28 - 5, (n,))"),
    ("randint", {"low": -2**62, "high": 2**62}, "torch.randint(-2**62, 2**62, (n,))"),
    ("randint", {"low": 0, "high": 256, "dtype": "uint8"}, "torch.randint(0, 256, (n,), dtype=torch.uint8)"),
    ("randint", {"low": -3, "high": 100, "dtype": "int32"}, "torch.empty(n, dtype=torch.int32).random_(-3, 100)"),
    ("randint", {"low": -3, "high": 100, "dtype": "float32"}, "torch.empty(n).random_(-3, 100)"),
    ("randint", {"low": 5, "high": 2000, "dtype": "float16"}, "torch.empty(n, dtype=torch.float16).random_(5, 2000)"),
    ("randint", {"low": 5, "high": None, "dtype": "int32"}, "torch.empty(n, dtype=torch.int32).random_(5, None)"),
    ("randint", {"low": 5, "high": None, "dtype": "float32"}, "torch.empty(n).random_(5, None)"),
    ("randint", {"low": -2**63, "high": None}, "torch.empty(n, dtype=torch.int64).random_(-2**63, None)"),
    ("randint", {"low": 0, "high": 2, "dtype": "bool"}, "torch.empty(n, dtype=torch.bool).random_(0, 2)"),
    *[("random", {"dtype": d}, f"torch.empty(n, dtype=torch.{d}).random_()") for d in (
        "int64", "int32", "int16", "int8", "uint8", "bool", "float16", "bfloat16", "float32", "float64")],
    ("randperm", {}, "torch.randperm(n)"),
    ("randperm", {"dtype": "int32"}, "torch.randperm(n, dtype=torch.int32)"),
    ("bernoulli", {"p": 0.3}, "torch.empty(n).bernoulli_(0.3)"),
    ("bernoulli", {"p": 0.9, "dtype": "float64"}, "torch.empty(n, dtype=torch.float64).bernoulli_(0.9)"),
    ("bernoulli", {"p": 1e-3, "dtype": "int64"}, "torch.empty(n, dtype=torch.int64).bernoulli_(1e-3)"),
    ("bernoulli", {"p": 1.0, "dtype": "bool"}, "torch.empty(n, dtype=torch.bool).bernoulli_(1.0)"),
    ("bernoulli_of", {"p": "ramp float32"}, "torch.bernoulli((torch.arange(n) % 11) / 10)"),
    ("bernoulli_of", {"p": "ramp float64"}, "torch.bernoulli((torch.arange(n) % 11).double() / 10)"),
    ("exponential", {}, "torch.empty(n).exponential_()"),
    ("exponential", {"lambd": 2.5, "dtype": "float64"}, "torch.empty(n, dtype=torch.float64).exponential_(2.5)"),
    ("exponential", {"lambd": 0.37, "dtype": "bfloat16"}, "torch.empty(n, dtype=torch.bfloat16).exponential_(0.37)"),
    ("geometric", {"p": 0.3}, "torch.empty(n).geometric_(0.3)"),
    ("geometric", {"p": 0.01, "dtype": "int32"}, "torch.empty(n, dtype=torch.int32).geometric_(0.01)"),
    ("cauchy", {}, "torch.empty(n).cauchy_()"),
    ("cauchy", {"median": 0.3, "sigma": 0.7, "dtype": "float64"}, "torch.empty(n, dtype=torch.float64).cauchy_(0.3, 0.7)"),
    ("log_normal", {}, "torch.empty(n).log_normal_()"),
    ("log_normal", {"mean": 0.3, "std": 0.7, "dtype": "float64"}, "torch.empty(n, dtype=torch.float64).log_normal_(0.3, 0.7)"),
    ("multinomial", {"weights": "rows float32", "n": 1}, "torch.multinomial((torch.arange(5 * n) % 13).view(n, 5) + 1.0, 1)"),
    ("multinomial", {"weights": "rows float32", "n": 3}, "torch.multinomial((torch.arange(5 * n) % 13).view(n, 5) + 1.0, 3)"),
    ("multinomial", {"weights": "rows float32", "n": 9, "replacement": True},
     "torch.multinomial((torch.arange(5 * n) % 13).view(n, 5) + 1.0, 9, True)"),
    ("multinomial", {"weights": "row float32", "n": 40, "replacement": True},
     "torch.multinomial((torch.arange(n) % 13) + 1.0, 40, True)"),
    ("multinomial", {"weights": "row float64", "n": 40, "replacement": True},
     "torch.multinomial((torch.arange(n) % 13).double() + 1.0, 40, True)"),
    ("poisson", {"rates": "rates float32"}, "torch.poisson((torch.arange(n) % 37).float())"),
    *[("randint", {"low": 3, "high": 2**15, "dtype": d}, f"torch.empty(n, dtype=torch.{d}).random_(3, 2**15)")
      for d in ("uint16", "uint32", "uint64")],
    ("randint", {"low": 5, "high": None, "dtype": "uint32"}, "torch.empty(n, dtype=torch.uint32).random_(5, None)"),
    ("randint", {"low": 5, "high": 2**63 - 1, "dtype": "uint64"}, "torch.empty(n, dtype=torch.uint64).random_(5, 2**63 - 1)"),
    ("normal", {"mean": -2.5}, "torch.empty(n).normal_(-2.5, 1)"),
    ("normal", {"mean": -2.5, "std": 0.0}, "torch.empty(n).normal_(-2.5, 0)"),
]
MIXED = [6, 0, 9, 33, 10, 20, 42, 46, 16, 54, 21, 37, 1, 58]     # cases called one after the other, sizes in turn


def raw(t: torch.Tensor) -> bytes:
    t = t.detach().contiguous()
    return (t.view(torch.uint16) if t.dtype == torch.bfloat16 else t).numpy().tobytes()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def state_digest() -> str:
    return digest(torch.get_rng_state().numpy().tobytes())


def draw(expression: str, n: int) -> torch.Tensor:
    return eval(expression, {"torch": torch, "n": n})


def main() -> None:
    torch.set_num_threads(1)
    cases = []
    for method, kwargs, expression in CASES:
        runs = []
        for seed in SEEDS:
            for n in FULL + HASHED:
                if method in ("multinomial", "poisson") and n > 1003:
                    continue
                torch.manual_seed(seed)
                t = draw(expression, n)
                value = base64.b64encode(raw(t)).decode() if n in FULL else digest(raw(t))
                runs.append([seed, n, value, state_digest()])
        cases.append({"method": method, "kwargs": kwargs, "torch": expression, "runs": runs})
    mixed = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        steps = []
        for i, case in enumerate(MIXED * 3):
            n = (FULL + HASHED[:-1])[i % 7]
            t = draw(CASES[case][2], n)
            steps.append([case, n, digest(raw(t)), state_digest()])
        mixed.append([seed, steps])
    states = []
    for seed, before in ((3, 0), (3, 1), (4, 623), (4, 624), (5, 625), (-1, 1000)):
        torch.manual_seed(seed)
        torch.rand(before)
        if before == 1:
            torch.randn(5)        # leaves a normal in the cache
        state = torch.get_rng_state().numpy().tobytes()
        after = raw(torch.randn(5)) + raw(torch.rand(700))
        states.append([seed, before, base64.b64encode(zlib.compress(state, 9)).decode(), digest(after)])
    out = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "rng.json"
    text = json.dumps({"torch": torch.__version__, "full": FULL, "capability": torch.backends.cpu.get_cpu_capability(),
                       "seeds": SEEDS, "cases": cases, "mixed": mixed, "states": states}, separators=(",", ":"))
    out.write_text(text.replace('{"method"', '\n{"method"').replace('],"mixed"', '],\n"mixed"').replace('],"states"', '],\n"states"') + "\n")
    print(out, len(text), "bytes,", len(cases), "cases; numpy", np.__version__)


if __name__ == "__main__":
    main()
