"""Grad mode and inference mode: contexts, decorators, threads."""
from __future__ import annotations

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
def inference_flags(torch):
    with torch.inference_mode():
        a = torch.ones(2)
        b = a * 2
        v = a[:1]
    r = [a.is_inference(), b.is_inference(), v.is_inference(), v._is_view()]
    c = torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        w = c[:1]
        d = c * 2
    return r + [w.is_inference(), w._is_view(), d.is_inference(), d.requires_grad, a[:1].is_inference(), (a * 2).is_inference(), a.detach().is_inference(), a.clone().is_inference()]


@program
def inference_write(torch):
    with torch.inference_mode():
        a = torch.ones(2)
    a.add_(1)


@program
def inference_rg(torch):
    with torch.inference_mode():
        a = torch.ones(2)
    a.requires_grad_()


@program
def inference_version(torch):
    with torch.inference_mode():
        a = torch.ones(2)
    a._version


@program
def inference_saved(torch):
    with torch.inference_mode():
        a = torch.ones(2, 3)
    leaf(torch, 2, 2).matmul(a)


@program
def set_enabled(torch):
    r = []
    with torch.set_grad_enabled(False):
        r.append(torch.is_grad_enabled())
    with torch.no_grad():
        with torch.enable_grad():
            r.append((leaf(torch, 1) * 2).requires_grad)

    @torch.no_grad()
    def f():
        return torch.is_grad_enabled()
    r.append(f())

    @torch.no_grad
    def g():
        return torch.is_grad_enabled()
    r.append(g())
    torch.set_grad_enabled(False)
    r.append(torch.is_grad_enabled())
    torch.set_grad_enabled(True)
    r.append(torch.is_grad_enabled())
    return r


@program
def gen(torch):

    @torch.no_grad()
    def g():
        for i in range(3):
            yield torch.is_grad_enabled()
    r = []
    for x in g():
        r += [x, torch.is_grad_enabled()]
    return r


@pytest.mark.parametrize("fn", PROGRAMS, ids=lambda fn: fn.__name__)
def test_like_pytorch(fn, like_pytorch):
    like_pytorch(fn)


# ------------------------------------------------------------------------------------------------ beyond the programs
def test_generators_have_the_mode_while_they_run_also_when_closed():
    log = []

    @pellucid.no_grad()
    def numbers():
        try:
            for i in range(5):
                log.append(pellucid.is_grad_enabled())
                got = yield i
                if got:
                    log.append(got)
        finally:
            log.append(("end", pellucid.is_grad_enabled()))

    it = numbers()
    assert next(it) == 0 and it.send("sent") == 1
    assert pellucid.is_grad_enabled()
    it.close()
    assert log == [False, "sent", False, ("end", False)]


def test_modes_belong_to_threads():
    seen = []
    with pellucid.no_grad():
        t = threading.Thread(target=lambda: seen.append(pellucid.is_grad_enabled()))
        t.start()
        t.join()
        assert not pellucid.is_grad_enabled()
    assert seen == [True]


def test_modes_are_restored_after_errors():
    for mode in (pellucid.no_grad, pellucid.inference_mode, lambda: pellucid.set_grad_enabled(False)):
        with pytest.raises(ZeroDivisionError):
            with mode():
                1 / 0
        assert pellucid.is_grad_enabled() and not pellucid.is_inference_mode_enabled()


def test_inference_mode_can_be_switched_off_inside():
    with pellucid.inference_mode():
        with pellucid.inference_mode(False):
            a = leaf(pellucid, 2)
            y = a * 2
            assert y.requires_grad and not y.is_inference()
        assert pellucid.ones(1).mul(2).is_inference()


def test_inference_tensors_as_out_and_in_views():
    with pellucid.inference_mode():
        c = pellucid.ones(2)
        c.mul_(2)
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor outside InferenceMode is not allowed"):
        pellucid.add(pellucid.ones(2), 1, out=c)
    a = leaf(pellucid, 2) * 1
    with pellucid.inference_mode():
        v = a[:1]
    with pytest.raises(RuntimeError, match="A view was created in inference mode and is being modified inplace"):
        v.add_(1)
    a.add_(1)
    with pytest.raises(RuntimeError, match="A view was created in inference mode and its base or another view"):
        v.grad_fn


def test_multithreading_setting():
    autograd = pellucid.autograd
    with autograd.set_multithreading_enabled(False):
        assert not autograd.is_multithreading_enabled()
    assert autograd.is_multithreading_enabled()
    autograd.set_multithreading_enabled(False)
    assert not autograd.is_multithreading_enabled()
    autograd.set_multithreading_enabled(True)
