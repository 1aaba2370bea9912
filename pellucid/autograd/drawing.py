"""The recorded graph as text and as a picture.

In: results, and names for the tensors that they were computed from. Out: `Drawing`: what leads to the results, as an indented text or as
SVG that needs nothing else. What stays true: nothing is computed and nothing is kept alive that the results do not keep; each node is
drawn once.
"""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, NamedTuple

from ..core.errors import at, fail
from ..tensor import Tensor
from ..tensor.core import Node, Slots, Untracked

__all__ = ["Drawing", "draw"]

LAYER, GAP, MARGIN, LINE, CHAR, PAD = 34, 18, 12, 14, 6.7, 8
_STYLE = ("text{font:11px ui-monospace,Menlo,Consolas,monospace;fill:#1b2733}.s{fill:#66788a}"
          "rect{stroke:#8fa3b5;rx:4;fill:#f4f7fa}.leaf rect{fill:#e3f1e1;stroke:#7fae79}.root rect{fill:#fdeed3;stroke:#d0a04c}"
          "path{fill:none;stroke:#8fa3b5}")


class Box(NamedTuple):
    """One node of the graph, or one tensor at its end."""

    title: str
    shape: tuple[int, ...] | None
    where: str              # the user's line, in anomaly mode
    kind: str               # "node" or "leaf"
    inputs: tuple[int, ...]


class Drawing:
    """What led to some tensors: `print(drawing)`, `drawing.svg`, `drawing.save("graph.svg")`. Notebooks show the picture.

    `boxes` come before what they were computed from; those of the results are at `roots`.
    """

    def __init__(self, boxes: list[Box], roots: list[int]):
        self.boxes, self.roots = boxes, roots

    # ------------------------------------------------------------------------------------------------ text
    def __str__(self) -> str:
        """Each node on a line, what it was computed from below it; what is there already by its number."""
        seen: set[int] = set()
        rows: list[tuple[str, str]] = []
        stack = [(r, 0) for r in reversed(self.roots)]
        while stack:
            i, depth = stack.pop()
            b = self.boxes[i]
            again = i in seen
            number = f"{i + 1:>{len(str(len(self.boxes)))}} "
            text = number + "  " * depth + b.title + (f" {list(b.shape)}" if b.shape is not None else "")
            rows.append((text + (" (above)" if again and b.inputs else ""), "" if again else b.where))
            if not again:
                seen.add(i)
                stack += [(k, depth + 1) for k in reversed(b.inputs)]
        width = max([len(text) for text, where in rows if where], default=0)
        return "\n".join([f"{text.ljust(width)}  {where}" if where else text for text, where in rows])

    def __repr__(self) -> str:
        return f"<Drawing of {len(self.boxes)} nodes>"

    # ------------------------------------------------------------------------------------------------ a picture
    @property
    def svg(self) -> str:
        """The graph as SVG, results above what they were computed from."""
        layers = self._layers()
        lines = [[b.title] + ([str(list(b.shape))] if b.shape is not None else []) + ([_short(b.where)] if b.where else [])
                 for b in self.boxes]
        sizes = [(max(map(len, text)) * CHAR + 2 * PAD, len(text) * LINE + PAD) for text in lines]
        widths = [sum([sizes[i][0] + GAP for i in layer]) - GAP for layer in layers]
        total = max(widths, default=0) + 2 * MARGIN
        place: dict[int, tuple[float, float]] = {}
        y: float = MARGIN
        for layer, width in zip(layers, widths):
            x = (total - width) / 2
            for i in layer:
                place[i] = x, y
                x += sizes[i][0] + GAP
            y += max([sizes[i][1] for i in layer]) + LAYER
        height = y - LAYER + MARGIN
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total:.0f} {height:.0f}" width="{total:.0f}" height="{height:.0f}">',
               f"<style>{_STYLE}</style>"]
        for i, b in enumerate(self.boxes):
            for k in b.inputs:
                x1, y1 = place[i][0] + sizes[i][0] / 2, place[i][1] + sizes[i][1]
                x2, y2 = place[k][0] + sizes[k][0] / 2, place[k][1]
                bend = (y2 - y1) / 2
                out.append(f'<path d="M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}"/>')
        for i, b in enumerate(self.boxes):
            (x, y), (w, h) = place[i], sizes[i]
            kind = "leaf" if b.kind == "leaf" else "root" if i in self.roots else "node"
            out.append(f'<g class="{kind}"><title>{escape(" ".join([b.title, b.where]).strip())}</title>'
                       f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}"/>')
            for n, text in enumerate(lines[i]):
                out.append(f'<text x="{x + w / 2:.1f}" y="{y + (n + 1) * LINE:.1f}" text-anchor="middle"'
                           f'{"" if n == 0 else " class=" + chr(34) + "s" + chr(34)}>{escape(text)}</text>')
            out.append("</g>")
        return "\n".join([*out, "</svg>"])

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | os.PathLike) -> None:
        """Write the picture, or, if the name does not end in .svg, the text."""
        with open(path, "w", encoding="utf-8") as f:
            f.write(self.svg if os.fspath(path).endswith(".svg") else f"{self}\n")

    def _layers(self) -> list[list[int]]:
        """The boxes by their longest way from a result; within a layer, near those that they lead to."""
        depth = [0] * len(self.boxes)
        users: list[list[int]] = [[] for _ in self.boxes]
        for i, b in enumerate(self.boxes):
            for k in b.inputs:
                depth[k] = max(depth[k], depth[i] + 1)
                users[k].append(i)
        layers: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
        for i, d in enumerate(depth):
            layers[d].append(i)
        at: dict[int, float] = {}
        for layer in layers:
            layer.sort(key=lambda i: sum([at[u] for u in users[i]]) / len(users[i]) if users[i] else i)
            at.update({i: (n + 0.5) / len(layer) for n, i in enumerate(layer)})
        return layers


