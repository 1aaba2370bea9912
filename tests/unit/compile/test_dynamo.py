"""`pellucid._dynamo`: the names of `torch._dynamo` that programs use mean here what they mean there."""
from __future__ import annotations

import collections
import subprocess
import sys
import warnings

import numpy as np
import pytest

import pellucid
from pellucid import _dynamo, nn
from pellucid._dynamo import testing
from pellucid._dynamo.utils import clone_input, clone_inputs, rmse, same
from pellucid.core.config import config
from pellucid.tensor.tracing import TraceError


@pytest.fixture(autouse=True)
def as_before():
    before = dict(vars(config))
    yield
    vars(config).update(before)
    _dynamo.set_stance("default")
    _dynamo.reset()


def test_it_is_loaded_when_asked_for():
    code = "import sys, pellucid; assert 'pellucid._dynamo' not in sys.modules; pellucid._dynamo.reset(); assert pellucid._dynamo.testing.three == 3"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", _dynamo.__all__)
def test_all_names_are_there(name):
    assert hasattr(_dynamo, name)


# ---------------------------------------------------------------------------------------------------- modules
class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        return self.inner(x).relu()


def test_a_compiled_module_is_an_optimized_module():
    model = Scaled()
    compiled = pellucid.compile(model, backend="eager")
    assert isinstance(compiled, _dynamo.OptimizedModule) and isinstance(compiled, _dynamo.eval_frame.OptimizedModule)
    assert isinstance(compiled, Scaled) and compiled._orig_mod is model and not isinstance(model, _dynamo.OptimizedModule)
    assert issubclass(_dynamo.OptimizedModule, nn.Module)


def test_a_module_kept_out_runs_as_it_is():
    model, x = Scaled(), pellucid.randn(2, 3)
    kept = _dynamo.disable(model)
    assert isinstance(kept, Scaled) and isinstance(kept, _dynamo.OptimizedModule) and kept.inner is model.inner
    assert pellucid.equal(kept(x), model(x))
    with pytest.raises(TraceError, match="PX004"):
        pellucid.compile(lambda x: kept(x) + 1, fullgraph=True, backend="eager")(x)
    assert pellucid.equal(pellucid.compile(lambda x: kept(x) + 1, backend="eager")(x), model(x) + 1)


def test_a_class_kept_out():
    @_dynamo.disable
    class Twice(nn.Module):
        def forward(self, x):
            return x * 2

    @_dynamo.disable
    class Thrice:
        def __init__(self, by):
            self.by = by

        def __call__(self, x):
            return x * self.by

    module, plain, x = Twice(), Thrice(3), pellucid.ones(2)
    assert module(x).tolist() == [2, 2] and plain(x).tolist() == [3, 3]
    for fn in (lambda x: module(x) + 1, lambda x: plain(x) + 1, lambda x: x + Thrice(3).by):
        compiled = pellucid.compile(fn, backend="eager")
        assert pellucid.equal(compiled(x), fn(x)) and {b.number for b in compiled.breaks} == {"PX004"}


# ---------------------------------------------------------------------------------------------------- settings
def test_settings_are_pellucids_own():
    _dynamo.config.cache_size_limit = 2
    assert config.recompile_limit == _dynamo.config.recompile_limit == 2
    compiled = pellucid.compile(lambda x, flag: x if flag == 1 else -x, backend="eager", dynamic=False)
    with pytest.warns(UserWarning, match="compiled 2 times"):
        for n in range(1, 5):
            compiled(pellucid.ones(2), n)
    assert compiled.compiles == 2
    _dynamo.reset()
    _dynamo.config.fail_on_recompile_limit_hit = True
    compiled(pellucid.ones(2), 1)
    compiled(pellucid.ones(2), 2)
    with pytest.raises(RuntimeError, match="compiled again"):
        compiled(pellucid.ones(2), 3)


def broken(graph):
    raise ZeroDivisionError("of the backend")


def test_suppress_errors_and_verbose():
    def fn(x):
        return x + 1

    with pytest.raises(ZeroDivisionError):
        pellucid.compile(fn, backend=broken)(pellucid.ones(2))
    _dynamo.config.suppress_errors = True
    with pytest.warns(UserWarning, match="ZeroDivisionError: of the backend") as seen:
        assert pellucid.compile(fn, backend=broken)(pellucid.ones(2)).tolist() == [2, 2]
    assert "Traceback" not in str(seen[0].message)
    with _dynamo.config.patch(verbose=True), pytest.warns(UserWarning, match="Traceback") as seen:
        pellucid.compile(fn, backend=broken)(pellucid.ones(2))
    assert "in broken" in str(seen[0].message)
    with pytest.raises(ZeroDivisionError):                  # as in PyTorch: who asks for a whole graph gets the error
        pellucid.compile(fn, backend=broken, fullgraph=True)(pellucid.ones(2))


