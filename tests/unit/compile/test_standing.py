"""What makes compiled calls cheap, each against the fact behind it: words of memory that stand for guards, one clock for all written
memories, gradients that nobody was given, arrays that no tensor has left."""
from __future__ import annotations

import copy
import sys
import types
import weakref

import numpy as np
import pytest

import pellucid
from pellucid import nn
from pellucid.compiler import standing
from pellucid.native import words
from pellucid.nn import functional as F

counted = pytest.mark.skipif(words.layout() is None, reason="dictionaries of this Python count no changes")


def test_there_are_words_where_dictionaries_count_their_changes():
    assert (words.layout() is not None) == (sys.implementation.name == "cpython" and sys.version_info < (3, 13))


# ---------------------------------------------------------------------------------------------------- words
def settled(add) -> words.Words:
    w = words.Words()
    add(w)
    w.close()
    w.settle(w.read())
    assert w.stay() and w.stay()
    return w


class Base:
    x = 1


class Kind(Base):
    def __init__(self):
        self.a = 1


def scaled(v, k=2, *, j=3):
    return v * k * j


def other(v, k=2, *, j=3):
    return v


def holding(x):
    return lambda: x


DICTS = {
    "an item": lambda d: d.__setitem__("a", 2), "a new item": lambda d: d.__setitem__("b", 1), "one less": lambda d: d.pop("a"),
    "update": lambda d: d.update(a=3), "emptied": lambda d: d.clear(), "past the class": lambda d: dict.__setitem__(d, "a", 5),
    "there and back": lambda d: (d.update(a=2), d.update(a=1)), "default": lambda d: d.setdefault("z", 1),
}


@counted
@pytest.mark.parametrize("how", DICTS)
def test_a_dictionary_moves_its_word(how):
    d = {"a": 1}
    w = settled(lambda w: w.add(words.of_dict(d), d))
    DICTS[how](d)
    assert not w.stay()


@counted
@pytest.mark.parametrize("how", [lambda: setattr(Kind, "y", 1), lambda: setattr(Base, "x", 2), lambda: delattr(Kind, "y"),
                                 lambda: setattr(Kind, "__call__", other), lambda: setattr(Kind, "__getattr__", other)])
def test_a_class_moves_its_word(how):
    Kind.y = 0
    Kind.x
    w = settled(lambda w: w.add(words.of_class(Kind), Kind))
    try:
        how()
        assert not w.stay()
    finally:
        for name in ("y", "__call__", "__getattr__"):
            if name in vars(Kind):
                delattr(Kind, name)
        Base.x = 1


@counted
@pytest.mark.parametrize("part, value", [("__code__", other.__code__), ("__defaults__", (7,)), ("__defaults__", None),
                                         ("__kwdefaults__", {"j": 4})])
def test_a_function_moves_its_word(part, value):
    f = types.FunctionType(scaled.__code__, globals(), "f", (2,))
    f.__kwdefaults__ = {"j": 3}
    w = settled(lambda w: w.add(words.of_pointer(f, part), f, getattr(f, part), pointer=True))
    setattr(f, part, value)
    assert not w.stay()
    w.settle(w.read())                              # a pointer is never taken for another one
    assert not w.stay()


@counted
def test_a_cell_and_an_instance_move_their_words():
    cell = holding("abc").__closure__[0]
    o = Kind()
    w = settled(lambda w: (w.add(words.of_pointer(cell, "cell_contents"), cell, cell.cell_contents, pointer=True),
                           w.add(words.of_pointer(o, "__dict__"), o, vars(o), pointer=True)))
    cell.cell_contents = "xyz"
    assert not w.stay()
    cell.cell_contents = "abc"
    assert w.stay()
    o.__dict__ = {"a": 1}
    assert not w.stay()


def test_what_has_no_words():
    class Own(dict):
        pass

    class Meta(type):
        pass

    assert words.of_dict(Own()) is None and words.of_dict([]) is None and words.of_class(Meta("K", (), {})) is None
    assert words.of_pointer(words, "__dict__") is None and words.of_pointer(scaled, "__globals__") is None


# ---------------------------------------------------------------------------------------------------- guards
class Scale(nn.Module):
    factor = 2.0

    def __init__(self, k):
        super().__init__()
        self.k, self.p = k, nn.Parameter(pellucid.full((3,), 2.0))
        self.register_buffer("b", pellucid.ones(3))

    def shift(self, x, by=1.0):
        return x + by

    def forward(self, x):
        return self.shift(x * self.p * self.k + self.b) * self.factor


