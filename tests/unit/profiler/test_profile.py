"""`profile`: what it sees, what it changes (nothing), what it leaves behind (nothing)."""

from __future__ import annotations

import gc
import gzip
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import pellucid as torch
from pellucid import nn
from pellucid.nn import functional as F
from pellucid.ops.dispatch import Observer, observed, state
from pellucid.profiler import (ProfilerAction, ProfilerActivity, profile, record_function, schedule, supported_activities,
                               tensorboard_trace_handler)
from pellucid.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 4)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(4, 2))

    def forward(self, x):
        return self.rest(self.first(x))


def names(prof) -> list[str]:
    return [e.name for e in prof.events()]


def one(prof, name: str):
    found = [e for e in prof.events() if e.name == name]
    assert len(found) == 1, names(prof)
    return found[0]


def within(e) -> list[str]:
    """The names of what an event lies in, the innermost first."""
    out = []
    while e.cpu_parent is not None:
        e = e.cpu_parent
        out.append(e.name)
    return out


def test_operators_forward_and_backward_and_the_optimizer_are_events():
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x, y = torch.randn(3, 8), torch.tensor([0, 1, 0])
    with profile() as prof:
        optimizer.zero_grad()
        with record_function("forward"):
            loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
    seen = names(prof)
    assert seen.count("aten::linear") == 2
    assert within(next(e for e in prof.events() if e.name == "aten::linear")) == ["forward"]
    assert "autograd::engine::evaluate_function: LinearBackward0" in seen
    back = next(e for e in prof.events() if e.name == "LinearBackward0")
    assert back.scope == 1
    assert "aten::mm" in [c.name for c in back.cpu_children]
    assert seen.count("torch::autograd::AccumulateGrad") == 4
    assert one(prof, "Optimizer.step#SGD.step").is_user_annotation
    assert one(prof, "Optimizer.zero_grad#SGD.zero_grad").cpu_children == []
    linear = [e for e in prof.events() if e.name == "aten::linear"]
    assert sorted(e.sequence_nr for e in linear) == sorted(e.sequence_nr for e in prof.events() if e.name == "LinearBackward0")


def test_results_are_the_same_bits():
    def train(observe: bool):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 2))
        optimizer = torch.optim.Adam(net.parameters())
        x = torch.randn(6, 8)
        for _ in range(3):
            optimizer.zero_grad()
            out = net(x)
            out[:, 0] = out[:, 0] * 2
            z = out.square()
            z.mul_(out).add_(1)
            z.sum().backward()
            optimizer.step()
        return [p.detach().numpy().copy() for p in net.parameters()]

    plain = train(False)
    with profile(record_shapes=True, profile_memory=True, with_stack=True, with_flops=True, with_modules=True):
        seen = train(True)
    assert all(np.array_equal(a, b) for a, b in zip(plain, seen))


def test_in_place_operators_are_one_event_and_keep_what_they_overwrite():
    def run():
        x, w = torch.arange(1.0, 5.0).requires_grad_(), torch.arange(2.0, 6.0).requires_grad_()
        y = x * 2
        y.mul_(w)               # the derivative for w is the old y
        y.sum().backward()
        return x.grad, w.grad

    with profile() as prof:
        seen = run()
    assert one(prof, "aten::mul_").cpu_children == []
    assert [g.tolist() for g in seen] == [g.tolist() for g in run()] == [[4, 6, 8, 10], [2, 4, 6, 8]]


def test_custom_functions_are_events_and_their_derivatives_know_the_line():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = torch.ones(3, requires_grad=True)
    with profile(with_stack=True) as prof:
        Double.apply(x).sum().backward()
    double = one(prof, "Double")
    assert [c.name for c in double.cpu_children] == ["aten::mul"]
    back = one(prof, "DoubleBackward")
    assert back.sequence_nr == double.sequence_nr
    assert back.stack == double.stack and "test_profile.py" in back.stack[0]


