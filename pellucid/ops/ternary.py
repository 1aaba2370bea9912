"""Elementwise operators of three tensors: lerp, addcmul, addcdiv. Clamping and `where` are in rounding.py and compare.py."""
from __future__ import annotations

from ._common import dt, fail, is_tensor, need_tensor, np, point_infer
from .elementwise import check_pair, common_dtype, conj, not_implemented, plain_number
from .op import POINT, SAME, F, primitive


def _same(g):
    return g


def lerp_ref(start, end, weight):
    """Exact at both ends: counted from the nearer one."""
    span = end - start
    small = np.abs(weight) < 0.5
    if not isinstance(weight, (np.ndarray, np.generic)):
        return start + weight * span if small else end - span * (1 - weight)
    return np.where(small, start + weight * span, end - span * (1 - weight))


def lerp_scalar(b, start, end, weight):
    span = b.sub(end, start)
    w = b.exact(weight)
    if w is not None:
        return b.add(start, b.mul(span, w)) if abs(w) < 0.5 else b.sub(end, b.mul(span, 1 - w))
    return b.select(b.lt(b.abs(weight), 0.5), b.add(start, b.mul(weight, span)), b.sub(end, b.mul(span, b.sub(1, weight))))


@primitive(POINT, args="input end weight", ref=lerp_ref, scalar=lerp_scalar, infer=point_infer, promote=SAME, forms="function method inplace out",
           vjp={"input": lambda g, weight: F.mul(g, conj(F.sub(1, weight)) if is_tensor(weight) else conj(1 - weight)),
                "end": lambda g, weight: F.mul(g, conj(weight)),
                "weight": lambda g, input, end: F.mul(g, conj(F.sub(end, input)))},
           samples=lambda m: [((m.t(3, 4), m.t(3, 4), 0.3), {}), ((m.t(2, 1), m.t(3), m.t(2, 3)), {}),
                              ((m.t(0), m.t(0), 0.7), {})])
def lerp(input, end, weight):
    """`input + weight * (end - input)`; `weight` is a number or a tensor. All tensors have one floating dtype."""
    check_pair("lerp", "TT", input, end, "end")
    for name, x in (("end", end), ("weight", weight)):
        if is_tensor(x) and x.dtype is not input.dtype:
            fail(RuntimeError, "P122", f"expected dtype {_c_name(input.dtype)} for `{name}` but got dtype {_c_name(x.dtype)}",
                 fix=f"convert it with .to({input.dtype})")
    if input.dtype.category < dt.FLOAT:
        not_implemented("lerp_kernel_tensor" if is_tensor(weight) else "lerp_kernel_scalar", input.dtype)
    return (input, end, weight if is_tensor(weight) or isinstance(weight, complex) else float(weight)), {}


def _c_name(d: dt.dtype) -> str:
    return {"float32": "float", "float64": "double", "int64": "long int", "int32": "int"}.get(d.name, d.type_name)


def _whole_value(value, d: dt.dtype):
    """A factor in the category of the result: 0.5 is 0 among integers, as in PyTorch."""
    value = plain_number(value)
    return int(value) if d.category < dt.FLOAT and isinstance(value, float) else value


@primitive(POINT, args="input tensor1 tensor2", ref=lambda x, a, b, *, value: x + (a * b if value == 1 else value * a * b),
           infer=point_infer, promote=SAME, forms="function method inplace out",
           scalar=lambda b, x, t1, t2, *, value: b.add(x, b.mul(b.mul(t1, value), t2)),
           vjp={"input": _same, "tensor1": lambda g, tensor2, value: F.mul(g, conj(F.mul(tensor2, value))),
                "tensor2": lambda g, tensor1, value: F.mul(g, conj(F.mul(tensor1, value)))},
           samples=lambda m: [((m.t(3, 4), m.t(3, 4), m.t(4)), {}), ((m.t(2, 3), m.t(2, 1), m.t(3)), {"value": 0.5}),
                              ((m.t(0), m.t(0), m.t(0)), {})])
def addcmul(input, tensor1, tensor2, *, value=1):
    """`input + value * tensor1 * tensor2`."""
    check_pair("addcmul", "TT", input, tensor1, "tensor1")
    need_tensor(tensor2, "addcmul", "tensor2", 3)
    d = common_dtype(input, tensor1, tensor2)
    if d is dt.bool_:
        not_implemented("addcmul_cpu_out", d)
    return (input, tensor1, tensor2), {"value": _whole_value(value, d)}


@primitive(POINT, args="input tensor1 tensor2", ref=lambda x, a, b, *, value: x + value * (a / b), infer=point_infer,
           scalar=lambda b, x, t1, t2, *, value: b.add(x, b.mul(b.div(t1, t2), value)),
           promote=SAME, forms="function method inplace out",
           vjp={"input": _same, "tensor1": lambda g, tensor2, value: F.div(F.mul(g, conj(value)), conj(tensor2)),
                "tensor2": lambda g, tensor1, tensor2, value: F.neg(F.mul(g, conj(
                    F.div(F.mul(tensor1, value), F.mul(tensor2, tensor2)))))},
           samples=lambda m: [((m.t(3, 4), m.t(3, 4), m.t(4, low=0.5)), {}),
                              ((m.t(2, 3), m.t(2, 1), m.t(3, low=0.5)), {"value": 0.5}), ((m.t(0), m.t(0), m.t(0)), {})])
def addcdiv(input, tensor1, tensor2, *, value=1):
    """`input + value * tensor1 / tensor2`. Refuses two integer tensors as quotient."""
    check_pair("addcdiv", "TT", input, tensor1, "tensor1")
    need_tensor(tensor2, "addcdiv", "tensor2", 3)
    if tensor1.dtype.category < dt.FLOAT and tensor2.dtype.category < dt.FLOAT:
        fail(RuntimeError, "P123", "Integer division with addcdiv is no longer supported, and in a future  release addcdiv will "
             "perform a true division of tensor1 and tensor2. The historic addcdiv behavior can be implemented as (input + value "
             "* torch.trunc(tensor1 / tensor2)).to(input.dtype) for integer inputs and as (input + value * tensor1 / tensor2) for "
             "float inputs. The future addcdiv behavior is just the latter implementation: (input + value * tensor1 / tensor2), "
             "for all dtypes.")
    return (input, tensor1, tensor2), {"value": plain_number(value)}
