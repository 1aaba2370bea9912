"""Modules in notebooks: a tree that folds, with the number of parameters of every part.

In: a module. Out: HTML that needs nothing else. True always: a parameter that is used in several places counts once in
every total; a module with more than `CHILDREN` children shows the first of them and says how many follow.
"""
from __future__ import annotations

from typing import Any

from ..tensor.html import card, escape, size
from .parameter import is_lazy

CHILDREN = 50
_OPEN_UP_TO = 30            # trees of more modules start folded below the first level
_FAINT = "opacity:0.65"


def module_html(module: Any) -> str:
    """The tree of `module`. Nothing of it is changed."""
    small = sum(1 for _ in module.modules()) <= _OPEN_UP_TO
    seen: set[int] = set()
    return card(line(module, "", count(module)), children(module, small, seen))


def count(module: Any) -> str:
    """The parameters and buffers of `module` and everything below it, in words."""
    parameters = {id(p): p for p in module.parameters()}.values()
    buffers = {id(b): b for b in module.buffers()}.values()
    waiting = sum(map(is_lazy, parameters))
    known = [p for p in parameters if not is_lazy(p)]
    total = sum(p.numel() for p in known)
    frozen = total - sum(p.numel() for p in known if p.requires_grad)
    held = sum(b.numel() for b in buffers if not is_lazy(b))
    words = [f"{total:,} parameters" if total else ""]
    if frozen:
        words.append(f"{frozen:,} of them frozen")
    if held:
        words.append(f"{held:,} in buffers")
    if waiting:
        words.append(f"{waiting} not initialised yet")
    if total:
        words.append(size(sum(p.numel() * p.element_size() for p in known)))
    return ", ".join(w for w in words if w)


def line(module: Any, name: str, words: str, note: str = "") -> str:
    """One module: its name, type, options and size."""
    options = " ".join(module.extra_repr().split())
    text = f'<span style="{_FAINT}">({escape(name)})</span> ' if name else ""
    text += f"<b>{escape(module._get_name())}</b>"
    if options:
        text += f"({escape(options)})"
    after = ", ".join(w for w in (words, note) if w)
    return text + (f' <span style="{_FAINT}">{after}</span>' if after else "")


def children(module: Any, unfolded: bool, seen: set[int]) -> str:
    """The parts of `module`, each with its own parts inside."""
    parts = [(name, child) for name, child in module._modules.items() if child is not None]
    out = []
    for name, child in parts[:CHILDREN]:
        shared = id(child) in seen
        seen.add(id(child))
        head = line(child, name, count(child), "shared with another place" if shared else "")
        if shared or not any(c is not None for c in child._modules.values()):
            out.append(f"<div>{head}</div>")
        else:
            out.append(f"<details{' open' if unfolded else ''}><summary>{head}</summary>{children(child, unfolded, seen)}</details>")
    if len(parts) > CHILDREN:
        out.append(f'<div style="{_FAINT}">and {len(parts) - CHILDREN:,} more</div>')
    return f'<div style="margin-left:1.4em">{"".join(out)}</div>' if out else ""
