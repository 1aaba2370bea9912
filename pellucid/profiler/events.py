"""What a profile saw, as data and as a table: the names and the layout of PyTorch's `autograd.profiler_util`.

In: the recorder's `Record`s. Out: `EventList` of `FunctionEvent`s, oldest first, each with its children; `key_averages` adds up those of
one name; `table` prints them. Times are in microseconds, memory in bytes. What stays true: an event's own time and memory are its total
less its children's, so the own times of all events add up to the time that was spent in any.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, NamedTuple

from ..core.spec import Spec
from ..graph.ir import Graph
from ..kernel.plan import KernelCall, LibCall, lines
from ..native.build import make_plan
from ..native.program import operations
from ..ops.op import Op
from .recorder import ANNOTATION, BACKWARD, KERNEL, OPERATOR, Record, Session

__all__ = ["DeviceType", "EventList", "FormattedTimesMixin", "FunctionEvent", "FunctionEventAvg", "Interval", "Kernel"]


class DeviceType(Enum):
    """Where something ran."""

    CPU = 0
    CUDA = 1


class Interval(NamedTuple):
    """From `start` to `end`, in microseconds since 1970."""

    start: float
    end: float

    def elapsed_us(self) -> float:
        return self.end - self.start


class Kernel(NamedTuple):
    """A piece of native code that ran for an event."""

    name: str
    device: int
    duration: float


def format_time(us: float) -> str:
    if us >= 1e6:
        return f"{us / 1e6:.3f}s"
    return f"{us / 1e3:.3f}ms" if us >= 1e3 else f"{us:.3f}us"


def format_share(us: float, total: float) -> str:
    return "NaN" if total == 0 else f"{us * 100.0 / total:.2f}%"


def format_memory(nbytes: int) -> str:
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if abs(nbytes) >= size:
            return f"{nbytes / size:.2f} {unit}"
    return f"{nbytes} B"


class FormattedTimesMixin:
    """The times of an event as text."""

    count: int
    cpu_time_total: float
    self_cpu_time_total: float
    device_time_total = self_device_time_total = device_time = 0.0
    device_memory_usage = self_device_memory_usage = 0

    @property
    def cpu_time(self) -> float:
        return self.cpu_time_total / self.count if self.count else 0.0

    cpu_time_str = property(lambda self: format_time(self.cpu_time))
    cpu_time_total_str = property(lambda self: format_time(self.cpu_time_total))
    self_cpu_time_total_str = property(lambda self: format_time(self.self_cpu_time_total))
    device_time_str = property(lambda self: format_time(self.device_time))
    device_time_total_str = property(lambda self: format_time(self.device_time_total))
    self_device_time_total_str = property(lambda self: format_time(self.self_device_time_total))


class FunctionEvent(FormattedTimesMixin):
    """One thing that ran.

    `name`, `time_range`, `thread`, `cpu_parent`, `cpu_children`; `scope` is 1 in a backward pass; `sequence_nr` is that of the node that
    the call recorded, or of the node whose derivative ran; `input_shapes`, `concrete_inputs`, `stack`, `module_hierarchy`,
    `cpu_memory_usage`, `flops` where the profile was asked for them; `source`: the user's lines that a native kernel computes.
    """

    count = 1
    node_id, is_async, is_remote, is_legacy = -1, False, False, False
    use_device, device_type, device_index, overload_name = None, DeviceType.CPU, 0, ""

    def __init__(self, id: int, name: str, thread: int, start_us: float, end_us: float, **fields: Any):
        self.id, self.name, self.thread = id, name, thread
        self.time_range = Interval(start_us, end_us)
        self.trace_name = name
        self.kind = OPERATOR
        self.fwd_thread: int | None = None
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] = []
        self.kernels: list[Kernel] = []
        self.input_shapes: Any = []
        self.structured_input_shapes: list = []
        self.structured_input_strides: list = []
        self.input_dtypes: list = []
        self.concrete_inputs: list = []
        self.kwinputs: dict = {}
        self.stack: list[str] = []
        self.source: list[str] = []
        self.module_hierarchy = ""
        self.scope, self.sequence_nr = 0, -1
        self.cpu_memory_usage, self.flops = 0, 0
        self.nbytes = 0                         # that a kernel is known to move
        self.is_user_annotation = False
        for key, value in fields.items():
            setattr(self, key, value)

    @property
    def key(self) -> str:
        return self.name

    @property
    def cpu_time_total(self) -> float:
        return self.time_range.elapsed_us()

    @property
    def self_cpu_time_total(self) -> float:
        return self.cpu_time_total - sum([c.cpu_time_total for c in self.cpu_children])

    @property
    def self_cpu_memory_usage(self) -> int:
        return self.cpu_memory_usage - sum([c.cpu_memory_usage for c in self.cpu_children])

    def __repr__(self) -> str:
        return (f"<FunctionEvent id={self.id} name={self.name} cpu_time={self.cpu_time_str} start_us={self.time_range.start} "
                f"end_us={self.time_range.end} cpu_children={[c.id for c in self.cpu_children]} thread={self.thread} "
                f"input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage} seq_nr={self.sequence_nr}>")


class FunctionEventAvg(FormattedTimesMixin):
    """Events of one key added up: `count` of them."""

    node_id, is_async, is_remote, is_legacy = -1, False, False, False
    use_device, device_type, overload_name = None, DeviceType.CPU, ""

    def __init__(self) -> None:
        self.key: str | None = None
        self.count = 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.cpu_memory_usage = self.self_cpu_memory_usage = self.flops = 0
        self.input_shapes: Any = None
        self.stack: list[str] = []
        self.source: list[str] = []
        self.scope: int | None = None
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] | None = None
        self.is_user_annotation = False

    def add(self, other: FunctionEvent | FunctionEventAvg) -> FunctionEventAvg:
        if self.key is None:
            self.key, self.input_shapes, self.stack, self.scope = other.key, other.input_shapes, other.stack, other.scope
            self.cpu_parent, self.cpu_children, self.source = other.cpu_parent, other.cpu_children, other.source
            self.is_user_annotation = other.is_user_annotation
        for name in ("cpu_time_total", "self_cpu_time_total", "cpu_memory_usage", "self_cpu_memory_usage", "count", "flops"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    __iadd__ = add

    def __repr__(self) -> str:
        return (f"<FunctionEventAvg key={self.key} self_cpu_time={self.self_cpu_time_total_str} cpu_time={self.cpu_time_str} "
                f"input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage}>")


class EventList(list):
    """Events, or averages of events."""

    def __init__(self, events: Iterable = (), *, profile_memory: bool = False, with_flops: bool = False):
        super().__init__(events)
        self.profile_memory, self.with_flops = profile_memory, with_flops

    def __str__(self) -> str:
        return self.table()

    @property
    def self_cpu_time_total(self) -> float:
        return sum([e.self_cpu_time_total for e in self])

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int | None = 75,
              max_name_column_width: int | None = 55, max_shapes_column_width: int | None = 80, header: str | None = None,
              top_level_events_only: bool = False, time_unit: str | None = None) -> str:
        """The events as a table, in PyTorch's layout.

        Args:
            sort_by: the attribute to sort by, the largest first: "cpu_time_total", "self_cpu_time_total", "cpu_time",
                "cpu_memory_usage", "self_cpu_memory_usage", "count"; None keeps the order.
            row_limit: how many rows at most; -1 for all.
            time_unit: "s", "ms" or "us" for all times.
        """
        return build_table(self, sort_by, row_limit, max_src_column_width, max_name_column_width, max_shapes_column_width, header,
                           top_level_events_only, time_unit)

    def key_averages(self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0,
                     group_by_overload_name: bool = False) -> EventList:
        """Events of one name (and of one list of input shapes, and with the same `group_by_stack_n` innermost lines) added up.
        (Operators here have no overloads, so that their names tell nothing apart.)"""
        found: dict[tuple, FunctionEventAvg] = {}
        for e in self:
            key = (e.key, e.is_user_annotation, str(e.input_shapes) if group_by_input_shapes else "", *e.stack[:max(group_by_stack_n, 0)])
            found.setdefault(key, FunctionEventAvg()).add(e)
        out = EventList(found.values(), profile_memory=self.profile_memory, with_flops=self.with_flops)
        for e in out:
            e.stack = e.stack[:group_by_stack_n] if group_by_stack_n > 0 else []
            if not group_by_input_shapes:
                e.input_shapes = ""
        return out

    def total_average(self) -> FunctionEventAvg:
        """All events added up."""
        total = FunctionEventAvg()
        for e in self:
            total.add(e)
        total.key = "Total"
        return total

    def supported_export_stacks_metrics(self) -> list[str]:
        return ["self_cpu_time_total"]

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Write `outermost;...;innermost microseconds` a line, which flame graph tools read. Needs `with_stack=True`.

        Raises ValueError for another metric than those of `supported_export_stacks_metrics`.
        """
        if metric not in self.supported_export_stacks_metrics():
            raise ValueError(f"metric should be one of: {self.supported_export_stacks_metrics()}")
        table = str.maketrans(" ;\t\n", "____")
        with open(path, "w", encoding="utf-8") as f:
            for e in self:
                value = int(getattr(e, metric))
                if e.stack and value > 0:
                    f.write(";".join([line.translate(table) for line in reversed(e.stack)]) + f" {value}\n")


