"""The mutation matrix: a compiled function is called, one fact that it relied on is changed, and it is called again.

Each case is (what is there, the function's result as an expression of `x`, the change). It is run twice from the beginning, in two
namespaces of their own: plainly, and compiled. Every call must give the same: values, dtype, shape, strides, requires_grad. The plain
run must show a difference (or the case shows nothing), unless the change is marked with a leading "=".
"""
from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import pellucid
from pellucid.compiler import standing
from pellucid.ops import dispatch

pytestmark = pytest.mark.filterwarnings("ignore:.*runs uncompiled")
_spec = importlib.util.spec_from_file_location("soundness_cases", Path(__file__).with_name("soundness_cases.py"))
further = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(further)

PRELUDE = """
import collections, dataclasses, enum, functools, math, types, warnings
import numpy as np
import pellucid
from pellucid import nn
from pellucid.nn import functional as F

class Base:
    bias = 1
    def inherited(self):
        return 1

class Thing(Base):
    scale = 2
    things = [1, 2]
    def __init__(self, k=3):
        self.k, self.items, self.table, self.w = k, [1, 2], {"a": 1, "b": [5, 6]}, pellucid.ones(3)
    def method(self, x):
        return x * self.k
    def parent(self):
        return super().inherited()
    @property
    def prop(self):
        return self.k
    @staticmethod
    def static():
        return 1
    @classmethod
    def cls(cls):
        return cls.scale
    def __call__(self, x):
        return x + self.k
    def __len__(self):
        return self.k
    def __getitem__(self, i):
        return self.items[i]

class Slotted:
    __slots__ = ("k", "__weakref__")

class Dynamic:
    def __getattr__(self, name):
        return 7

@dataclasses.dataclass
class Data:
    k: float = 2.0
    names: list = dataclasses.field(default_factory=list)

Point = collections.namedtuple("Point", "a b")

class Colour(enum.Enum):
    RED = 2
    BLUE = 3

class Plain(nn.Module):
    factor = 1
    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(pellucid.ones(3))
        self.register_buffer("buf", pellucid.ones(3))
        self.k, self.list, self.table, self.act = 2, [1, 2], {"a": 1}, F.relu
    def forward(self, x):
        return self.act(x * self.p + self.buf) * self.k * sum(self.list) * self.table["a"] * self.factor + self.training

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin, self.norm, self.drop = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Tanh()])
        self.named = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.ReLU()})
        self.scales = nn.ParameterList([nn.Parameter(pellucid.ones(3)), nn.Parameter(pellucid.ones(3) * 2)])
        self.plain = Plain()
    def forward(self, x):
        x = self.drop(self.norm(self.lin(x)))
        for layer in self.layers:
            x = layer(x)
        for name, layer in self.named.items():
            x = layer(x)
        for s in self.scales:
            x = x * s
        return self.plain(x)

def sequential():
    return nn.Sequential(collections.OrderedDict(
        lin=nn.Linear(3, 3), norm=nn.BatchNorm1d(3), drop=nn.Dropout(0.5), inner=nn.Sequential(nn.Linear(3, 3), nn.Tanh()), soft=nn.Softmax(1)))

def twice(m, i, o):
    return o * 2

def halve(m, i):
    return i[0] / 2

class Double(nn.Module):
    def forward(self, w):
        return w * 2

x = pellucid.arange(12.0).reshape(4, 3) / 7 - 0.5
"""
PRELUDE_CODE = compile(PRELUDE, "<prelude>", "exec", dont_inherit=True)


def run(source: str, space: dict) -> None:
    """Execute, without this file's __future__."""
    exec(compile(source, "<case>", "exec", dont_inherit=True), space)


def space_of(setup: str, body: str | None) -> dict:
    """A namespace with the case in it."""
    space = {"__name__": "case"}
    pellucid.manual_seed(0)
    exec(PRELUDE_CODE, space)
    run(setup, space)
    if body is not None:
        run(f"def f(x):\n    return {body}", space)
    return space


def shown(r) -> object:
    """All that can be seen of a result."""
    if isinstance(r, pellucid.Tensor):
        a = r.detach()
        values = (a if a.is_complex() else a.double()).numpy().tolist()
        return type(r).__name__, str(r.dtype), tuple(r.shape), r.stride(), r.requires_grad, r.is_inference(), values
    if isinstance(r, (tuple, list)):
        return [shown(v) for v in r]
    if isinstance(r, dict):
        return {k: shown(v) for k, v in r.items()}
    return r


def outcome(call, *args) -> object:
    """What a call gives, or raises."""
    pellucid.manual_seed(1)
    try:
        return shown(call(*args))
    except Exception as error:
        return type(error).__name__, re.sub(r"\n  at: .*", "", str(error))


def story(case, compiled: bool) -> list:
    """What the calls before and after the change give; each twice, that entries are used, too."""
    setup, body, *changes = case
    space = space_of(setup, body)
    call = space["f"] if body is not None or "f" in space else space["net"]
    if compiled:
        call = pellucid.compile(call, backend="eager")
    found = [outcome(call, space["x"]), outcome(call, space["x"])]
    if compiled:
        state = getattr(call, "_compiled", call)
        assert 1 <= state.compiles <= 2 and state.gave_up is None, (state.compiles, state.gave_up)
    for change in changes:
        run(change.lstrip("="), space)
        found += [outcome(call, space["x"]), outcome(call, space["x"])]
    return found


THREADS = pellucid.get_num_threads()


def reset() -> None:
    """Put back the modes that a case changes."""
    pellucid.set_grad_enabled(True)
    pellucid.set_num_threads(THREADS)
    pellucid.set_default_dtype(pellucid.float32)
    pellucid.use_deterministic_algorithms(False)
    for hooks in (*pellucid.nn.modules.module.GLOBAL_HOOKS, *pellucid.optim.optimizer.STEP_HOOKS):
        hooks.clear()


@pytest.fixture(autouse=True)
def modes(monkeypatch):
    monkeypatch.setattr(standing, "FEWEST", 1)          # words in memory stand for whatever guards they can
    yield
    reset()


def check(case) -> None:
    plain = story(case, False)
    reset()
    assert any(change.startswith("=") for change in case[2:]) or plain[1] != plain[2], "the change shows nothing"
    compare(story(case, True), plain)


def compare(ours: list, plain: list) -> None:
    for k, (a, b) in enumerate(zip(ours, plain, strict=True)):
        if not same(a, b):
            pytest.fail(f"call {k + 1}: compiled {brief(a)}, plainly {brief(b)}", pytrace=False)


def brief(x) -> str:
    text = repr(x)
    return text if len(text) < 160 else f"{text[:120]} ... {text[-36:]}"


def same(a, b) -> bool:
    """Equal, floats up to rounding of float32."""
    if isinstance(a, complex) and isinstance(b, complex):
        return bool(np.isclose(a, b))
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=2e-5, atol=2e-6, equal_nan=True)) and (a != 0 or b != 0 or str(a) == str(b))
    if isinstance(a, (list, tuple)) and type(a) is type(b):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, str) and isinstance(b, str):
        return re.sub("0x[0-9a-f]+", "", a) == re.sub("0x[0-9a-f]+", "", b)
    return type(a) is type(b) and a == b


def cases(table: dict) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=name.replace(" ", "-")) for name, case in table.items()])


# ---------------------------------------------------------------------------------------------------- names
NAMES = {
    # globals
    "global int": ("k = 2", "x * k", "k = 3"),
    "global float": ("k = 2.0", "x * k", "k = 3.0", "k = 4.0", "k = 2.0"),
    "global int to float": ("k = 2", "x.long() * k", "k = 2.0"),
    "global int to bool": ("k = 1", "x.bool() * k", "k = True"),
    "global zero's sign": ("k = 0.0", "x / k", "k = -0.0"),
    "global to nan": ("k = 1.0", "x * k", "k = math.nan", "k = 1.0"),
    "global from nan": ("k = math.nan", "x * k", "k = 1.0"),
    "global string": ("k = 'sum'", "getattr(x, k)()", "k = 'mean'"),
    "global None": ("k = None", "x if k is None else x * k", "k = 2"),
    "global tuple": ("k = (1, 2)", "x * k[1]", "k = (1, 3)"),
    "global tuple of floats and ints": ("k = (1, 2)", "x.long() * k[1]", "k = (1, 2.0)"),
    "global nested tuple": ("k = (1, (2, 3))", "x * k[1][1]", "k = (1, (2, 4))"),
    "global tuple of tensors": ("k = (pellucid.ones(3), pellucid.ones(3))", "x * k[1]", "k = (k[0], k[0] * 2)"),
    "global complex": ("k = 1j", "x * k", "k = 2j"),
    "global range": ("k = range(3)", "x * sum(k)", "k = range(4)"),
    "global slice": ("k = slice(0, 2)", "x[k]", "k = slice(1, 3)"),
    "global ellipsis": ("k = ...", "x[k]", "k = 0"),
    "global dtype": ("k = pellucid.float64", "x.to(k)", "k = pellucid.float16"),
    "global device": ("k = 'cpu'", "pellucid.zeros(2, device=k) + x[0, 0]", "k = pellucid.device('meta')"),
    "global bytes": ("k = b'ab'", "x * len(k)", "k = b'abc'"),
    "global enum": ("k = Colour.RED", "x * k.value", "k = Colour.BLUE"),
    "global frozenset": ("k = frozenset((1, 2))", "x * (2 in k)", "k = frozenset((1, 3))"),
    "global deleted": ("k = 2", "x * k", "del k"),
    "global deleted, a builtin behind it": ("abs = lambda v: v * 0", "abs(x)", "del abs"),
    "global hides a builtin": ("", "abs(x)", "abs = lambda v: v * 0"),
    "global hides a builtin that is a class": ("", "x * len(list(range(3)))", "list = lambda r: [1]"),
    "global appears": ("", "x * k if 'k' in globals() else x", "k = 3"),
    "global function": ("g = lambda v: v * 2", "g(x)", "g = lambda v: v * 3"),
    "global function's code": ("def g(v): return v * 2\ndef h(v): return v * 3", "g(x)", "g.__code__ = h.__code__"),
    "global function's attribute": ("def g(): pass\ng.k = 2", "x * g.k", "g.k = 3"),
    "global function's attribute appears": ("def g(): pass", "x * getattr(g, 'k', 1)", "g.k = 3"),
    "global builtin": ("g = max", "x * g(2, 3)", "g = min"),
    "global class": ("G = Thing", "x * G.scale", "class G: scale = 5"),
    "global instance": ("k = Thing(3)", "x * k.k", "k = Thing(4)"),
    "global instance of another class": ("k = Thing(3)", "k.method(x)", "class T(Thing):\n    def method(self, x): return x * 9\nk = T(3)"),
    "class of an instance": ("k = Thing(3)", "k.method(x)", "class T(Thing):\n    def method(self, x): return x * 9\nk.__class__ = T"),
    "global tensor": ("k = pellucid.ones(3)", "x * k", "k = pellucid.ones(3) * 2"),
    "global tensor written": ("k = pellucid.ones(3)", "x * k", "k.mul_(5)"),
    "global tensor of another dtype": ("k = pellucid.ones(3)", "x * k", "k = k.double()"),
    "global tensor of another shape": ("k = pellucid.ones(3)", "x * k", "k = pellucid.ones(4, 3) * 2"),
    "global tensor, the same values": ("k = pellucid.ones(3)", "x * k", "=k = pellucid.ones(3)", "k.mul_(3)"),
    "global tensor's data": ("k = pellucid.ones(3)", "x * k", "k.data = pellucid.ones(4, 3).double() * 2"),
    "global tensor's data, same geometry": ("k = pellucid.ones(3)", "x * k", "k.data = pellucid.ones(3) * 2"),
    "global tensor resized": ("k = pellucid.ones(3)", "(x * k, k.shape[0])", "k.resize_(1)"),
    "global tensor set_": ("k = pellucid.ones(3)", "x * k", "k.set_(pellucid.ones(1) * 4)"),
    "global tensor transposed in place": ("k = pellucid.arange(9.0).reshape(3, 3)", "k.clone()", "k.t_()"),
    "global tensor's requires_grad": ("k = pellucid.ones(3)", "x * k", "k.requires_grad_()"),
    "global tensor's attribute": ("k = pellucid.ones(3); k.mine = 2", "x * k.mine", "k.mine = 3"),
    "global tensor's grad": ("k = pellucid.ones(3, requires_grad=True)", "x if k.grad is None else x + k.grad", "k.grad = pellucid.ones(3)",
                             "k.grad = pellucid.ones(3) * 2", "k.grad = None"),
    "global array": ("k = np.ones(3, np.float32)", "x * pellucid.from_numpy(k * 1)", "k = k * 2"),
    "global array written": ("k = np.ones(3, np.float32)", "x * float(k.sum())", "k[0] = 7"),
    "global array's dtype": ("k = np.ones(3, np.float32)", "x * k.itemsize", "k = k.astype(np.float64)"),
    "global NumPy number": ("k = np.float32(2)", "x * float(k)", "k = np.float32(3)"),
    "global NumPy number's type": ("k = np.float32(2)", "x * k.itemsize", "k = np.float64(2)"),
    "global set by a function": ("k = 2\ndef change():\n    global k\n    k = 3", "x * k", "change()"),
    "global of another module": ("other = types.ModuleType('other'); other.k = 2", "x * other.k", "other.k = 3"),
    "function of another module": ("other = types.ModuleType('other'); exec('k = 2\\ndef g(v): return v * k', vars(other))", "other.g(x)", "other.k = 3"),
    "global partial": ("g = functools.partial(pellucid.mul, other=2)", "g(x)", "g = functools.partial(pellucid.mul, other=3)"),
    "keywords of a partial": ("g = functools.partial(pellucid.mul, other=2)", "g(x)", "g.keywords['other'] = 3"),
    "cached function": ("n = 2\n@functools.lru_cache\ndef g(): return n", "x * g()", "=n = 3", "g.cache_clear()"),
    "bound method": ("k = Thing(); g = k.method", "g(x)", "k.k = 8"),
    "bound method of another": ("g = Thing().method", "g(x)", "g = Thing(9).method"),
    "bound method of a list": ("l = [1]; g = l.count", "x * g(1)", "l.append(1)"),
    # closures
    "closure": ("def make(k):\n    def f(x): return x * k\n    def put(v):\n        nonlocal k\n        k = v\n    return f, put\nf, put = make(2)", None, "put(3)"),
    "closure float": ("def make(k):\n    def f(x): return x * k\n    def put(v):\n        nonlocal k\n        k = v\n    return f, put\nf, put = make(2.0)", None, "put(3.0)", "put(4.0)"),
    "closure list": ("def make(k):\n    def f(x): return x * k[0]\n    return f\nl = [2]; f = make(l)", None, "l[0] = 3"),
    "closure tensor": ("def make(k):\n    def f(x): return x * k\n    def put(v):\n        nonlocal k\n        k = v\n    return f, put\nf, put = make(pellucid.ones(3))", None, "put(pellucid.ones(3) * 2)"),
    "closure function": ("def make(g):\n    def f(x): return g(x)\n    def put(v):\n        nonlocal g\n        g = v\n    return f, put\nf, put = make(F.relu)", None, "put(F.sigmoid)"),
    "closure cell": ("def make(k):\n    def f(x): return x * k\n    return f\nf = make(2)", None, "f.__closure__[0].cell_contents = 3"),
    "closure cell emptied": ("def make(k):\n    def f(x): return x * k\n    return f\nf = make(2)", None, "del f.__closure__[0].cell_contents"),
    "closure of a called function": ("def make(k):\n    def g(x): return x * k\n    return g\ng = make(2)", "g(x)", "g.__closure__[0].cell_contents = 3"),
    "closure of a replaced function": ("def make(k):\n    def g(x): return x * k\n    return g\ng = make(2)", "g(x)", "g = make(3)"),
    "closure two levels up": ("def make(k):\n    def mid():\n        def f(x): return x * k\n        return f\n    def put(v):\n        nonlocal k\n        k = v\n    return mid(), put\nf, put = make(2)", None, "put(3)"),
    # defaults
    "defaults": ("def f(x, k=2): return x * k", None, "f.__defaults__ = (3,)"),
    "defaults of a called function": ("def g(x, k=2): return x * k", "g(x)", "g.__defaults__ = (3,)"),
    "defaults removed": ("def g(x, k=2): return x * k", "g(x)", "g.__defaults__ = None"),
    "mutable default": ("def f(x, k=[2]): return x * k[0]", None, "f.__defaults__[0][0] = 3"),
    "mutable default of a called function": ("def g(x, k={'a': 2}): return x * k['a']", "g(x)", "g.__defaults__[0]['a'] = 3"),
    "tensor default": ("def f(x, k=pellucid.ones(3)): return x * k", None, "f.__defaults__ = (pellucid.ones(3) * 2,)"),
    "keyword defaults": ("def f(x, *, k=2): return x * k", None, "f.__kwdefaults__['k'] = 3"),
    "keyword defaults replaced": ("def f(x, *, k=2): return x * k", None, "f.__kwdefaults__ = {'k': 3}"),
    "keyword defaults of a called function": ("def g(x, *, k=2): return x * k", "g(x)", "g.__kwdefaults__['k'] = 3"),
    "mutable keyword default": ("def g(x, *, k=[2]): return x * k[0]", "g(x)", "g.__kwdefaults__['k'].insert(0, 3)"),
    "code": ("def f(x): return x * 2\ndef g(x): return x * 3", None, "f.__code__ = g.__code__"),
    "defaults of a method": ("class T:\n    def m(self, x, k=2): return x * k\nt = T()", "t.m(x)", "T.m.__defaults__ = (3,)"),
    "defaults of a lambda in a list": ("l = [lambda v, k=2: v * k]", "l[0](x)", "l[0].__defaults__ = (3,)"),
}


