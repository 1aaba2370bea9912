"""Modes that see every operator call, and the way around them."""

import pellucid
from pellucid.utils._mode_utils import no_dispatch
from pellucid.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode


class Log(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return super().__torch_dispatch__(func, types, args, kwargs)


def test_a_mode_sees_what_runs():
    x = pellucid.ones(2, 2, requires_grad=True)
    with Log() as outer:
        y = x.exp()
        with Log() as inner:
            assert _get_current_dispatch_mode() is inner
            y = (y * 2).sum()
            with no_dispatch():
                x.sin()
        y.exp()
    assert inner.names == ["mul", "sum"] and outer.names == ["exp", "mul", "sum", "exp"]
    y.backward()
    assert x.grad is not None and _get_current_dispatch_mode() is None


def test_a_mode_can_replace_results():
    class Zeros(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert types == (pellucid.Tensor,)
            return func(*args, **kwargs) * 0

    with Zeros():
        assert pellucid.Tensor.exp(KNOWN).tolist() == [0.0]
    with no_dispatch():
        assert KNOWN.exp().item() > 1


KNOWN = pellucid.ones(1)