def scales():
    kind = type("Scale", (Scale,), {k: types.FunctionType(f.__code__, globals(), k, f.__defaults__, f.__closure__)
                                    for k, f in vars(Scale).items() if k in ("shift", "forward")})
    net = nn.Sequential(*[kind(float(k)) for k in range(1, 6)], nn.Linear(3, 3), nn.LayerNorm(3), nn.Tanh())
    with pellucid.no_grad():
        net[5].weight.fill_(0.01)
        net[5].bias.copy_(pellucid.tensor([0.1, 0.2, 0.3]))
    return net


def replaced_dict(net):
    net[1].__dict__ = {**vars(net[1]), "k": 9.0}


MUTATIONS = {
    "attribute": lambda net: setattr(net[1], "k", 9.0),
    "attribute, past the module": lambda net: object.__setattr__(net[1], "k", 9.0),
    "attribute in the dict": lambda net: vars(net[1]).__setitem__("k", 9.0),
    "attribute gone": lambda net: (setattr(type(net[1]), "k", 9.0), vars(net[1]).pop("k")),
    "dict replaced": replaced_dict,
    "dict replaced, past the module": lambda net: object.__setattr__(net[1], "__dict__", {**vars(net[1]), "k": 9.0}),
    "class attribute": lambda net: setattr(type(net[1]), "factor", 9.0),
    "attribute of the base class": lambda net: setattr(Scale, "factor", 9.0),
    "attribute over the class's": lambda net: setattr(net[1], "factor", 9.0),
    "method": lambda net: setattr(type(net[1]), "shift", lambda self, x: x + 9.0),
    "method's code": lambda net: setattr(type(net[1]).shift, "__code__", (lambda self, x, by=1.0: x - by).__code__),
    "method's default": lambda net: setattr(type(net[1]).shift, "__defaults__", (9.0,)),
    "method of the instance": lambda net: setattr(net[1], "shift", lambda x: x),
    "forward of the instance": lambda net: vars(net[1]).__setitem__("forward", lambda x: x),
    "parameter": lambda net: setattr(net[1], "p", nn.Parameter(pellucid.full((3,), 9.0))),
    "parameter in the dict": lambda net: dict.__setitem__(net[1]._parameters, "p", nn.Parameter(pellucid.full((3,), 9.0))),
    "parameter's data": lambda net: setattr(net[1].p, "data", pellucid.full((3,), 9.0)),
    "parameter swapped": lambda net: pellucid.utils.swap_tensors(net[1].p, nn.Parameter(pellucid.full((3,), 9.0))),
    "buffer set_": lambda net: net[1].b.set_(pellucid.full((3,), 9.0)),
    "parameter written": lambda net: net[1].p.data.fill_(9.0),
    "parameter frozen": lambda net: net[1].p.requires_grad_(False),
    "buffer": lambda net: net[1]._buffers.__setitem__("b", pellucid.full((3,), 9.0)),
    "native module's parameter": lambda net: net[5]._parameters.update(bias=nn.Parameter(pellucid.full((3,), 9.0))),
    "native module's attribute": lambda net: vars(net[6]).__setitem__("eps", 9.0),
    "module": lambda net: net._modules.__setitem__("1", nn.Identity()),
    "module more": lambda net: net.append(nn.Tanh()),
    "module's class": lambda net: setattr(net[1], "__class__", nn.Identity),
    "hook": lambda net: net[1].register_forward_hook(lambda m, i, o: o * 9),
    "hook in the dict": lambda net: net[5]._forward_hooks.__setitem__(5, lambda m, i, o: o * 9),
    "hook in the dict, of ours": lambda net: net[1]._forward_hooks.__setitem__(5, lambda m, i, o: o * 9),
}


@pytest.fixture
def base_class():
    yield
    Scale.factor = 2.0


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("how", MUTATIONS)
def test_a_module_is_looked_at_when_anything_moves(how, gradients, base_class):
    net, plain = scales(), scales()
    compiled = pellucid.compile(net, backend="eager")
    x = pellucid.arange(6.0).reshape(2, 3) / 7
    with pellucid.set_grad_enabled(gradients):
        for _ in range(3):
            before = compiled(x)
        version = compiled._compiled.versions[0]
        assert version.writer.standing is None or version.writer.standing.stay()
        change = MUTATIONS[how]
        change(net)
        if how == "attribute of the base class":
            Scale.factor = 2.0
            np.testing.assert_allclose(before.detach().numpy(), plain(x).detach().numpy(), rtol=1e-6)
        change(plain)
        for _ in range(3):
            a, b = compiled(x), plain(x)
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5)
            assert a.requires_grad is b.requires_grad


