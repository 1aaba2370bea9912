"""Passes in order, watched and checked."""
from __future__ import annotations

import io

import pytest

from pellucid.core import dtype as dt
from pellucid.core.events import listen
from pellucid.graph import Graph
from pellucid.graph.keys import Unhashable, attrs_key, freeze
from pellucid.graph.passes import Pass, run_passes
from pellucid.graph.simplify import simplify
from pellucid.graph.verify import VerifyError

from .build_graphs import Maker


def small() -> Graph:
    m = Maker("small")
    x = m.input(3)
    return m.end(m.mul(m.neg(m.neg(x)), 1.0))


def test_passes_say_what_they_did():
    heard, seconds = [], {}
    with listen(heard.append):
        g = run_passes(small(), [Pass(simplify, "simplify", "less to do"), Pass(simplify, "simplify", "again")], True, seconds)
    assert [s.name for s in heard] == ["graph.simplify"] * 2 and heard[0].why == "less to do"
    assert heard[0].data == {"before": 3, "after": 0} and "def small(x):" in heard[0].text and heard[0].seconds > 0
    assert len(g.nodes) == 0 and set(seconds) == {"simplify"}


def test_a_pass_that_breaks_a_rule_is_found():
    def broken(g: Graph) -> Graph:
        g.nodes.reverse()
        return g
    with pytest.raises(VerifyError, match="used before it is made"):
        run_passes(small(), [Pass(broken, "broken", "")], verify=True)
    run_passes(small(), [Pass(broken, "broken", "")])


def test_a_graph_prints_itself():
    out = io.StringIO()
    small().print(file=out)
    assert out.getvalue() == small().text() + "\n" and "ops.neg(x)" in out.getvalue()


def test_keys_tell_numbers_apart():
    different = [1, 1.0, True, 0.0, -0.0, float("nan"), "1", (1,), [1], slice(0, 1), slice(0, 1.0), {"a": 1}, None, dt.float32, 1 + 0j]
    assert len({freeze(x) for x in different}) == len(different)
    assert freeze(float("nan")) == freeze(float("nan")) and freeze({"a": 1, "b": (2,)}) == freeze({"b": (2,), "a": 1})
    with pytest.raises(Unhashable):
        attrs_key({"a": {1, 2}})