def test_self_times_add_up_and_parts_lie_within():
    x = torch.randn(64, 64)
    with profile() as prof:
        with record_function("outer"):
            (x @ x).relu().sum()
    events = prof.events()
    outer = one(prof, "outer")
    assert outer.cpu_time_total == pytest.approx(sum(e.self_cpu_time_total for e in events))
    for e in events:
        if e.cpu_parent is not None:
            assert e.cpu_parent.time_range.start <= e.time_range.start <= e.time_range.end <= e.cpu_parent.time_range.end
            assert e in e.cpu_parent.cpu_children
    assert prof.key_averages().self_cpu_time_total == pytest.approx(events.self_cpu_time_total)


def test_shapes():
    with profile(record_shapes=True) as prof:
        torch.mm(torch.ones(2, 3), torch.ones(3, 4))
        torch.mm(torch.ones(2, 3), torch.ones(3, 4))
        torch.mm(torch.ones(5, 3), torch.ones(3, 4))
        torch.cat([torch.ones(2), torch.ones(3)], 0)
    mm = [e for e in prof.events() if e.name == "aten::mm"]
    assert mm[0].input_shapes == [[2, 3], [3, 4]]
    assert mm[0].input_dtypes == ["float", "float"]
    cat = one(prof, "aten::cat")
    assert cat.structured_input_shapes == [[[2], [3]], []]
    assert cat.input_shapes == [[], []]
    assert cat.concrete_inputs == ["", "0"]
    grouped = [e for e in prof.key_averages(group_by_input_shape=True) if e.key == "aten::mm"]
    assert sorted((e.count, e.input_shapes) for e in grouped) == [(1, [[5, 3], [3, 4]]), (2, [[2, 3], [3, 4]])]
    assert [e.count for e in prof.key_averages() if e.key == "aten::mm"] == [3]


def test_flops_are_those_of_the_graph():
    x, conv = torch.ones(2, 3, 8, 8), nn.Conv2d(3, 4, 3)
    with profile(with_flops=True) as prof:
        torch.mm(torch.ones(2, 3), torch.ones(3, 4))
        torch.add(torch.ones(10), torch.ones(10))
        torch.ones(10).view(2, 5)
        conv(x)
    flops = {e.key: e.flops for e in prof.key_averages()}
    assert flops["aten::mm"] == 2 * 2 * 3 * 4
    assert flops["aten::add"] == 10
    assert flops["aten::view"] == 0
    products = 2 * (2 * 4 * 6 * 6) * (3 * 3 * 3)
    assert products <= sum(f for k, f in flops.items() if "conv" in k) <= products + 2 * 4 * 6 * 6
    assert "Total FLOPs" in prof.key_averages().table()


def test_memory_comes_and_goes():
    gc.collect()
    x = torch.ones(1000)
    with profile(profile_memory=True) as prof:
        y = x * 2
        view = y[:10]
        with record_function("dropped"):
            z = x + 1
            del z
        del view, y
    assert one(prof, "aten::mul").cpu_memory_usage == 4000
    assert one(prof, "aten::add").cpu_memory_usage == 4000
    assert one(prof, "dropped").cpu_memory_usage == 0
    assert one(prof, "dropped").self_cpu_memory_usage == -4000
    assert one(prof, "[memory]").cpu_memory_usage == -4000
    assert sum(e.self_cpu_memory_usage for e in prof.events()) == 0
    assert "Self CPU Mem" in prof.key_averages().table()