@counted
def test_words_stand_for_most_guards_and_settle_again_after_a_change_that_nobody_relies_on():
    net = scales()
    compiled = pellucid.compile(net, backend="eager")
    x = pellucid.ones(2, 3)
    compiled(x)
    compiled(x)
    version = compiled._compiled.versions[0]
    kept = [g for g in version.writer.guards if not g.stands]
    assert len(kept) < len(version.writer.guards) / 4 and version.writer.standing.stay()
    net[1].note = "something else"                  # one attribute more: another version is compiled
    del net[1].note
    assert not version.writer.standing.stay()
    compiled(x)
    assert compiled.compiles == 1 and version.writer.standing.stay()


@counted
def test_what_changes_between_the_look_and_the_end_of_the_guards_is_not_settled():
    d = {str(k): {"a": k} for k in range(20)}
    s = standing.Standing()
    assert all(s.item(d, (str(k), "a"), k) for k in range(20)) and s.close()
    now = s.read()
    d["3"]["a"] = 7
    s.settle(now)
    assert not s.stay()
    d["3"]["a"] = 3
    s.settle(s.read())
    assert s.stay()
    d["3"] = {"a": 3}                               # an equal one, whose word nobody looks at
    assert not s.stay()
    s.settle(s.read())
    assert not s.stay()


@counted
def test_words_that_never_stay_are_asked_seldom():
    d = {"a": 1}
    w = settled(lambda w: w.add(words.of_dict(d), d))
    looks = 0
    for k in range(5000):
        d["a"] = k
        assert not w.stay()
        now = w.read()
        if now is not None:
            looks += 1
            w.settle(now)
    assert looks < 30
    for _ in range(words.PATIENCE + 2):             # now they do
        if not w.stay() and (now := w.read()) is not None:
            w.settle(now)
    assert w.stay() and w.stay()


@counted
def test_busy_dictionaries_and_globals_have_no_words():
    d = {"lr": 0.1}
    s = standing.Standing([d])
    assert not s.dicts(d) and not s.dicts(globals()) and s.dicts({})


def test_a_scheduler_does_not_keep_the_words_from_standing():
    net = scales()
    opt = pellucid.optim.AdamW(net.parameters(), lr=0.1)
    schedule = pellucid.optim.lr_scheduler.StepLR(opt, 1, 0.5)

    @pellucid.compile(backend="eager", fullgraph=True)
    def step(x):
        opt.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        opt.step()
        return loss

    for _ in range(6):
        step(pellucid.ones(2, 3))
        schedule.step()
    found = [v.writer.standing for v in step.versions]
    assert step.compiles <= 2 and all(s is None or s.words.misses < 2 for s in found[:1])


# ---------------------------------------------------------------------------------------------------- versions
def writer(tensors, by=1.0):
    @pellucid.compile(backend="eager", fullgraph=True)
    def write():
        with pellucid.no_grad():
            for t in tensors:
                t.add_(by)
    return write


def versions(tensors):
    return [t._version for t in tensors]


def test_one_clock_counts_all_written_tensors_once_a_call():
    tensors = [pellucid.zeros(3) for _ in range(20)]
    tensors[4].add_(1)
    write = writer(tensors)
    for k in range(1, 5):
        write()
        assert versions(tensors) == [k + (j == 4) for j in range(20)]
    clock = tensors[0]._st.clock
    assert all(t._st.clock is clock for t in tensors) and clock.whole
    tensors[7].add_(1)                              # an eager write counts for that tensor alone
    assert versions(tensors) == [4 + (j in (4, 7)) for j in range(20)]
    write()
    assert versions(tensors) == [5 + (j in (4, 7)) for j in range(20)] and tensors[7]._st.clock is clock


def test_functions_that_write_the_same_tensors_share_a_clock_and_others_take_it_over():
    tensors = [pellucid.zeros(3) for _ in range(20)]
    first, second, part = writer(tensors), writer(tensors, 2.0), writer(tensors[:12])
    seen = 0
    for k in range(3):
        first()
        second()
        seen += 2
    assert versions(tensors) == [seen] * 20 and tensors[0]._st.clock.whole
    extra = 0
    for k in range(12):                             # they take turns
        first()
        part()
        seen, extra = seen + 1, extra + 1
        assert versions(tensors) == [seen + extra] * 12 + [seen] * 8
    np.testing.assert_array_equal(tensors[0].numpy(), np.full(3, 3.0 + 6 + 24, np.float32))
    for _ in range(70):                             # no turns any more: one clock again
        first()
    assert tensors[0]._st.clock.whole and len({t._st.clock for t in tensors}) == 1
    assert versions(tensors) == [seen + extra + 70] * 12 + [seen + 70] * 8


