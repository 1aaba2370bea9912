"""Timer, Measurement and Compare; the texts are PyTorch 2.13's, for the same times."""

from __future__ import annotations

import pickle

import pytest

import pellucid as torch
from pellucid.utils.benchmark import (Colorize, Compare, Measurement, TaskSpec, Timer, ordered_unique, select_unit,
                                      set_torch_threads, timer, trim_sigfig, unit_to_english)


def measured(times, number=10, **task) -> Measurement:
    return Measurement(number, [t * number for t in times], TaskSpec(**{"stmt": "x + y", "setup": "pass", **task}))


STEADY = [10e-6, 10.1e-6, 10.2e-6, 9.9e-6, 10.05e-6]
WILD = [10e-6, 20e-6, 30e-6, 40e-6, 80e-6]


def test_statistics():
    m = measured(STEADY)
    assert m.median == pytest.approx(10.05e-6)
    assert m.mean == pytest.approx(10.05e-6)
    assert m.iqr == pytest.approx(0.1e-6)
    assert m.significant_figures == 2
    assert not m.has_warnings and m.meets_confidence()
    assert m.stmt == "x + y" and m.num_threads == 1
    with pytest.raises(AttributeError):
        m.nothing
    again = pickle.loads(pickle.dumps(m))
    assert again.median == m.median and again.task_spec == m.task_spec


def text(m: Measurement) -> list[str]:
    return repr(m).splitlines()[1:]


def test_how_it_prints():
    assert text(measured(STEADY, label="add", sub_label="4x8", description="eager", setup="x = 1")) == [
        "add: 4x8", "eager", "setup: x = 1", "  Median: 10.05 us", "  IQR:    0.10 us (10.00 to 10.10)",
        "  5 measurements, 10 runs per measurement, 1 thread"]
    assert text(measured([2.5e-3], number=4, num_threads=2)) == ["x + y", "  2.50 ms", "  1 measurement, 4 runs , 2 threads"]
    assert text(measured(WILD))[-2:] == ["  WARNING: Interquartile range is 66.7% of the median measurement.",
                                         "           This suggests significant environmental influence."]
    assert text(measured([1e-6] * 4, stmt="a\nb"))[:4] == ["stmt:", "  a", "  b", ""]


def test_merge():
    a, b, c = measured([1e-6, 2e-6]), measured([3e-6], number=7), measured([4e-6], label="other")
    first, second = Measurement.merge([a, b, c])
    assert first.times == pytest.approx([1e-6, 2e-6, 3e-6]) and first.number_per_run == 1
    assert second.label == "other"


def results():
    out = []
    for threads, factor in ((1, 1.0), (2, 0.6)):
        for sub, size in (("small", 1.0), ("large", 40.0)):
            for how, speed in (("eager", 1.0), ("compiled", 0.25)):
                if (sub, how, threads) == ("large", "compiled", 2):
                    continue
                out.append(measured([t * factor * size * speed for t in STEADY], label="softmax", sub_label=sub, description=how,
                                    num_threads=threads))
    return out


def test_compare():
    want = """\
[----------- softmax ------------]
             |  eager  |  compiled
1 threads: -----------------------
      small  |   10.1  |     2.5  \n\
      large  |  402.0  |   100.5  \n\
2 threads: -----------------------
      small  |    6.0  |     1.5  \n\
      large  |  241.2  |          \n\

Times are in microseconds (us).
"""
    assert str(Compare(results())) == want
    trimmed = Compare(results())
    trimmed.trim_significant_figures()
    assert "      large  |   400   |    100   " in str(trimmed).splitlines()
    coloured = Compare(results())
    coloured.colorize(rowwise=True)
    assert "\033[92m\033[1m" in str(coloured) and "\033[2m\033[91m" in str(coloured)
    assert [c.value for c in Colorize] == ["none", "columnwise", "rowwise"]
    with pytest.raises(ValueError, match="Expected an instance of `Measurement`"):
        Compare([1])


def test_compare_marks_what_varies(capsys):
    table = Compare([measured(WILD, label="a", description="b")])
    table.highlight_warnings()
    table.print()
    out = capsys.readouterr().out
    assert "(! 67%)" in out and "high variance" in out


def test_units_and_figures():
    assert [select_unit(t)[0] for t in (2e-9, 3e-6, 0.5e-3, 7.0)] == ["ns", "us", "us", "s"]
    assert unit_to_english("ms") == "millisecond"
    assert trim_sigfig(3.14159, 2) == pytest.approx(3.1)
    assert trim_sigfig(31415.9, 2) == 31000
    assert ordered_unique([2, 1, 2]) == [2, 1]


def test_timer_measures():
    runs = []
    m = Timer("f(); y = torch.ones(2) + x", setup="x = 1", globals={"f": lambda: runs.append(torch.get_num_threads())}, label="adding",
              num_threads=1).timeit(300)
    assert len(runs) == 303 and set(runs) == {1}
    assert m.number_per_run == 300 and len(m.raw_times) == 1 and m.median > 0
    assert m.title == "adding" and m.setup == "x = 1"


def test_autorange():
    seen = []
    m = Timer("sum(range(50))").blocked_autorange(callback=lambda n, t: seen.append((n, t)), min_run_time=0.02)
    assert m.number_per_run > 1 and sum(m.raw_times) >= 0.02
    assert seen == [(m.number_per_run, t) for t in m.raw_times]
    ticks = []
    counted = Timer("pass", timer=lambda: ticks.append(timer()) or ticks[-1]).timeit(10)
    assert counted.raw_times[0] == pytest.approx(ticks[-1] - ticks[-2])
    m = Timer("sum(range(50))").adaptive_autorange(threshold=0.5, max_run_time=0.5)
    assert len(m.raw_times) > 3 or sum(m.raw_times) > 0.5


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        Timer("1 / 0", num_threads=1).timeit(1)
    with set_torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_what_is_refused():
    with pytest.raises(ValueError, match="Currently only a `str`"):
        Timer(lambda: 1)
    with pytest.raises(ValueError, match="Invalid language"):
        Timer("1;", language="c++")
    with pytest.raises(ValueError, match="moved to `setup`"):
        Timer("1", global_setup="2")