@cases(NAMES)
def test_names(case):
    check(case)


# ---------------------------------------------------------------------------------------------------- objects
T = "t = Thing()"
OBJECTS = {
    "attribute": (T, "x * t.k", "t.k = 4"),
    "attribute's type": (T, "x.long() * t.k", "t.k = 3.0"),
    "attribute deleted": (T, "x * t.k", "del t.k"),
    "attribute through __dict__": (T, "x * t.k", "t.__dict__['k'] = 4"),
    "__dict__ updated": (T, "x * t.k", "t.__dict__.update(k=4)"),
    "__dict__ replaced": (T, "x * t.k", "t.__dict__ = dict(t.__dict__, k=4)"),
    "vars()": (T, "x * vars(t)['k']", "t.k = 4"),
    "attribute of an attribute": (T + "; t.u = Thing()", "x * t.u.k", "t.u.k = 4"),
    "attribute's object replaced": (T + "; t.u = Thing()", "x * t.u.k", "t.u = Thing(5)"),
    "attribute three deep": (T + "; t.u = Thing(); t.u.v = Thing()", "x * t.u.v.k", "t.u.v.k = 5"),
    "attribute tensor": (T, "x * t.w", "t.w = pellucid.ones(3) * 2"),
    "attribute tensor to a number": (T, "x * t.w", "t.w = 5"),
    "attribute list": (T, "x * t.items[0]", "t.items[0] = 7"),
    "attribute list replaced": (T, "x * t.items[0]", "t.items = [7, 2]"),
    "attribute dict": (T, "x * t.table['a']", "t.table['a'] = 7"),
    "attribute dict's list": (T, "x * sum(t.table['b'])", "t.table['b'].append(7)"),
    "attribute appears over a class's": (T, "x * t.scale", "t.scale = 7"),
    "attribute appears over a base class's": (T, "x * t.bias", "t.bias = 7"),
    "attribute disappears from over a class's": (T + "; t.scale = 7", "x * t.scale", "del t.scale"),
    "hasattr appears": (T, "x * (2 if hasattr(t, 'new') else 1)", "t.new = 1"),
    "hasattr disappears": (T, "x * (2 if hasattr(t, 'k') else 1)", "del t.k"),
    "hasattr of a class": (T, "x * (2 if hasattr(Thing, 'new') else 1)", "Thing.new = 1"),
    "hasattr through the class": (T, "x * (2 if hasattr(t, 'new') else 1)", "Thing.new = 1"),
    "getattr with default": (T, "x * getattr(t, 'new', 1)", "t.new = 5"),
    "getattr with default, class": (T, "x * getattr(t, 'new', 1)", "Base.new = 5"),
    "AttributeError caught": (T + "\ndef g():\n    try:\n        return t.new\n    except AttributeError:\n        return 1", "x * g()", "t.new = 5"),
    "class attribute": (T, "x * t.scale", "Thing.scale = 7"),
    "class attribute, by the class": (T, "x * Thing.scale", "Thing.scale = 7"),
    "class attribute of the base": (T, "x * t.bias", "Base.bias = 7"),
    "class attribute of the base, by the class": (T, "x * Thing.bias", "Base.bias = 7"),
    "class attribute appears over a base's": (T, "x * t.bias", "Thing.bias = 7"),
    "class attribute appears over a base's, by the class": (T, "x * Thing.bias", "Thing.bias = 7"),
    "class attribute deleted": (T + "; Thing.bias = 7", "x * t.bias", "del Thing.bias"),
    "class list": (T, "x * t.things[0]", "Thing.things[0] = 7"),
    "class list, by the class": (T, "x * sum(Thing.things)", "Thing.things.append(7)"),
    "class tensor": (T + "; Thing.w2 = pellucid.ones(3)", "x * t.w2", "Thing.w2 = pellucid.ones(3) * 2"),
    "method replaced on the class": (T, "t.method(x)", "Thing.method = lambda self, v: v * 11"),
    "method replaced on the base": (T, "x * t.inherited()", "Base.inherited = lambda self: 11"),
    "method appears on the class": (T, "x * t.inherited()", "Thing.inherited = lambda self: 11"),
    "method replaced on the instance": (T, "t.method(x)", "t.method = lambda v: v * 11"),
    "method replaced on the instance, bound": (T, "t.method(x)", "t.method = types.MethodType(lambda self, v: v * 11 * self.k, t)"),
    "method's default": (T + "\nThing.method = lambda self, v, k=2: v * k", "t.method(x)", "Thing.method.__defaults__ = (5,)"),
    "method's code": (T + "\ndef other(self, x): return x * 11", "t.method(x)", "Thing.method.__code__ = other.__code__"),
    "super()": (T, "x * t.parent()", "Base.inherited = lambda self: 11"),
    "bases": (T + "\nclass Other:\n    def inherited(self): return 12", "x * t.inherited()", "Thing.__bases__ = (Other,)"),
    "property's value": (T, "x * t.prop", "t.k = 11"),
    "property replaced": (T, "x * t.prop", "Thing.prop = property(lambda self: 11)"),
    "property becomes a value": (T, "x * t.prop", "Thing.prop = 11"),
    "class value becomes a property": (T, "x * t.scale", "Thing.scale = property(lambda self: 11)"),
    "attribute hidden by a new property": (T, "x * t.k", "Thing.k = property(lambda self: 11)"),
    "static method": (T, "x * t.static()", "Thing.static = staticmethod(lambda: 11)"),
    "static method, by the class": (T, "x * Thing.static()", "Thing.static = staticmethod(lambda: 11)"),
    "class method": (T, "x * t.cls()", "Thing.cls = classmethod(lambda cls: 11)"),
    "class method's class attribute": (T, "x * t.cls()", "Thing.scale = 11"),
    "class method, by the class": (T, "x * Thing.cls()", "Thing.scale = 11"),
    "__call__ replaced": (T, "t(x)", "Thing.__call__ = lambda self, v: v * 11"),
    "__call__'s attribute": (T, "t(x)", "t.k = 11"),
    "__len__ replaced": (T, "x * len(t)", "Thing.__len__ = lambda self: 11"),
    "__len__'s attribute": (T, "x * len(t)", "t.k = 11"),
    "__getitem__'s attribute": (T, "x * t[0]", "t.items[0] = 11"),
    "__bool__ by __len__": (T, "x if t else x * 2", "t.k = 0"),
    "__bool__ appears": (T, "x if t else x * 2", "Thing.__bool__ = lambda self: False"),
    "__add__ replaced": (T + "\nThing.__mul__ = lambda self, v: v * self.k", "t * x", "Thing.__mul__ = lambda self, v: v * 11"),
    "__eq__ replaced": (T, "x if t == 3 else x * 2", "Thing.__eq__ = lambda self, o: self.k == o"),
    "__contains__ appears": (T, "x if 2 in t else x * 2", "Thing.__contains__ = lambda self, o: False"),
    "__iter__ appears": (T, "x * sum(v for v in t)", "Thing.__iter__ = lambda self: iter((9, 9))"),
    "__enter__ replaced": ("class C:\n    def __enter__(self): return 2\n    def __exit__(self, *a): pass\nc = C()\ndef g(x):\n    with c as k:\n        return x * k",
                           "g(x)", "C.__enter__ = lambda self: 9"),
    "__getattr__": ("t = Dynamic()", "x * t.any", "t.any = 8"),
    "__getattr__ replaced": ("t = Dynamic()", "x * t.any", "Dynamic.__getattr__ = lambda self, name: 9"),
    "__getattr__ appears": (T, "x * getattr(t, 'new', 2)", "Thing.__getattr__ = lambda self, name: 9"),
    "__getattribute__ appears": (T, "x * t.k", "Thing.__getattribute__ = lambda self, name: 9"),
    "__setattr__ appears": (T + "\ndef g(x):\n    t.k = 5\n    return x * t.k", "g(x)", "Thing.__setattr__ = lambda self, name, v: object.__setattr__(self, name, 9)"),
    "__init__ replaced": (T, "x * Thing(3).k", "def init(self, k): self.k = 9\nThing.__init__ = init"),
    "__new__ appears": (T, "x * Thing(3).k", "Thing.__new__ = staticmethod(lambda cls, k: Slotted())"),
    "descriptor replaced": ("class D:\n    def __get__(self, o, c): return 2\nclass O: d = D()\no = O()", "x * o.d", "D.__get__ = lambda self, o, c: 9"),
    "descriptor's state": ("class D:\n    k = 2\n    def __get__(self, o, c): return self.k\nclass O: d = D()\no = O()", "x * o.d", "vars(O)['d'].k = 9"),
    "isinstance": (T, "x if isinstance(t, Base) else x * 2", "t.__class__ = type('Other', (), {})"),
    "type()": (T, "x if type(t) is Thing else x * 2", "class T2(Thing): pass\nt.__class__ = T2"),
    "type's name": (T, "x * len(type(t).__name__)", "Thing.__name__ = 'Longer name'"),
    "slot": ("t = Slotted(); t.k = 2", "x * t.k", "t.k = 3"),
    "slot emptied": ("t = Slotted(); t.k = 2", "x * t.k", "del t.k"),
    "slot filled": ("t = Slotted()", "x * getattr(t, 'k', 1)", "t.k = 3"),
    "dataclass field": ("t = Data()", "x * t.k", "t.k = 3.0", "t.k = 4.0"),
    "dataclass list": ("t = Data(names=[1])", "x * len(t.names)", "t.names.append(2)"),
    "dataclass made inside": ("", "x * Data().k", "Data.__init__.__defaults__ = (5.0, Data.__init__.__defaults__[1])"),
    "dataclass class attribute": ("t = Data()", "x * Data.k", "Data.k = 5.0"),
    "named tuple": ("t = Point(1, 2)", "x * t.b", "t = Point(1, 3)"),
    "named tuple of tensors": ("t = Point(x, x + 1)", "x * t.b", "t = Point(x, x)"),
    "simple namespace": ("t = types.SimpleNamespace(k=2)", "x * t.k", "t.k = 3"),
    "identity": ("a = Thing(); b = a", "x if a is b else x * 2", "b = Thing()"),
    "identity the other way": ("a = Thing(); b = Thing()", "x if a is b else x * 2", "b = a"),
    "identity of lists": ("a = [1]; b = [1]", "x if a is b else x * 2", "b = a"),
    "identity of tensors": ("a = pellucid.ones(3); b = pellucid.ones(3)", "x if a is b else x * 2", "b = a"),
    "identity of attributes": ("a = Thing(); a.u = a.v = Thing()", "x if a.u is a.v else x * 2", "a.v = Thing()"),
    "identity with None": (T + "; t.u = None", "x if t.u is None else x * 2", "t.u = Thing()"),
    "callable": (T, "x if callable(t) else x * 2", "del Thing.__call__"),
    "class of a module": ("net = Plain()", "net(x)", "class Other(Plain):\n    def forward(self, x): return x * 9\nnet.__class__ = Other"),
    "compiled method": (T + "; f = t.method", None, "t.k = 5"),
    "compiled callable": ("f = Thing()", None, "f.k = 5"),
    "compiled method replaced": (T + "\nf = t.method", None, "=Thing.method = lambda self, v: v * 9"),
    "compiled partial": ("f = functools.partial(pellucid.mul, other=2)", None, "f.keywords['other'] = 3"),
}


