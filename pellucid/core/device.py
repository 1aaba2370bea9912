"""Devices. This build computes on the CPU; tensors on "meta" have a shape, a dtype and strides but no data. Other PyTorch
device names are recognised so that the error is clear.

In: strings, indices, devices. Out: `device` objects, equal by type and index.
"""
from __future__ import annotations

from .errors import fail
from .late import late

TYPES = ("cpu", "cuda", "mps", "xpu", "meta", "mkldnn", "hip", "xla", "vulkan", "ipu", "hpu", "mtia", "privateuseone")


class device:
    """Where a tensor's memory lies: `device("cpu")`, `device("meta")`, `device("cuda:1")`.

    `with device("meta"):` makes the tensors of functions such as `zeros` there, where they are not told otherwise."""

    __slots__ = ("type", "index")

    def __init__(self, type="cpu", index: int | None = None):
        if isinstance(type, device):
            type, index = type.type, type.index
        elif isinstance(type, int) and not isinstance(type, bool):
            type, index = "cuda", type          # PyTorch: a bare index means the accelerator
        if not isinstance(type, str):
            fail(TypeError, "P103", f"device(): argument 'type' must be str, not {type.__class__.__name__}",
                 fix="pass a name, as in \"cpu\"")
        if ":" in type:
            if index is not None:
                fail(RuntimeError, "P034", f"type (string) must not include an index because index was passed explicitly: {type}",
                     fix="give the index once")
            type, _, digits = type.partition(":")
            if not digits.isdigit() or (len(digits) > 1 and digits[0] == "0"):
                fail(RuntimeError, "P101", f"Invalid device string: '{type}:{digits}'",
                     fix="write \"cpu\", or \"cuda:0\"")
            index = int(digits)
        if index is not None and not isinstance(index, int):
            fail(TypeError, "P103", f"device(): argument 'index' (position 2) must be int, not {index.__class__.__name__}",
                 fix='write device("cuda", 0)')
        if type not in TYPES:
            fail(RuntimeError, "P101", f"Expected one of {', '.join(TYPES)} device type at start of device string: {type}",
                 fix="use device='cpu'")
        if index is not None and index < 0:
            fail(RuntimeError, "P104", f"Device index must not be negative, got {index}", fix="use device=\"cpu\"")
        self.type, self.index = type, index

    def __repr__(self):
        return f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other):
        return isinstance(other, device) and self.type == other.type and self.index == other.index

    def __hash__(self):
        return hash((self.type, self.index))

    def __reduce__(self):
        return device, (self.type, self.index)

    def __enter__(self):
        late.default_device(self)
        return self

    def __exit__(self, *exc):
        late.default_device(None)
        return False


CPU, META = device("cpu"), device("meta")


def on_meta(d) -> bool:
    """Whether `d`, a device or its name, is the meta device."""
    return d is not None and (d.type == "meta" if type(d) is device else isinstance(d, str) and device(d).type == "meta")


def check(d) -> device:
    """`d` as a device this build can compute on. Raises RuntimeError that says what there is."""
    if d is None or d is CPU:
        return CPU
    d = d if type(d) is device else device(d)
    if d.type == "cpu":
        return CPU
    if d.type == "cuda":
        fail(RuntimeError, "P102", f"Found no NVIDIA driver: device '{d}' is not available; this build of pellucid computes on the CPU",
             fix="use device='cpu', or choose by pellucid.cuda.is_available()")
    if d.type == "meta":
        fail(RuntimeError, "P3020", "this operation is not defined for device 'meta'", fix="make the tensor on the CPU, then use .to('meta')")
    fail(RuntimeError, "P103", f"device '{d}' is not available: this build of pellucid computes on the CPU", fix="use device='cpu'")
