"""Bitwise operators and the integers' own functions. Floating point tensors are refused."""
from __future__ import annotations

from ._common import describe, dt, fail, np
from .elementwise import binary, unary
from .op import SAME, F, composite


def _ints(m):
    return [((m.i(3, 4), m.i(3, 4)), {}), ((m.i(2, 1), m.i(3)), {}), ((m.i(0, 2), m.i(2)), {}), ((m.i(5), 3), {})]


for _name in ("and", "or", "xor"):
    binary(f"bitwise_{_name}", getattr(np, f"bitwise_{_name}"), takes="NN", promote=SAME, refuse="float complex",
           scalar=lambda b, x, y, _way=_name if _name == "xor" else _name + "_": getattr(b, _way)(x, y),
           operator=_name, samples=_ints, grads=False, onnx="Bitwise" + _name.capitalize(), module=__name__,
           doc=f"Bitwise {_name} of integers, logical {_name} of bools.")
unary("bitwise_not", np.invert, promote=SAME, refuse="float complex", grads=False, onnx="BitwiseNot", scalar=lambda b, x: b.not_(x),
      module=__name__, samples=lambda m: [((m.i(3, 4),), {}), ((m.i(2, 0),), {}), ((m.b(5),), {})],
      doc="Bitwise not of integers, logical not of bools.")


@composite(name="invert_operator", forms="", ns=(), operator="invert",
           samples=lambda m: [((m.i(3, 4),), {}), ((m.i(2, 0),), {}), ((m.b(5),), {})])
def invert_operator(input):
    """`~input`: bitwise_not, with Python's TypeError for floats."""
    if input.dtype.category >= dt.FLOAT:
        fail(TypeError, "P109", "~ (operator.invert) is only implemented on integer and Boolean-type tensors",
             got=describe(input), fix="convert first: x.bool() or x.long()")
    return F.bitwise_not(input)


def shift_scalar(left: bool):
    """A shift by as many bits as there are, or more, pushes all of them out; a negative one does too."""
    def scalar(b, x, y):
        x, y = b.pair(x, y)
        bits = 8 * x.dtype.itemsize
        fits = b.and_(b.ge(y, 0), b.lt(y, bits))
        safe = b.select(fits, y, b.const(bits - 1, y))
        if left:
            return b.select(fits, b.shl(x, safe), b.const(0, x))
        return b.shr(x, safe) if x.dtype.is_signed else b.select(fits, b.shr(x, safe), b.const(0, x))
    return scalar


for _name, _ref, _kernel in (("left", np.left_shift, "lshift_cpu"), ("right", np.right_shift, "rshift_cpu")):
    binary(f"bitwise_{_name}_shift", _ref, scalar=shift_scalar(_name == "left"), takes="NN", promote=SAME, refuse="bool float complex", kernel=_kernel,
           operator=f"{_name[0]}shift", samples=_ints, grads=False, module=__name__,
           doc=f"`input` shifted {_name} by `other` bits.")
for _name, _doc in (("gcd", "The greatest common divisor; gcd(0, 0) is 0."), ("lcm", "The least common multiple; 0 with 0.")):
    binary(_name, getattr(np, _name), takes="TT", promote=SAME, refuse="bool float complex", grads=False, module=__name__,
           samples=lambda m: _ints(m)[:3], doc=_doc)