@pytest.mark.parametrize("written", [0, 19])
def test_a_saved_tensor_that_a_compiled_function_wrote_is_noticed(written):
    tensors = [pellucid.zeros(3) for _ in range(20)]
    w = pellucid.ones(3, requires_grad=True)
    write = writer(tensors)
    write()
    y, z = (w * tensors[written]).sum(), w.exp() * 2
    tensors[5].add_(1)
    y.backward(retain_graph=True)                   # another one was written
    write()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    z.sum().backward()


def test_versions_go_on_where_a_tensor_is_given_other_memory():
    tensors = [pellucid.zeros(3) for _ in range(20)]
    write = writer(tensors)
    write()
    write()
    tensors[3].data = pellucid.zeros(3)
    tensors[4].set_(pellucid.zeros(3))
    w = pellucid.ones(3, requires_grad=True)
    losses = [(w * t).sum() for t in tensors]
    write()
    for loss in losses:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
    assert tensors[3].tolist() == tensors[4].tolist() == [1.0] * 3 and tensors[5].tolist() == [3.0] * 3


def test_a_compiled_forward_notices_writes_of_a_compiled_function():
    net = nn.Sequential(*[nn.Linear(3, 3) for _ in range(8)])
    write = writer(list(net.parameters()))
    write()
    f = pellucid.compile(lambda x: net(x).sum(), backend="eager")
    x = pellucid.ones(2, 3)
    f(x)
    loss = f(x)
    loss.backward()
    loss = f(x)
    write()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# ---------------------------------------------------------------------------------------------------- gradients
def training(width: int = 3):
    pellucid.manual_seed(0)
    net = nn.Sequential(*[nn.Linear(width, width) for _ in range(3)])

    @pellucid.compile(backend="llvm", fullgraph=True)
    def step(x):
        net.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        return loss
    return net, step


def plain_gradients(net, x):
    return [g.numpy() for g in pellucid.autograd.grad(net(x).square().mean(), list(net.parameters()))]


HOLDS = {
    "nobody": lambda p: None,
    "a variable": lambda p: p.grad,
    "its array": lambda p: p.grad.numpy(),
    "its memory": lambda p: p.grad.untyped_storage(),
    "a view": lambda p: p.grad[0],
    "a weak reference, later a variable": lambda p: weakref.ref(p.grad),
    "a copy of the parameter": lambda p: copy.deepcopy(p).grad,
    "another tensor's gradient": lambda p: setattr(p.other, "grad", p.grad),
}


@pytest.mark.parametrize("looks", [1, 3])
@pytest.mark.parametrize("how", HOLDS)
def test_a_gradient_that_somebody_holds_keeps_its_values(how, looks):
    net, step = training()
    x, y = pellucid.ones(2, 3), pellucid.ones(2, 3) * 3
    for _ in range(3):
        step(x)
    p = net[1].weight
    p.other = pellucid.zeros(3, 3, requires_grad=True)
    expected = plain_gradients(net, x)[2]
    held = None
    for _ in range(looks):                          # in the meantime nobody holds it: the counter has settled
        held = HOLDS[how](p)
        step(x) if how.startswith("a weak") else None
    held = held() if isinstance(held, weakref.ref) else held
    del held                                        # looked at, let go, and a call between
    step(x)
    step(x)
    held = HOLDS[how](p)
    if isinstance(held, weakref.ref):
        step(x)                                     # nobody holds it now, and the gradients are in place
        held = held()
    if how == "another tensor's gradient":
        held = p.other.grad
    step(y)
    np.testing.assert_allclose(p.grad.numpy(), plain_gradients(net, y)[2], rtol=1e-5)
    if isinstance(held, pellucid.Tensor):
        np.testing.assert_allclose(held.numpy(), expected if held.ndim == 2 else expected[0], rtol=1e-5)
    elif isinstance(held, np.ndarray):
        np.testing.assert_allclose(held, expected, rtol=1e-5)
    elif held is not None:
        np.testing.assert_allclose(np.array(held.tolist(), np.uint8).view(np.float32), expected.ravel(), rtol=1e-5)


CLEARS = {
    "set to None": lambda p: setattr(p, "grad", None), "deleted": lambda p: delattr(p, "grad"),
    "set": lambda p: setattr(p, "grad", pellucid.ones(3, 3)), "eager backward": lambda p: (p * 2).sum().backward(),
    "swapped": lambda p: pellucid.utils.swap_tensors(p, nn.Parameter(p.detach().clone())),
    "retained": lambda p: (setattr(p, "grad", None), (p * 3).sum().backward()),
}


