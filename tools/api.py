"""The public interface, one name a line: `python tools/api.py` writes tests/golden/api.txt, `--check` compares."""
from __future__ import annotations

import inspect
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import pellucid  # noqa: E402
import pellucid.vision  # noqa: E402

for name in dir(pellucid):        # what loads on first use is public too
    getattr(pellucid, name)

TARGET = ROOT / "tests" / "golden" / "api.txt"
SPACES = ("", "nn", "nn.functional", "nn.init", "nn.attention", "nn.attention.bias", "nn.attention.flex_attention", "nn.utils", "nn.utils.rnn", "nn.utils.parametrize", "nn.parallel", "optim", "optim.lr_scheduler", "optim.swa_utils",
          "autograd", "autograd.functional", "autograd.graph", "utils.data", "utils.checkpoint", "linalg", "sparse", "special", "fft", "serialization",
          "serialization.safetensors", "random", "testing", "cuda", "cpu", "accelerator", "xpu", "mps", "mtia", "hub", "backends", "backends.cuda",
          "compiler", "_dynamo", "_dynamo.config", "_dynamo.eval_frame", "_dynamo.exc", "_dynamo.testing", "_dynamo.utils",
          "jit", "onnx", "distributed", "overrides", "masked", "signal", "signal.windows", "array_api", "array_api.fft", "array_api.linalg",
          "func", "amp", "profiler", "profiler.itt", "futures", "types", "__config__", "autograd.profiler", "autograd.profiler_util", "utils.benchmark", "distributions",
          "distributions.constraints", "distributions.transforms", "vision.datasets", "vision.datasets.utils", "vision.io",
          "vision.transforms", "vision.transforms.functional", "vision.transforms.v2", "vision.tv_tensors")


def space(name: str):
    module = pellucid
    for part in name.split(".") if name else ():
        module = getattr(module, part)
    return module


def public(name: str) -> list[str]:
    """The public names of a namespace: its `__all__`, or what is defined in pellucid and has no underscore."""
    module = space(name)
    names = getattr(module, "__all__", None)
    if names is None:
        names = [n for n, v in vars(module).items() if not n.startswith("_") and not inspect.ismodule(v) and n != "annotations"]
    return sorted(set(names))


def lines() -> list[str]:
    found = [f"{s}.{n}".lstrip(".") for s in SPACES for n in public(s)]
    found += [f"Tensor.{n}" for n in sorted(dir(pellucid.Tensor)) if not n.startswith("_")]
    return found


def main() -> int:
    text = "\n".join(lines()) + "\n"
    if "--check" in sys.argv:
        old = set(TARGET.read_text().split()) if TARGET.exists() else set()
        new = set(text.split())
        for n in sorted(new - old):
            print("+", n)
        for n in sorted(old - new):
            print("-", n)
        return int(old != new)
    TARGET.write_text(text)
    print(len(text.split()), "names")
    return 0


if __name__ == "__main__":
    sys.exit(main())
