"""Walking a module tree, reaching parts of it, converting it, and printing it."""

import pytest

import pellucid


def tree(torch):
    shared = torch.nn.Linear(2, 2)
    m = torch.nn.Module()
    m.one = shared
    m.two = torch.nn.Sequential(shared, torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1))
    m.none = None
    m.register_module("gap", None)
    m.two[2].bias = m.one.bias
    m.register_parameter("own", torch.nn.Parameter(torch.ones(1)))
    m.register_parameter("absent", None)
    m.register_buffer("buf", torch.ones(1), persistent=False)
    return m


WALKS = {
    "named_children": lambda m: [(n, type(c).__name__) for n, c in m.named_children()],
    "children": lambda m: [type(c).__name__ for c in m.children()],
    "modules": lambda m: [type(c).__name__ for c in m.modules()],
    "modules with duplicates": lambda m: [type(c).__name__ for c in m.modules(remove_duplicate=False)],
    "named_modules": lambda m: [(n, type(c).__name__) for n, c in m.named_modules()],
    "named_modules under a prefix": lambda m: [n for n, _ in m.named_modules(prefix="p")],
    "named_modules with duplicates": lambda m: [n for n, _ in m.named_modules(remove_duplicate=False)],
    "named_modules without some": lambda m: [n for n, _ in m.named_modules(memo={m.one})],
    "parameters": lambda m: [tuple(p.shape) for p in m.parameters()],
    "own parameters": lambda m: [tuple(p.shape) for p in m.parameters(recurse=False)],
    "named_parameters": lambda m: [n for n, _ in m.named_parameters()],
    "named_parameters under a prefix": lambda m: [n for n, _ in m.named_parameters(prefix="p", recurse=False)],
    "named_parameters with duplicates": lambda m: [n for n, _ in m.named_parameters(remove_duplicate=False)],
    "named_buffers": lambda m: [n for n, _ in m.named_buffers()],
    "buffers": lambda m: [tuple(b.shape) for b in m.buffers()],
    "own buffers": lambda m: [tuple(b.shape) for b in m.buffers(recurse=False)],
    "apply": lambda m: [seen for seen in [[]] if m.apply(lambda c: seen.append(type(c).__name__)) is m],
    "train": lambda m: (m.eval() is m, [c.training for c in m.modules()], m.train() is m, [c.training for c in m.modules()]),
    "train badly": lambda m: m.train(1),
    "freeze": lambda m: [p.requires_grad for p in m.requires_grad_(False).parameters()],
    "repr": repr,
}


@pytest.mark.parametrize("walk", WALKS)
def test_walk(walk, same):
    same(lambda torch: WALKS[walk](tree(torch)))


PATHS = ["", "one", "two.0", "two.5", "one.weight", "own", "none", "nothing", "two.nothing.x", "buf", "gap"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("what", ["submodule", "parameter", "buffer"])
def test_get(what, path, same):
    def scenario(torch):
        found = getattr(tree(torch), f"get_{what}")(path)
        return type(found).__name__

    same(scenario)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("path", ["one", "two.1", "new", "two.new", "", "nothing.x", "own", "one.weight"])
def test_set_submodule(path, strict, same):
    def scenario(torch):
        m = tree(torch)
        m.set_submodule(path, torch.nn.Tanh(), strict=strict)
        return [n for n, c in m.named_modules() if isinstance(c, torch.nn.Tanh)]

    same(scenario)


def test_set_submodule_to_something_else(same):
    same(lambda torch: tree(torch).set_submodule("one", 3))


CONVERSIONS = {
    "double": lambda torch, m: m.double(),
    "half": lambda torch, m: m.half(),
    "bfloat16": lambda torch, m: m.bfloat16(),
    "float": lambda torch, m: m.double().float(),
    "type": lambda torch, m: m.type(torch.float64),
    "to dtype": lambda torch, m: m.to(torch.float64),
    "to device": lambda torch, m: m.to("cpu"),
    "to device and dtype": lambda torch, m: m.to("cpu", torch.float64, True),
    "to keywords": lambda torch, m: m.to(device=torch.device("cpu"), dtype=torch.float16, non_blocking=False),
    "to tensor": lambda torch, m: m.to(torch.zeros(1, dtype=torch.float64)),
    "to nothing": lambda torch, m: m.to(device=None, dtype=None),
    "to integers": lambda torch, m: m.to(torch.int64),
    "to complex": lambda torch, m: m.to(torch.complex64),
    "cpu": lambda torch, m: m.cpu(),
    "to_empty": lambda torch, m: m.to_empty(device="cpu"),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_conversion(name, same):
    def scenario(torch):
        m = tree(torch)
        before = m.one.weight
        m.one.weight.grad = torch.ones(2, 2)
        back = CONVERSIONS[name](torch, m)
        grad = None if name == "to_empty" else m.one.weight.grad.dtype
        return back is m, m.one.weight is before, grad, [(n, v.dtype) for n, v in [*m.named_parameters(), *m.named_buffers()]]

    same(scenario)


def test_memory_format(same):
    def scenario(torch):
        m = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 2), torch.nn.Linear(2, 2))
        m.to(memory_format=torch.channels_last)
        return m[0].weight.stride(), m[1].weight.stride(), m[0].weight.is_contiguous(memory_format=torch.channels_last)

    same(scenario)


