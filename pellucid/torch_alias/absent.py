"""Which names of torch a script uses that are not here: read from its source, without running it.

In: a script. Out: `Absent(file, line, name, nearest)`, one for each place, in the script and in the modules beside it that it imports.
What stays true: only what is written as a name of a module or a class counts (`torch.nn.Linera`, `from torch.utils import dat`); what a
value has (`x.foo()`, where x is a tensor) shows when it runs.
"""
from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..core.alias import HEADS, absence

if TYPE_CHECKING:
    from pathlib import Path


class Absent(NamedTuple):
    """A name that is not here, where it is used, and the nearest one that is (None if none is like it)."""

    file: Path
    line: int
    name: str
    nearest: str | None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.name} is not there" + (f"; the nearest name is {self.nearest}" if self.nearest else "")


def absent(script: Path) -> list[Absent]:
    """All such places, by file and line."""
    found: dict[Path, list[Absent]] = {}
    todo = [script]
    while todo:
        path = todo.pop()
        place = path.resolve()                      # as `beside` has it: a module may import the script
        if place in found:
            continue
        uses = _Uses(path, script.parent)
        uses.visit(ast.parse(path.read_bytes(), str(path)))
        found[place] = list(dict.fromkeys(uses.absent()))
        todo += uses.beside
    return sorted((a for each in found.values() for a in each), key=lambda a: (a.file != script, a.file, a.line))


class _Uses(ast.NodeVisitor):
    """The dotted names below torch that a file uses; `beside`: the modules in the script's folder that it imports."""

    def __init__(self, path: Path, folder: Path):
        self.path, self.folder = path, folder
        self.known: dict[str, str] = {}             # a name in the file -> the dotted name it stands for
        self.used: list[tuple[int, str]] = []
        self.beside: list[Path] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(node.lineno, alias.name)
            if alias.name.partition(".")[0] in HEADS:
                self.used.append((node.lineno, alias.name))
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                self.known[alias.asname or name] = name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        self._import(node.lineno, module, node.level)
        for alias in node.names:
            if not node.level and module.partition(".")[0] in HEADS:
                self.used.append((node.lineno, module if alias.name == "*" else f"{module}.{alias.name}"))
                self.known[alias.asname or alias.name] = f"{module}.{alias.name}"
            else:
                self._import(node.lineno, f"{module}.{alias.name}".lstrip("."), node.level)

    def _import(self, line: int, module: str, level: int = 0) -> None:
        folder = self.path.parents[level - 1] if level else self.folder
        stem = folder.joinpath(*module.split("."))
        self.beside += [p.resolve() for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()]

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in self.known:
            self.used.append((node.lineno, ".".join([self.known[inner.id], *reversed(parts)])))
        else:
            self.visit(inner)

    def absent(self) -> Iterator[Absent]:
        for line, name in self.used:
            lacks = absence(name)
            if lacks:
                yield Absent(self.path, line, *lacks)
