"""Small functions over large tensors: GELU of an affine map, softmax and layer norm over rows."""
from __future__ import annotations

from . import Function

ROWS, COLUMNS = 4096, 1024


def gelu(torch) -> Function:
    """GELU(x * w + b) of 16 million elements, w and b one number per column."""
    F = torch.nn.functional
    torch.manual_seed(0)
    x, w, b = torch.randn(4 * ROWS, COLUMNS), torch.randn(COLUMNS), torch.randn(COLUMNS)
    return Function(torch, lambda x, w, b: F.gelu(x * w + b), (x, w, b))


def softmax(torch, backward: bool = False) -> Function:
    F = torch.nn.functional
    torch.manual_seed(0)
    x = torch.randn(ROWS, COLUMNS).requires_grad_(backward)
    g = torch.randn(ROWS, COLUMNS) if backward else None
    return Function(torch, lambda x: F.softmax(x, dim=-1), (x,), (x,), g)


def layer_norm(torch, backward: bool = False) -> Function:
    F = torch.nn.functional
    torch.manual_seed(0)
    x, w, b = (t.requires_grad_(backward) for t in (torch.randn(ROWS, COLUMNS), torch.randn(COLUMNS), torch.randn(COLUMNS)))
    g = torch.randn(ROWS, COLUMNS) if backward else None
    return Function(torch, lambda x, w, b: F.layer_norm(x, (COLUMNS,), w, b), (x, w, b), (x, w, b), g)
