"""`torch._check` and its relatives, and `torch.overrides`."""
from __future__ import annotations

import pytest

import pellucid as torch
from pellucid import nn
from pellucid.overrides import TorchFunctionMode, handle_torch_function, has_torch_function, is_tensor_like


def test_a_condition_that_holds_says_nothing():
    def never():
        raise AssertionError("the message is made only when it is needed")
    for check in (torch._check, torch._check_index, torch._check_value, torch._check_type, torch._check_not_implemented):
        check(True, never)
    torch._check_is_size(0, never, max=3)
    torch._check_tensor_all(torch.ones(3) > 0, never)
    torch._check_with(KeyError, True, never)


def test_each_check_has_its_error():
    for check, error in ((torch._check, RuntimeError), (torch._check_index, IndexError), (torch._check_value, ValueError),
                         (torch._check_type, TypeError), (torch._check_not_implemented, NotImplementedError)):
        with pytest.raises(error, match="three"):
            check(False, lambda: "three")
        with pytest.raises(error, match="Expected cond to be True"):
            check(False)
    for size, most in ((-1, None), (4, 3)):
        with pytest.raises(RuntimeError):
            torch._check_is_size(size, max=most)
    with pytest.raises(RuntimeError, match="all"):
        torch._check_tensor_all(torch.tensor([True, False]), lambda: "all")


def test_misuse_is_a_type_error():
    with pytest.raises(TypeError, match="_check_tensor_all"):
        torch._check(torch.tensor(True))
    with pytest.raises(TypeError, match="callable"):
        torch._check(False, "text")
    with pytest.raises(TypeError, match="bool"):
        torch._check(1)
    with pytest.raises(TypeError, match="tensor"):
        torch._check_tensor_all(True)
    with pytest.raises(TypeError, match="float32"):
        torch._check_tensor_all(torch.ones(2))


class Taker:
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func.__name__


def named(x):
    return handle_torch_function(named, (x,), x) if has_torch_function((x,)) else "own"


def test_overrides_are_public():
    assert is_tensor_like(torch.ones(1)) and is_tensor_like(nn.Parameter(torch.ones(1))) and is_tensor_like(Taker())
    assert not is_tensor_like(1) and not is_tensor_like([torch.ones(1)])
    assert named(Taker()) == "named" and named(1) == "own"

    class Count(TorchFunctionMode):
        calls = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.calls += 1
            return func(*args, **(kwargs or {}))

    with Count() as mode:
        torch.ones(2).sin().exp()
    assert mode.calls >= 2
    assert torch.overrides.is_tensor_like is is_tensor_like and nn.attention.sdpa_kernel
