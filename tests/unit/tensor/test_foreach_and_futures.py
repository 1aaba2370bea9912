"""`_foreach_*`, futures, and what asks for devices that are not there."""
from __future__ import annotations

import threading

import pytest

import pellucid as torch
from pellucid.futures import Future, collect_all, wait_all


def test_one_operator_over_lists() -> None:
    torch.manual_seed(0)
    a, b = [torch.randn(3), torch.randn(2, 2)], [torch.rand(3) + 1, torch.rand(2, 2) + 1]
    for got, want in ((torch._foreach_add(a, b, alpha=2), [x + 2 * y for x, y in zip(a, b)]), (torch._foreach_mul(a, 3), [x * 3 for x in a]),
                      (torch._foreach_div(a, torch.tensor(2.0)), [x / 2 for x in a]), (torch._foreach_sub(a, [1, 2]), [a[0] - 1, a[1] - 2]),
                      (torch._foreach_sqrt(b), [x.sqrt() for x in b]), (torch._foreach_lerp(a, b, 0.25), [x.lerp(y, 0.25) for x, y in zip(a, b)]),
                      (torch._foreach_addcdiv(a, a, b, 2), [x + 2 * x / y for x, y in zip(a, b)]),
                      (torch._foreach_addcmul(a, a, b, torch.tensor([2.0, 3.0])), [a[0] + 2 * a[0] * b[0], a[1] + 3 * a[1] * b[1]]),
                      (torch._foreach_addcmul(a, a, b, scalars=[2.0, 3.0]), [a[0] + 2 * a[0] * b[0], a[1] + 3 * a[1] * b[1]]),
                      (torch._foreach_maximum(a, 0.5), [x.clamp(min=0.5) for x in a]), (torch._foreach_minimum(a, b), [x.minimum(y) for x, y in zip(a, b)]),
                      (torch._foreach_norm(a, 1), [x.abs().sum() for x in a]), (torch._foreach_max(a), [x.max() for x in a])):
        assert type(got) is tuple
        torch.testing.assert_close(list(got), want)
    before = [x.clone() for x in a]
    assert torch._foreach_add_(a, b) is a and torch._foreach_clamp_max_(a, 2.0) is a
    torch.testing.assert_close(a, [(x + y).clamp(max=2.0) for x, y in zip(before, b)])
    torch._foreach_copy_(a, before)
    torch.testing.assert_close(a, before)
    torch._foreach_zero_(a)
    assert not any(x.any() for x in a)
    for bad, error in ((lambda: torch._foreach_add([], 1), RuntimeError), (lambda: torch._foreach_add(a, [1]), RuntimeError),
                       (lambda: torch._foreach_add(a, b[:1]), RuntimeError), (lambda: torch._foreach_add(a[0], 1), TypeError)):
        with pytest.raises(error):
            bad()
    assert not hasattr(torch, "_foreach_nothing")


def test_futures() -> None:
    first, second = Future(), Future()
    seen = []
    doubled = first.then(lambda f: f.value() * 2)
    first.add_done_callback(lambda f: seen.append(f.wait()))
    both = collect_all([first, second])
    assert not first.done() and not both.done()
    with pytest.raises(RuntimeError, match="no value yet"):
        first.value()
    threading.Timer(0.01, first.set_result, [3]).start()
    assert first.wait() == 3 and doubled.wait() == 6
    assert not both.done()
    with pytest.raises(RuntimeError, match="only be set once"):
        first.set_result(4)
    second.set_result(5)
    assert both.wait() == [first, second] and wait_all([first, second]) == [3, 5] and seen == [3] and wait_all([]) == []
    failed = Future()
    failed.set_exception(ValueError("no"))
    later = failed.then(lambda f: f.value())
    for use in (failed.wait, later.wait, lambda: wait_all([first, failed])):
        with pytest.raises(ValueError, match="no"):
            use()


def test_devices_that_are_not_there() -> None:
    backends = torch.backends.cuda
    assert backends.preferred_linalg_library("magma") is backends.preferred_linalg_library()
    assert backends.preferred_linalg_library("magma").name == "Magma" and backends.preferred_linalg_library("default").name == "Default"
    with pytest.raises(RuntimeError, match="Choose from: default, cusolver, magma"):
        backends.preferred_linalg_library("lapack")
    xpu = torch.xpu
    assert (xpu.memory_allocated(), xpu.max_memory_allocated(), xpu.get_rng_state_all(), xpu.is_bf16_supported()) == (0, 0, [], False)
    xpu.manual_seed_all(1), xpu.set_rng_state_all([]), xpu.reset_peak_memory_stats()
    for name, args in (("current_device", ()), ("set_device", (0,)), ("synchronize", ()), ("mem_get_info", ()), ("get_rng_state", ()),
                       ("get_device_name", ()), ("set_rng_state", (0,)), ("set_rng_state_all", ([1],))):
        with pytest.raises(RuntimeError, match="no XPU device"):
            getattr(xpu, name)(*args)
    itt, old = torch.profiler.itt, torch.autograd.profiler
    assert not itt.is_available() and torch.profiler.kineto_available()
    with pytest.raises(RuntimeError, match="ITT"), itt.range("x"):
        pass
    for mark in (lambda: itt.mark("x"), itt.range_pop, lambda: itt.range_push("x")):
        with pytest.raises(RuntimeError, match="ITT functions not installed"):
            mark()
    with old.emit_nvtx(enabled=False), old.emit_itt(enabled=False):
        pass
    for emit in (old.emit_nvtx, old.emit_itt):
        with pytest.raises(RuntimeError, match="not available"), emit():
            pass
    assert torch.types.Storage is torch.UntypedStorage and torch.types.Number and torch.types.Device and torch.types.FileLike


def test_what_this_build_computes_with() -> None:
    assert f"pellucid {torch.__version__}" in torch.__config__.show() and "NumPy" in torch.__config__.show()
    assert f"get_num_threads() : {torch.get_num_threads()}" in torch.__config__.parallel_info()
