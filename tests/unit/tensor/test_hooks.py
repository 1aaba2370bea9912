"""Hooks on tensors, nodes and saved tensors: order, replacement, errors, threads."""
from __future__ import annotations

import gc
import threading

import pytest

import pellucid

PROGRAMS = []


def program(fn):
    PROGRAMS.append(fn)
    return fn


def leaf(torch, *shape):
    """1, 2, 3, ... as a tensor that requires grad."""
    size = 1
    for n in shape:
        size *= n
    return torch.arange(1.0, size + 1).reshape(shape).requires_grad_()


@program
def hook_order(torch):
    a = leaf(torch, 1)
    log = []
    b = a * 2
    b.register_hook(lambda g: log.append("h1"))
    b.retain_grad()
    b.register_hook(lambda g: (log.append("h2"), g * 3)[1])
    b.grad_fn.register_prehook(lambda g: log.append("pre"))
    b.grad_fn.register_hook(lambda i, o: log.append("post"))
    a.register_hook(lambda g: log.append("leaf"))
    a.register_post_accumulate_grad_hook(lambda t: log.append("acc"))
    b.sum().backward()
    return (log, a.grad, b.grad)


@program
def hook_replace(torch):
    a = leaf(torch, 2)
    a.register_hook(lambda g: g * 2)
    a.register_hook(lambda g: g + 1)
    (a * 3).sum().backward()
    return a.grad


@program
def hook_remove(torch):
    a = leaf(torch, 2)
    h = a.register_hook(lambda g: g * 2)
    h.remove()
    (a * 3).sum().backward()
    return a.grad


@program
def hook_inplace_grad(torch):
    a = leaf(torch, 2)
    b = a * 1
    b.register_hook(lambda g: g.mul_(2))
    c = b + b
    c.sum().backward()
    return a.grad


@program
def hook_bad_type(torch):
    a = leaf(torch, 2)
    a.register_hook(lambda g: 3)
    a.sum().backward()


@program
def hook_bad_size(torch):
    a = leaf(torch, 2)
    a.register_hook(lambda g: g[:1])
    a.sum().backward()


@program
def hook_bad_dtype(torch):
    a = leaf(torch, 2)
    a.register_hook(lambda g: g.double())
    a.sum().backward()


@program
def hook_norg(torch):
    torch.zeros(2).register_hook(lambda g: g)


@program
def acc_hook_nonleaf(torch):
    (leaf(torch, 2) * 1).register_post_accumulate_grad_hook(lambda g: g)


@program
def acc_hook_returns(torch):
    a = leaf(torch, 2)
    a.register_post_accumulate_grad_hook(lambda t: t.grad)
    a.sum().backward()


@program
def acc_hook_step(torch):
    a = leaf(torch, 2)

    def step(t):
        with torch.no_grad():
            t.sub_(0.1 * t.grad)
        t.grad = None
    a.register_post_accumulate_grad_hook(step)
    (a * a).sum().backward()
    return (a, a.grad)


@program
def node_post_replace(torch):
    a = leaf(torch, 2)
    b = a * a.detach()
    b.grad_fn.register_hook(lambda gi, go: (gi[0] * 5,) + gi[1:])
    b.sum().backward()
    return a.grad


@program
def node_pre_bad(torch):
    a = leaf(torch, 2)
    b = a * 2
    b.grad_fn.register_prehook(lambda g: (g[0], g[0]))
    b.sum().backward()


@program
def hook_before_inplace(torch):
    a = leaf(torch, 1)
    log = []
    b = a * 2
    b.register_hook(lambda g: log.append(("old", g.item())))
    b.mul_(3)
    b.register_hook(lambda g: log.append(("new", g.item())))
    b.sum().backward()
    return log


@program
def retain_inplace(torch):
    a = leaf(torch, 1)
    b = a * 2
    b.retain_grad()
    b.mul_(3)
    b.sum().backward()
    return b.grad


@program
def retain_base_view(torch):
    a = leaf(torch, 2)
    b = a * 2
    b.retain_grad()
    v = b[:1]
    v.mul_(5)
    b.sum().backward()
    return (b.grad, a.grad)


@program
def retain_twice(torch):
    a = leaf(torch, 1)
    b = a * 2
    b.retain_grad()
    b.retain_grad()
    b.sum().backward(retain_graph=True)
    b.sum().backward()
    return (b.grad, b.retains_grad)


@program
def grads_capture_hooks(torch):
    a = leaf(torch, 1)
    b = a * 2
    b.register_hook(lambda g: g * 10)
    c = b * 3
    return torch.autograd.grad(c.sum(), (a, b))