def test_stances_by_settings():
    compiled = pellucid.compile(lambda x, n: x * n, backend="eager", dynamic=False)
    _dynamo.config.disable = True
    compiled(pellucid.ones(2), 1)
    assert compiled.compiles == 0 and _dynamo.config.disable and not _dynamo.config.error_on_recompile
    _dynamo.config.disable = False
    with _dynamo.config.patch("error_on_recompile", True):
        compiled(pellucid.ones(2), 1)
        with pytest.raises(RuntimeError, match="compiled again"):
            compiled(pellucid.ones(2), 2)
    assert not _dynamo.config.error_on_recompile
    compiled(pellucid.ones(2), 2)
    assert compiled.compiles == 2


def test_patch_decorates_and_puts_back():
    @_dynamo.config.patch({"recompile_limit": 5}, suppress_errors=True)
    def inside():
        return _dynamo.config.recompile_limit, _dynamo.config.suppress_errors

    before = config.recompile_limit
    assert inside() == inside() == (5, True) and (config.recompile_limit, config.suppress_errors) == (before, False)
    with pytest.raises(AttributeError), _dynamo.config.patch(recompile_limit=5, no_such_setting=1):
        pass
    assert config.recompile_limit == before


def test_settings_that_mean_nothing_say_so():
    with pytest.raises(AttributeError, match=r"torch\._dynamo\.config\.optimize_ddp is no setting of pellucid.*recompile_limit"):
        _dynamo.config.optimize_ddp = False
    assert not hasattr(_dynamo.config, "optimize_ddp") and "suppress_errors" in dir(_dynamo.config)
    with pytest.raises(TypeError, match="is int, not str"):
        _dynamo.config.cache_size_limit = "many"


# ---------------------------------------------------------------------------------------------------- functions
def test_graph_break_and_explain():
    def fn(x):
        x = x.sin().exp()
        _dynamo.graph_break()
        return x.cos()

    found = _dynamo.explain(fn)(pellucid.ones(3))
    assert (found.graph_count, found.graph_break_count, found.op_count) == (2, 1, 3)
    assert found.ops_per_graph == [["sin", "exp"], ["cos"]] and len(found.graphs) == 2
    assert found.break_reasons[0].user_stack[0].name.endswith(".fn") and "graph_break()" in found.break_reasons[0].reason
    assert str(found).startswith("Graph Count: 2\nGraph Break Count: 1\nOp Count: 3\nBreak Reasons:\n")
    with pytest.warns(FutureWarning):
        assert _dynamo.explain(fn, pellucid.ones(3)).graph_count == 2
    with pytest.raises(_dynamo.exc.Unsupported):
        _dynamo.optimize_assert("eager")(fn)(pellucid.ones(3))


def test_optimize():
    counter = testing.CompileCounter()

    @_dynamo.optimize(counter)
    def fn(x):
        return x.sin() + 1

    assert fn(pellucid.zeros(2)).tolist() == [1, 1] and counter.frame_count == 1
    plain = len
    assert _dynamo.optimize("eager", disable=True)(plain) is plain


def test_marks():
    x = pellucid.ones(2, 3)
    _dynamo.mark_dynamic(x, 0, min=2, max=8)
    _dynamo.maybe_mark_dynamic(x, 1)
    assert x._x.marks == {0: True, 1: True}
    _dynamo.mark_static(x)
    assert x._x.marks == {0: False, 1: False}
    _dynamo.mark_static(Scaled)
    _dynamo.mark_static_address(x)
    with pytest.raises(TypeError, match="mark_static_address"):
        _dynamo.mark_static_address([1])
    assert _dynamo.is_dynamo_supported() is True and not _dynamo.is_compiling() and "inductor" in _dynamo.list_backends()


# ---------------------------------------------------------------------------------------------------- testing
@pytest.mark.parametrize("counter", [testing.CompileCounter(), testing.CompileCounterWithBackend("inductor")], ids=["eager", "inductor"])
def test_counters_count_what_is_captured(counter):
    counter.clear()
    model, x = Scaled(), pellucid.randn(2, 3, requires_grad=True)
    compiled = pellucid.compile(lambda x: model(x).exp(), backend=counter)
    expected = model(x).exp()
    assert pellucid.allclose(compiled(x), expected, rtol=1e-6)
    compiled(x).sum().backward()                            # the backward is compiled too, and is no frame
    found = model.inner.weight.grad.clone()
    model.inner.weight.grad = None
    expected.sum().backward()
    assert pellucid.allclose(found, model.inner.weight.grad, rtol=1e-5)
    assert (counter.frame_count, counter.op_count, len(counter.graphs)) == (1, 3, 1)
    compiled(pellucid.randn(5, 3))
    assert counter.frame_count == 2
    counter.clear()
    assert (counter.frame_count, counter.op_count, counter.graphs) == (0, 0, [])