@pytest.mark.parametrize("how", CLEARS)
def test_gradients_are_stored_where_somebody_has_changed_them(how):
    net, step = training()
    x, y = pellucid.ones(2, 3), pellucid.ones(2, 3) * 3
    for _ in range(4):
        step(x)
    CLEARS[how](net[1].weight)
    step(y)
    expected = plain_gradients(net, y)
    for p, g in zip(net.parameters(), expected):
        np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-5)


def test_two_compiled_steps_store_their_own_gradients():
    net, step = training()
    other = pellucid.compile(lambda x: (net.zero_grad(), (net(x) * 2).sum().backward())[0], backend="llvm", fullgraph=True)
    x = pellucid.ones(2, 3)
    mine = plain_gradients(net, x)
    theirs = [g.numpy() for g in pellucid.autograd.grad((net(x) * 2).sum(), list(net.parameters()))]
    for _ in range(4):
        for run, expected in ((step, mine), (step, mine), (other, theirs), (other, theirs)):
            run(x)
            for p, g in zip(net.parameters(), expected):
                np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-5)
        step(x)
        held = [p.grad for p in net.parameters()]
        other(x)
        for h, g in zip(held, mine):
            np.testing.assert_allclose(h.numpy(), g, rtol=1e-5)


def test_a_gradient_that_is_a_result_too_is_not_written_again():
    net, _ = training()

    @pellucid.compile(backend="llvm", fullgraph=True)
    def step(x):
        net.zero_grad()
        net(x).square().mean().backward()
        return net[1].weight.grad

    x = pellucid.ones(2, 3)
    for _ in range(4):
        expected = plain_gradients(net, x)[2]
        held = step(x)
        x = x + 1
        step(x)
        np.testing.assert_allclose(held.numpy(), expected, rtol=1e-5)


# ---------------------------------------------------------------------------------------------------- arrays
def test_a_step_uses_the_memory_that_its_tensors_have_now():
    tensors = [pellucid.zeros(3) for _ in range(20)]
    write = writer(tensors)
    write()
    write()
    old = weakref.ref(tensors[3]._a)
    tensors[3].data = pellucid.full((3,), 5.0)
    tensors[4].set_(pellucid.full((3,), 6.0))
    pellucid.utils.swap_tensors(tensors[5], pellucid.full((3,), 7.0))
    write()
    assert [t[0].item() for t in tensors[2:7]] == [3.0, 6.0, 7.0, 8.0, 3.0]
    assert old() is None                            # the function has let the old memory go


def test_weights_kept_in_another_form_are_not_made_again_for_a_step_that_holds_their_arrays():
    net = nn.Sequential(*[nn.Linear(64, 64) for _ in range(8)])
    write = writer(list(net.parameters()), 0.001)
    predict = pellucid.compile(net)
    x = pellucid.ones(2, 64)
    with pellucid.no_grad():
        for _ in range(3):
            write()
            for _ in range(3):
                np.testing.assert_allclose(predict(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)
        constant = predict._compiled.versions[0].constant
        if constant is None:
            pytest.skip("no weight is kept in another form")
        before = constant.refreshes
        for _ in range(5):
            predict(x)
        assert constant.refreshes == before
        held = net[0].weight._a                     # in somebody's hands whose writes nobody counts
        predict(x)
        held[...] = 0.5
        np.testing.assert_allclose(predict(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)
        assert constant.refreshes > before


def test_flags_that_a_compiled_function_sets_are_noticed_by_others():
    p = nn.Parameter(pellucid.ones(3))

    @pellucid.compile(backend="eager")
    def freeze():
        p.requires_grad_(False)

    f = pellucid.compile(lambda x: F.relu(x * p), backend="eager")
    assert f(pellucid.ones(3)).requires_grad and f(pellucid.ones(3)).requires_grad
    freeze()
    assert not p.requires_grad and not f(pellucid.ones(3)).requires_grad
    p.requires_grad_(True)
    assert f(pellucid.ones(3)).requires_grad
    freeze()
    assert not f(pellucid.ones(3)).requires_grad


def test_a_leaf_that_gets_a_history_is_no_leaf_to_a_compiled_forward():
    base = pellucid.ones(2, 3)
    w = pellucid.ones(3, requires_grad=True)
    f = pellucid.compile(lambda x: (x * base).sum(), backend="eager")
    x = pellucid.ones(2, 3, requires_grad=True)
    f(x)
    f(x)
    base.mul_(w)
    f(x).backward()
    assert w.grad is not None and w.grad.tolist() == [2.0] * 3 and x.grad.tolist() == [[1.0] * 3] * 2