# ---------------------------------------------------------------------------------------------------- from records
def events_of(session: Session, base_ns: int) -> EventList:
    """The events of a session. Those that only repeat the name of the one around them are taken for one with it."""
    records = sorted(session.records, key=lambda r: (r.start, -r.end))
    made: dict[int, FunctionEvent] = {}
    out = EventList(profile_memory=session.memory, with_flops=session.flops)
    cost: dict[tuple, int] = {}
    for r in records:
        e = event_of(r, len(out), base_ns)
        parent = r.parent
        while parent is not None and id(parent) not in made:        # it was not recorded: it began before, or has not ended
            parent = parent.parent
        if parent is not None:
            e.cpu_parent = made[id(parent)]
            e.cpu_parent.cpu_children.append(e)
        made[id(r)] = e
        out.append(e)
    if session.flops:
        for r, e in zip(records, out):
            e.flops = flops_of(r, e, cost)
    for e in reversed(out):                                         # memory of what ran within
        if e.cpu_parent is not None:
            e.cpu_parent.cpu_memory_usage += e.cpu_memory_usage
        e.kernels = [Kernel(c.name, 0, c.cpu_time_total) for c in e.cpu_children if c.kind == KERNEL]
    _lend_stacks(out)
    return _without_repeats(out)


def event_of(r: Record, id: int, base_ns: int) -> FunctionEvent:
    e = FunctionEvent(id, r.name, r.thread, (r.start + base_ns) / 1e3, (r.end + base_ns) / 1e3, kind=r.kind, sequence_nr=r.sequence,
                      cpu_memory_usage=r.bytes, scope=int(r.kind == BACKWARD), is_user_annotation=r.kind == ANNOTATION)
    if r.name.startswith("ProfilerStep#"):
        e.name = "ProfilerStep*"
    if r.shapes is not None:
        e.structured_input_shapes, e.structured_input_strides = r.shapes, r.strides
        e.input_shapes = [[] if s and isinstance(s[0], list) else s for s in r.shapes]
        e.input_dtypes, e.concrete_inputs = r.dtypes, r.values
    if r.stack is not None:
        e.stack = [f"{file}({line}): {function}" for file, line, function in r.stack]
    e.module_hierarchy = r.modules or ""
    if r.step is not None:
        exe, index = r.step
        s = exe.program.steps[index]
        e.flops, e.nbytes = s.get("flops", 0), s.get("bytes", 0)
        steps = exe.plan.steps if exe.plan is not None else []
        if s.get("step", len(steps)) < len(steps):
            e.source = lines(steps[s["step"]].nodes)
        if not e.stack:
            e.stack = [f"{where.rpartition(':')[0]}({where.rpartition(':')[2]}): {r.name}" for where in e.source]
    return e