@cases(OBJECTS)
def test_objects(case):
    check(case)


# ---------------------------------------------------------------------------------------------------- containers
CONTAINERS = {
    "list item": ("l = [1, 2]", "x * l[1]", "l[1] = 3"),
    "list item's type": ("l = [1, 2]", "x.long() * l[1]", "l[1] = 2.0"),
    "list append, sum": ("l = [1, 2]", "x * sum(l)", "l.append(3)"),
    "list append, len": ("l = [1, 2]", "x * len(l)", "l.append(3)"),
    "list append, last": ("l = [1, 2]", "x * l[-1]", "l.append(3)"),
    "list append, loop": ("l = [1, 2]\ndef g(x):\n    for v in l:\n        x = x * (v + 1)\n    return x", "g(x)", "l.append(3)"),
    "list pop": ("l = [1, 2]", "x * sum(l)", "l.pop()"),
    "list emptied, truth": ("l = [1, 2]", "x if l else x * 2", "l.clear()"),
    "list inserted": ("l = [1, 2]", "x * l[0]", "l.insert(0, 5)"),
    "list reversed": ("l = [1, 2]", "x * l[0]", "l.reverse()"),
    "list sorted": ("l = [2, 1]", "x * l[0]", "l.sort()"),
    "list slice": ("l = [1, 2, 3]", "x * sum(l[1:])", "l[2] = 9"),
    "list slice assigned": ("l = [1, 2, 3]", "x * l[1]", "l[1:2] = [7, 8]"),
    "list in": ("l = [1, 2]", "x if 2 in l else x * 2", "l[1] = 3"),
    "list index": ("l = [1, 2]", "x * l.index(2)", "l.insert(0, 0)"),
    "list comprehension": ("l = [1, 2]", "x * max([v * 2 for v in l])", "l[0] = 9"),
    "list generator": ("l = [1, 2]", "x * sum(v * 2 for v in l)", "l[0] = 9"),
    "list unpacked": ("l = [1, 2]\ndef g(x):\n    a, b = l\n    return x * a * b", "g(x)", "l[0] = 9"),
    "list starred": ("l = [1, 2]", "x * max(*l)", "l[0] = 9"),
    "list equality": ("l = [1, 2]", "x if l == [1, 2] else x * 2", "l[0] = 9"),
    "list nested": ("l = [1, [2, [3]]]", "x * l[1][1][0]", "l[1][1][0] = 9"),
    "list nested replaced": ("l = [1, [2, [3]]]", "x * l[1][1][0]", "l[1] = [2, [9]]"),
    "list of tensors": ("l = [pellucid.ones(3)]", "x * l[0]", "l[0] = pellucid.ones(3) * 2"),
    "list of tensors appended": ("l = [pellucid.ones(3)]", "x * pellucid.stack(l).sum(0)", "l.append(pellucid.ones(3))"),
    "list of objects": ("l = [Thing(), Thing(4)]", "x * l[1].k", "l[1].k = 9"),
    "list of objects replaced": ("l = [Thing(), Thing(4)]", "x * l[1].k", "l[1] = Thing(8)"),
    "list of functions": ("l = [F.relu, F.tanh]", "l[0](x)", "l[0] = F.sigmoid"),
    "list's class": ("class L(list):\n    k = 2\nl = L([1])", "x * l.k", "L.k = 3"),
    "list subclass's item": ("class L(list): pass\nl = L([1])", "x * l[0]", "l[0] = 3"),
    "list subclass's method": ("class L(list):\n    def total(self): return sum(self)\nl = L([1])", "x * l.total()", "l.append(3)"),
    "list str": ("l = [1, 2]", "x * len(str(l))", "l[0] = 12345"),
    "list f-string": ("l = [1, 2]", "x * len(f'{l}')", "l[0] = 12345"),
    "list sorted()": ("l = [3, 1]", "x * sorted(l)[0]", "l[1] = 2"),
    "list zip": ("l = [1, 2]; m = [3, 4]", "x * sum(a * b for a, b in zip(l, m))", "m[0] = 9"),
    "list enumerate": ("l = [1, 2]", "x * sum(i * v for i, v in enumerate(l))", "l[1] = 9"),
    "list map": ("l = [1, 2]", "x * sum(map(lambda v: v * 2, l))", "l[1] = 9"),
    "list filter": ("l = [1, 2]", "x * sum(filter(lambda v: v > 1, l))", "l[0] = 9"),
    "list any": ("l = [0, 0]", "x if any(l) else x * 2", "l[0] = 9"),
    "list reduce": ("l = [1, 2]", "x * functools.reduce(lambda a, b: a * b, l)", "l[0] = 9"),
    "list max": ("l = [1, 2]", "x * max(l)", "l[0] = 9"),
    "list max with key": ("l = [1, -2]", "x * max(l, key=abs)", "l[0] = 9"),
    "list copy": ("l = [1, 2]", "x * l.copy()[0]", "l[0] = 9"),
    "list plus": ("l = [1, 2]", "x * sum(l + [1])", "l[0] = 9"),
    "list tuple()": ("l = [1, 2]", "x * tuple(l)[0]", "l[0] = 9"),
    "list as a shape": ("l = [3, 4]", "x.reshape(l)", "l[:] = [2, 6]"),
    "list passed to an operator": ("l = [0]", "x.sum(l)", "l[0] = 1"),
    "list as an index": ("l = [0, 1]", "x[l]", "l[0] = 2"),
    "list to a tensor": ("l = [1.0, 2.0, 3.0]", "x * pellucid.tensor(l)", "l[0] = 9.0"),
    "list nested to a tensor": ("l = [[1.0, 2.0, 3.0]]", "x * pellucid.tensor(l)", "l[0][0] = 9.0"),
    "tuple with a list": ("l = (1, [2])", "x * l[1][0]", "l[1][0] = 9"),
    "dict value": ("d = {'a': 1}", "x * d['a']", "d['a'] = 2"),
    "dict value's type": ("d = {'a': 1}", "x.long() * d['a']", "d['a'] = 1.0"),
    "dict key added, len": ("d = {'a': 1}", "x * len(d)", "d['b'] = 1"),
    "dict key added, in": ("d = {'a': 1}", "x if 'b' in d else x * 2", "d['b'] = 1"),
    "dict key added, not in": ("d = {'a': 1}", "x if 'b' not in d else x * 2", "d['b'] = 1"),
    "dict key added, get": ("d = {'a': 1}", "x * d.get('b', 5)", "d['b'] = 1"),
    "dict key added, get None": ("d = {'a': 1}", "x if d.get('b') is None else x * 2", "d['b'] = 1"),
    "dict key removed": ("d = {'a': 1}", "x * d['a']", "del d['a']"),
    "dict key removed, in": ("d = {'a': 1}", "x if 'a' in d else x * 2", "del d['a']"),
    "dict KeyError caught": ("d = {}\ndef g():\n    try:\n        return d['a']\n    except KeyError:\n        return 1", "x * g()", "d['a'] = 2"),
    "dict get": ("d = {'a': 1}", "x * d.get('a', 3)", "d['a'] = 2"),
    "dict setdefault": ("d = {'a': 1}", "x * d.setdefault('a', 3)", "d['a'] = 2"),
    "dict pop": ("d = {'a': 1}", "x * d.pop('a', 3)", "d['a'] = 2", "d['a'] = 5"),
    "dict order": ("d = {'a': 1, 'b': 2}", "x * next(iter(d.values()))", "d['a'] = d.pop('a')"),
    "dict items": ("d = {'a': 1, 'b': 2}", "x * sum(len(k) * v for k, v in d.items())", "d['b'] = 9"),
    "dict items, key renamed": ("d = {'a': 1, 'b': 2}", "x * sum(len(k) * v for k, v in d.items())", "d['long'] = d.pop('b')"),
    "dict values": ("d = {'a': 1, 'b': 2}", "x * sum(d.values())", "d['b'] = 9"),
    "dict keys": ("d = {'a': 1, 'b': 2}", "x * len(''.join(d.keys()))", "d['long'] = 9"),
    "dict comprehension": ("d = {'a': 1, 'b': 2}", "x * max({k: v * 2 for k, v in d.items()}.values())", "d['b'] = 9"),
    "dict unpacked": ("d = {'other': 2}", "pellucid.mul(x, **d)", "d['other'] = 3"),
    "dict merged": ("d = {'a': 2}", "x * (d | {'b': 1})['a']", "d['a'] = 3"),
    "dict equality": ("d = {'a': 2}", "x if d == {'a': 2} else x * 2", "d['a'] = 3"),
    "dict truth": ("d = {}", "x if d else x * 2", "d['a'] = 3"),
    "dict nested": ("d = {'a': {'b': [1]}}", "x * d['a']['b'][0]", "d['a']['b'][0] = 9"),
    "dict with tuple keys": ("d = {(1, 2): 3}", "x * d[1, 2]", "d[1, 2] = 9"),
    "dict with class keys": ("d = {Thing: 3}", "x * d[Thing]", "d[Thing] = 9"),
    "dict with enum keys": ("d = {Colour.RED: 3}", "x * d[Colour.RED]", "d[Colour.RED] = 9"),
    "dict with dtype keys": ("d = {pellucid.float32: 3}", "x * d[x.dtype]", "d[pellucid.float32] = 9"),
    "dict of tensors": ("d = {'a': pellucid.ones(3)}", "x * d['a']", "d['a'] = pellucid.ones(3) * 2"),
    "dict of functions": ("d = {'a': F.relu}", "d['a'](x)", "d['a'] = F.tanh"),
    "dict of objects": ("d = {'a': Thing()}", "x * d['a'].k", "d['a'].k = 9"),
    "defaultdict": ("d = collections.defaultdict(lambda: 2)", "x * d['a']", "d['a'] = 9"),
    "defaultdict's factory": ("d = collections.defaultdict(lambda: 2)", "x * d['b']", "del d['b']; d.default_factory = lambda: 3"),
    "ordered dict": ("d = collections.OrderedDict(a=1, b=2)", "x * next(iter(d.values()))", "d.move_to_end('a')"),
    "counter": ("d = collections.Counter('aab')", "x * d['a']", "d['a'] += 1"),
    "counter's missing key": ("d = collections.Counter('aab')", "x * (d['z'] + 1)", "d['z'] += 1"),
    "chain map": ("e = {'a': 1}; d = collections.ChainMap({}, e)", "x * d['a']", "e['a'] = 2"),
    "mapping proxy": ("e = {'a': 1}; d = types.MappingProxyType(e)", "x * d['a']", "e['a'] = 2"),
    "dict subclass": ("class D(dict): pass\nd = D(a=1)", "x * d['a']", "d['a'] = 2"),
    "dict subclass __missing__": ("class D(dict):\n    def __missing__(self, k): return 3\nd = D(a=1)", "x * d['b']", "D.__missing__ = lambda self, k: 4"),
    "dict subclass __getattr__": ("class D(dict):\n    __getattr__ = dict.__getitem__\nd = D(a=1)", "x * d.a", "d['a'] = 2"),
    "set in": ("s = {1, 2}", "x if 2 in s else x * 2", "s.discard(2)"),
    "set not in": ("s = {1, 2}", "x if 3 in s else x * 2", "s.add(3)"),
    "set sum": ("s = {1, 2}", "x * sum(s)", "s.add(3)"),
    "set len": ("s = {1, 2}", "x * len(s)", "s.add(3)"),
    "set truth": ("s = {1, 2}", "x if s else x * 2", "s.clear()"),
    "set union": ("s = {1, 2}", "x * len(s | {2, 5})", "s.add(3)"),
    "set subset": ("s = {1, 2}", "x if s <= {1, 2} else x * 2", "s.add(3)"),
    "set sorted": ("s = {1, 2}", "x * sorted(s)[0]", "s.add(0)"),
    "set of strings": ("s = {'a', 'b'}", "x * len(sorted(s)[0])", "s.add('Aaa')"),
    "set of one and True": ("s = {1}", "x.long() * next(iter(s))", "=s.clear(); s.add(True)"),
    "set of one and 1.0": ("s = {1}", "x.long() * next(iter(s))", "s.clear(); s.add(1.0)"),
    "set in a list": ("s = [{1, 2}]", "x * len(s[0])", "s[0].add(3)"),
    "frozen set in a list": ("s = [frozenset((1, 2))]", "x * len(s[0])", "s[0] = frozenset((1,))"),
    "deque append": ("q = collections.deque([1, 2])", "x * sum(q)", "q.append(3)"),
    "deque item": ("q = collections.deque([1, 2])", "x * q[0]", "q[0] = 3"),
    "deque rotated": ("q = collections.deque([1, 2])", "x * q[0]", "q.rotate(1)"),
    "deque popleft": ("q = collections.deque([1, 2])", "x * q[0]", "q.popleft()"),
    "deque len": ("q = collections.deque([1, 2])", "x * len(q)", "q.clear()"),
    "deque's maxlen": ("q = collections.deque([1, 2], 2)", "x * q.maxlen", "q = collections.deque([1, 2], 3)"),
    "deque full": ("q = collections.deque([1, 2], 2)", "x * q[-1]", "q.append(9)"),
    "deque of lists": ("q = collections.deque([[1], [2]])", "x * q[0][0]", "q[0][0] = 9"),
    "bytearray": ("b = bytearray(b'ab')", "x * b[0]", "b[0] = 1"),
    "range in a list": ("l = [range(2)]", "x * len(l[0])", "l[0] = range(3)"),
    "two names for one list": ("l = [1]; m = l", "x * l[0] + m[0]", "m = [5]"),
    "list that contains itself": ("l = [1]; l.append(l)", "x * l[1][1][0]", "l[0] = 4"),
    "dict in an attribute's list": ("t = Thing(); t.items.append({'a': [1]})", "x * t.items[2]['a'][0]", "t.items[2]['a'][0] = 9"),
    "list that a builtin adds up, again and again": ("l = [1.5, 2]", "x * sum(l)", "l[0] = 5.5", "l[0] = 9.5", "l[0] = 13.5"),
    "list that an operator joins, again and again": ("l = [k * pellucid.ones(4, 1) for k in range(2)]", "x + pellucid.cat(l, 1).sum()",
        "l[0] = 5 * pellucid.ones(4, 1)", "l[0] = 9 * pellucid.ones(4, 1)", "l[0] = 13 * pellucid.ones(4, 1)"),
    "dict's values, again and again": ("d = {'a': 1.5}", "x * max(d.values())", "d['a'] = 5.5", "d['a'] = 9.5", "d['a'] = 13.5"),
    "default, again and again": ("def g(x, k=2):\n    return x * k", "g(x)", "g.__defaults__ = (3,)", "g.__defaults__ = (4,)",
        "g.__defaults__ = (5,)"),
    "slice's end, again and again": ("s = slice(0, 2)", "x[s].sum()", "s = slice(0, 3)", "s = slice(0, 1)", "s = slice(0, 4)"),
    "list shared by objects": ("t = Thing(); u = Thing(); u.items = t.items", "x * (t.items[0] + u.items[0])", "u.items = [9, 9]"),
}