def test_stacks_and_modules_lead_to_the_users_line_in_backward_too(tmp_path):
    net = Net()
    with profile(with_stack=True, with_modules=True) as prof:
        net(torch.ones(1, 8)).sum().backward()
    linear = [e for e in prof.events() if e.name == "aten::linear"]
    assert "test_profile.py" in linear[0].stack[0]
    assert linear[0].stack[0].endswith(": forward")
    assert linear[1].module_hierarchy == "TOP(Net).rest(Sequential).1(Linear)"
    back = [e for e in prof.events() if e.name == "LinearBackward0"]
    assert back[0].stack == linear[1].stack
    assert back[0].module_hierarchy == linear[1].module_hierarchy
    assert all("pellucid/nn" not in line for e in prof.events() for line in e.stack)
    path = tmp_path / "stacks.txt"
    prof.export_stacks(str(path))
    stack, _, value = path.read_text().splitlines()[0].rpartition(" ")
    assert int(value) > 0
    assert "test_profile.py" in stack.split(";")[-1]
    with pytest.raises(ValueError, match="metric should be one of"):
        prof.export_stacks(str(path), "self_cuda_time_total")
    assert "Source Location" in prof.key_averages(group_by_stack_n=2).table()


def test_the_table_is_laid_out_as_pytorchs():
    with profile(record_shapes=True) as prof:
        for _ in range(3):
            torch.mm(torch.ones(2, 3), torch.ones(3, 4))
    table = prof.key_averages().table(sort_by="cpu_time_total", row_limit=1, header="a header", time_unit="us")
    lines = table.splitlines()
    assert lines[0] == "=" * len(lines[0])
    assert lines[1] == "a header"
    assert lines[3].split("  ")[0].strip() in ("Name", "")
    assert " ".join(lines[3].split()) == "Name Self CPU % Self CPU CPU total % CPU total CPU time avg # of Calls"
    assert lines[2] == lines[4] == lines[6]
    assert set(lines[2]) == {"-", " "}
    assert "us" in lines[5]
    assert lines[7].startswith("Self CPU time total: ")
    assert table.endswith("\n")
    assert len(table.splitlines()) == 8
    assert prof.events().table(top_level_events_only=True).splitlines()[1] == "This report only display top-level ops statistics"
    with pytest.raises(ValueError, match="sort_by"):
        prof.key_averages().table(sort_by="nothing")
    assert prof.key_averages().total_average().count == len(prof.events())


def test_a_trace_is_json_that_viewers_read(tmp_path):
    net = Net()
    with profile(record_shapes=True) as prof:
        net(torch.ones(1, 8)).sum().backward()
    prof.add_metadata("run", "first")
    prof.add_metadata_json("sizes", "[1, 2]")
    plain, packed = tmp_path / "trace.json", tmp_path / "trace.json.gz"
    prof.export_chrome_trace(str(plain))
    prof.export_chrome_trace(str(packed))
    trace = json.loads(plain.read_text())
    assert json.loads(gzip.open(packed, "rt").read())["traceEvents"] == trace["traceEvents"]
    assert trace["run"] == "first"
    assert trace["sizes"] == [1, 2]
    bars = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert {"aten::linear", "LinearBackward0"} <= {e["name"] for e in bars}
    assert all(e["dur"] >= 0 and e["ts"] >= 0 and isinstance(e["tid"], int) for e in bars)
    linear = next(e for e in bars if e["name"] == "aten::linear")
    assert linear["args"]["Input Dims"] == [[1, 8], [4, 8], [4]]
    assert linear["cat"] == "cpu_op"
    starts = {e["id"] for e in trace["traceEvents"] if e["ph"] == "s"}
    ends = {e["id"] for e in trace["traceEvents"] if e["ph"] == "f"}
    assert starts and starts == ends


def test_compiled_functions_stay_compiled_and_show_their_kernels_with_their_lines(tmp_path):
    def f(x, w):
        with record_function("inside"):
            h = (x @ w).relu()
        return h.softmax(-1).sum(0)

    torch.manual_seed(0)
    x, w = torch.randn(64, 32), torch.randn(32, 128)
    compiled = torch.compile(f)
    plain = compiled(x, w)
    with profile(with_flops=True) as prof:
        seen = compiled(x, w)
    assert torch.equal(plain, seen)
    assert compiled.compiles == 1
    assert not compiled.breaks
    region = one(prof, "Compiled: f")
    kernels = [e for e in prof.events() if e.kind == "kernel"]
    assert kernels and all(k.cpu_parent is region for k in kernels)
    assert not [e for e in prof.events() if e.name.startswith("aten::")]
    assert len(region.kernels) == len(kernels)
    lines = [line for k in kernels for line in k.source]
    assert lines and all("test_profile.py:" in line for line in lines)
    assert sum(k.flops for k in kernels) >= 2 * 64 * 32 * 128
    path = tmp_path / "trace.json"
    prof.export_chrome_trace(str(path))
    bars = [e for e in json.loads(path.read_text())["traceEvents"] if e.get("cat") == "kernel"]
    assert len(bars) == len(kernels)
    assert "test_profile.py" in bars[0]["args"]["Source"]


