"""Every model of kuangliu/pytorch-cifar, unmodified: one training step in float64 on PyTorch and on pellucid.

    python benchmarks/scripts_cifar.py FOLDER [NAME ...]

In: FOLDER holds `pytorch-cifar` as it was fetched. Out: for each model the loss, and the largest relative difference of its numbers: the
loss, the sums of squares over gradients and over weights after the step, the sum over statistics, the loss after the step.
What stays true: the models are those that main.py names (in a comment or not), and all that `models` exports and that need no arguments;
both sides run the same code with the same seed, each in a process of its own; one that is an error on both sides prints PyTorch's.
"""
from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from pathlib import Path

from scripts import SIDES, difference, process, started


def models(folder: Path) -> list[str]:
    """Expressions that make a model: main.py's, then the other exports."""
    import models as exported
    import torch
    named = re.findall(r"^#? ?net = (\w+\(.*\))$", (folder / "main.py").read_text(), flags=re.MULTILINE)
    for name, make in sorted(vars(exported).items()):
        makes = inspect.isclass(make) and issubclass(make, torch.nn.Module) or inspect.isfunction(make) and not name.startswith("test")
        if makes and all(p.default is not p.empty for p in inspect.signature(make).parameters.values()):
            named.append(f"{name}()")
    return list(dict.fromkeys(named))


def side(framework: str, folder: Path, names: list[str]) -> None:
    """Print a line of JSON for each model: its name, and its numbers or its error."""
    torch = started(framework, True, "")
    sys.path.insert(0, str(folder))
    import models as exported
    for name in models(folder):
        if names and not name.startswith(tuple(names)):
            continue
        torch.manual_seed(0)
        try:
            model = eval(name, vars(exported))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
            images, classes = torch.randn(4, 3, 32, 32), torch.tensor([1, 7, 0, 4])
            loss = torch.nn.functional.cross_entropy(model(images), classes)
            loss.backward()
            numbers = [loss.item(), sum(p.grad.square().sum().item() for p in model.parameters() if p.grad is not None)]
            optimizer.step()
            numbers += [sum(p.square().sum().item() for p in model.parameters()), sum(b.double().sum().item() for b in model.buffers())]
            with torch.no_grad():
                numbers.append(torch.nn.functional.cross_entropy(model(images), classes).item())
            print(json.dumps([name, numbers]), flush=True)
        except Exception as error:
            print(json.dumps([name, f"{type(error).__name__}: {error}"]), flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path, help="holds pytorch-cifar")
    arguments.add_argument("names", nargs="*", metavar="NAME", help="only models whose name starts so")
    options = arguments.parse_args()
    folder = (options.folder / "pytorch-cifar").resolve()
    peer, ours = (dict(map(json.loads, process([__file__, "--side", framework, str(folder), *options.names], folder).splitlines()))
                  for framework in SIDES)
    print(f"{'model':24} {'loss':>8} {'float64':>9}")
    for name, numbers in peer.items():
        if isinstance(numbers, str):
            print(f"{name:24} PyTorch: {numbers[:110]}" + ("" if isinstance(ours[name], str) else "; not an error on pellucid"))
        elif isinstance(ours[name], str):
            print(f"{name:24} pellucid: {ours[name]}")
        else:
            print(f"{name:24} {numbers[0]:8.4f} {difference(numbers, ours[name]):9.1e}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    else:
        main()