@program
def post_acc_with_inputs(torch):
    log = []
    a = leaf(torch, 2)
    c = leaf(torch, 2)
    a.register_post_accumulate_grad_hook(lambda t: log.append("a"))
    c.register_post_accumulate_grad_hook(lambda t: log.append("c"))
    (a * c).sum().backward(inputs=[c])
    torch.autograd.grad((a * c).sum(), (a, c))
    return log


@program
def leaf_hook_with_grad(torch):
    log = []
    a = leaf(torch, 2)
    c = leaf(torch, 2)
    a.register_hook(lambda t: log.append("a"))
    c.register_hook(lambda t: log.append("c"))
    torch.autograd.grad((a * c).sum(), (c,))
    return log


@program
def multi_grad_all(torch):
    a = leaf(torch, 2)
    c = leaf(torch, 2)
    d = leaf(torch, 2)
    log = []
    torch.autograd.graph.register_multi_grad_hook((a, c, d), lambda g: log.append([x is not None for x in g]))
    (a * c).sum().backward()
    (a * d).sum().backward()
    return log


@program
def saved_hooks(torch):
    log = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (log.append("p"), t * 2)[1], lambda t: (log.append("u"), t)[1]):
        a = leaf(torch, 2)
        b = a * a
    b.sum().backward()
    return (a.grad, log)


@program
def saved_hooks_double(torch):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        a = leaf(torch, 2)
        b = a ** 3
        g, = torch.autograd.grad(b.sum(), a, create_graph=True)
        g.sum().backward()
    return a.grad


@program
def saved_hooks_inplace(torch):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        a = leaf(torch, 2)
        w = leaf(torch, 2)
        b = a * 1
        b.mul_(w)
    b.sum().backward()
    return (a.grad, w.grad)


@program
def saved_hooks_disabled(torch):
    with torch.autograd.graph.disable_saved_tensors_hooks("no hooks here"):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
            pass


@pytest.mark.parametrize("fn", PROGRAMS, ids=lambda fn: fn.__name__)
def test_like_pytorch(fn, like_pytorch):
    like_pytorch(fn)


# ------------------------------------------------------------------------------------------------ what PyTorch says less about
def test_a_leaf_with_hooks_is_finished_as_soon_as_nothing_can_add_to_it():
    w1, w2 = (leaf(pellucid, 2) for _ in range(2))
    log = []
    h = w1 * 2
    h.register_hook(lambda g: log.append("h"))
    w2.register_post_accumulate_grad_hook(lambda t: log.append("w2"))
    (h * w2).sum().backward()
    assert log == ["w2", "h"]


def test_a_leaf_used_in_two_places_is_finished_once_with_the_sum():
    w = leaf(pellucid, 2)
    seen = []
    w.register_hook(lambda g: seen.append(g.tolist()))
    ((w * 2).exp() + w * 3).sum().backward()
    assert len(seen) == 1 and seen[0] == w.grad.tolist()


def test_hooks_on_the_accumulation_node_outlive_the_node_at_hand():
    w = leaf(pellucid, 2)
    log = []
    (w * 2).grad_fn.next_functions[0][0].register_hook(lambda grad_inputs, grad_outputs: log.append(grad_outputs[0].tolist()))
    gc.collect()
    (w * 3).sum().backward()
    assert log == [[3, 3]]


def test_removed_while_running():
    w = leaf(pellucid, 1)
    handles = []
    handles.append(w.register_hook(lambda g: handles[0].remove()))
    w.sum().backward()
    w.sum().backward()
    assert w.grad.item() == 2 and not w._x.hooks


