"""Type stubs from the operator registry, for editors and type checkers.

    python tools/stubs.py            write them
    python tools/stubs.py --check    exit 1 if a committed stub differs

Operators get their signatures from their definitions; what is no operator is read from the modules themselves. The files
are committed; a test regenerates and compares them.
"""
from __future__ import annotations

import argparse
import inspect
import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import pellucid  # noqa: E402
from pellucid.ops.op import REGISTRY, Op  # noqa: E402
from pellucid.tensor import Tensor  # noqa: E402

for name in dir(pellucid):        # what loads on first use is public too
    getattr(pellucid, name)

HEADER = '"""Written by tools/stubs.py from the operator registry; do not edit."""\n'
SPACES = {"linalg": "linalg.pyi", "special": "special.pyi", "fft": "fft.pyi", "nn.functional": "nn/functional.pyi", "masked": "masked.pyi",
          "signal.windows": "signal/windows.pyi"}


def default_text(value) -> str:
    plain = value is None or isinstance(value, (bool, int, str)) or isinstance(value, float) and math.isfinite(value)
    return repr(value) if plain else "..."


def parameters(op: Op, method: bool, out: bool) -> str:
    """The parameter list of an operator as stub text."""
    parts, star = [], False
    items = list(op.signature.parameters.values())
    for i, p in enumerate(items):
        name = p.name
        if method and i == 0:
            parts.append("self")
            continue
        kind = "Tensor" if name == "input" and p.default is inspect.Parameter.empty else "Any"
        if p.kind is p.VAR_POSITIONAL:
            parts.append(f"*{name}: Any")
            star = True
        elif p.kind is p.VAR_KEYWORD:
            parts.append(f"**{name}: Any")
        else:
            if p.kind is p.KEYWORD_ONLY and not star:
                parts.append("*")
                star = True
            tail = "" if p.default is inspect.Parameter.empty else f" = {default_text(p.default)}"
            parts.append(f"{name}: {kind}{tail}")
    if out and "out" not in op.signature.parameters:
        if not star:
            parts.append("*")
        at = len(parts) - 1 if parts and parts[-1].startswith("**") else len(parts)
        parts.insert(at, "out: Any = None")
    return ", ".join(parts)


def returns(op: Op) -> str:
    return "Any" if op.nout != 1 or op.kind.name == "COMPOSITE" else "Tensor"


def functions(ns: str) -> dict[str, str]:
    """{name: stub line} of the operators in a namespace."""
    lines = {}
    for op in REGISTRY.values():
        if ns in op.ns and "function" in op.forms:
            for name in (op.public, *op.aliases):
                lines[name] = f"def {name}({parameters(op, False, 'out' in op.forms)}) -> {returns(op)}: ..."
                if not op.forms.isdisjoint(("inplace", "relabel")) and len(op.args) <= 1:
                    lines[name + "_"] = f"def {name}_({parameters(op, False, False)}) -> Tensor: ..."
    return lines


def methods() -> dict[str, str]:
    """{name: stub line} of Tensor's operator methods."""
    lines = {}
    for op in REGISTRY.values():
        for name in (op.public, *op.aliases):
            if "method" in op.forms:
                lines[name] = f"    def {name}({parameters(op, True, False)}) -> {returns(op)}: ..."
            if not op.forms.isdisjoint(("inplace", "relabel")):
                lines[name + "_"] = f"    def {name}_({parameters(op, True, False)}) -> Tensor: ..."
        for name in op.operator.split():
            two = len(op.args) == 2
            lines[f"__{name}__"] = f"    def __{name}__(self{', other: Any' if two else ''}) -> {'Any' if name in ('eq', 'ne') else 'Tensor'}: ..." + (
                "  # type: ignore[override]" if name in ("eq", "ne") else "")
            if two and name not in ("lt", "le", "gt", "ge", "eq", "ne"):
                lines[f"__r{name}__"] = f"    def __r{name}__(self, other: Any) -> Tensor: ..."
            if "inplace" in op.forms and two:
                lines[f"__i{name}__"] = f"    def __i{name}__(self, other: Any) -> Tensor: ..."
    return lines


def own_members() -> list[str]:
    """Tensor's members that are no operators, from the class itself."""
    taken = methods()
    lines = []
    for name, member in sorted(vars(Tensor).items()):
        if name in taken or name in ("__slots__", "__module__", "__doc__", "__dict__", "__weakref__", "__hash__", "__torch_function__", "__new__",
                                     "__init_subclass__", "__qualname__", "__firstlineno__", "__static_attributes__", "__annotations__", "__classdictcell__"):
            continue
        if isinstance(member, property):
            lines += ["    @property", f"    def {name}(self) -> Any: ..."]
            if member.fset is not None:
                lines += [f"    @{name}.setter", f"    def {name}(self, value: Any) -> None: ..."]
        elif isinstance(member, staticmethod):
            lines += ["    @staticmethod", f"    def {name}(*args: Any, **kwargs: Any) -> Any: ..."]
        elif inspect.isfunction(member):
            lines.append(f"    def {name}(self, *args: Any, **kwargs: Any) -> Any: ...")
        elif isinstance(member, bool):
            lines.append(f"    {name}: bool")
        elif isinstance(member, int):
            lines.append(f"    {name}: int")
    return lines


def files() -> dict[str, str]:
    """{path under pellucid/: text}."""
    out = {}
    tensor = [HEADER, "from typing import Any\n", "from .core import Slots\n\n", "class Tensor(Slots):",
              "    def __init__(self, *args: Any, **kwargs: Any) -> None: ..."]
    out["tensor/tensor.pyi"] = "\n".join(tensor + own_members() + [methods()[n] for n in sorted(methods())]) + "\n"
    for ns, path in SPACES.items():
        depth = "." * (path.count("/") + 1)
        lines = functions(ns)
        out[path] = "\n".join([HEADER, "from typing import Any\n", f"from {depth}tensor.tensor import Tensor as Tensor\n",
                               *[lines[n] for n in sorted(lines)]]) + "\n"
    top = functions("")
    names = []
    for name, value in sorted(vars(pellucid).items()):
        if name.startswith("_") or name in top:
            continue
        if inspect.ismodule(value):
            if value.__name__.startswith("pellucid."):
                names.append(f"from . import {name} as {name}")
        elif inspect.isclass(value) and value.__module__.startswith("pellucid"):
            source = value.__module__.removeprefix("pellucid")
            names.append(f"from {source} import {value.__name__} as {name}")
        elif isinstance(value, pellucid.dtype):
            names.append(f"{name}: dtype")
        elif isinstance(value, (pellucid.layout, pellucid.memory_format)):
            names.append(f"{name}: {type(value).__name__}")
        elif callable(value):
            names.append(f"def {name}(*args: Any, **kwargs: Any) -> Any: ...")
        else:
            names.append(f"{name}: Any")
    imports = [n for n in names if n.startswith("from")]
    rest = [n for n in names if not n.startswith("from")]
    out["__init__.pyi"] = "\n".join([HEADER, "from typing import Any\n", *imports, "", "__version__: str", *rest, *[top[n] for n in sorted(top)]]) + "\n"
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    args = parser.parse_args()
    stale = []
    for path, text in files().items():
        target = ROOT / "pellucid" / path
        if args.check:
            if not target.exists() or target.read_text() != text:
                stale.append(path)
        else:
            target.write_text(text)
    if stale:
        print("stale stubs (run python tools/stubs.py):", ", ".join(stale))
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
