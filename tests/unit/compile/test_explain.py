"""What `explain` says, and the switches of the compiler."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import pellucid
from pellucid import compiler


def branching(x, k):
    y = x * k
    if y.sum() > 0:
        y = y + 1
    return y


def test_an_explanation_has_everything_and_changes_nothing():
    x = pellucid.ones(3)
    explained = pellucid.explain(branching, backend="eager")
    found = explained(x, 2)
    assert isinstance(found, compiler.Explanation) and found.result.tolist() == branching(x, 2).tolist()
    data = json.loads(found.json())
    assert data["version"] == 2 and data["counts"]["graphs"] == 2 and data["counts"]["breaks"] == 1
    (b,) = data["breaks"]
    first = branching.__code__.co_firstlineno
    assert b["id"] == "PX001" and b["line"] == first + 2 and b["source"] == "if y.sum() > 0:" and b["fix"]
    assert {line["line"]: line["status"] for line in data["lines"]} == {first + 1: "compiled", first + 2: "break", first + 3: "compiled",
                                                                       first + 4: "compiled"}
    text = str(found).splitlines()
    assert len(text) <= 40 and any("PX001" in line for line in text)
    assert found.check(max_breaks=1) == [] and "1 breaks" in found.check(max_breaks=0)[0]
    with pytest.raises(ValueError, match="P3120"):
        found.check(max_lines=3)


def test_a_recompile_names_the_old_and_the_new_value():
    state = {"scale": 2.0}
    compiled = pellucid.compile(lambda x: x * state["scale"], backend="eager")
    assert compiled(pellucid.ones(1)).item() == 2
    state["scale"] = 3.0
    assert compiled(pellucid.ones(1)).item() == 3
    (r,) = pellucid.explain(compiled)(pellucid.ones(1)).data["recompiles"]
    assert (r["old"], r["new"]) == ("2.0", "3.0") and "scale" in r["what"] and "test_explain.py" in r["where"]
    for k in range(4, 9):
        state["scale"] = float(k)
        assert compiled(pellucid.ones(1)).item() == k
    assert compiled.compiles == 2


def test_all_functions_of_a_block():
    with compiler.explain_all() as explained:
        pellucid.compile(lambda x: x + 1, backend="eager")(pellucid.ones(1))
        pellucid.compile(lambda x: x + 2, backend="eager")
    assert [e.data["counts"]["graphs"] for e in explained()] == [1]


def test_the_command(tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "out.json"
    script.write_text("import torch\n@torch.compile(backend='eager')\ndef f(x):\n    return x * x.sum().item()\nf(torch.ones(2))\n")
    for limit, status in ((0, 1), (1, 0)):
        command = [sys.executable, "-m", "pellucid", "explain", "--assert", f"max_breaks={limit}", "--json", str(out), str(script)]
        ran = subprocess.run(command, capture_output=True, text=True)
        assert ran.returncode == status and "PX001" in ran.stderr, ran.stderr
    assert json.loads(out.read_text())[0]["function"] == "f"
    assert subprocess.run([sys.executable, "-m", "pellucid", "explain", str(tmp_path / "none.py")], capture_output=True).returncode == 2


# ---------------------------------------------------------------------------------------------------- switches
def test_code_can_ask_whether_it_is_being_compiled():
    assert not compiler.is_compiling() and not compiler.is_dynamo_compiling()
    compiled = pellucid.compile(lambda x: x + 1 if compiler.is_compiling() else x - 1, backend="eager", fullgraph=True)
    assert compiled(pellucid.ones(1)).item() == 2


def test_disabled_functions_stay_python():
    seen = []

    @compiler.disable(reason="it counts")
    def counted(x):
        seen.append(type(x))
        return x + 1

    compiled = pellucid.compile(lambda x: counted(x * 2) * 2, backend="eager")
    assert [compiled(pellucid.ones(1)).item() for _ in range(3)] == [6, 6, 6]
    assert len(seen) == 3 and compiled.breaks[0].number == "PX004" and "it counts" in compiled.breaks[0].reason
    with pytest.raises(TypeError, match="P3122"):
        compiler.disable(3)


def test_stances():
    compiled = pellucid.compile(lambda x: x + 1, backend="eager")
    with compiler.set_stance("force_eager"):
        assert compiled(pellucid.ones(1)).item() == 2 and compiled.compiles == 0
    compiled(pellucid.ones(1))
    with compiler.set_stance("fail_on_recompile"):
        compiled(pellucid.ones(1))
        with pytest.raises(RuntimeError, match="P3111"):
            compiled(pellucid.ones(2))
    with compiler.set_stance("eager_on_recompile"):
        assert compiled(pellucid.ones(2)).tolist() == [2, 2] and compiled.compiles == 1

    @compiler.set_stance("eager_then_compile")
    def two(fresh):
        fresh(pellucid.ones(1))
        assert fresh.compiles == 0
        fresh(pellucid.ones(1))
        assert fresh.compiles == 1

    two(pellucid.compile(lambda x: x + 3, backend="eager"))
    with pytest.raises(ValueError, match="P3123"):
        compiler.set_stance("sometimes")
    assert compiled(pellucid.ones(2)).tolist() == [2, 2] and compiled.compiles == 2


def test_reset_forgets_all_versions():
    compiled = pellucid.compile(lambda x: x + 1, backend="eager")
    compiled(pellucid.ones(1))
    compiler.reset()
    assert not compiled.versions


# ---------------------------------------------------------------------------------------------------- what it costs
def cost(fn, *args, **settings):
    return pellucid.explain(fn, backend="eager", **settings)(*args)


def test_what_compiling_costs_and_when_it_pays():
    found = cost(lambda x: (x * 2).tanh(), pellucid.ones(3))
    c = found.data["cost"]
    assert c["left_out"] is None and c["compiling"] == found.data["seconds"]["all"] > 0 and c["eager"] > 0 and c["compiled"] > 0
    saved = c["eager"] - c["compiled"]
    assert c["pays_after"] is None if saved <= 0 else c["pays_after"] - 1 < c["compiling"] / saved <= c["pays_after"]
    assert "a call takes" in str(found) and len(str(found).splitlines()) <= 40


def test_nothing_with_effects_is_run_twice():
    seen, state = [], pellucid.zeros(2)

    def appends(x):
        seen.append(1)
        return x + 1

    def writes(x):
        state.add_(x)
        return state * 1

    def draws(x):
        return x + pellucid.rand(2)

    w = pellucid.ones(2, requires_grad=True)

    def steps(x):
        (w * x).sum().backward()
        return x

    for fn, why in ((appends, "side effects"), (writes, "side effects"), (draws, "random"), (branching_once, "breaks"), (steps, "side effects")):
        pellucid.manual_seed(3)
        found = cost(fn, pellucid.ones(2))
        after = pellucid.rand(1).item()
        assert why in found.data["cost"]["left_out"] and found.data["cost"]["eager"] is None, fn
        pellucid.manual_seed(3)
        fn(pellucid.ones(2))
        assert after == pellucid.rand(1).item()
    assert seen == [1, 1] and state.tolist() == [2, 2] and w.grad.tolist() == [2, 2]


def branching_once(x):
    return x + 1 if x.sum() > 0 else x


def test_each_guard_has_its_line_and_what_it_takes():
    scale = [2.0]
    found = cost(lambda x: x * scale[0], pellucid.ones(3))
    rows = found.data["guards"]
    (row,) = [r for r in rows if r["kind"] == "value" and "test_explain.py" in r["where"]]
    assert "[0]" in row["what"] and row["seconds"] > 0
    total = found.data["cost"]["guards"]
    assert 0 < total and found.data["counts"]["guards"] == len([r for r in rows if "within" not in r])
    assert all(r["seconds"] is not None for r in rows if "within" not in r)
    json.dumps(found.data)


def test_guards_of_modules_are_looked_at_together():
    model = pellucid.nn.Sequential(pellucid.nn.Linear(2, 2), pellucid.nn.ReLU())
    rows = cost(model, pellucid.ones(1, 2)).data["guards"]
    assert any(r["what"] == "modules in modules" and r["seconds"] > 0 for r in rows)


def test_a_child_that_equals_the_old_one_is_another_module():
    class Scale(pellucid.nn.Module):
        __hash__ = object.__hash__

        def __eq__(self, other):
            return type(other) is Scale

        def forward(self, x):
            return x * self.factor

    model = pellucid.nn.Sequential(Scale(), pellucid.nn.ReLU())
    model[0].factor = 2.0
    compiled = pellucid.compile(lambda x: model(x), backend="eager")
    assert compiled(pellucid.ones(1)).item() == 2
    other = Scale()
    other.factor = 3.0
    assert other == model[0]
    model._modules["0"] = other
    assert compiled(pellucid.ones(1)).item() == 3