def test_compiling_is_an_event_and_what_is_compiled_meanwhile_is_the_same():
    def f(x):
        with record_function("inside"):
            return (x * 2).sum()

    x = torch.randn(50, 40)
    compiled = torch.compile(f)
    with profile() as prof:
        first = compiled(x)
    assert within(one(prof, "compile: f")) == ["Compiled: f"]
    assert not [e for e in prof.events() if e.name.startswith("aten::") or e.name == "inside"]
    assert torch.equal(compiled(x), first)
    assert compiled.compiles == 1


def test_a_compiled_training_step_is_the_same_bits_step_by_step():
    def made():
        torch.manual_seed(2)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        optimizer = torch.optim.AdamW(net.parameters())
        x, y = torch.randn(16, 1, 8, 8), torch.randint(0, 3, (16,))

        @torch.compile
        def step():
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return loss
        return net, step

    a, step_a = made()
    b, step_b = made()
    for _ in range(4):
        la = step_a()
        with profile():
            lb = step_b()
        assert torch.equal(la, lb)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters()))


def test_an_index_out_of_range_in_a_compiled_function_says_the_same():
    table = torch.randn(5, 3)

    @torch.compile
    def f(i):
        return (table[i] * 2).sum()

    f(torch.tensor([0, 1, 2]))
    with pytest.raises(IndexError) as plain:
        f(torch.tensor([0, 9, 2]))
    with profile(), pytest.raises(IndexError) as seen:
        f(torch.tensor([0, 9, 2]))
    assert str(seen.value).splitlines()[0] == str(plain.value).splitlines()[0]
    assert f(torch.tensor([0, 1, 2])).shape == ()


def test_loading_is_an_event():
    loader = DataLoader(TensorDataset(torch.arange(6.0)), batch_size=2)
    with profile() as prof:
        for _ in loader:
            pass
    # the fourth finds the end
    assert names(prof).count("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__") == 4


def test_all_threads_are_seen_each_with_its_own_stack():
    x = torch.randn(20, 20)
    barrier = threading.Barrier(3)

    def work():
        with record_function("work"):
            barrier.wait()
            for _ in range(20):
                x.exp()

    with profile() as prof:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    exps = [e for e in prof.events() if e.name == "aten::exp"]
    assert len(exps) == 60
    assert len({e.thread for e in exps}) == 3
    assert all(e.cpu_parent.name == "work" and e.cpu_parent.thread == e.thread for e in exps)


def test_profiles_nest_and_an_exception_leaves_nothing_behind():
    x, before = torch.ones(3), state.slow
    with pytest.raises(RuntimeError):
        with profile() as outer:
            x.exp()
            with profile() as inner:
                with record_function("failing"):
                    torch.mm(x, x)
    assert state.observer is None
    assert state.slow == before
    assert "aten::exp" in names(outer)
    assert names(inner) == ["failing", "aten::mm"]
    assert names(outer)[-2:] == ["failing", "aten::mm"]
    with profile() as after:
        x.exp()
    assert names(after) == ["aten::exp"]
    assert after.events()[0].cpu_parent is None