@cases(CONTAINERS)
def test_containers(case):
    check(case)


# ---------------------------------------------------------------------------------------------------- arguments
ARGUMENTS = {
    "dtype": ("", "x * 2", "x = x.double()", "x = x.half()", "x = x.long()", "x = x.bool()"),
    "dtype read": ("", "x * (2 if x.dtype == pellucid.float32 else 3)", "x = x.double()"),
    "shape": ("", "x.sum(0)", "x = x[:2]", "x = x[:1]", "x = x[:0]"),
    "shape read": ("", "x * x.shape[0]", "x = x[:2]", "x = x[:1]"),
    "shape in a branch": ("", "x * 2 if len(x) > 3 else x * 3", "x = x[:2]"),
    "numel": ("", "x * x.numel()", "x = x[:2]"),
    "rank": ("", "x.sum(-1)", "x = x[0]", "x = x[None]"),
    "rank zero": ("", "x * 2", "x = x[0, 0]"),
    "size one broadcast": ("w = pellucid.ones(4, 3)", "x + w", "x = x[:1]"),
    "strides": ("", "x * 2", "x = x.t().contiguous().t()"),
    "strides read": ("", "x * x.stride(0)", "x = x.t().contiguous().t()"),
    "contiguous read": ("", "x if x.is_contiguous() else x * 2", "x = x.t().contiguous().t()"),
    "strides of a view": ("", "x.t()", "x = pellucid.arange(24.0).reshape(4, 6)[:, ::2]"),
    "expanded": ("", "x + 1", "x = x[:1].expand(4, 3)"),
    "storage offset": ("", "x * (x.storage_offset() + 1)", "x = pellucid.arange(24.0).reshape(8, 3)[4:]"),
    "memory format": ("x = pellucid.ones(2, 3, 4, 5)", "x * 2", "x = x.contiguous(memory_format=pellucid.channels_last)"),
    "memory format read": ("x = pellucid.ones(2, 3, 4, 5)", "x if x.is_contiguous(memory_format=pellucid.channels_last) else x * 2",
                           "x = x.contiguous(memory_format=pellucid.channels_last)"),
    "requires_grad": ("", "x * 2", "x = x.clone().requires_grad_()"),
    "requires_grad in place": ("", "x * 2", "x.requires_grad_()"),
    "requires_grad read": ("", "x if x.requires_grad else x * 2", "x = x.clone().requires_grad_()"),
    "is_leaf read": ("x.requires_grad_()", "x * 2 if x.is_leaf else x * 3", "x = x * 1"),
    "grad_fn read": ("x.requires_grad_()", "x * 2 if x.grad_fn is None else x * 3", "x = x * 1"),
    "grad read": ("x.requires_grad_()", "x * 2 if x.grad is None else x * 3", "x.grad = pellucid.ones(4, 3)"),
    "retains_grad": ("x = x.requires_grad_() * 1", "x * 2 if x.retains_grad else x * 3", "x.retain_grad()"),
    "conjugate": ("x = x.cfloat() * 1j", "x * 2", "x = x.conj()"),
    "inference tensor": ("", "x * 2", "with pellucid.inference_mode():\n    x = x + 1"),
    "is_inference read": ("", "x * 2 if x.is_inference() else x * 3", "with pellucid.inference_mode():\n    x = x + 0"),
    "parameter": ("", "x * 2 if isinstance(x, nn.Parameter) else x * 3", "x = nn.Parameter(x)"),
    "tensor subclass": ("class S(pellucid.Tensor): pass", "x * 2", "x = x.as_subclass(S)"),
    "tensor to a number": ("", "x * 2", "x = 3", "x = 3.0", "x = True"),
    "number": ("x = 2; w = pellucid.ones(3)", "w * x", "x = 3", "x = 4", "x = 5.0", "x = True", "x = 2"),
    "number zero": ("x = 1; w = pellucid.ones(3)", "w if x else w * 2", "x = 0"),
    "number's sign": ("x = 0.0; w = pellucid.ones(3)", "w / x", "x = -0.0"),
    "number nan": ("x = math.nan; w = pellucid.ones(3)", "w * x", "x = 1.0", "x = math.nan"),
    "number infinite": ("x = 1.0; w = pellucid.ones(3)", "w * x", "x = math.inf", "x = -math.inf"),
    "number large": ("x = 1; w = pellucid.ones(3).long()", "w * x", "x = 2 ** 62", "x = 2 ** 60"),
    "number compared": ("x = 1; w = pellucid.ones(3)", "w * 2 if x > 2 else w * 3", "=x = 2", "x = 3", "x = 4"),
    "number as a size": ("x = 1; w = pellucid.ones(3)", "w.expand(x, 3)", "x = 2", "x = 3"),
    "number as an index": ("x = 1; w = pellucid.arange(5)", "w[x]", "x = 2", "x = 3"),
    "number in Python arithmetic": ("x = 1; w = pellucid.ones(3)", "w * (x % 3 + x // 2)", "x = 2", "x = 3", "x = 9"),
    "number returned": ("x = 1; w = pellucid.ones(3)", "(w, x + 1)", "x = 2", "x = 3", "x = 4.5"),
    "number in a text": ("x = 1; w = pellucid.ones(3)", "(w, f'{x}')", "x = 2", "x = 3", "x = 4.5"),
    "number's type returned": ("x = 1; w = pellucid.ones(3)", "(w, type(x).__name__)", "=x = 2", "x = 2.0", "x = True"),
    "number in range": ("x = 1; w = pellucid.ones(3)", "w * sum(i for i in range(x))", "x = 2", "x = 5"),
    "number in a key": ("x = 1; w = pellucid.ones(3); d = {1: 2, 2: 4, 3: 6}", "w * d[x]", "x = 2", "x = 3"),
    "number through math": ("x = 1.0; w = pellucid.ones(3)", "w * math.sin(x)", "x = 2.0", "x = 3.0"),
    "number rounded": ("x = 1.2; w = pellucid.ones(3)", "w * round(x) * int(x)", "x = 2.7", "x = 3.9"),
    "string": ("x = 'sum'; w = pellucid.ones(3)", "getattr(w, x)()", "x = 'mean'"),
    "None": ("w = pellucid.ones(3); x = None", "w if x is None else w * 2", "x = 1"),
    "list": ("x = [x, x + 1]", "x[0] * x[1]", "x = [x[1], x[1]]"),
    "list length": ("x = [x, x + 1]", "sum(x)", "x = [*x, *x]", "x = x[:1]"),
    "list to a tuple": ("x = [x, x]", "type(x)((x[0], x[1]))", "=x = tuple(x)"),
    "list of one tensor twice": ("x = [x, x + 0]", "x[0] * 2 if x[0] is x[1] else x[1]", "x = [x[0], x[0]]"),
    "dict key": ("x = {'a': x}", "x['a'] * len(x)", "x = {'a': x['a'], 'b': 1}"),
    "dict order": ("x = {'a': x, 'b': x + 1}", "next(iter(x.values()))", "x = {'b': x['b'], 'a': x['a']}"),
    "dict value": ("x = {'a': x, 'k': 2}", "x['a'] * x['k']", "x['k'] = 3", "x['k'] = 4"),
    "object": ("x = Thing()", "x.w * x.k", "x = Thing(4)", "x.k = 5"),
    "object's class": ("x = Thing()", "x.w * x.k", "class S(Thing): k = property(lambda s: 9, lambda s, v: None)\nx = S()"),
    "object's list": ("x = Thing()", "x.w * sum(x.items)", "x.items.append(9)"),
    "dataclass": ("x = Data(); w = pellucid.ones(3)", "w * x.k", "x = Data(3.0)", "x = Data(4.0)"),
    "named tuple": ("x = Point(x, 2)", "x.a * x.b", "x = Point(x.a, 3)", "x = Point(x.a, 4)"),
    "enum": ("x = Colour.RED; w = pellucid.ones(3)", "w * x.value", "x = Colour.BLUE"),
    "function": ("x = F.relu; w = pellucid.ones(3)", "x(w)", "x = F.sigmoid", "x = lambda v: v * 5"),
    "function's closure": ("def make(k): return lambda v: v * k\nx = make(2); w = pellucid.ones(3)", "x(w)", "x = make(3)", "x = make(4)"),
    "module": ("x = nn.Linear(3, 3); w = pellucid.ones(3)", "x(w)", "x = nn.Linear(3, 3)", "x = nn.Linear(3, 2)", "x = nn.Tanh()"),
    "module of the user's": ("x = Plain(); w = pellucid.ones(3)", "x(w)", "x = Plain(); x.k = 5"),
    "class": ("x = Thing; w = pellucid.ones(3)", "w * x.scale", "class S(Thing): scale = 5\nx = S"),
    "array": ("x = np.ones(3, np.float32)", "pellucid.from_numpy(x * 1) + 1", "x = x * 2"),
    "set": ("x = {1, 2}; w = pellucid.ones(3)", "w * sum(x)", "x = {1, 3}", "x.add(5)"),
    "deque": ("x = collections.deque([1, 2]); w = pellucid.ones(3)", "w * sum(x)", "x.append(5)"),
    "range": ("x = range(3); w = pellucid.ones(3)", "w * sum(x)", "x = range(5)"),
    "slice": ("x = slice(0, 2); w = pellucid.arange(5)", "w[x]", "x = slice(1, 4)"),
    "default dict": ("x = collections.defaultdict(int); w = pellucid.ones(3)", "w * (x['a'] + 1)", "x = collections.defaultdict(int, a=4)"),
    "nested": ("x = {'a': [(x, {'k': 2})]}", "x['a'][0][0] * x['a'][0][1]['k']", "x['a'][0][1]['k'] = 3", "x['a'].insert(0, (x['a'][0][0] + 1, {'k': 2}))"),
    "aliases of written memory": ("x = [pellucid.ones(3), pellucid.ones(3)]", "(x[0].add_(1), x[1] * 2)", "x = [x[0], x[0][:]]"),
    "the same tensor, written": ("x = [pellucid.ones(3), pellucid.ones(3)]", "(x[0].add_(1), x[1] * 2)", "x = [x[0], x[0]]"),
    "argument is a global": ("g = pellucid.ones(3)", "x * 2 if x is g else x * 3", "x = g"),
    "argument is a view of a global": ("g = pellucid.ones(3); x = pellucid.ones(3)", "(g.add_(1), x * 2)", "x = g[:]", "x = g"),
    "argument's attribute": ("x.mine = 2", "x * x.mine", "x.mine = 3"),
    "argument's attribute appears": ("", "x * getattr(x, 'mine', 1)", "x.mine = 3"),
}


