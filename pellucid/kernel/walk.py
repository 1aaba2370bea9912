"""Reading loop IR: statements and expressions in order.

True always: nothing here recurses over expressions, which may be thousands deep and share parts.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence

from .ir import Accum, AccumStore, Apply, Expr, If, Let, Local, Loop, Stmt, Store


def statements(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """All statements, those inside loops and branches too."""
    for s in body:
        yield s
        if isinstance(s, (Loop, If)):
            yield from statements(s.body)


def expressions(s: Stmt) -> tuple[Expr, ...]:
    """The expressions a statement evaluates itself."""
    if isinstance(s, (Let, Store, Accum, AccumStore)):
        return (s.expr,)
    if isinstance(s, Local):
        return (s.init,)
    return (s.cond,) if isinstance(s, If) else ()


def parts(roots: Sequence[Expr]) -> list[Expr]:
    """All subexpressions, each once, operands before what uses them."""
    found: list[Expr] = []
    seen: set[int] = set()
    stack: list[tuple[Expr, bool]] = [(e, False) for e in reversed(roots)]
    while stack:
        e, ready = stack.pop()
        if ready:
            found.append(e)
        elif id(e) not in seen:
            seen.add(id(e))
            if isinstance(e, Apply):
                stack.append((e, True))
                stack += [(a, False) for a in reversed(e.args)]
            else:
                found.append(e)
    return found