FORKED = """
import os
import pellucid as torch
from pellucid.ops.dispatch import state
from pellucid.profiler import profile

x = torch.ones(3)
with profile() as prof:
    child = os.fork()
    if child == 0:
        assert state.observer is None and state.slow == 0
        x.exp()
        with profile() as own:
            x.sin()
        assert [e.name for e in own.events()] == ["aten::sin"]
    else:
        _, status = os.waitpid(child, 0)
        x.cos()
if child == 0:
    assert state.observer is None and state.slow == 0
    os._exit(0)
assert status == 0 and [e.name for e in prof.events()] == ["aten::cos"]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_is_not_profiled():
    root = Path(torch.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", FORKED], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_span_that_began_before_or_ends_after_is_left_out():
    x = torch.ones(3)
    early = record_function("early")
    prof, other = profile(), profile()
    other.start()
    early.__enter__()
    prof.start()
    late = record_function("late")
    late.__enter__()
    x.exp()
    prof.stop()
    late.__exit__()
    early.__exit__()
    other.stop()
    assert names(prof) == ["aten::exp"]
    assert prof.events()[0].cpu_parent is None
    assert names(other) == ["early", "late", "aten::exp"]


def test_record_function_is_a_decorator_also_of_a_recursive_function():
    @record_function("fact", "n")
    def fact(n):
        return 1 if n == 0 else n * fact(n - 1)

    assert fact(3) == 6
    with profile() as prof:
        assert fact(2) == 2
    e = prof.events()
    # one in the other, and each the only part of the one around it
    assert len(e) == 1 and e[0].name == "fact"


def test_schedule():
    plan = schedule(skip_first=1, wait=1, warmup=1, active=2, repeat=2)
    none, warm, record, save = ProfilerAction
    assert [plan(i) for i in range(11)] == [none, none, warm, record, save, none, warm, record, save, none, none]
    assert [schedule(wait=2, warmup=1, active=1, skip_first_wait=1)(i) for i in range(5)] == [warm, save, none, none, warm]
    with pytest.raises(AssertionError, match="Invalid profiler schedule"):
        schedule(wait=0, warmup=0, active=0)
    with pytest.warns(UserWarning, match="won't be using warmup"):
        schedule(wait=0, warmup=0, active=1)
    with pytest.raises(AssertionError):
        plan(-1)


def test_a_training_loop_with_a_schedule(tmp_path):
    seen = []

    def ready(prof):
        seen.append([e.trace_name for e in prof.events() if e.trace_name.startswith("ProfilerStep")])
        assert prof.key_averages()[0].key == "ProfilerStep*"
        tensorboard_trace_handler(str(tmp_path), "worker")(prof)

    x = torch.ones(3)
    with profile(schedule=schedule(wait=1, warmup=1, active=2), on_trace_ready=ready) as prof:
        for i in range(9):
            assert (state.observer is not None) == (i % 4 in (2, 3))
            x.exp()
            prof.step()
    assert seen == [["ProfilerStep#2", "ProfilerStep#3"], ["ProfilerStep#6", "ProfilerStep#7"]]
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    assert all(f.name.startswith("worker.") and f.name.endswith(".pt.trace.json") for f in files)
    assert json.loads(files[0].read_text())["traceEvents"]


def test_without_a_schedule_the_handler_is_called_at_the_end():
    seen = []
    with profile(on_trace_ready=seen.append) as prof:
        torch.ones(2).exp()
        prof.step()
        torch.ones(2).exp()
    assert seen == [prof]
    assert names(prof).count("aten::exp") == 2


def test_cycles_add_up_if_asked():
    def run(acc: bool) -> int:
        with profile(schedule=schedule(wait=0, warmup=1, active=1, repeat=2), acc_events=acc) as prof:
            for _ in range(4):
                torch.ones(2).exp()
                prof.step()
        return names(prof).count("aten::exp")

    assert run(False) == 1
    assert run(True) == 2


def test_asking_too_early_says_what_to_do():
    prof = profile()
    with pytest.raises(RuntimeError, match="Profiler didn't finish running"):
        prof.events()
    with prof:
        with pytest.raises(RuntimeError, match="after the block"):
            prof.key_averages()
        with pytest.raises(RuntimeError, match="records already"):
            prof.start()


def test_activities():
    assert supported_activities() == {ProfilerActivity.CPU}
    with pytest.warns(UserWarning, match="CUDA is not available"):
        prof = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
    assert prof.activities == {ProfilerActivity.CPU}
    with pytest.raises(AssertionError, match="No valid profiler activities"):
        profile(activities=[])


def test_the_older_profile():
    from pellucid.autograd import profiler, profiler_util

    with profiler.profile(record_shapes=True) as prof:
        torch.mm(torch.ones(2, 3), torch.ones(3, 4))
        assert repr(prof) == "<unfinished pellucid.autograd.profile>"
    assert isinstance(prof.function_events[0], profiler_util.FunctionEvent)
    assert "aten::mm" in str(prof)
    assert prof.key_averages().total_average().count == len(prof.function_events)
    assert prof.total_average().key == "Total"
    assert prof.self_cpu_time_total > 0
    assert "aten::mm" in prof.table(sort_by="cpu_time_total")
    with pytest.raises(RuntimeError, match="not reentrant"):
        prof.__enter__()
    with profiler.profile(enabled=False) as nothing:
        torch.ones(2)
    assert nothing is None


def test_what_events_are():
    from pellucid.autograd import profiler
    from pellucid.autograd.profiler_util import EventList, FormattedTimesMixin, FunctionEvent, FunctionEventAvg, Interval, Kernel
    from pellucid.profiler import DeviceType

    events = EventList([FunctionEvent(0, "a", 1, 10.0, 1510.0), FunctionEvent(1, "a", 1, 2000.0, 2500.0),
                        FunctionEvent(2, "b", 1, 0.0, 2e6)])
    assert profiler.EventList is EventList
    assert events[0].time_range == Interval(10.0, 1510.0) and events[0].time_range.elapsed_us() == 1500
    assert events[0].device_type is DeviceType.CPU and events[0].kernels == [] and Kernel("k", 0, 1.0).duration == 1
    a, b = events.key_averages()
    assert isinstance(a, FunctionEventAvg) and isinstance(a, FormattedTimesMixin)
    assert (a.key, a.count, a.cpu_time_total, a.cpu_time) == ("a", 2, 2000, 1000)
    assert (a.cpu_time_str, a.cpu_time_total_str, a.self_cpu_time_total_str, b.cpu_time_str) == ("1.000ms", "2.000ms", "2.000ms", "2.000s")
    assert (a.device_time_str, a.device_time_total_str, a.self_device_time_total_str) == ("0.000us",) * 3
    assert "key=a" in repr(a) and "name=a" in repr(events[0])
    a += b if b.key == "a" else a
    assert a.count == 4
    assert EventList().table() == ""
    assert str(events) == events.table()


def test_an_observer_alone_sees_and_one_is_enough():
    class Names(Observer):
        def __init__(self):
            self.seen = []

        def operator(self, name, run, op, args, kwargs):
            self.seen.append(name)
            return super().operator(name, run, op, args, kwargs)

    x = torch.ones(3, requires_grad=True)
    with observed(Names()) as who:
        y = (x * 2).sum()
        y.backward()
        x.detach().add_(1)
        torch.compile(lambda a: a + 1)(torch.ones(4))
        with pytest.raises(RuntimeError, match="observes already"):
            with observed(Observer()):
                pass
        assert who.span("name", "kind", len, [1, 2]) == 2
    assert who.seen[:2] == ["mul", "sum"]
    assert state.observer is None


def test_transforms_and_modes_are_seen_through():
    x = torch.randn(4, 3)
    with profile() as prof:
        torch.func.vmap(torch.sin)(x)
        with torch.autocast("cpu"):
            torch.mm(x, x.T)
        with torch.no_grad():
            x.cos()
    seen = names(prof)
    assert "aten::sin" in seen and "aten::mm" in seen and "aten::cos" in seen and "aten::to" in seen