def test_overwriting_instead_of_replacing_data():
    settings = pellucid.nn.modules._convert
    m = pellucid.nn.Linear(2, 2)
    before = m.weight
    settings.set_overwrite_module_params_on_conversion(True)
    try:
        m.double()
    finally:
        settings.set_overwrite_module_params_on_conversion(False)
    assert m.weight is not before and before.dtype is pellucid.float32 and not settings.get_overwrite_module_params_on_conversion()


@pytest.mark.parametrize("bad", [("cpu", 3, 4, 5), ({},)])
def test_to_refuses_other_arguments(bad):
    with pytest.raises((TypeError, RuntimeError)):
        pellucid.nn.Linear(1, 1).to(*bad)


def test_zero_grad(same):
    def scenario(torch):
        m = torch.nn.Linear(2, 1)
        m(torch.ones(1, 2)).sum().backward()
        m.zero_grad(set_to_none=False)
        zeros = m.weight.grad
        m.zero_grad()
        return zeros, m.weight.grad, m.bias.grad

    same(scenario)


def test_zero_grad_leaves_the_graph():
    m = pellucid.nn.Linear(1, 1)
    (m.weight**2).sum().backward(create_graph=True)
    assert m.weight.grad.grad_fn is not None
    m.zero_grad(set_to_none=False)
    assert m.weight.grad.grad_fn is None and not m.weight.grad.requires_grad


REPRS = {
    "empty": lambda nn: nn.Module(),
    "one line": lambda nn: nn.Linear(2, 3, bias=False),
    "nested": lambda nn: nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU(), nn.Sequential())),
    "list": lambda nn: nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)]),
    "list of lists": lambda nn: nn.ModuleList([nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU())]),
    "empty list": lambda nn: nn.ModuleList(),
    "dict": lambda nn: nn.ModuleDict({"a": nn.ReLU(), "b": nn.ModuleDict()}),
}


@pytest.mark.parametrize("name", REPRS)
def test_repr(name, same):
    same(lambda torch: repr(REPRS[name](torch.nn)))


def test_extra_repr_of_several_lines(same):
    def scenario(torch):
        class M(torch.nn.Module):
            def extra_repr(self):
                return "first\nsecond"

        class N(M):
            def __init__(self):
                super().__init__()
                self.child = M()

        return repr(M()), repr(N()), repr(torch.nn.Sequential(N()))

    same(scenario)


def test_forward_is_missing(same):
    def scenario(torch):
        class Empty(torch.nn.Module):
            pass

        Empty()(1)

    same(scenario)


def test_forward_set_on_the_instance_is_called(same):
    def scenario(torch):
        m = torch.nn.Identity()
        m.forward = lambda x, y=1: x + y
        return m(2), m(2, y=3)

    same(scenario)


def test_share_memory_and_factory_kwargs(same):
    def scenario(torch):
        m = torch.nn.Linear(1, 1)
        given = {"factory_kwargs": {"dtype": torch.float64}, "device": "cpu"}
        return m.share_memory() is m, m.weight.is_shared(), torch.nn.factory_kwargs(given), torch.nn.factory_kwargs(None)

    same(scenario)
    same(lambda torch: torch.nn.factory_kwargs({"dtype": 1, "factory_kwargs": {"dtype": 2}}))
    same(lambda torch: torch.nn.factory_kwargs({"speed": 1}))
