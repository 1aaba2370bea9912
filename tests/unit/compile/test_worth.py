"""Functions that break: those whose parts are too small to be worth it run as plain Python, by a model that looks at no clock."""

from __future__ import annotations

import numpy as np
import pytest

import pellucid
from pellucid import compiler, nn


def small(x):
    y = x + 1
    if y.sum() > 0:
        return y * 2
    return y


def empty(x):
    return np.array(x.tolist()).T


class Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True) for _ in range(2)])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        if x.sum() > 1e9:
            return -x
        return x.softmax(-1)


def calls(fn, *args, count=4, **settings):
    compiled = pellucid.compile(fn, **settings)
    for _ in range(count):
        result = compiled(*args)
    return compiled, result


def test_small_parts_run_as_plain_python_and_say_so():
    x = pellucid.ones(3)
    compiled, result = calls(small, x)
    assert result.tolist() == small(x).tolist() and compiled.plain and compiled.compiles == 1 and compiled.gave_up is None
    found = pellucid.explain(compiled)(x)
    assert "breaks cost more" in found.data["plain"] and "runs as plain Python: its breaks" in str(found)
    assert found.data["counts"]["breaks"] == 1
    compiled.reset()
    assert compiled.plain is None and compiled(x).tolist() == small(x).tolist() and compiled.compiles == 2


def test_it_is_the_same_each_time():
    assert len({calls(small, pellucid.ones(3))[0].plain for _ in range(4)}) == 1


@pytest.mark.parametrize("count", [1, 4])
def test_parts_without_operators_are_the_function_itself(count):
    x = pellucid.ones(2, 3)
    compiled, result = calls(empty, x, count=count)
    assert result.shape == (3, 2) and isinstance(compiled, compiler.Compiled)
    compiled(x)
    assert compiled.plain and type(compiled) is not compiler.Compiled and compiled(x).shape == (3, 2) and repr(compiled).startswith("<compiled empty")
    outer = pellucid.compile(lambda x: compiled(x).sum(), backend="eager")
    assert outer(x) == 6 and outer(x + 1) == 12
    compiled.reset()
    assert type(compiled) is compiler.Compiled and compiled(x).shape == (3, 2)


def test_large_parts_stay_compiled():
    model = Large()
    x = pellucid.randn(2, 5, 16)
    compiled, result = calls(lambda x: model(x), x)
    assert compiled.plain is None and compiled.breaks and pellucid.allclose(result, model(x), atol=1e-5)


def test_large_tensors_stay_compiled():
    compiled, _ = calls(small, pellucid.ones(1_000_000))
    assert compiled.plain is None
    compiled, _ = calls(small, pellucid.ones(3))
    x = pellucid.ones(1_000_000)
    for _ in range(3):
        assert compiled(x)[0].item() == 4
    assert compiled.plain and compiled.compiles == 2                        # the size that is small stays plain
    assert compiled(pellucid.ones(3)).tolist() == [4] * 3 and compiled.compiles == 2


def test_never_without_a_break_nor_with_a_backend_for_looking():
    assert calls(lambda x: x + 1, pellucid.ones(1))[0].plain is None
    assert calls(lambda x: x + 1, pellucid.ones(1), fullgraph=True)[0].plain is None
    assert calls(small, pellucid.ones(3), backend="eager")[0].plain is None


def test_what_the_calls_took_makes_no_difference(monkeypatch):
    """Not the clock decides, but what was captured."""
    now = iter(range(10**9))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(now)))
    compiled, _ = calls(small, pellucid.ones(3))
    assert compiled.plain


def test_exceptions_and_side_effects_are_the_functions_own():
    seen = []

    def fn(x):
        if x.sum() > 0:
            seen.append(1)
        if x.numel() > 3:
            raise ValueError("too many")
        return x

    compiled = pellucid.compile(fn)
    for _ in range(5):
        assert compiled(pellucid.ones(2)).tolist() == [1, 1]
    assert seen == [1] * 5 and compiled.plain
    with pytest.raises(ValueError, match="too many"):
        compiled(pellucid.ones(4))
    assert seen == [1] * 6