@cases(ARGUMENTS)
def test_arguments(case):
    check(case)


# ---------------------------------------------------------------------------------------------------- modes
P = "p = pellucid.ones(3, requires_grad=True)"
READ = "pellucid.is_grad_enabled(), pellucid.is_inference_mode_enabled(), pellucid.is_autocast_enabled('cpu')"
MODES = {
    "grad mode": (P, "x * p", "pellucid.set_grad_enabled(False)", "pellucid.set_grad_enabled(True)"),
    "grad mode read": ("", "x * 2 if pellucid.is_grad_enabled() else x * 3", "pellucid.set_grad_enabled(False)"),
    "default dtype": ("", "x * pellucid.ones(3)", "pellucid.set_default_dtype(pellucid.float64)", "pellucid.set_default_dtype(pellucid.float32)"),
    "default dtype, division": ("x = x.long()", "x / 3", "pellucid.set_default_dtype(pellucid.float64)"),
    "default dtype read": ("", "x * 2 if pellucid.get_default_dtype() == pellucid.float32 else x * 3", "pellucid.set_default_dtype(pellucid.float64)"),
    "thread count": ("pellucid.set_num_threads(1)", "x * pellucid.get_num_threads()", "pellucid.set_num_threads(2)"),
    "deterministic mode": ("", "x * 2 if pellucid.are_deterministic_algorithms_enabled() else x * 3", "pellucid.use_deterministic_algorithms(True)"),
    "deterministic mode, warn only": ("", "x * 2 if pellucid.is_deterministic_algorithms_warn_only_enabled() else x * 3",
                                      "pellucid.use_deterministic_algorithms(True, warn_only=True)"),
    "seed": ("", "x + pellucid.rand(3)", "=pellucid.manual_seed(5)"),
    "initial seed": ("", "x * pellucid.initial_seed()", "=pellucid.manual_seed(5)"),
    "generator": ("g = pellucid.Generator().manual_seed(3)", "x + pellucid.rand(3, generator=g)", "g.manual_seed(5)", "g = pellucid.Generator().manual_seed(9)"),
}
AROUND = {
    "no_grad": (P, "x * p", "pellucid.no_grad()"),
    "no_grad read": (P, f"(x * p, {READ})", "pellucid.no_grad()"),
    "inference_mode": (P, "x * p", "pellucid.inference_mode()"),
    "inference_mode read": (P, f"(x * p, {READ})", "pellucid.inference_mode()"),
    "autocast": (P, "x @ p", "pellucid.autocast('cpu', dtype=pellucid.bfloat16)"),
    "autocast to half": (P, "x @ p", "pellucid.autocast('cpu', dtype=pellucid.float16)"),
    "autocast read": (P, f"(x @ p, {READ})", "pellucid.autocast('cpu', dtype=pellucid.bfloat16)"),
    "autocast off inside": (P, "x @ p", "pellucid.autocast('cpu', enabled=False)"),
    "autocast's dtype read": (P, "(x @ p, pellucid.get_autocast_dtype('cpu'))", "pellucid.autocast('cpu', dtype=pellucid.float16)"),
    "enable_grad in no_grad": (P, "g(x)", "pellucid.no_grad()", "@pellucid.enable_grad()\ndef g(x): return x * p"),
    "no_grad inside": (P, "g(x)", "pellucid.enable_grad()", "def g(x):\n    with pellucid.no_grad():\n        y = x * p\n    return y, y * p"),
    "device context": ("", "x * pellucid.ones(3)", "pellucid.device('cpu')"),
}


@cases(MODES)
def test_modes(case):
    check(case)


@pytest.mark.parametrize("name", AROUND)
def test_modes_around_a_call(name):
    """Before, in and after a context."""
    setup, body, context, *more = AROUND[name]
    found = []
    for make in (lambda f: f, lambda f: pellucid.compile(f, backend="eager")):
        space = space_of("\n".join((setup, *more)), body)
        call, x = make(space["f"]), space["x"]
        seen = [outcome(call, x)]
        for _ in range(2):
            with eval(context, space):
                seen += [outcome(call, x), outcome(call, x)]
            seen.append(outcome(call, x))
        found.append(seen)
    compare(found[1], found[0])


