"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict: like lists and dicts, and registered."""

from collections import OrderedDict

import pytest

import pellucid


def seq(torch, n=3):
    return torch.nn.Sequential(*[torch.nn.Linear(i + 1, i + 2) for i in range(n)])


def names(m):
    return [[n, repr(c)] for n, c in m.named_children()]


SEQUENTIAL = {
    "call": lambda torch, s: tuple(s(torch.ones(1, 1)).shape),
    "ordered dict": lambda torch, s: names(torch.nn.Sequential(OrderedDict(a=torch.nn.ReLU(), b=torch.nn.Tanh()))),
    "len": lambda torch, s: len(s),
    "iterate": lambda torch, s: [repr(c) for c in s],
    "index": lambda torch, s: [repr(s[0]), repr(s[-1])],
    "slice": lambda torch, s: [repr(s[1:]), repr(s[::2]), type(s[:1]).__name__],
    "slice of names": lambda torch, s: names(torch.nn.Sequential(OrderedDict(a=torch.nn.ReLU(), b=torch.nn.Tanh()))[1:]),
    "out of range": lambda torch, s: s[3],
    "index by name": lambda torch, s: s["0"],
    "assign": lambda torch, s: [s.__setitem__(-1, torch.nn.ReLU()), names(s)],
    "assign out of range": lambda torch, s: s.__setitem__(7, torch.nn.ReLU()),
    "delete": lambda torch, s: [s.__delitem__(0), names(s)],
    "delete slice": lambda torch, s: [s.__delitem__(slice(0, 3, 2)), names(s)],
    "append": lambda torch, s: [s.append(torch.nn.ReLU()) is s, names(s)],
    "extend": lambda torch, s: [s.extend([torch.nn.ReLU(), torch.nn.Tanh()]) is s, names(s)],
    "insert": lambda torch, s: [s.insert(1, torch.nn.ReLU()) is s, names(s)],
    "insert at the end": lambda torch, s: names(s.insert(3, torch.nn.ReLU())),
    "insert from behind": lambda torch, s: names(s.insert(-1, torch.nn.ReLU())),
    "insert out of range": lambda torch, s: s.insert(5, torch.nn.ReLU()),
    "pop": lambda torch, s: [repr(s.pop(0)), names(s)],
    "pop slice": lambda torch, s: [repr(s.pop(slice(1, 3))), names(s)],
    "add": lambda torch, s: names(s + seq(torch, 1)),
    "add something": lambda torch, s: s + [torch.nn.ReLU()],
    "iadd": lambda torch, s: names(s.__iadd__(seq(torch, 2))),
    "iadd something": lambda torch, s: s.__iadd__(3),
    "times": lambda torch, s: [names(s * 2), names(2 * s)],
    "times nothing": lambda torch, s: s * 0,
    "times a float": lambda torch, s: s * 2.0,
    "itimes": lambda torch, s: names(s.__imul__(2)),
    "itimes badly": lambda torch, s: s.__imul__(-1),
}


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_sequential(name, same):
    same(lambda torch: SEQUENTIAL[name](torch, seq(torch)))


def test_sequential_insert_takes_modules_only():
    with pytest.raises(AssertionError, match="module should be of type"):
        seq(pellucid).insert(0, 3)


LIST = {
    "len": lambda torch, m: len(m),
    "iterate": lambda torch, m: [repr(c) for c in m],
    "index": lambda torch, m: [repr(m[1]), repr(m[-2])],
    "slice": lambda torch, m: names(m[1:]),
    "out of range": lambda torch, m: m[-4],
    "assign": lambda torch, m: [m.__setitem__(1, torch.nn.ReLU()), names(m)],
    "delete": lambda torch, m: [m.__delitem__(-1), names(m)],
    "delete slice": lambda torch, m: [m.__delitem__(slice(0, 2)), names(m)],
    "append": lambda torch, m: [m.append(torch.nn.ReLU()) is m, names(m)],
    "append something": lambda torch, m: m.append(3),
    "extend": lambda torch, m: names(m.extend(c for c in [torch.nn.ReLU()])),
    "extend with itself": lambda torch, m: len(m.extend(list(m))),
    "extend badly": lambda torch, m: m.extend(3),
    "insert": lambda torch, m: [m.insert(0, torch.nn.ReLU()), names(m)],
    "pop": lambda torch, m: [repr(m.pop(1)), names(m)],
    "add": lambda torch, m: names(m + torch.nn.ModuleList([torch.nn.ReLU()])),
    "iadd": lambda torch, m: names(m.__iadd__([torch.nn.ReLU()])),
    "in state": lambda torch, m: list(m.state_dict()),
    "contains": lambda torch, m: m[0] in m,
    "call": lambda torch, m: m(1),
}


@pytest.mark.parametrize("name", LIST)
def test_module_list(name, same):
    same(lambda torch: LIST[name](torch, torch.nn.ModuleList(seq(torch))))


