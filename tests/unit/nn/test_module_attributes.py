"""Attributes of a module: what registers, what is refused, and in which words."""

import copy
import pickle

import pytest

import pellucid


def bare(torch):
    return torch.nn.Module()


ASSIGNMENTS = {
    "parameter": lambda torch, m: setattr(m, "a", torch.nn.Parameter(torch.ones(2))),
    "parameter replaces buffer": lambda torch, m: setattr(m, "buf", torch.nn.Parameter(torch.ones(2))),
    "parameter replaces module": lambda torch, m: setattr(m, "mod", torch.nn.Parameter(torch.ones(2))),
    "parameter replaces plain": lambda torch, m: setattr(m, "plain", torch.nn.Parameter(torch.ones(2))),
    "none for parameter": lambda torch, m: setattr(m, "par", None),
    "tensor for parameter": lambda torch, m: setattr(m, "par", torch.ones(2)),
    "number for parameter": lambda torch, m: setattr(m, "par", 3),
    "module for parameter": lambda torch, m: setattr(m, "par", torch.nn.ReLU()),
    "module": lambda torch, m: setattr(m, "a", torch.nn.ReLU()),
    "module replaces plain": lambda torch, m: setattr(m, "plain", torch.nn.ReLU()),
    "module replaces buffer": lambda torch, m: setattr(m, "buf", torch.nn.ReLU()),
    "none for module": lambda torch, m: setattr(m, "mod", None),
    "number for module": lambda torch, m: setattr(m, "mod", 3),
    "tensor for module": lambda torch, m: setattr(m, "mod", torch.ones(2)),
    "tensor for buffer": lambda torch, m: setattr(m, "buf", torch.zeros(3)),
    "none for buffer": lambda torch, m: setattr(m, "buf", None),
    "number for buffer": lambda torch, m: setattr(m, "buf", 3),
    "buffer": lambda torch, m: setattr(m, "a", torch.nn.Buffer(torch.ones(2))),
    "buffer not persistent": lambda torch, m: setattr(m, "a", torch.nn.Buffer(torch.ones(2), persistent=False)),
    "buffer replaces parameter": lambda torch, m: setattr(m, "par", torch.nn.Buffer(torch.ones(2))),
    "buffer replaces transient one": lambda torch, m: setattr(m, "transient", torch.nn.Buffer(torch.ones(2))),
    "plain tensor": lambda torch, m: setattr(m, "a", torch.ones(2)),
    "computed parameter": lambda torch, m: m.register_parameter("a", torch.nn.Parameter(torch.ones(2)) * 2),
    "register parameter": lambda torch, m: m.register_parameter("a", torch.nn.Parameter(torch.ones(2))),
    "register none": lambda torch, m: m.register_parameter("a", None),
    "register a tensor": lambda torch, m: m.register_parameter("a", torch.ones(2)),
    "register a number": lambda torch, m: m.register_parameter("a", 3),
    "register under a number": lambda torch, m: m.register_parameter(3, None),
    "register under a dot": lambda torch, m: m.register_parameter("a.b", None),
    "register under nothing": lambda torch, m: m.register_parameter("", None),
    "register under a taken name": lambda torch, m: m.register_parameter("plain", None),
    "register under a method": lambda torch, m: m.register_parameter("forward", None),
    "register again": lambda torch, m: m.register_parameter("par", torch.nn.Parameter(torch.zeros(1))),
    "register buffer": lambda torch, m: m.register_buffer("a", torch.ones(2)),
    "register buffer, transient": lambda torch, m: m.register_buffer("a", torch.ones(2), persistent=False),
    "register buffer none": lambda torch, m: m.register_buffer("a", None),
    "register buffer number": lambda torch, m: m.register_buffer("a", 3),
    "register buffer under a number": lambda torch, m: m.register_buffer(3, None),
    "register buffer under a dot": lambda torch, m: m.register_buffer("a.b", None),
    "register buffer under nothing": lambda torch, m: m.register_buffer("", None),
    "register buffer under a taken name": lambda torch, m: m.register_buffer("par", None),
    "add module": lambda torch, m: m.add_module("a", torch.nn.ReLU()),
    "add none": lambda torch, m: m.register_module("a", None),
    "add a number": lambda torch, m: m.add_module("a", 3),
    "add a class": lambda torch, m: m.add_module("a", torch.nn.ReLU),
    "add under a number": lambda torch, m: m.add_module(3, torch.nn.ReLU()),
    "add under a dot": lambda torch, m: m.add_module("a.b", torch.nn.ReLU()),
    "add under nothing": lambda torch, m: m.add_module("", torch.nn.ReLU()),
    "add under a taken name": lambda torch, m: m.add_module("plain", torch.nn.ReLU()),
    "delete parameter": lambda torch, m: delattr(m, "par"),
    "delete buffer": lambda torch, m: delattr(m, "transient"),
    "delete module": lambda torch, m: delattr(m, "mod"),
    "delete plain": lambda torch, m: delattr(m, "plain"),
    "delete unknown": lambda torch, m: delattr(m, "nothing"),
    "read unknown": lambda torch, m: m.nothing,
}


