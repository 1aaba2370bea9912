"""The user's side of the compiler: modules compiled in place, what it says on the way, functions that it does not look into."""
from __future__ import annotations

import copy
import logging
import os
import pickle
import subprocess
import sys
import time

import pytest

import pellucid
from pellucid import compiler, nn


# ---------------------------------------------------------------------------------------------------- modules in place
class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.calls = nn.Linear(3, 3), 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x).relu()


class Doubling(Counting):
    def __call__(self, x):
        return super().__call__(x) * 2


@pytest.mark.parametrize("cls", [Counting, Doubling])
def test_a_module_is_compiled_in_place(cls):
    model, x = cls(), pellucid.randn(2, 3)
    expected, names, state = model(x), list(model.state_dict()), dict(model.named_parameters())
    assert model.compile(backend="eager", fullgraph=True) is None
    assert type(model) is cls and list(model.state_dict()) == names and dict(model.named_parameters()).keys() == state.keys()
    assert all(p is state[n] for n, p in model.named_parameters())
    for calls in (2, 3):
        assert pellucid.equal(model(x), expected) and model.calls == calls
    assert model._compiled_call_impl.compiles == 1
    model(x).sum().backward()
    assert model.inner.weight.grad is not None


def test_pellucids_own_modules_are_compiled_in_place():
    layer, x = nn.Linear(3, 2), pellucid.randn(2, 3)
    expected = layer(x)
    layer.compile(backend="eager")
    outer = pellucid.compile(lambda x: layer(x) + 1, backend="eager", fullgraph=True)
    assert pellucid.equal(layer(x), expected) and layer._compiled_call_impl.compiles == 1
    assert pellucid.equal(outer(x), expected + 1) and layer._compiled_call_impl.compiles == 1


def test_hooks_of_a_module_compiled_in_place_run():
    model, x, seen = Counting(), pellucid.randn(2, 3), []
    model.compile(backend="eager")
    before = model(x)
    with_hook = model.register_forward_hook(lambda module, args, out: seen.append(type(module).__name__) or out + 1)
    assert pellucid.equal(model(x), before + 1) and pellucid.equal(model(x), before + 1) and seen == ["Counting"] * 2
    with_hook.remove()
    assert pellucid.equal(model(x), before) and len(seen) == 2


def test_copies_of_a_module_compiled_in_place_are_not_compiled():
    model, x = Counting(), pellucid.randn(2, 3)
    model.compile(backend="eager")
    expected = model(x)
    for other in (copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))):
        assert other._compiled_call_impl is None and pellucid.equal(other(x), expected)
    assert model._compiled_call_impl is not None


def test_a_module_compiled_in_place_is_explained_by_its_name():
    model = Counting()
    model.compile(backend="eager")
    found = pellucid.explain(model)(pellucid.ones(1, 3))
    assert found.data["function"] == "Counting" and found.data["file"] == __file__ and found.data["counts"]["graphs"] == 1
    assert model._compiled_call_impl.compiles == 1


def test_a_compiled_module_is_compiled_again():
    model = Counting()
    again = pellucid.compile(pellucid.compile(model, backend="eager"), backend="eager")
    assert again._orig_mod is model and pellucid.equal(again(pellucid.ones(1, 3)), model(pellucid.ones(1, 3)))


def test_a_parameter_made_of_what_came_before_a_break():
    def f():
        a = nn.Parameter(pellucid.randn(2))
        print(end="", file=None if os.getpid() else sys.stderr)
        return a

    found = pellucid.compile(f, backend="eager")()
    assert type(found) is nn.Parameter and found.requires_grad and found.is_leaf


def test_pytorchs_modes_are_one():
    f = pellucid.compile(lambda x: x + 1, mode="reduce-overhead", backend="inductor")
    assert f.backend == "llvm"
    with pytest.raises(ValueError, match="no mode 'fast'"):
        pellucid.compile(lambda x: x, mode="fast")


# ---------------------------------------------------------------------------------------------------- logs
def branching(x):
    if x.sum() > 0:
        return x + 1
    return x


@pytest.fixture
def said(caplog):
    """The messages of `branching`, compiled for two dtypes, with these logs on."""
    def run(**kinds):
        caplog.clear()
        compiler.set_logs(**kinds)
        try:
            f = pellucid.compile(branching, backend="python")
            f(pellucid.ones(3))
            f(pellucid.ones(3, dtype=pellucid.float64))
        finally:
            compiler.set_logs()
        return [(r.name.removeprefix("pellucid."), r.getMessage()) for r in caplog.records if r.name.startswith("pellucid.")]
    caplog.set_level(logging.DEBUG)
    return run


def test_breaks_and_recompiles_are_said_with_their_lines(said):
    line = branching.__code__.co_firstlineno
    found = said(graph_breaks=True, recompiles=True)
    assert {name for name, _ in found} == {"graph_breaks", "recompiles"}
    assert all(text.startswith(f"branching ({__file__}:{line}): ") for _, text in found)
    (cut,) = [text for name, text in found if name == "graph_breaks"]
    assert f"break PX001 at {__file__}:{line + 1} in branching" in cut and "fix: " in cut
    assert "dtype of argument 0: float32 became float64" in "\n".join(text for name, text in found if name == "recompiles")


@pytest.mark.parametrize("kind, part", [("compiles", "version 1: "), ("guards", "guards\n"), ("graph_code", "ops.gt(sum_, 0.0)"),
                                        ("kernel_code", "b1[0] = q0 > 0.0")])
def test_what_a_version_consists_of_is_said(said, kind, part):
    found = said(**{kind: True})
    assert {name for name, _ in found} == {kind} and part in "".join(text for _, text in found)