DICT = {
    "items": lambda torch, m: [[k, repr(v)] for k, v in m.items()],
    "keys and values": lambda torch, m: [list(m.keys()), len(list(m.values())), list(m), len(m)],
    "index": lambda torch, m: repr(m["b"]),
    "missing": lambda torch, m: m["z"],
    "assign": lambda torch, m: [m.__setitem__("a", torch.nn.Tanh()), names(m)],
    "assign something": lambda torch, m: m.__setitem__("a", 3),
    "delete": lambda torch, m: [m.__delitem__("a"), names(m)],
    "pop": lambda torch, m: [repr(m.pop("a")), names(m)],
    "contains": lambda torch, m: ["a" in m, "z" in m],
    "clear": lambda torch, m: [m.clear(), names(m)],
    "update from dict": lambda torch, m: [m.update({"z": torch.nn.Tanh(), "a": torch.nn.Tanh()}), names(m)],
    "update from module dict": lambda torch, m: [m.update(torch.nn.ModuleDict({"q": torch.nn.Tanh()})), names(m)],
    "update from pairs": lambda torch, m: [m.update([["z", torch.nn.Tanh()]]), names(m)],
    "update from a number": lambda torch, m: m.update(3),
    "update from numbers": lambda torch, m: m.update([3]),
    "update from triples": lambda torch, m: m.update([(1, 2, 3)]),
    "a name like a method": lambda torch, m: m.__setitem__("keys", torch.nn.Tanh()),
}


@pytest.mark.parametrize("name", DICT)
def test_module_dict(name, same):
    same(lambda torch: DICT[name](torch, torch.nn.ModuleDict([("b", torch.nn.ReLU()), ("a", torch.nn.Linear(1, 1))])))


PLIST = {
    "repr": lambda torch, m: repr(m),
    "len": lambda torch, m: len(m),
    "iterate": lambda torch, m: list(m),
    "index": lambda torch, m: [m[0], m[-1]],
    "slice": lambda torch, m: [type(m[:2]).__name__, list(m[:2])],
    "out of range": lambda torch, m: m[9],
    "assign a tensor": lambda torch, m: [m.__setitem__(0, torch.zeros(1)), list(m), list(m.state_dict())],
    "append": lambda torch, m: [m.append(torch.zeros(2)) is m, list(m.state_dict())],
    "append anything": lambda torch, m: [m.append("text") is m, repr(m), list(m.state_dict())],
    "extend": lambda torch, m: list(m.extend([torch.zeros(1), 3]).state_dict()),
    "extend badly": lambda torch, m: m.extend(3),
    "iadd": lambda torch, m: len(m.__iadd__([torch.zeros(1)])),
    "call": lambda torch, m: m(1),
    "parameters": lambda torch, m: [n for n, _ in m.named_parameters()],
    "dir": lambda torch, m: "0" in dir(m),
}


@pytest.mark.parametrize("name", PLIST)
def test_parameter_list(name, same):
    same(lambda torch: PLIST[name](torch, torch.nn.ParameterList([torch.ones(2), torch.nn.Parameter(torch.ones(1, 3)), 7])))


PDICT = {
    "repr": lambda torch, m: repr(m),
    "items": lambda torch, m: [list(m.items()), list(m.keys()), list(m.values()), list(m), list(reversed(m)), len(m)],
    "index": lambda torch, m: m["b"],
    "missing": lambda torch, m: m["z"],
    "assign": lambda torch, m: [m.__setitem__("z", torch.zeros(1)), list(m.state_dict())],
    "assign under a number": lambda torch, m: m.__setitem__(3, torch.zeros(1)),
    "delete": lambda torch, m: [m.__delitem__("b"), list(m), list(m.state_dict())],
    "copy": lambda torch, m: [m.copy() is m, m.copy()["b"] is m["b"], list(m.copy())],
    "setdefault": lambda torch, m: [m.setdefault("b", 3), m.setdefault("new", torch.zeros(1)), list(m)],
    "get": lambda torch, m: [m.get("b"), m.get("z"), m.get("z", 4)],
    "pop": lambda torch, m: [m.pop("b"), list(m)],
    "popitem": lambda torch, m: [m.popitem(), list(m)],
    "clear": lambda torch, m: [m.clear(), list(m), list(m.state_dict())],
    "fromkeys": lambda torch, m: list(m.fromkeys(["x", "y"], 3).items()),
    "update from dict": lambda torch, m: [m.update({"z": torch.zeros(1), "c": torch.zeros(1)}), list(m)],
    "update in order": lambda torch, m: [m.update(OrderedDict(z=torch.zeros(1), c=torch.zeros(1))), list(m)],
    "update from pairs": lambda torch, m: [m.update([["z", torch.zeros(1)], ("c", torch.zeros(1))]), list(m)],
    "update from a number": lambda torch, m: m.update(3),
    "update from numbers": lambda torch, m: m.update([3]),
    "update from triples": lambda torch, m: m.update([(1, 2, 3)]),
    "or": lambda torch, m: list(m | torch.nn.ParameterDict({"z": torch.zeros(1)})),
    "ror": lambda torch, m: list(m.__ror__(torch.nn.ParameterDict({"z": torch.zeros(1)}))),
    "ior": lambda torch, m: list(m.__ior__(torch.nn.ParameterDict({"z": torch.zeros(1)}))),
    "contains": lambda torch, m: ["b" in m, "z" in m],
    "call": lambda torch, m: m(1),
}


@pytest.mark.parametrize("name", PDICT)
def test_parameter_dict(name, same):
    same(lambda torch: PDICT[name](torch, torch.nn.ParameterDict(OrderedDict(b=torch.ones(2), a=torch.nn.Parameter(torch.ones(1)), n=3))))


def test_deprecated_container(same):
    same(lambda torch: names(torch.nn.modules.container.Container(a=torch.nn.ReLU())))