def test_graphs_are_recorded_at_breaks():
    recorded = testing.EagerAndRecordGraphs()

    def fn(x):
        return testing.unsupported(x.sin(), x).cos()

    x = pellucid.randn(3)
    assert pellucid.equal(pellucid.compile(fn, backend=recorded)(x), fn(x))
    assert [[n.op.name for n in g.nodes] for g in recorded.graphs] == [["sin"], ["cos"]]


def test_the_constant_is_read_through_the_module():
    import pellucid as torch

    def fn(x, y):
        r = x + y
        for _ in range(torch._dynamo.testing.three):
            r = r / y
        return r

    x, y = pellucid.rand(2), pellucid.rand(2) + 1
    assert pellucid.equal(pellucid.compile(fn, backend="eager", fullgraph=True)(x, y), fn(x, y))


def test_rand_strided():
    t = testing.rand_strided((3, 4), (1, 3), pellucid.float64, extra_size=2)
    assert t.stride() == (1, 3) and t.dtype is pellucid.float64 and t.untyped_storage().nbytes() == 14 * 8
    assert testing.rand_strided((2, 2), (2, 1), pellucid.int32).tolist() == [[0, 0], [0, 0]]
    assert testing.rand_strided((0, 2), (2, 1)).shape == (0, 2)


def test_results_for_same():
    model, x = Scaled(), pellucid.randn(2, 3, requires_grad=True)
    out = {"a": model(x), "b": [x * 1, x * 1]}
    loss = testing.reduce_to_scalar_loss(out)
    assert loss.item() == pytest.approx((out["a"].mean().item() + x.mean().item()) / 2)
    assert testing.requires_bwd_pass([out["a"]]) and not testing.requires_bwd_pass((None, 3))
    before = testing.collect_results(model, out, loss, [x])
    loss.backward()
    after = testing.collect_results(model, out, loss, [(x,)])
    assert list(after[2]) == ["inner.weight.grad", "inner.bias.grad"] and not before[2]["inner.bias.grad"].any()
    assert before[-1] is None and same(after, after, after) and not same(before[2], after[2], log_error=lambda *args: None)
    assert testing.clone_me(None) is None and testing.remove_optimized_module_prefix("_orig_mod.inner") == "inner"
    assert clone_input(x).is_leaf and rmse(x, x + 2).item() == pytest.approx(2)
    copied = clone_inputs({"x": x})["x"]
    assert copied is not x and copied.requires_grad and copied.is_leaf and pellucid.equal(copied, x)


def quiet(*args, **kwargs):
    return same(*args, log_error=lambda *args: None, **kwargs)


def test_same():
    a = pellucid.tensor([1.0, 2.0])
    assert quiet([a, {"k": 1.0}], (a + 1e-5, {"k": 1.0})) and not quiet(a, a + 1) and not quiet(a, a.double())
    assert quiet(a, a.double(), exact_dtype=False) and quiet(a, a * 3, cos_similarity=True) and not quiet(a, -a, cos_similarity=True)
    nan = pellucid.tensor([float("nan")])
    assert not quiet(nan, nan) and quiet(nan, nan, equal_nan=True)
    far = a.double() + 0.5                                  # as far from float64's result as the reference is
    assert quiet(a, a + 1, fp64_ref=far) and not quiet(a, a + 4, fp64_ref=far)
    assert quiet(np.ones(2), np.ones(2)) and not quiet(np.ones(2), np.zeros(2)) and not quiet(np.float32(1), np.float64(1))
    assert quiet("a", "a") and not quiet(1, 2) and quiet(None, None) and quiet({1}, {1}) and not quiet([a], [a, a])
    Normal = type("Normal", (), {"__init__": lambda self, x: setattr(self, "x", x)})
    assert quiet(Normal(a), Normal(a)) and not quiet(Normal(a), Normal(a + 1))
    for left, right, error in (([1], 1, AssertionError), ({"a": 1}, {"b": 1}, AssertionError), ({1}, {2}, AssertionError), (len, len, RuntimeError)):
        with pytest.raises(error):
            quiet(left, right)
    assert quiet(collections.deque([a]), [a]) and quiet(pellucid.tensor([True]), pellucid.tensor([True]))
    assert not quiet(pellucid.tensor([True]), pellucid.tensor([False]))


def test_same_agrees_with_pytorchs():
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch._dynamo.utils import same as theirs
    for scale in (1e-6, 1e-4, 3e-3, 1e-2, 0.1):
        for dtype in ("float32", "bfloat16"):
            for n in (4, 2000):
                exact = np.linspace(0.5, 1.5, n)
                ref, res = exact + 3e-3, exact + scale
                made = [[lib.tensor(ref, dtype=getattr(lib, dtype)), lib.tensor(res, dtype=getattr(lib, dtype)), lib.tensor(exact)]
                        for lib in (pellucid, torch)]
                assert quiet(*made[0]) is theirs(*made[1], log_error=lambda *args: None), (scale, dtype, n)