# ---------------------------------------------------------------------------------------------------- modules
MODULES = {
    # a module with hand-written forward
    "own: number": ("net = Plain()", "net.k = 3"),
    "own: number's type": ("net = Plain()", "=net.k = 2.0"),
    "own: dict edited": ("net = Plain()", "net.table['a'] = 5"),
    "own: dict replaced": ("net = Plain()", "net.table = {'a': 5}"),
    "own: list appended": ("net = Plain()", "net.list.append(5)"),
    "own: list item": ("net = Plain()", "net.list[0] = 5"),
    "own: function": ("net = Plain()", "net.act = F.tanh"),
    "own: __dict__": ("net = Plain()", "net.__dict__['k'] = 5"),
    "own: __dict__ deleted": ("net = Plain()", "del net.__dict__['k']"),
    "own: class attribute": ("net = Plain()", "Plain.factor = 5"),
    "own: instance hides a class attribute": ("net = Plain()", "net.factor = 5"),
    "own: forward of the class": ("net = Plain()", "Plain.forward = lambda self, x: x * 9"),
    "own: forward of the instance": ("net = Plain()", "net.forward = lambda x: x * 9"),
    "own: __call__ of the class": ("net = Plain()", "Plain.__call__ = lambda self, x: x * 9"),
    "own: parameter": ("net = Plain()", "net.p = nn.Parameter(pellucid.ones(3) * 4)"),
    "own: parameter of another shape": ("net = Plain()", "net.p = nn.Parameter(pellucid.ones(1) * 4)"),
    "own: _parameters": ("net = Plain()", "net._parameters['p'] = nn.Parameter(pellucid.ones(3) * 4)"),
    "own: _parameters to None": ("net = Plain()", "net._parameters['p'] = None"),
    "own: parameter written": ("net = Plain()", "with pellucid.no_grad(): net.p.mul_(4)"),
    "own: parameter's data": ("net = Plain()", "net.p.data = pellucid.ones(3) * 4"),
    "own: parameter's data of another dtype": ("net = Plain()", "net.p.data = pellucid.ones(3).double() * 4"),
    "own: parameter's data of another shape": ("net = Plain()", "net.p.data = pellucid.ones(1) * 4"),
    "own: parameter's data strided": ("net = Plain()", "net.p.data = pellucid.arange(6.0)[::2]"),
    "own: parameter's data written": ("net = Plain()", "net.p.data.mul_(4)"),
    "own: parameter's data item": ("net = Plain()", "net.p.data[0] = 4"),
    "own: parameter's requires_grad": ("net = Plain()", "net.p.requires_grad_(False)"),
    "own: parameter's requires_grad attribute": ("net = Plain()", "net.p.requires_grad = False", "net.p.requires_grad = True"),
    "own: module's requires_grad_": ("net = Plain()", "net.requires_grad_(False)", "net.requires_grad_(True)"),
    "own: parameter becomes an attribute": ("net = Plain()", "del net.p; net.p = 5"),
    "own: parameter becomes a tensor": ("net = Plain()", "del net.p; net.p = pellucid.ones(3) * 4"),
    "own: attribute hides a parameter": ("net = Plain()", "net.__dict__['p'] = 5"),
    "own: parameter deleted": ("net = Plain()", "del net.p"),
    "own: buffer": ("net = Plain()", "net.buf = pellucid.ones(3) * 4"),
    "own: buffer of another dtype": ("net = Plain()", "net.buf = net.buf.double() * 4"),
    "own: _buffers": ("net = Plain()", "net._buffers['buf'] = pellucid.ones(3) * 4"),
    "own: buffer written": ("net = Plain()", "net.buf.add_(5)"),
    "own: buffer registered again": ("net = Plain()", "net.register_buffer('buf', pellucid.ones(3) * 4)"),
    "own: buffer wants a gradient": ("net = Plain(); net.requires_grad_(False)", "net.buf.requires_grad_()"),
    "own: eval": ("net = Plain()", "net.eval()", "net.train()"),
    "own: training attribute": ("net = Plain()", "net.training = False"),
    "own: training in __dict__": ("net = Plain()", "net.__dict__['training'] = False"),
    "own: double": ("net = Plain()", "net.double()"),
    "own: half": ("net = Plain()", "=net.half()"),
    "own: load_state_dict": ("net = Plain()", "net.load_state_dict({'p': pellucid.ones(3) * 4, 'buf': pellucid.ones(3)})"),
    "own: load_state_dict assign": ("net = Plain()", "net.load_state_dict({'p': pellucid.ones(3) * 4, 'buf': pellucid.ones(3)}, assign=True)"),
    "own: hook": ("net = Plain()", "h = net.register_forward_hook(twice)", "h.remove()"),
    "own: hook in _forward_hooks": ("net = Plain()", "net._forward_hooks[7] = twice", "del net._forward_hooks[7]"),
    "own: hook replaced in _forward_hooks": ("net = Plain(); net._forward_hooks[7] = twice", "net._forward_hooks[7] = lambda m, i, o: o * 9"),
    "own: hook with kwargs": ("net = Plain()", "net.register_forward_hook(lambda m, a, k, o: o * 3, with_kwargs=True)"),
    "own: hook always called": ("net = Plain()", "net.register_forward_hook(twice, always_call=True)"),
    "own: hook prepended": ("net = Plain(); net.register_forward_hook(lambda m, i, o: o + 1)", "net.register_forward_hook(twice, prepend=True)"),
    "own: pre-hook": ("net = Plain()", "h = net.register_forward_pre_hook(halve)", "h.remove()"),
    "own: pre-hook in _forward_pre_hooks": ("net = Plain()", "net._forward_pre_hooks[7] = halve"),
    "own: pre-hook with kwargs": ("net = Plain()", "net.register_forward_pre_hook(lambda m, a, k: ((a[0] * 3,), k), with_kwargs=True)"),
    "own: hook's global": ("net = Plain(); k = 2\ndef hook(m, i, o): return o * k\nnet.register_forward_hook(hook)", "k = 3"),
    "own: hook's attribute": ("net = Plain(); net.register_forward_hook(lambda m, i, o: o * m.k)", "net.k = 3"),
    "own: global hook": ("net = Plain()", "h = nn.modules.module.register_module_forward_hook(twice)", "=h.remove()"),
    "own: global pre-hook": ("net = Plain()", "h = nn.modules.module.register_module_forward_pre_hook(halve)", "=h.remove()"),
    "own: parametrization": ("net = Plain()", "nn.utils.parametrize.register_parametrization(net, 'p', Double())",
                             "nn.utils.parametrize.remove_parametrizations(net, 'p', leave_parametrized=False)"),
    "own: second parametrization": ("net = Plain(); nn.utils.parametrize.register_parametrization(net, 'p', Double())",
                                    "nn.utils.parametrize.register_parametrization(net, 'p', Double())"),
    "own: parametrization's forward": ("net = Plain(); nn.utils.parametrize.register_parametrization(net, 'p', Double())", "Double.forward = lambda s, w: w * 9"),
    "own: parametrization's original": ("net = Plain(); nn.utils.parametrize.register_parametrization(net, 'p', Double())",
                                        "net.parametrizations.p.original = nn.Parameter(pellucid.ones(3) * 5)"),
    "own: weight norm": ("net = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))",
                         "with pellucid.no_grad(): net.parametrizations.weight.original0.mul_(3)"),
    "own: __getattr__ of the class": ("net = Plain()", "Plain.k = property(lambda self: 9)"),
    "own: grad of a parameter": ("net = Plain(); Plain.forward = lambda s, x: x * s.p if s.p.grad is None else x + s.p.grad", "net.p.grad = pellucid.ones(3)"),
    # a module of modules
    "net: eval": ("net = Net()", "net.eval()", "net.train()"),
    "net: eval of a part": ("net = Net()", "net.drop.eval()"),
    "net: training of a part": ("net = Net()", "net.drop.training = False"),
    "net: training of a part's __dict__": ("net = Net()", "net.drop.__dict__['training'] = False"),
    "net: norm in eval": ("net = Net()", "net.norm.eval()"),
    "net: dropout's p": ("net = Net()", "net.drop.p = 0.0"),
    "net: norm's eps": ("net = Net()", "net.norm.eps = 0.5"),
    "net: norm's momentum": ("net = Net()", "=net.norm.momentum = 0.5", "net.eval()"),
    "net: norm's momentum None": ("net = Net()", "=net.norm.momentum = None", "net.eval()"),
    "net: norm's statistics": ("net = Net().eval()", "net.norm.running_mean = pellucid.ones(3) * 4"),
    "net: norm's statistics written": ("net = Net().eval()", "net.norm.running_mean.add_(4)"),
    "net: norm's statistics in _buffers": ("net = Net().eval()", "net.norm._buffers['running_mean'] = pellucid.ones(3) * 4"),
    "net: norm's statistics not tracked": ("net = Net().eval()", "net.norm.track_running_stats = False; net.norm.running_mean = net.norm.running_var = None"),
    "net: submodule": ("net = Net()", "net.lin = nn.Linear(3, 3)"),
    "net: submodule's kind": ("net = Net()", "net.lin = nn.Identity()"),
    "net: submodule in _modules": ("net = Net()", "net._modules['lin'] = nn.Linear(3, 3)"),
    "net: submodule to None": ("net = Net()", "net.drop = None"),
    "net: submodule deleted": ("net = Net()", "del net.lin"),
    "net: submodule hidden": ("net = Net()", "net.__dict__['lin'] = lambda x: x * 9"),
    "net: set_submodule": ("net = Net()", "net.set_submodule('plain', nn.Identity())"),
    "net: attribute of a part": ("net = Net()", "net.plain.k = 5"),
    "net: list of a part": ("net = Net()", "net.plain.list.append(5)"),
    "net: list appended": ("net = Net()", "net.layers.append(nn.Linear(3, 3))"),
    "net: list inserted": ("net = Net()", "net.layers.insert(0, nn.Tanh())"),
    "net: list item": ("net = Net()", "net.layers[0] = nn.Linear(3, 3)"),
    "net: list item deleted": ("net = Net()", "del net.layers[0]"),
    "net: list replaced": ("net = Net()", "net.layers = nn.ModuleList([nn.Linear(3, 3)])"),
    "net: dict added": ("net = Net()", "net.named['c'] = nn.Tanh()"),
    "net: dict value": ("net = Net()", "net.named['a'] = nn.Linear(3, 3)"),
    "net: dict deleted": ("net = Net()", "del net.named['a']"),
    "net: parameter list": ("net = Net()", "net.scales.append(nn.Parameter(pellucid.ones(3) * 5))"),
    "net: parameter list's item": ("net = Net()", "net.scales[0] = nn.Parameter(pellucid.ones(3) * 5)"),
    "net: parameter of a part": ("net = Net()", "net.lin.weight = nn.Parameter(pellucid.ones(3, 3))"),
    "net: parameter of a part, written": ("net = Net()", "with pellucid.no_grad(): net.lin.weight.fill_(1)"),
    "net: _parameters of a part": ("net = Net()", "net.lin._parameters['weight'] = nn.Parameter(pellucid.ones(3, 3))"),
    "net: bias to None": ("net = Net()", "with pellucid.no_grad(): net.norm.eval(); net.lin.bias.add_(3)", "net.lin.bias = None"),
    "net: bias to None in _parameters": ("net = Net(); net.norm.eval()", "net.lin._parameters['bias'] = None"),
    "net: bias appears": ("net = Net(); net.norm.eval(); net.lin.bias = None", "net.lin.bias = nn.Parameter(pellucid.ones(3))"),
    "net: data of a part": ("net = Net()", "net.lin.weight.data = pellucid.ones(3, 3)"),
    "net: data of a part, strided": ("net = Net()", "net.lin.weight.data = pellucid.arange(9.0).reshape(3, 3).t()"),
    "net: requires_grad of a part": ("net = Net(); net.requires_grad_(False)", "net.lin.weight.requires_grad_()"),
    "net: frozen": ("net = Net()", "net.requires_grad_(False)"),
    "net: hook of a part": ("net = Net()", "h = net.layers[0].register_forward_hook(twice)", "h.remove()"),
    "net: hook of a part in _forward_hooks": ("net = Net()", "net.layers[0]._forward_hooks[7] = twice"),
    "net: pre-hook of a part": ("net = Net()", "h = net.layers[0].register_forward_pre_hook(halve)", "h.remove()"),
    "net: pre-hook of a part in _forward_pre_hooks": ("net = Net()", "net.layers[0]._forward_pre_hooks[7] = halve"),
    "net: forward of a part": ("net = Net()", "net.layers[0].forward = lambda x: x * 9"),
    "net: forward of a part's class": ("net = Net()", "Plain.forward = lambda self, x: x * 9"),
    "net: tied weights": ("net = Net()", "net.layers[0].weight = net.lin.weight"),
    "net: parametrization of a part": ("net = Net()", "nn.utils.parametrize.register_parametrization(net.layers[0], 'weight', Double())"),
    "net: spectral norm of a part": ("net = Net(); nn.utils.parametrizations.spectral_norm(net.layers[0])", "net.eval()"),
    "net: apply": ("net = Net()", "net.apply(lambda m: nn.init.ones_(m.weight) if isinstance(m, nn.Linear) else None)"),
    "net: double": ("net = Net()", "net.double(); x = x.double()"),
    "net: bfloat16": ("net = Net()", "net.to(pellucid.bfloat16); x = x.to(pellucid.bfloat16)"),
    # nothing but pellucid's own modules
    "seq: eval": ("net = sequential()", "net.eval()", "net.train()"),
    "seq: eval of a part": ("net = sequential()", "net.drop.eval()"),
    "seq: training in __dict__": ("net = sequential()", "net.drop.__dict__['training'] = False"),
    "seq: dropout's p": ("net = sequential()", "net.drop.p = 0.0"),
    "seq: dropout's p in __dict__": ("net = sequential()", "net.drop.__dict__['p'] = 0.0"),
    "seq: softmax's dim": ("net = sequential()", "net.soft.dim = 0"),
    "seq: softmax's dim in __dict__": ("net = sequential()", "net.soft.__dict__['dim'] = 0"),
    "seq: norm's eps": ("net = sequential()", "net.norm.eps = 0.5"),
    "seq: norm's momentum": ("net = sequential()", "=net.norm.momentum = 0.5", "net.eval()"),
    "seq: norm's statistics": ("net = sequential().eval()", "net.norm.running_mean = pellucid.ones(3) * 4"),
    "seq: norm's statistics in _buffers": ("net = sequential().eval()", "net.norm._buffers['running_mean'] = pellucid.ones(3) * 4"),
    "seq: norm's statistics to None": ("net = sequential().eval()", "net.norm.running_mean = net.norm.running_var = None"),
    "seq: appended": ("net = sequential()", "net.append(nn.Tanh())"),
    "seq: inserted": ("net = sequential()", "net.insert(0, nn.Tanh())"),
    "seq: item": ("net = sequential()", "net[0] = nn.Linear(3, 3)"),
    "seq: item deleted": ("net = sequential()", "del net[4]"),
    "seq: inner item": ("net = sequential()", "net.inner[1] = nn.Identity()"),
    "seq: inner appended": ("net = sequential()", "net.inner.append(nn.ReLU())"),
    "seq: _modules": ("net = sequential()", "net._modules['lin'] = nn.Identity()"),
    "seq: order": ("net = sequential()", "net._modules.move_to_end('lin') if hasattr(net._modules, 'move_to_end') else net._modules.update(lin=net._modules.pop('lin'))"),
    "seq: bias to None": ("net = sequential().eval()", "net.lin.bias = None"),
    "seq: weight": ("net = sequential()", "net.lin.weight = nn.Parameter(pellucid.arange(9.0).reshape(3, 3))"),
    "seq: weight in _parameters": ("net = sequential()", "net.lin._parameters['weight'] = nn.Parameter(pellucid.arange(9.0).reshape(3, 3))"),
    "seq: weight's data": ("net = sequential()", "net.inner[0].weight.data = pellucid.arange(9.0).reshape(3, 3).t()"),
    "seq: weight written": ("net = sequential()", "net.inner[0].weight.data.fill_(0.3)"),
    "seq: requires_grad": ("net = sequential(); net.requires_grad_(False)", "net.inner[0].weight.requires_grad_()"),
    "seq: hook": ("net = sequential()", "h = net.register_forward_hook(twice)", "h.remove()"),
    "seq: hook of a part": ("net = sequential()", "h = net.inner[0].register_forward_hook(twice)", "h.remove()"),
    "seq: hook of a part in _forward_hooks": ("net = sequential()", "net.inner[0]._forward_hooks[7] = twice"),
    "seq: pre-hook of a part": ("net = sequential()", "h = net.inner[0].register_forward_pre_hook(halve)", "h.remove()"),
    "seq: pre-hook of a part in _forward_pre_hooks": ("net = sequential()", "net.inner[0]._forward_pre_hooks[7] = halve"),
    "seq: global hook": ("net = sequential()", "h = nn.modules.module.register_module_forward_hook(twice)", "h.remove()"),
    "seq: forward of a part": ("net = sequential()", "net.inner[0].forward = lambda x: x * 9"),
    "seq: parametrization": ("net = sequential()", "nn.utils.parametrize.register_parametrization(net.inner[0], 'weight', Double())"),
    "seq: weight norm": ("net = sequential()", "=nn.utils.parametrizations.weight_norm(net.inner[0])", "net.inner[0].parametrizations.weight.original0.data.mul_(3)"),
    "seq: old weight norm": ("net = sequential()\nwith warnings.catch_warnings():\n    warnings.simplefilter('ignore')\n    nn.utils.weight_norm(net.inner[0])",
                             "net.inner[0].weight_g.data.mul_(3)"),
    "seq: prune": ("net = sequential()", "nn.utils.prune.l1_unstructured(net.inner[0], 'weight', 5)"),
    "seq: class of a part": ("net = sequential()", "class L(nn.Linear):\n    def forward(self, x): return x * 9\nnet.inner[0].__class__ = L"),
    "conv: stride": ("net = nn.Conv1d(4, 4, 1)", "net.stride = (2,)"),
    "conv: padding": ("net = nn.Conv1d(4, 4, 1)", "net.padding = (1,)"),
    "conv: padding mode": ("net = nn.Conv1d(4, 4, 3, padding=1)", "net.padding_mode = 'circular'"),
    "pool: size": ("net = nn.MaxPool1d(1)", "net.kernel_size = 2"),
    "flatten": ("net = nn.Flatten(0)", "net.start_dim = 1"),
    "leaky": ("net = nn.LeakyReLU(0.1)", "net.negative_slope = 0.7"),
    "embedding: max_norm": ("net = nn.Sequential(nn.Embedding(4, 3)); x = pellucid.tensor([1, 2])", "net[0].max_norm = 0.1"),
    "embedding: padding": ("net = nn.Embedding(4, 3); x = pellucid.tensor([1, 2])", "net.weight.data[1] = 0"),
    "layer norm: shape": ("net = nn.LayerNorm(3, elementwise_affine=False)", "net.normalized_shape = (4, 3)"),
    "lstm: dropout": ("net = nn.LSTM(3, 3, 2)", "net.dropout = 0.5"),
    "lstm: batch_first": ("net = nn.LSTM(3, 3); x = x[None].expand(2, 4, 3)", "net.batch_first = True"),
    "lstm: weight": ("net = nn.LSTM(3, 3)", "net.weight_hh_l0 = nn.Parameter(pellucid.zeros(12, 3))"),
    "lstm: weight's data": ("net = nn.LSTM(3, 3)", "net.weight_hh_l0.data = pellucid.zeros(12, 3)"),
    "attention: head count": ("net = nn.TransformerEncoderLayer(12, 2, 8, 0.0); x = x.reshape(1, 1, 12)", "net.self_attn.out_proj.bias.data.add_(3)"),
    "encoder layer: norm_first": ("net = nn.TransformerEncoderLayer(12, 2, 8, 0.0); x = x.reshape(1, 1, 12)", "net.norm_first = True"),
    "encoder layer: activation": ("net = nn.TransformerEncoderLayer(12, 2, 8, 0.0); x = x.reshape(1, 1, 12)", "net.activation = F.tanh"),
    "loss: reduction": ("l = nn.MSELoss()\nclass N(nn.Module):\n    def forward(self, x): return l(x, x * 2)\nnet = N()", "l.reduction = 'sum'"),
}