def _short(where: str) -> str:
    """A line's place without its folder, and not too much of its text."""
    place, _, source = where.partition(": ")
    text = f"{os.path.basename(place)}: {source}"
    return text if len(text) <= 48 else text[:45] + "..."


# ---------------------------------------------------------------------------------------------------- from the tape
def draw(*tensors: Tensor, names: Any = None) -> Drawing:
    """What led to `tensors`, as text (`print(draw(loss))`) and as SVG (`draw(loss).save("graph.svg")`).

    Args:
        tensors: results that require grad.
        names: what the tensors at the ends are called: a module (its parameters' names), or a dict from names to tensors.

    Nodes are called as `grad_fn` is. In anomaly mode they know the user's line that recorded them.

    Raises RuntimeError for a tensor that does not require grad.
    """
    known = _names(names)
    shapes: dict[int, tuple[int, ...] | None] = {}
    ends = []
    for t in tensors:
        if not isinstance(t, Slots) or not t.requires_grad:
            fail(RuntimeError, "P4620", "draw() takes tensors that require grad: nothing was recorded for this one",
                 got=str(getattr(t, "shape", t)), fix="draw a result computed from parameters, outside of no_grad()")
        end = t.grad_fn if t.grad_fn is not None else t
        ends.append(end)
        shapes.setdefault(id(end), tuple(t.shape))
    order = _ordered(ends)                  # keeps them alive meanwhile
    index = {id(e): i for i, e in enumerate(order)}
    boxes = []
    for e in order:
        if not isinstance(e, Node):
            boxes.append(Box(known.get(id(e)) or "leaf", tuple(e.shape), "", "leaf", ()))
            continue
        inputs = []
        for k, child in enumerate(e._edges):
            if child is None or type(child) is Untracked:
                continue
            inputs.append(index[id(child)])
            if isinstance(child, Node) and shapes.get(id(child)) is None:
                shapes[id(child)] = _input_shape(e, k, shapes.get(id(e)))
        where = e._x.where if e._x is not None else None
        boxes.append(Box(e.name(), shapes.get(id(e)), at(where) if where is not None else "", "node", tuple(inputs)))
    return Drawing(boxes, list(dict.fromkeys([index[id(e)] for e in ends])))


def _names(names: Any) -> dict[int, str]:
    if names is None:
        return {}
    if hasattr(names, "named_parameters"):
        pairs: Iterable = names.named_parameters()
    else:
        pairs = names.items() if isinstance(names, Mapping) else names
    return {id(t): name for name, t in pairs}


def _ordered(ends: list) -> list:
    """All that the results lead to, each before what it was computed from: the youngest node first, then the leaves."""
    seen: dict[int, Any] = {}
    stack = list(ends)
    while stack:
        e = stack.pop()
        if id(e) in seen:
            continue
        seen[id(e)] = e
        if isinstance(e, Node):
            stack += [c for c in e._edges if c is not None and type(c) is not Untracked]
    out: dict[int, Any] = {}
    for e in sorted([e for e in seen.values() if isinstance(e, Node)], key=lambda e: -e._seq):
        out[id(e)] = e
    for e in list(out.values()):
        for c in e._edges:
            if c is not None and not isinstance(c, Node):
                out.setdefault(id(c), c)
    for e in ends:
        out.setdefault(id(e), e)
    return list(out.values())


def _input_shape(node: Node, k: int, own: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The shape of what a node got as operand k, if it knows. An elementwise node that notes no shapes has operands of its result's."""
    if not hasattr(type(node), "op"):
        return None
    if node._shapes is None:
        return own
    s = node._shapes[k] if k < len(node._shapes) else None
    if s is not None and s and isinstance(s[0], tuple):     # with its dtype
        s = s[0]
    return None if s is None else tuple(s)
