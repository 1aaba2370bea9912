"""What several models share: rounding of channel counts, initial values, and a wrapper that returns intermediate results.

In: numbers or modules. Out: the same kind. True always: initial values are drawn in the order of `modules()`, as torchvision does.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from pellucid import Tensor, nn

__all__ = ["IntermediateLayerGetter"]


def _make_divisible(v: float, divisor: int, min_value: int | None = None) -> int:
    """`v` rounded to a multiple of `divisor`, at least `min_value`, and not more than a tenth below `v`."""
    rounded = max(divisor if min_value is None else min_value, int(v + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * v else rounded


def _linear_normal(m: nn.Linear) -> None:
    nn.init.normal_(m.weight, 0, 0.01)


def _initialise(model: nn.Module, linear: Callable[[nn.Linear], None] = _linear_normal) -> None:
    """The initial values of MobileNet and its kin; `linear` draws the weight of linear layers."""
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out")
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.ones_(m.weight)
            nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Linear):
            linear(m)
            nn.init.zeros_(m.bias)


def _initialise_mlp(mlp: nn.Module) -> None:
    """The initial values of the two-layer network in a transformer's block."""
    for m in mlp.modules():
        if isinstance(m, nn.Linear):
            nn.init.xavier_uniform_(m.weight)
            if m.bias is not None:
                nn.init.normal_(m.bias, std=1e-6)


class IntermediateLayerGetter(nn.ModuleDict):
    """`model` up to the last child named in `return_layers` ({child: name of its output}); returns those outputs by name.

    The children must be registered in the order in which the model uses them, each once."""

    _version = 2

    def __init__(self, model: nn.Module, return_layers: dict[str, str]) -> None:
        children = OrderedDict(model.named_children())
        if not set(return_layers) <= set(children):
            raise ValueError("return_layers are not present in model")
        last = max(list(children).index(name) for name in return_layers)
        super().__init__(OrderedDict(list(children.items())[:last + 1]))
        self.return_layers = return_layers

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        out = OrderedDict()
        for name, module in self.items():
            x = module(x)
            if name in self.return_layers:
                out[self.return_layers[name]] = x
        return out