@cases(MODULES)
@pytest.mark.parametrize("how", ["called", "itself"])
def test_modules(how, case):
    """Modules inside a compiled function, and compiled themselves."""
    setup, *changes = case
    check((setup, "net(x)" if how == "called" else None, *changes))


# ---------------------------------------------------------------------------------------------------- what else a reviewer tries
SAVED = "net = Plain(); saved = {'p': pellucid.ones(3) * 4, 'buf': pellucid.ones(3) * 2}"
MORE = {
    # modules
    "half": ("net = Plain()", "net(x)", "net.half(); x = x.half()"),
    "state_dict item written": ("net = Plain()", "net(x)", "net.state_dict()['p'].fill_(7)"),
    "state_dict with extra net": (SAVED, "net(x)", "net.load_state_dict(saved, strict=True)", "saved['p'].fill_(1); net.load_state_dict(saved)"),
    "submodules swapped": ("net = Net().eval()", "net(x)", "=net.layers[0], net.lin = net.lin, net.layers[0]", "net.plain.k = 7"),
    "parameters swapped": ("net = Net().eval()", "net(x)", "=a, b = net.layers[0], net.lin; a.weight, b.weight = b.weight, a.weight", "net.plain.k = 7"),
    "module's method on the instance": ("net = Net().eval()", "net.lin(x) + net.plain.act(x)", "net.plain.act = lambda v: v * 5"),
    "own module's method on the class": ("net = Plain()", "net(x)", "Plain.extra = 3; Plain.factor = property(lambda s: s.extra)"),
    "module's buffer non-persistent": ("net = Plain(); net.register_buffer('n', pellucid.ones(3), persistent=False)", "x * net.n", "net.n = pellucid.ones(3) * 3"),
    "module's extra attribute": ("net = nn.Linear(3, 3); net.scale = 2", "net(x) * net.scale", "net.scale = 3"),
    "module's tensor attribute": ("net = nn.Linear(3, 3); net.scale = pellucid.ones(3)", "net(x) * net.scale", "net.scale = pellucid.ones(3) * 3"),
    "named_parameters": ("net = nn.Linear(3, 3)", "sum(p.sum() * len(n) for n, p in net.named_parameters()) + x", "net.register_parameter('another', nn.Parameter(pellucid.ones(3)))"),
    "children": ("net = sequential()", "x * len(list(net.children()))", "net.append(nn.Tanh())"),
    "len of a module": ("net = sequential()", "x * len(net)", "net.append(nn.Tanh())"),
    "iteration over a module": ("net = sequential().eval()\ndef g(x):\n    for m in net:\n        x = m(x)\n    return x", "g(x)", "net[4] = nn.Identity()"),
    "module in a dict": ("d = {'a': nn.Linear(3, 3)}", "d['a'](x)", "d['a'] = nn.Linear(3, 3)"),
    "module in a list": ("l = [nn.Linear(3, 3)]", "l[0](x)", "l[0] = nn.Linear(3, 3)", "l[0].weight.data.zero_()"),
    "module in a namespace": ("t = types.SimpleNamespace(net=nn.Linear(3, 3))", "t.net(x)", "t.net.weight = nn.Parameter(pellucid.ones(3, 3))"),
    "module's training read": ("net = nn.Linear(3, 3)", "x * (2 if net.training else 3)", "net.eval()"),
    "hook of a module made by the hand of a subclass": ("class L(nn.Linear):\n    pass\nnet = L(3, 3)", "net(x)", "net._forward_hooks.update({1: twice})", "net._forward_hooks.clear()"),
    "hooks replaced": ("net = nn.Linear(3, 3)", "net(x)", "net._forward_hooks = collections.OrderedDict({1: twice})", "net._forward_hooks = collections.OrderedDict()"),
    "a global hook by hand": ("net = nn.Linear(3, 3)", "net(x)", "nn.modules.module._global_forward_hooks[7] = twice", "nn.modules.module._global_forward_hooks.clear()"),
    "hook comes and goes": ("net = nn.Linear(3, 3)", "net(x)", "=net.register_forward_hook(twice).remove()", "h = net.register_forward_hook(twice)"),
    "hook's closure": ("def make(k):\n    def hook(m, i, o): return o * k\n    def put(v):\n        nonlocal k\n        k = v\n    return hook, put\n"
                       "hook, put = make(2); net = nn.Linear(3, 3); net.register_forward_hook(hook)", "net(x)", "put(5)"),
    "global hook's global": ("k = 2; net = nn.Linear(3, 3); h = nn.modules.module.register_module_forward_hook(lambda m, i, o: o * k)", "net(x)", "k = 3"),
    "weight norm on a layer": ("net = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))", "net(x)", "net.parametrizations.weight.original1.data.mul_(-1)"),
    "parametrization removed": ("net = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))", "net(x)",
                                "=nn.utils.parametrize.remove_parametrizations(net, 'weight')", "net.weight.data.zero_()"),
    "dropout's inplace in __dict__": ("net = nn.Dropout(0.5, inplace=False); x = pellucid.ones(3)", "(net(x + 0), x)", "net.__dict__['p'] = 0.9"),
    "layer norm's eps in __dict__": ("net = nn.LayerNorm(3)", "net(x)", "net.__dict__['eps'] = 3.0"),
    "conv's stride in __dict__": ("net = nn.Conv1d(4, 4, 1)", "net(x)", "net.__dict__['stride'] = (2,)"),
    "attribute by object.__setattr__": ("net = nn.LayerNorm(3)", "net(x)", "object.__setattr__(net, 'eps', 3.0)"),
    "weight by object": ("net = nn.Linear(3, 3)", "net(x)", "net.__dict__['weight'] = pellucid.ones(3, 3)"),
    "lstm's hidden size in __dict__": ("net = nn.LSTM(3, 3)", "net(x)[0]", "net.__dict__['batch_first'] = True; x = x[None].expand(2, 4, 3)"),
    "attention's dropout": ("net = nn.MultiheadAttention(3, 1)", "net(x, x, x)[0]", "net.__dict__['dropout'] = 0.9"),
    # tensors
    "requires_grad of a closure's tensor": ("k = pellucid.ones(3)\ndef make(k):\n    def f(x): return x * k\n    return f\nf = make(k)", None, "k.requires_grad_()", "k.requires_grad_(False)"),
    "a view of a global": ("k = pellucid.arange(6.0); v = k[:3]", "x * v", "v.data = k[3:]"),
    "a view's base moved": ("k = pellucid.arange(6.0); v = k[:3]", "x * v", "=k.data = pellucid.ones(6)", "v.mul_(2)"),
    "squeezed in place": ("k = pellucid.ones(1, 3)", "(x * k, k.dim())", "k.squeeze_(0)"),
    "unsqueezed in place": ("k = pellucid.ones(3)", "(x * k, k.dim())", "k.unsqueeze_(0)"),
    "detached in place": ("w = pellucid.ones(3, requires_grad=True); k = w * 2", "x * k", "k.detach_()"),
    "history by a write in place": ("w = pellucid.ones(3, requires_grad=True); k = pellucid.ones(3)", "x * k", "k.mul_(w)"),
    "is_leaf of a global": ("w = pellucid.ones(3, requires_grad=True); k = w", "x * (2 if k.is_leaf else 3)", "k = w * 1"),
    "storage offset of a global": ("k = pellucid.arange(6.0)[:3]", "x * (1 + k.storage_offset())", "k = pellucid.arange(6.0)[3:]"),
    "tensor's attribute appears": ("k = pellucid.ones(3)", "x * getattr(k, 'mine', 2)", "k.mine = 5"),
    "tensor's attribute deleted": ("k = pellucid.ones(3); k.mine = 5", "x * getattr(k, 'mine', 2)", "del k.mine"),
    # objects
    "nested in three containers": ("d = {'a': [({'b': {1}},)]}", "x * len(d['a'][0][0]['b'])", "d['a'][0][0]['b'].add(2)"),
    "dict of dicts, key added": ("d = {'a': {}}", "x * len(d['a'])", "d['a']['k'] = 1"),
    "nonlocal rewritten by a called function": ("def make():\n    k = 2\n    def f(x): return x * k\n    def bump():\n        nonlocal k\n        k += 1\n    return f, bump\nf, bump = make()", None, "bump()", "bump()"),
    "dataclass replaced": ("t = Data()", "x * t.k", "t = dataclasses.replace(t, k=5.0)"),
    "frozen dataclass": ("@dataclasses.dataclass(frozen=True)\nclass C:\n    k: int = 2\nt = C()", "x * t.k", "object.__setattr__(t, 'k', 5)"),
    "slotted dataclass": ("@dataclasses.dataclass(slots=True)\nclass C:\n    k: int = 2\nt = C()", "x * t.k", "t.k = 5"),
    "dataclass equality": ("t, u = Data(), Data()", "x if t == u else x * 2", "u.k = 5.0"),
    "property's setter": ("class P:\n    def __init__(self): self._k = 2\n    @property\n    def k(self): return self._k\n    @k.setter\n    def k(self, v): self._k = v\nt = P()", "x * t.k", "t.k = 5"),
    "cached property": ("class P:\n    n = 2\n    @functools.cached_property\n    def k(self): return self.n\nt = P(); t.k", "x * t.k", "t.__dict__['k'] = 5"),
    "enum's value in a table": ("d = {Colour.RED: 2, Colour.BLUE: 3}; c = Colour.RED", "x * d[c]", "c = Colour.BLUE"),
    "enum by name": ("n = 'RED'", "x * Colour[n].value", "n = 'BLUE'"),
    "enum flag": ("class Fl(enum.Flag):\n    A = 1\n    B = 2\nf0 = Fl.A", "x if f0 & Fl.A else x * 2", "f0 = Fl.B"),
    "named tuple's field by index": ("t = Point([1], 2)", "x * t[0][0]", "t.a[0] = 9"),
    "named tuple's list": ("t = Point([1], 2)", "x * t.a[0]", "t.a[0] = 9"),
    "partial's args list": ("g = functools.partial(lambda l, v: v * l[0], [2])", "g(x)", "g.args[0][0] = 9"),
    "partial of a partial": ("g = functools.partial(functools.partial(lambda a, b, v: v * a * b, 2), 3)", "g(x)", "g = functools.partial(functools.partial(lambda a, b, v: v * a * b, 2), 5)"),
    "partial as an attribute": ("t = Thing(); t.g = functools.partial(pellucid.mul, other=2)", "t.g(x)", "t.g = functools.partial(pellucid.mul, other=5)"),
    "array written in place": ("k = np.arange(3.0)", "x * float(k[1])", "k += 5"),
    "array as a constant": ("k = np.ones(3, np.float32)", "x * pellucid.tensor(k)", "k[1] = 5"),
    "array's view written": ("k = np.ones(4); v = k[1:]", "x * float(v.sum())", "k[2] = 7"),
    "array in a list": ("l = [np.ones(3)]", "x * float(l[0].sum())", "l[0][1] = 7"),
    "array's shape": ("k = np.ones((2, 3))", "x * k.shape[0]", "k = np.ones((4, 3))"),
    "object array": ("k = np.array([1, 2], dtype=object)", "x * k[0]", "k[0] = 9"),
    "environment": ("import os; os.environ['SOUND'] = '2'", "x * int(os.environ['SOUND'])", "os.environ['SOUND'] = '3'"),
    "environment, get": ("import os; os.environ.pop('SOUND', None)", "x * int(os.environ.get('SOUND', 4))", "os.environ['SOUND'] = '3'"),
    "environment, in": ("import os; os.environ.pop('SOUND', None)", "x * (2 if 'SOUND' in os.environ else 3)", "os.environ['SOUND'] = '3'"),
    "a mapping of the user's": ("class M(collections.abc.Mapping):\n    def __init__(self): self.d = {'a': 1}\n    def __getitem__(self, k): return self.d[k]\n"
                                "    def __iter__(self): return iter(self.d)\n    def __len__(self): return len(self.d)\nd = M()",
                                "x * d.get('a') * sum(d.values()) * (2 if 'b' in d else 3)", "d.d['a'] = 9", "d.d['b'] = 2"),
    "environment, getenv": ("import os; os.environ.pop('SOUND', None)", "x * int(os.getenv('SOUND', '4'))", "os.environ['SOUND'] = '3'"),
    "Python's random state": ("import random; random.seed(0)", "x * random.random()", "random.seed(5)"),
    "NumPy's random state": ("np.random.seed(0)", "x * float(np.random.rand())", "np.random.seed(5)"),
    "NumPy's generator": ("r = np.random.default_rng(0)", "x * float(r.random())", "r = np.random.default_rng(5)"),
    "time": ("import time; clock = [1.0]; time_time = lambda: clock[0]", "x * time_time()", "clock[0] = 2.0"),
    "operator.attrgetter": ("import operator; g = operator.attrgetter('k'); t = Thing()", "x * g(t)", "t.k = 9"),
    "operator.itemgetter": ("import operator; g = operator.itemgetter(0); l = [2]", "x * g(l)", "l[0] = 9"),
    "map over a mutable": ("l = [1, 2]; m = map", "x * sum(m(lambda v: v, l))", "l.append(9)"),
    "dict view kept": ("d = {'a': 1}; v = d.values()", "x * sum(v)", "d['a'] = 9"),
    "dict keys view kept": ("d = {'a': 1}; v = d.keys()", "x * len(v)", "d['b'] = 9"),
    "user dict": ("d = collections.UserDict(a=1)", "x * d['a']", "d['a'] = 9"),
    "user list": ("d = collections.UserList([1])", "x * d[0]", "d[0] = 9"),
    "class's __dict__": ("", "x * vars(Thing)['scale']", "Thing.scale = 9"),
    "class in a dict": ("d = {'a': Thing}", "x * d['a'].scale", "Thing.scale = 9"),
    "metaclass's attribute": ("class M(type):\n    k = 2\nclass C(metaclass=M): pass", "x * C.k", "M.k = 9"),
    "metaclass's property": ("class M(type):\n    @property\n    def k(cls): return cls.n\nclass C(metaclass=M): n = 2", "x * C.k", "C.n = 9"),
    "__class_getitem__": ("class C:\n    n = 2\n    def __class_getitem__(cls, i): return cls.n * i", "x * C[2]", "C.n = 9"),
    "__index__": ("class I:\n    k = 1\n    def __index__(self): return self.k\ni = I(); l = [2, 3]", "x * l[i]", "i.k = 0"),
    "__float__": ("class I:\n    k = 1\n    def __float__(self): return float(self.k)\ni = I()", "x * float(i)", "i.k = 5"),
    "__hash__": ("class I:\n    k = 1\n    def __hash__(self): return self.k\n    def __eq__(self, o): return self.k == o\ni = I(); d = {1: 2, 3: 4}", "x * d[i]", "i.k = 3"),
    "__str__": ("class I:\n    k = 1\n    def __str__(self): return 'a' * self.k\ni = I()", "x * len(f'{i}')", "i.k = 3"),
    "__add__ appears": ("t = Thing()\ndef g():\n    try:\n        return t + 1\n    except TypeError:\n        return 2", "x * g()", "Thing.__add__ = lambda s, o: 9"),
    "__radd__ appears": ("t = Thing()\ndef g():\n    try:\n        return 1 + t\n    except TypeError:\n        return 2", "x * g()", "Thing.__radd__ = lambda s, o: 9"),
    "__lt__ appears": ("t = Thing()\ndef g():\n    try:\n        return 2 if t < 1 else 3\n    except TypeError:\n        return 4", "x * g()", "Thing.__lt__ = lambda s, o: True"),
    "__neg__ appears": ("t = Thing()\ndef g():\n    try:\n        return -t\n    except TypeError:\n        return 2", "x * g()", "Thing.__neg__ = lambda s: 9"),
    "__len__ appears": ("t = Data()\ndef g():\n    try:\n        return len(t)\n    except TypeError:\n        return 2", "x * g()", "Data.__len__ = lambda s: 9"),
    "__call__ appears": ("t = Data()", "x * (2 if callable(t) else 3)", "Data.__call__ = lambda s: 9", "del Data.__call__"),
    "__len__ appears, truth": ("t = Data()", "x * (2 if t else 3)", "Data.__len__ = lambda s: 0"),
    "__getitem__ appears": ("t = Data()\ndef g():\n    try:\n        return t[0]\n    except TypeError:\n        return 2", "x * g()", "Data.__getitem__ = lambda s, i: 9"),
    "__iter__ of a list's class": ("class L(list): pass\nl = L([1, 2])", "x * sum(v for v in l)", "L.__iter__ = lambda s: iter((9, 9))"),
    "__getitem__ of a list's class": ("class L(list): pass\nl = L([1, 2])", "x * l[0]", "L.__getitem__ = lambda s, i: 9"),
    "__len__ of a list's class": ("class L(list): pass\nl = L([1, 2])", "x * len(l)", "L.__len__ = lambda s: 9"),
    "__getitem__ of a dict's class": ("class D(dict): pass\nd = D(a=1)", "x * d['a']", "D.__getitem__ = lambda s, k: 9"),
    "get of a dict's class": ("class D(dict): pass\nd = D(a=1)", "x * d.get('a')", "D.get = lambda s, k: 9"),
    "__missing__ appears": ("class D(dict): pass\nd = D(a=1)\ndef g():\n    try:\n        return d['b']\n    except KeyError:\n        return 2", "x * g()", "D.__missing__ = lambda s, k: 9"),
    "cached method": ("class C:\n    def __init__(self): self.k = 2\n    @functools.lru_cache\n    def m(self): return self.k\nt = C()", "x * t.m()", "=t.k = 5", "C.m.cache_clear()"),
    "cached tensor": ("k = 2.0\n@functools.cache\ndef g(n): return pellucid.full((n,), k)", "x * g(3)", "=k = 5.0", "g.cache_clear()"),
    "cached list": ("@functools.cache\ndef g(): return [1, 2]", "x * sum(g())", "g().append(5)"),
    # autograd
    "custom Function": ("k = 2\nclass C(pellucid.autograd.Function):\n    @staticmethod\n    def forward(ctx, v): return v * k\n    @staticmethod\n    def backward(ctx, g): return g * k",
                        "C.apply(x)", "k = 5"),
    "custom Function's forward": ("class C(pellucid.autograd.Function):\n    @staticmethod\n    def forward(ctx, v): return v * 2\n    @staticmethod\n    def backward(ctx, g): return g * 2",
                                  "C.apply(x)", "C.forward = staticmethod(lambda ctx, v: v * 5)"),
}