def flops_of(r: Record, e: FunctionEvent, cost: dict[tuple, int]) -> int:
    """The operations of a native step, or of an operator call none of whose parts is an event of its own: those of the plan of a graph
    with this one node, as `compile` would count them."""
    if r.step is not None:
        return e.flops
    if r.call is None or any(c.kind == OPERATOR for c in e.cpu_children):
        return 0
    op, specs, attrs = r.call
    key = (op.name, repr(specs), repr(attrs))
    if key not in cost:
        cost[key] = count_flops(op, specs, attrs)
    return cost[key]


def count_flops(op: Op, specs: Sequence, attrs: dict) -> int:
    """The additions, multiplications and other operations on elements of one call; 0 for what has no plan."""
    try:
        graph = Graph(op.name)
        args = tuple([graph.input(Spec(s.shape, s.dtype), "x") if isinstance(s, Spec) else s for s in specs])
        results = op.infer(*specs, **attrs)
        results = results if isinstance(results, tuple) and not isinstance(results, Spec) else (results,)
        node = graph.add(op, args, attrs, tuple(Spec(s.shape, s.dtype) for s in results))
        graph.outputs = list(node.outs)
        steps = make_plan(graph, {}).steps
    except (TypeError, ValueError, RuntimeError, NotImplementedError, KeyError, AttributeError):
        return 0
    return sum([s.flops or s.kernel.flops if isinstance(s, KernelCall) else operations(s) if isinstance(s, LibCall) else 0 for s in steps])


def _lend_stacks(events: EventList) -> None:
    """What runs in a backward pass has the lines of the call whose derivative it is, and is told that call's thread."""
    forward: dict[int, FunctionEvent] = {}
    for e in events:
        if e.sequence_nr >= 0 and not e.scope:
            forward.setdefault(e.sequence_nr, e)
    for e in events:
        if e.scope and e.sequence_nr in forward:
            e.fwd_thread = forward[e.sequence_nr].thread
        around = e
        while around is not None and not (around.scope and around.sequence_nr in forward):
            around = around.cpu_parent
        if around is not None and e.kind != KERNEL:
            called = forward[around.sequence_nr]
            e.stack = called.stack
            e.module_hierarchy = e.module_hierarchy or called.module_hierarchy


