"""`torch.jit` without TorchScript: decorators that give back what they decorate, and questions that answer no."""
from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple, Union

import pytest

import pellucid as torch
from pellucid import jit, nn, onnx


def double(x):
    return x * 2


def test_decorators_give_back_the_function():
    for same in (jit.script, jit.trace, jit.script_method, jit.script_if_tracing, jit.export, jit.interface, jit.unused, jit.ignore):
        assert same(double) is double
    assert jit.ignore(drop=True)(double) is double and jit.ignore()(double) is double
    assert jit.trace(double, (torch.ones(2),), check_trace=False) is double
    layer = nn.Linear(2, 3)
    assert jit.script(layer) is layer is jit.trace_module(layer, {"forward": torch.ones(1, 2)})
    assert jit.wait(jit.fork(double, torch.ones(2))).tolist() == [2.0, 2.0]


def test_a_script_module_is_a_module():
    class Net(jit.ScriptModule):
        __constants__ = ["factor"]
        factor: jit.Final[int]

        def __init__(self):
            super().__init__()
            self.factor = 3
            self.layer = nn.Linear(2, 2)

        @jit.script_method
        def forward(self, x):
            return self.layer(x) * self.factor

    net = Net()
    x = torch.ones(1, 2)
    assert torch.equal(net(x), net.layer(x) * 3) and len(list(net.parameters())) == 2
    assert not isinstance(nn.Linear(1, 1), jit.ScriptModule) and not isinstance(double, jit.ScriptFunction)
    assert issubclass(jit.TracingCheckError, Exception) and jit.Attribute(1, int).value == 1


def test_questions_are_answered_truthfully():
    assert not jit.is_scripting() and not jit.is_tracing() and not onnx.is_in_onnx_export() and not torch.fx._symbolic_trace.is_fx_tracing()
    assert torch.get_autocast_gpu_dtype() is torch.float16 and torch.autograd._is_checkpoint_valid()
    torch.backends.cuda.matmul.allow_tf32 = True
    assert torch.backends.cuda.matmul.allow_tf32 is True
    torch.backends.cuda.matmul.allow_tf32 = False
    for module, name in ((jit, "save"), (onnx, "export")):
        with pytest.raises(AttributeError, match=name):
            getattr(module, name)


def test_types_of_values():
    x = torch.ones(1)
    assert jit.annotate(List[int], x) is x is jit._unwrap_optional(x)
    with pytest.raises(AssertionError, match="null optional"):
        jit._unwrap_optional(None)
    for value, kind, want in (([1, 2], List[int], True), ([1, "a"], List[int], False), ({"a": x}, Dict[str, torch.Tensor], True),
                              ((1, "a"), Tuple[int, str], True), ((1, 2), Tuple[int, str], False), ((1, 2), Tuple[int, ...], True), (None, Optional[int], True),
                              (1.5, Union[int, str], False), (1, int | None, True), (x, Any, True), (1, (str, int), True), (1, None, False)):
        assert jit.isinstance(value, kind) is want, (value, kind)