def everything(m):
    return {
        "parameters": dict(m._parameters), "buffers": dict(m._buffers), "modules": dict(m._modules),
        "transient": set(m._non_persistent_buffers_set), "plain": "plain" in m.__dict__, "a": "a" in m.__dict__,
        "state": dict(m.state_dict()),
    }


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_assignment(name, same):
    def scenario(torch):
        m = bare(torch)
        m.par = torch.nn.Parameter(torch.ones(3))
        m.register_buffer("buf", torch.ones(1))
        m.register_buffer("transient", torch.ones(1), persistent=False)
        m.mod = torch.nn.Tanh()
        m.plain = 1
        ASSIGNMENTS[name](torch, m)
        return everything(m)

    same(scenario)


BEFORE_INIT = {
    "parameter": lambda torch, m: setattr(m, "a", torch.nn.Parameter(torch.ones(2))),
    "module": lambda torch, m: setattr(m, "a", torch.nn.ReLU()),
    "register parameter": lambda torch, m: m.register_parameter("a", None),
    "register buffer": lambda torch, m: m.register_buffer("a", torch.ones(2)),
}


@pytest.mark.parametrize("name", BEFORE_INIT)
def test_before_init(name, same):
    def scenario(torch):
        class Hasty(torch.nn.Module):
            def __init__(self):
                BEFORE_INIT[name](torch, self)

        Hasty()

    same(scenario)


def test_plain_attributes_may_be_set_before_init(same):
    def scenario(torch):
        class M(torch.nn.Module):
            def __init__(self):
                self.n = 3
                super().__init__()

        return M().n

    same(scenario)


@pytest.mark.parametrize("args, kwargs", [((1,), {}), ((), {"x": 1})])
def test_init_takes_no_arguments(args, kwargs, same):
    same(lambda torch: torch.nn.Module(*args, **kwargs))


def test_call_super_init_passes_arguments_on(same):
    def scenario(torch):
        class Other:
            def __init__(self, n=0):
                self.n = n

        class M(torch.nn.Module, Other):
            call_super_init = True

        class N(torch.nn.Module, Other):
            pass

        return M(n=4).n, hasattr(N(), "n")

    same(scenario)


def test_registration_keeps_order_and_place(same):
    def scenario(torch):
        m = bare(torch)
        for name in "cab":
            setattr(m, name, torch.nn.Parameter(torch.ones(1)))
        m.c = torch.nn.Parameter(torch.zeros(1))
        return list(m._parameters)

    same(scenario)


def test_dir_lists_members_but_no_numbers(same):
    def scenario(torch):
        s = torch.nn.Sequential(torch.nn.Linear(2, 2))
        names = dir(s)
        return "0" in names, "weight" in dir(s[0]), "bias" in dir(s[0]), "forward" in names, names == sorted(names)

    same(scenario)


def test_registration_hooks_see_and_replace(same):
    def scenario(torch):
        module = torch.nn.modules.module
        seen = []

        def log(kind):
            def hook(m, name, value):
                seen.append((kind, type(m).__name__, name))
                if kind == "buffer":
                    return value + 1
            return hook

        handles = [
            module.register_module_parameter_registration_hook(log("parameter")),
            module.register_module_buffer_registration_hook(log("buffer")),
            module.register_module_module_registration_hook(log("module")),
        ]
        try:
            m = torch.nn.BatchNorm1d(2, affine=False)
            m.lin = torch.nn.Linear(1, 1)
        finally:
            for handle in handles:
                handle.remove()
        torch.nn.Linear(1, 1)
        return seen, m.running_mean

    same(scenario)


def test_register_buffer_of_a_subclass_without_persistent(same):
    def scenario(torch):
        class M(torch.nn.Module):
            def register_buffer(self, name, tensor):
                super().register_buffer(name, tensor, True)

        m = M()
        m.a = torch.nn.Buffer(torch.ones(1))
        kept = list(m.state_dict())
        m.b = torch.nn.Buffer(torch.ones(1), persistent=False)
        return kept

    same(scenario)


def test_a_copy_shares_nothing_and_a_pickle_comes_back():
    m = pellucid.nn.Sequential(pellucid.nn.Linear(2, 3), pellucid.nn.BatchNorm1d(3))
    m[0].bias.requires_grad_(False)
    m[0].weight.tag = "mine"
    for twin in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert repr(twin) == repr(m) and list(twin.state_dict()) == list(m.state_dict())
        assert [p.requires_grad for p in twin.parameters()] == [True, False, True, True]
        assert all(type(p) is pellucid.nn.Parameter for p in twin.parameters())
        with pellucid.no_grad():
            twin[0].weight.fill_(7.0)
        assert (m[0].weight != 7.0).all()
    assert pickle.loads(pickle.dumps(m))[0].weight.tag == "mine"


def test_shared_parameters_stay_shared_in_a_copy():
    m = pellucid.nn.Sequential(pellucid.nn.Linear(2, 2), pellucid.nn.Linear(2, 2))
    m[1].weight = m[0].weight
    twin = copy.deepcopy(m)
    assert twin[0].weight is twin[1].weight and twin[0].weight is not m[0].weight


def test_setstate_fills_in_what_old_pickles_lack():
    m = pellucid.nn.Linear(1, 1)
    state = dict(m.__dict__)
    for name in ("_forward_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks", "_non_persistent_buffers_set"):
        del state[name]
    old = pellucid.nn.Linear.__new__(pellucid.nn.Linear)
    old.__setstate__(state)
    assert list(old.state_dict()) == ["weight", "bias"] and old(pellucid.ones(1, 1)).shape == (1, 1)
