"""Anomaly mode: which operation, on which line, failed in backward, and what led to it."""
from __future__ import annotations

import pytest

import pellucid
from pellucid.autograd import detect_anomaly, set_detect_anomaly


def zeros():
    return pellucid.zeros(2, requires_grad=True)


class NaN(pellucid.autograd.Function):
    """The identity whose gradient is NaN, in its second argument."""

    @staticmethod
    def forward(ctx, x, y):
        return x + y

    @staticmethod
    def backward(ctx, g):
        return g, g * float("nan")


def test_the_first_nan_names_operator_and_line():
    x = zeros()
    with set_detect_anomaly(True):
        y = x.sqrt() * 0          # this line
        with pytest.raises(RuntimeError) as info:
            y.exp().sum().backward()
    text = str(info.value)
    assert text.startswith("Function 'SqrtBackward0' returned nan values in its 0th output.")
    assert "y = x.sqrt() * 0          # this line" in text and "test_anomaly.py" in text and "y.exp().sum().backward()" in text
    (note,) = info.value.__notes__
    assert note.startswith("Error detected in SqrtBackward0. Traceback of forward call that caused the error:")
    assert "in test_the_first_nan_names_operator_and_line" in note and "pellucid/tensor" not in note


def test_custom_functions_say_which_gradient():
    x, y = zeros(), zeros()
    with set_detect_anomaly(True):
        out = NaN.apply(x, y).sum()
        with pytest.raises(RuntimeError, match="Function 'NaNBackward' returned nan values in its 1th output.") as info:
            out.backward()
    assert "NaN.apply(x, y)" in info.value.__notes__[0]


def test_without_forward_information():
    out = NaN.apply(zeros(), zeros()).sum()
    with set_detect_anomaly(True), pytest.raises(RuntimeError, match="nan values") as info:
        out.backward()
    assert "No forward pass information available" in info.value.__notes__[0]


def test_double_backward_shows_what_induced_the_operation():
    x = pellucid.ones(2, requires_grad=True)

    class Square(pellucid.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return NaN.apply(g * x, g * x)

    with set_detect_anomaly(True):
        y = Square.apply(x)       # the first line
        (g,) = pellucid.autograd.grad(y.sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="Function 'NaNBackward' returned nan values") as info:
            g.sum().backward()
    (note,) = info.value.__notes__
    before, _, after = note.partition("Previous calculation was induced by SquareBackward.")
    assert "return NaN.apply(g * x, g * x)" in before and "y = Square.apply(x)       # the first line" in after


def test_other_errors_are_annotated_too():
    x = pellucid.ones(2, requires_grad=True)
    with set_detect_anomaly(True):
        y = x.exp()               # saved, then overwritten
        y += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation.*version 1; expected version 0.*x.exp()") as info:
            y.sum().backward()
    assert "Error detected in ExpBackward0" in info.value.__notes__[0]


def test_no_check_of_nan():
    x = zeros()
    with set_detect_anomaly(True, check_nan=False):
        assert pellucid.autograd.is_anomaly_enabled() and not pellucid.autograd.is_anomaly_check_nan_enabled()
        (x.sqrt() * 0).sum().backward()
    assert x.grad.isnan().all()
    assert not pellucid.autograd.is_anomaly_enabled() and pellucid.autograd.is_anomaly_check_nan_enabled()


def test_detect_anomaly_warns_that_it_is_slow():
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        mode = detect_anomaly()
    with mode:
        assert pellucid.autograd.is_anomaly_enabled()
    assert not pellucid.autograd.is_anomaly_enabled()


def test_metadata_belongs_to_the_node():
    with set_detect_anomaly(True):
        y = zeros() * 2
    y.grad_fn.metadata["mine"] = 1
    assert y.grad_fn.metadata["mine"] == 1 and any("zeros() * 2" in line for line in y.grad_fn.metadata["traceback_"])
    assert (zeros() * 2).grad_fn.metadata == {}


def test_bfloat16_nan_is_seen():
    x = pellucid.zeros(2, dtype=pellucid.bfloat16, requires_grad=True)
    with set_detect_anomaly(True), pytest.raises(RuntimeError, match="SqrtBackward0"):
        (x.sqrt() * 0).sum().backward()