def _without_repeats(events: EventList) -> EventList:
    """Without those that are the only part of an event of the same name: that one takes their parts."""
    gone = set()
    for e in events:
        parent = e.cpu_parent
        if parent is not None and parent.name == e.name and len(parent.cpu_children) == 1:
            parent.cpu_children = e.cpu_children
            parent.kernels = e.kernels or parent.kernels
            parent.flops = parent.flops or e.flops
            for child in e.cpu_children:
                child.cpu_parent = parent
            gone.add(id(e))
    return EventList([e for e in events if id(e) not in gone], profile_memory=events.profile_memory, with_flops=events.with_flops)


# ---------------------------------------------------------------------------------------------------- the table
COLUMN = 12
_FLOPS = ("FLOPs", "KFLOPs", "MFLOPs", "GFLOPs", "TFLOPs", "PFLOPs")


def build_table(events: EventList, sort_by: str | None, row_limit: int, src_width: int | None, name_width: int | None,
                shapes_width: int | None, header: str | None, top_level_events_only: bool, time_unit: str | None) -> str:
    if not events:
        return ""
    if sort_by is not None:
        key = sort_by.replace("cuda", "device").replace("xpu", "device")
        if not hasattr(events[0], key):
            raise ValueError(f"sort_by: events have no {sort_by!r}; one of cpu_time_total, self_cpu_time_total, cpu_time, "
                             "cpu_memory_usage, self_cpu_memory_usage, flops, count")
        rows = sorted(events, key=lambda e: getattr(e, key), reverse=True)
    else:
        rows = list(events)
    limit = name_width
    name_width = min(max(len(e.key) for e in events) + 4, name_width or math.inf)
    shapes_width = min(max(len(str(e.input_shapes)) for e in events) + 4, shapes_width or math.inf)
    stacks = [e.stack for e in events if e.stack]
    flops = [e.flops for e in events if e.flops > 0] if events.with_flops else []
    columns = [("Name", name_width, ">")]
    columns += [(title, COLUMN, ">") for title in ("Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg")]
    if events.profile_memory:
        columns += [("CPU Mem", COLUMN, ">"), ("Self CPU Mem", COLUMN, ">")]
    columns.append(("# of Calls", COLUMN, ">"))
    shapes = any(e.input_shapes for e in events)
    if shapes:
        columns.append(("Input Shapes", shapes_width, ">"))
    if stacks:
        src_width = min(max(len(line) for stack in stacks for line in stack) + 4, src_width or math.inf)
        columns.append(("Source Location", src_width, "<"))
    if flops:
        power = int(max(0, min(math.log10(min(flops)) / 3, len(_FLOPS) - 1)))
        columns.append((f"Total {_FLOPS[power]}", COLUMN, ">"))
    form = "".join([f"{{: {direction}{width}}}  " for _, width, direction in columns])
    rule = "".join(["-" * width + "  " for _, width, _ in columns])
    length = sum([width + 2 for _, width, _ in columns]) - 2
    total = sum([e.self_cpu_time_total for e in rows])
    unit = {"s": 1e6, "ms": 1e3, "us": 1.0}.get(time_unit or "")

    def time(us: float) -> str:
        return format_time(us) if unit is None else f"{us / unit:.3f}{time_unit}"

    def cut(line: str) -> str:
        return line if len(line) <= src_width else "..." + line[len(line) - src_width + 3:]

    out = ["=" * length, header] if header is not None else []
    if top_level_events_only:
        out += ["=" * length, "This report only display top-level ops statistics"]
    out += [rule, form.format(*[title for title, _, _ in columns]), rule]
    shown = 0
    for e in rows:
        if shown == row_limit:
            break
        if top_level_events_only and e.cpu_parent is not None:
            continue
        shown += 1
        name = e.key if limit is None or len(e.key) < limit - 3 else e.key[:limit - 3] + "..."
        cells = [name, format_share(e.self_cpu_time_total, total), time(e.self_cpu_time_total), format_share(e.cpu_time_total, total),
                 time(e.cpu_time_total), time(e.cpu_time)]
        if events.profile_memory:
            cells += [format_memory(e.cpu_memory_usage), format_memory(e.self_cpu_memory_usage)]
        cells.append(e.count)
        if shapes:
            cells.append(str(e.input_shapes)[:shapes_width])
        if stacks:
            cells.append(cut(e.stack[0]) if e.stack else "")
        if flops:
            cells.append(f"{e.flops / 10 ** (3 * power):8.3f}" if e.flops > 0 else "--")
        out.append(form.format(*cells))
        if stacks:
            at = len(columns) - 1 - bool(flops)
            for line in [*e.stack[1:], ""]:
                out.append(form.format(*[cut(line) if k == at else "" for k in range(len(columns))]))
    out += [rule, f"Self CPU time total: {time(total)}"]
    return "\n".join(out) + "\n"
