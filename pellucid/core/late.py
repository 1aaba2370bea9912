"""The only upward path: named slots that a higher layer fills when it is imported.

Every slot is listed here with its owner; a test checks that nothing else reaches upwards.
"""
from __future__ import annotations

SLOTS = {
    "entry": "tensor.entries: Op -> the function users call",
    "apply": "tensor.eager: (Op, operands, attributes) in canonical form -> Tensor or tuple of Tensors",
    "trace": "tensor.tracing: (function of tensors, Specs or numbers of its arguments) -> Graph",
    "grad": "tensor.autograd: (outputs, inputs, gradients of the outputs, ...) -> gradients of the inputs",
    "draws": "native: () -> native.rng.Draws, or None without a compiler",
    "in_order": "native: () -> native.in_order.InOrder, or None without a compiler",
    "bind_method": "tensor.tensor: puts a newly registered operator's method forms on Tensor",
    "sparse": "tensor: () -> the module tensor.sparse, loaded when the first sparse tensor is made",
    "default_device": "tensor.devices: where functions that make tensors do so, until it is called with None",
    "meta": "tensor: () -> the interpreter of tensors without data, loaded when first asked for",
    "compile": "pellucid: (function, ...) -> the compiled function; pellucid.compiler is loaded when first asked for",
    "array_namespace": "pellucid: () -> the module pellucid.array_api, loaded when first asked for",
}


class _Late:
    __slots__ = tuple(SLOTS)

    def __init__(self):
        for name in SLOTS:
            setattr(self, name, None)


late = _Late()