@cases(MORE)
def test_more(case):
    check(case)


@cases(further.LOOKED_AT)
def test_looked_at(case):
    check(case)


@cases(further.STATE)
def test_state(case):
    check(case)


@cases(further.ORDINARY)
def test_ordinary(case):
    check(case)


@cases(further.CALLED_BACK)
def test_called_back(case):
    check(case)


def test_saved_tensors_hooks_around_a_break():
    """The function runs as plain Python, and no hook is left behind."""
    w = pellucid.ones(3, requires_grad=True)

    def f(x):
        w.grad = None
        with pellucid.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t * 2):
            y = (w * w).sum()
            if x.sum() > 0:
                y = y * 1
        y.backward()
        return w.grad.clone()
    c = pellucid.compile(f, backend="eager")
    assert [c(pellucid.ones(3)).tolist() for _ in range(2)] == [f(pellucid.ones(3)).tolist()] * 2
    assert not dispatch.local.saved_hooks and (w * w).grad_fn._saved_self is w


def test_a_tensor_from_outside_keeps_its_history():
    w = pellucid.ones(3, requires_grad=True)
    s = w * 2
    fn = s.grad_fn

    def f(x):
        y = s
        if x.sum() > 0:
            return y, y is s
        return x
    c = pellucid.compile(f, backend="eager")
    for _ in range(2):
        y, same = c(pellucid.ones(3))
        assert y is s and same and s.grad_fn is fn


# ---------------------------------------------------------------------------------------------------- training steps
STEP = """
net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
opt = pellucid.optim.{}
def f(x):
    opt.zero_grad()
    loss = (net(x) ** 2).mean()
    loss.backward()
    opt.step()
    return [loss.detach(), *[p.detach().clone() for p in net.parameters()]]
"""
SGD, ADAM = "SGD(net.parameters(), lr=0.1, momentum=0.9)", "AdamW(net.parameters(), lr=0.1)"
STEPS = {
    "learning rate": (SGD, "opt.param_groups[0]['lr'] = 0.01", "opt.param_groups[0]['lr'] = 0.02"),
    "learning rate, Adam": (ADAM, "opt.param_groups[0]['lr'] = 0.01", "opt.param_groups[0]['lr'] = 0.02"),
    "learning rate a tensor": (SGD, "opt.param_groups[0]['lr'] = pellucid.tensor(0.01)"),
    "momentum": (SGD, "opt.param_groups[0]['momentum'] = 0.5", "opt.param_groups[0]['momentum'] = 0.0"),
    "nesterov": (SGD, "opt.param_groups[0]['nesterov'] = True"),
    "weight decay": (SGD, "opt.param_groups[0]['weight_decay'] = 0.5", "opt.param_groups[0]['weight_decay'] = 0.0"),
    "maximize": (SGD, "opt.param_groups[0]['maximize'] = True"),
    "betas": (ADAM, "opt.param_groups[0]['betas'] = (0.5, 0.6)"),
    "amsgrad": (ADAM, "=opt.param_groups[0]['amsgrad'] = True"),
    "eps": (ADAM, "opt.param_groups[0]['eps'] = 0.5"),
    "state cleared": (SGD, "opt.state.clear()"),
    "state cleared, Adam": (ADAM, "opt.state.clear()"),
    "state written": (SGD, "opt.state[net[0].weight]['momentum_buffer'].zero_()"),
    "state replaced": (SGD, "opt.state[net[0].weight]['momentum_buffer'] = pellucid.ones(3, 3)"),
    "state loaded": (ADAM, "opt.load_state_dict(opt.state_dict())"),
    "parameters frozen": (SGD, "net[0].weight.requires_grad_(False)"),
    "parameters replaced": (SGD, "net[0].weight = nn.Parameter(pellucid.ones(3, 3))"),
    "parameters' data": (SGD, "net[0].weight.data = pellucid.ones(3, 3)"),
    "group added": (SGD, "extra = nn.Parameter(pellucid.ones(3)); net.append(nn.Linear(1, 1)); opt.add_param_group({'params': list(net[3].parameters())})"),
    "group's parameters removed": (SGD, "opt.param_groups[0]['params'].pop()"),
    "optimizer replaced": (SGD, "opt = pellucid.optim.SGD(net.parameters(), lr=0.5)"),
    "gradient left": (SGD.replace("0.9", "0"), "opt.zero_grad = lambda: None"),
    "gradient hook": (SGD, "h = net[0].weight.register_hook(lambda g: g * 3)", "h.remove()"),
    "accumulation hook": (SGD, "h = net[0].weight.register_post_accumulate_grad_hook(lambda p: (p.grad.mul_(3), None)[1])", "h.remove()"),
    "step hook": (SGD, "opt.register_step_post_hook(lambda *a: net[0].weight.data.zero_())"),
    "module's backward hook": (SGD, "h = net[0].register_full_backward_hook(lambda m, gi, go: tuple(None if g is None else g * 3 for g in gi))"),
    "grad set": (SGD, "net[0].weight.grad = pellucid.ones(3, 3)"),
    "batch size": (SGD, "x = x[:2]"),
    "step hook removed": (SGD + "\nh = opt.register_step_post_hook(lambda *a: net[0].weight.data.zero_())", "h.remove()"),
    "step pre-hook": (SGD, "h = opt.register_step_pre_hook(lambda *a: net[0].weight.grad.zero_())", "h.remove()"),
    "step hook everywhere": (SGD, "h = pellucid.optim.optimizer.register_optimizer_step_post_hook(lambda *a: net[0].weight.data.zero_())", "h.remove()"),
    "step on the instance": (SGD, "opt.step = lambda: None"),
    "gradient hook's global": (SGD + "\nk = 2; net[0].weight.register_hook(lambda g: g * k)", "k = 5"),
    "gradient hook's list": (SGD + "\nk = [2]; net[0].weight.register_hook(lambda g: g * k[0])", "k[0] = 5"),
    "gradient hooks collect": (SGD + "\nseen = []; net[0].weight.register_hook(lambda g: seen.append(1)); old = f\n"
                               "def f(x): return [*old(x), len(seen)]", "=seen.append(1)"),
    "state's dict replaced": (SGD, "opt.state[net[0].weight] = {'momentum_buffer': pellucid.ones(3, 3)}"),
    "state replaced, Adam": (ADAM, "opt.state[net[0].weight]['exp_avg'] = pellucid.ones(3, 3)"),
    "parameter's gradient wanted again": (SGD + "\nnet[0].weight.requires_grad_(False)", "net[0].weight.requires_grad_()"),
    "module's pre-hook": (SGD, "h = net[0].register_forward_pre_hook(halve)", "h.remove()"),
    "gradient clipped": (SGD + "\nlimit = 0.01\nstep = opt.step\ndef f(x, f0=f):\n    opt.zero_grad()\n    (net(x) ** 2).mean().backward()\n"
                         "    nn.utils.clip_grad_norm_(net.parameters(), limit)\n    opt.step()\n    return [p.detach().clone() for p in net.parameters()]",
                         "limit = 0.001", "limit = 0.002"),
}


@cases(STEPS)
def test_steps(case):
    optimizer, *changes = case
    first, _, rest = optimizer.partition("\n")
    check((STEP.format(first) + rest, None, *changes))