def test_nothing_is_said_unless_asked(said):
    assert said() == [] and said(graph_breaks=False) == []
    assert {"compiles", "guards", "graph_code", "kernel_code"} <= {name for name, _ in said(all=True, guards=True)}
    assert "guards" not in {name for name, _ in said(all=True, guards=False)}
    with pytest.raises(ValueError, match="no messages 'dynamo'"):
        compiler.set_logs(dynamo=True)


def test_giving_up_is_said(caplog):
    compiler.set_logs(perf_hints=True)
    try:
        with pytest.warns(UserWarning, match="runs uncompiled"):
            f = pellucid.compile(generating, backend="eager")
            list(f(pellucid.ones(2)))
    finally:
        compiler.set_logs()
    (record,) = [r for r in caplog.records if r.name == "pellucid.perf_hints"]
    assert f"generating ({__file__}:" in record.getMessage() and "runs as plain Python" in record.getMessage()


def generating(x):
    yield x


@pytest.mark.parametrize("names, seen", [("graph_breaks,recompiles", True), ("", False)])
def test_the_environment_switches_logs_on(tmp_path, names, seen):
    script = tmp_path / "script.py"
    script.write_text("import pellucid\n\n@pellucid.compile(backend='eager')\ndef f(x):\n    if x.sum() > 0:\n        return x + 1\n    return x\n\n"
                      "f(pellucid.ones(2))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env={**os.environ, "PELLUCID_LOG": names}, check=True)
    assert (f"[pellucid.graph_breaks] f ({script}:" in done.stderr and f"PX001 at {script}:5" in done.stderr) is seen
    assert seen or done.stderr == ""


# ---------------------------------------------------------------------------------------------------- functions
factor = [2.0]


@compiler.allow_in_graph
def unfollowed(x, more=1):
    with open(os.devnull) as file:                     # which capture could not follow
        return x * factor[0] + more + len(file.read())


def test_functions_allowed_in_the_graph_are_not_followed():
    f = pellucid.compile(lambda x: unfollowed(x, more=3) * 2, backend="eager", fullgraph=True)
    assert f(pellucid.ones(2)).tolist() == [10, 10] and f(pellucid.zeros(2)).tolist() == [6, 6] and f.compiles == 1
    found = compiler.allow_in_graph([unfollowed])
    assert found == [unfollowed]
    with pytest.raises(TypeError, match="a function is wanted"):
        compiler.allow_in_graph(3)


def test_gradients_flow_through_functions_allowed_in_the_graph():
    x = pellucid.ones(2, requires_grad=True)
    pellucid.compile(lambda x: unfollowed(x).sum(), backend="eager", fullgraph=True)(x).backward()
    assert x.grad.tolist() == [2, 2]


def test_a_value_asked_for_in_an_allowed_function_is_a_break():
    @compiler.allow_in_graph
    def branch(x):
        return x + 1 if x.sum() > 0 else x - 1

    f = pellucid.compile(lambda x: branch(x) * 2, backend="eager")
    assert f(pellucid.ones(2)).tolist() == [4, 4] and f(-pellucid.ones(2)).tolist() == [-4, -4]
    with pytest.raises(Exception, match="a value is needed"):
        pellucid.compile(lambda x: branch(x) * 2, backend="eager", fullgraph=True)(pellucid.ones(2))


def test_results_assumed_constant():
    calls, table = [], {"scale": 2.0}

    @compiler.assume_constant_result
    def settings(name):
        calls.append(name)
        return time.time() * 0 + table[name], pellucid.ones(1)

    f = pellucid.compile(lambda x: x * settings("scale")[0] + settings("scale")[1], backend="eager", fullgraph=True)
    assert f(pellucid.ones(2)).tolist() == [3, 3]
    count = len(calls)
    table["scale"] = 5.0
    assert f(pellucid.ones(2)).tolist() == [3, 3] and len(calls) == count and settings("scale")[0] == 5

    @compiler.assume_constant_result
    def of_tensor(x):
        return float(x.sum())

    g = pellucid.compile(lambda x: x * of_tensor(x * 2), backend="eager")
    assert g(pellucid.ones(2)).tolist() == [4, 4] and g(pellucid.ones(2) * 2).tolist() == [16, 16]


def test_functions_that_stand_for_others():
    f = pellucid.compile(lambda x: x + os.getpid(), backend="eager")
    f(pellucid.ones(1))
    assert [b.number for b in f.breaks] == ["PX002"]

    @compiler.substitute_in_graph(os.getpid)
    def process():
        return 7

    try:
        g = pellucid.compile(lambda x: x + os.getpid(), backend="eager", fullgraph=True)
        assert g(pellucid.ones(1)).item() == 8 and process() == 7 and os.getpid() != 7
    finally:
        from pellucid.capture.policy import TOLD
        TOLD.pop(id(os.getpid))
    with pytest.raises(TypeError, match="their parameters differ"):
        compiler.substitute_in_graph(os.getpid)(lambda x: x)


def test_what_pytorch_programs_ask():
    assert compiler.is_exporting() is False and compiler.cudagraph_mark_step_begin() is None
    assert {"llvm", "eager", "inductor"} <= set(compiler.list_backends())
    f = pellucid.compile(lambda x: x + compiler.is_exporting() + (compiler.cudagraph_mark_step_begin() is None), backend="eager", fullgraph=True)
    assert f(pellucid.ones(1)).item() == 2


def test_no_plan_is_made_where_nobody_asked_for_messages(monkeypatch):
    made = []
    monkeypatch.setattr("pellucid.native.execute.Executable.plan", property(lambda self: made.append(self)))
    f = pellucid.compile(lambda x: (x * 2 + 1).relu(), fullgraph=True)
    f(pellucid.ones(64))
    assert not made