def test_multi_grad_hook_runs_per_pass_in_each_thread():
    t1, t2, t3 = (leaf(pellucid, 2) for _ in range(3))
    seen, first = [], []
    lock = threading.Lock()

    def note(into):
        def hook(g):
            with lock:
                into.append(g)
        return hook
    both = pellucid.autograd.graph.register_multi_grad_hook((t1, t2, t3), note(seen))
    any_ = pellucid.autograd.graph.register_multi_grad_hook((t1, t2, t3), note(first), mode="any")
    loss = (t2 * t3).sum()
    threads = [threading.Thread(target=loss.backward, kwargs={"retain_graph": True, "inputs": (t2, t3)}) for _ in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [[g is not None for g in gs] for gs in seen] == [[False, True, True]] * 5
    assert len(first) == 5
    both.remove()
    any_.remove()
    loss.backward()
    assert len(seen) == len(first) == 5


def test_hooks_of_a_failed_pass_do_not_disturb_the_next():
    t1, t2 = leaf(pellucid, 2), leaf(pellucid, 2)
    seen = []
    pellucid.autograd.graph.register_multi_grad_hook((t1, t2), lambda gs: seen.append(len(gs)))
    y = t1 * 2
    bad = y.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        (y + t2).sum().backward(retain_graph=True)
    bad.remove()
    (y + t2).sum().backward()
    assert seen == [2]


# ------------------------------------------------------------------------------------------------ saved tensors
def test_what_a_node_keeps_has_names():
    a, b = leaf(pellucid, 2), leaf(pellucid, 2)
    y, z = a * b, a.exp()
    assert y.grad_fn._saved_self is a and y.grad_fn._saved_other is b
    assert z.grad_fn._saved_result.tolist() == z.tolist() and z.grad_fn._saved_result.grad_fn is z.grad_fn
    with pytest.raises(AttributeError, match="_saved_nothing"):
        y.grad_fn._saved_nothing
    z.sum().backward()
    with pytest.raises(RuntimeError, match="after they have already been freed"):
        z.grad_fn._saved_result


def test_hooks_on_one_saved_tensor():
    a = leaf(pellucid, 2)
    y = a * a
    raw = y.grad_fn._raw_saved_self
    raw.register_hooks(lambda t: t * 2, lambda t: t)
    assert y.grad_fn._saved_self.tolist() == [2, 4]
    y.sum().backward()
    assert a.grad.tolist() == [3, 6]
    with pytest.raises(RuntimeError, match="already been freed"):
        raw.register_hooks(lambda t: t, lambda t: t)
    again = (a * a).grad_fn._raw_saved_self
    again.register_hooks(lambda t: t, lambda t: t)
    with pytest.raises(RuntimeError, match="hooks have already been set"):
        again.register_hooks(lambda t: t, lambda t: t)
    with pytest.raises(RuntimeError, match="Trying to create a SavedTensor object from Python is forbidden"):
        pellucid.autograd.SavedTensor()


def test_pack_hooks_must_not_write_to_what_they_get():
    def increase(t):
        t += 1
        return t
    with pellucid.autograd.graph.saved_tensors_hooks(increase, lambda t: t):
        with pytest.raises(RuntimeError, match="A saved tensor pack hook is modifying its input in place"):
            leaf(pellucid, 2).exp()


def test_unpack_hooks_must_return_a_tensor():
    with pellucid.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: 3):
        y = leaf(pellucid, 2).exp().sum()
    with pytest.raises(TypeError, match="Output of saved tensor unpack_hook expected to be a Tensor but got result of type int"):
        y.backward()


def test_unpacked_values_keep_their_history():
    with pellucid.autograd.graph.saved_tensors_hooks(lambda t: t.numpy().copy(), lambda a: pellucid.from_numpy(a)):
        a = leaf(pellucid, 2).double().detach().requires_grad_()
        y = (a.exp() * a).sin()
        (g,) = pellucid.autograd.grad(y.sum(), a, create_graph=True)
    (h,) = pellucid.autograd.grad(g.sum(), a)
    b = a.detach().requires_grad_()
    (k,) = pellucid.autograd.grad((b.exp() * b).sin().sum(), b, create_graph=True)
    (k,) = pellucid.autograd.grad(k.sum(), b)
    assert pellucid.allclose(h, k)


def test_save_on_cpu_gives_the_same_gradients():
    a = leaf(pellucid, 3)
    with pellucid.autograd.graph.save_on_cpu(pin_memory=False):
        (a * a).exp().sum().backward()
    b = leaf(pellucid, 3)
    (b * b).exp().sum().backward()
    assert a.grad.tolist() == b.grad.tolist()


def test_contexts_left_open_in_a_hook_end_with_the_pass():
    from pellucid.ops.dispatch import local, state
    before = state.slow
    hooks = pellucid.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    a = leaf(pellucid, 1)
    a.register_hook(lambda g: hooks.__enter__())
    (a * 2).sum().backward()
    assert local.saved_hooks == () and state.slow == before
    hooks.__exit__()
    assert state.slow == before


def test_mutation_of_saved_tensors():
    graph = pellucid.autograd.graph
    with graph.allow_mutation_on_saved_tensors() as kept:
        a = leaf(pellucid, 2)
        b = a * 1
        y = (b * b).sum()
        b[:1].mul_(10)
        assert len(kept.cloned) == 1
        b.sin_()
        pellucid.mul(a.detach(), 2, out=b.detach())
        y.backward()
        assert a.grad.tolist() == [2, 4] and len(kept.cloned) == 0
        with pytest.raises(RuntimeError, match="cannot be nested"):
            with graph.allow_mutation_on_saved_tensors():
                pass
        late = (a * a).sum()
    with pytest.raises(AssertionError, match="Trying to backward outside of the 'allow_mutation_on_saved_tensors' context"):
        late.backward()


def test_increment_version_is_seen():
    a = leaf(pellucid, 2)
    b = a * 1
    y = (b * b).sum()
    pellucid.autograd.graph.increment_version(b)
    with pytest.raises(RuntimeError, match="modified by an inplace operation.*version 1; expected version 0"):
        y.backward()
