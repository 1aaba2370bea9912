"""Recurrent layers: Elman RNN, LSTM (with projections), GRU, and their single-step cells.

In: (T, N, input_size), (N, T, input_size) when `batch_first`, unbatched (T, input_size), or a
`PackedSequence`. Out: (output, hidden): every step of the last layer, and the last step of each layer.
What stays true: the whole stack is one call (`T.lstm`, `T.gru`, `T.rnn_tanh`, `T.rnn_relu`); parameters
are named `weight_ih_l{k}[_reverse]` and so on, layer by layer, and drawn in that order.
"""
from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

from ...core.errors import describe, fail
from ...tensor import Tensor
from ...tensor import functions as T
from .. import init
from ..parameter import Parameter
from ..utils.rnn import PackedSequence
from .module import Module

__all__ = ['RNNBase', 'RNN', 'LSTM', 'GRU', 'RNNCellBase', 'RNNCell', 'LSTMCell', 'GRUCell']

_GATES = {'LSTM': 4, 'GRU': 3, 'RNN_TANH': 1, 'RNN_RELU': 1}

Hidden = Tensor | tuple[Tensor, Tensor]   # (h, c) for an LSTM, h for the others


class RNNBase(Module):
    """What RNN, LSTM and GRU share; `mode` is one of LSTM, GRU, RNN_TANH, RNN_RELU.

    ValueError or TypeError for arguments outside of their range; RuntimeError for sizes that do not match.
    """

    __constants__ = ['mode', 'input_size', 'hidden_size', 'num_layers', 'bias', 'batch_first', 'dropout',
                     'bidirectional', 'proj_size']

    def __init__(self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 proj_size: int = 0, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        _check_arguments(mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size

        gates = _GATES[mode] * hidden_size
        output_size = proj_size or hidden_size
        directions = ('', '_reverse') if bidirectional else ('',)
        self._all_weights: list[list[str]] = []   # names, one list per layer and direction
        for layer in range(num_layers):
            layer_input = input_size if layer == 0 else output_size * len(directions)
            shapes = {'weight_ih': (gates, layer_input), 'weight_hh': (gates, output_size)}
            if bias:
                shapes.update(bias_ih=(gates,), bias_hh=(gates,))
            if proj_size > 0:
                shapes.update(weight_hr=(proj_size, hidden_size))
            for direction in directions:
                named = {f'{name}_l{layer}{direction}': shape for name, shape in shapes.items()}
                for name, shape in named.items():
                    self.register_parameter(name, Parameter(T.empty(shape, device=device, dtype=dtype)))
                self._all_weights.append(list(named))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters, one list per layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Parameter]:
        # Read by attribute each time, so that a parametrisation or a swapped tensor is seen.
        return [getattr(self, name) for name in self._flat_weights_names]

    def __getstate__(self) -> dict[str, Any]:
        """PyTorch's modules hold these two lists; here they are computed."""
        return super().__getstate__() | {"_flat_weights_names": self._flat_weights_names, "_flat_weights": self._flat_weights}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: value for name, value in state.items() if name not in ("_flat_weights_names", "_flat_weights")})

    def flatten_parameters(self) -> None:
        """Nothing to do on a CPU; there for programs written for GPUs."""

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raise when the input's dtype, rank or last dimension does not fit."""
        dtype = self._flat_weights[0].dtype
        if input.dtype != dtype:
            fail(ValueError, "P633", f'RNN input dtype ({input.dtype}) does not match weight dtype ({dtype}). '
                 f'Convert input: input.to({dtype}), or convert model: model.to({input.dtype})',
                 got=describe(input), fix=f"convert one of them: input.to({dtype}), or model.to({input.dtype})")
        dims = 3 if batch_sizes is None else 2
        if input.dim() != dims:
            fail(RuntimeError, "P634", f'input must have {dims} dimensions, got {input.dim()}',
                 got=describe(input), fix="the dimensions are (time, batch, features), or (batch, time, features) with batch_first=True")
        if input.size(-1) != self.input_size:
            fail(RuntimeError, "P635", 'input.size(-1) must be equal to input_size. '
                 f'Expected {self.input_size}, got {input.size(-1)}',
                 got=describe(input), fix="the last dimension of the input must be input_size; batch_first=True swaps the first two")

    def _state_size(self, input: Tensor, batch_sizes: Tensor | None, width: int) -> tuple[int, int, int]:
        if batch_sizes is not None:
            batch = int(batch_sizes[0])
        else:
            batch = input.size(0) if self.batch_first else input.size(1)
        return self.num_layers * (2 if self.bidirectional else 1), batch, width

    def get_expected_hidden_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """(layers * directions, batch, proj_size or hidden_size)."""
        return self._state_size(input, batch_sizes, self.proj_size or self.hidden_size)

    def check_hidden_size(self, hx: Tensor, expected_hidden_size: tuple[int, int, int],
                          msg: str = 'Expected hidden size {}, got {}') -> None:
        """Raise RuntimeError when `hx` is not of the expected size."""
        if tuple(hx.shape) != tuple(expected_hidden_size):
            fail(RuntimeError, "P636", msg.format(expected_hidden_size, list(hx.shape)),
                 fix="the state is (layers * directions, batch, hidden_size), batch_first or not")

    def check_forward_args(self, input: Tensor, hidden: Hidden, batch_sizes: Tensor | None) -> None:
        """Raise when the input or the initial state does not fit."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx: Hidden, permutation: Tensor | None) -> Hidden:
        """The state with its batch entries in the order of `permutation`."""
        return hx if permutation is None else hx.index_select(1, permutation)

    def _zero_hidden(self, input: Tensor, batch_sizes: Tensor | None) -> Hidden:
        size = self.get_expected_hidden_size(input, batch_sizes)
        return T.zeros(size, dtype=input.dtype, device=input.device)

    def _batched_hidden(self, hx: Hidden, input_is_batched: bool) -> Hidden:
        """The user's initial state with a batch dimension."""
        if input_is_batched:
            if hx.dim() != 3:
                raise RuntimeError(f'For batched 3-D input, hx should also be 3-D but got {hx.dim()}-D tensor')
            return hx
        if hx.dim() != 2:
            raise RuntimeError(f'For unbatched 2-D input, hx should also be 2-D but got {hx.dim()}-D tensor')
        return hx.unsqueeze(1)

    def _unbatched_hidden(self, hx: Hidden) -> Hidden:
        return hx.squeeze(1)

    def _run(self, *inputs: Any) -> tuple[Tensor, Hidden]:
        """Call the operator of this mode: (input, hx) or (input, batch_sizes, hx), then the layout."""
        options = (self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
                   self.bidirectional)
        if len(inputs) == 2:
            options += (self.batch_first,)
        if self.mode == 'LSTM':
            output, h, c = T.lstm(*inputs, *options)
            return output, (h, c)
        if self.mode == 'GRU':
            return T.gru(*inputs, *options)
        if self.mode == 'RNN_TANH':
            return T.rnn_tanh(*inputs, *options)
        return T.rnn_relu(*inputs, *options)

    def forward(self, input: Tensor | PackedSequence, hx: Hidden | None = None) -> tuple[Any, Hidden]:
        """Return (output, hidden); the initial state defaults to zeros."""
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3):
            name = 'RNN' if self.mode.startswith('RNN') else self.mode
            fail(ValueError, "P637", f'{name}: Expected input to be 2D or 3D, got {input.dim()}D '
                 f'{"tensor " if name == "RNN" else ""}instead',
                 got=describe(input), fix="the dimensions are (time, batch, features), or (batch, time, features) with batch_first=True")
        is_batched = input.dim() == 3
        batch_dim = 0 if self.batch_first else 1
        if not is_batched:
            input = input.unsqueeze(batch_dim)
        hx = self._zero_hidden(input, None) if hx is None else self._batched_hidden(hx, is_batched)
        self.check_forward_args(input, hx, None)
        output, hidden = self._run(input, hx)
        if not is_batched:
            return output.squeeze(batch_dim), self._unbatched_hidden(hidden)
        return output, hidden

    def _forward_packed(self, packed: PackedSequence, hx: Hidden | None) -> tuple[PackedSequence, Hidden]:
        input, batch_sizes, sorted_indices, unsorted_indices = packed
        if hx is None:
            hx = self._zero_hidden(input, batch_sizes)
        else:
            hx = self.permute_hidden(hx, sorted_indices)
        self.check_forward_args(input, hx, batch_sizes)
        output, hidden = self._run(input, batch_sizes, hx)
        return (PackedSequence(output, batch_sizes, sorted_indices, unsorted_indices),
                self.permute_hidden(hidden, unsorted_indices))

    def extra_repr(self) -> str:
        s = f'{self.input_size}, {self.hidden_size}'
        if self.proj_size != 0:
            s += f', proj_size={self.proj_size}'
        if self.num_layers != 1:
            s += f', num_layers={self.num_layers}'
        if self.bias is not True:
            s += f', bias={self.bias}'
        if self.batch_first is not False:
            s += f', batch_first={self.batch_first}'
        if self.dropout != 0:
            s += f', dropout={self.dropout}'
        if self.bidirectional is not False:
            s += f', bidirectional={self.bidirectional}'
        return s


def _check_arguments(mode: str, input_size: int, hidden_size: int, num_layers: int, bias: bool,
                     batch_first: bool, dropout: float, proj_size: int) -> None:
    """The constructor's checks, in PyTorch's order."""
    if not isinstance(dropout, numbers.Number) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
        fail(ValueError, "P638", 'dropout should be a number in range [0, 1] representing the probability of an '
             f'element being zeroed, got {dropout!r}', fix="dropout is the share of elements set to zero: 0 to 1")
    if dropout > 0 and num_layers == 1:
        warnings.warn('dropout option adds dropout after all but last recurrent layer, so non-zero dropout '
                      f'expects num_layers greater than 1, but got dropout={dropout} and '
                      f'num_layers={num_layers}', stacklevel=4)
    for name, value, kind in (('bias', bias, bool), ('batch_first', batch_first, bool),
                              ('input_size', input_size, int), ('hidden_size', hidden_size, int)):
        if not isinstance(value, kind):
            raise TypeError(f'{name} should be of type {kind.__name__}, got: {type(value).__name__}')
        if kind is int and value <= 0:
            fail(ValueError, "P639", f'{name} must be greater than zero, got {value}', fix="sizes are at least 1")
    if num_layers <= 0:
        raise ValueError(f'num_layers must be greater than zero, got {num_layers}')
    if proj_size < 0:
        raise ValueError('proj_size should be a positive integer or zero to disable projections, '
                         f'got {proj_size}')
    if proj_size >= hidden_size:
        raise ValueError(f'proj_size has to be smaller than hidden_size, got {proj_size} and {hidden_size}')
    if mode not in _GATES:
        raise ValueError(f'Unrecognized RNN mode: {mode}')


def _reject_extra(name: str, extra: dict[str, Any]) -> None:
    """Only the LSTM has projections; any other keyword is unknown."""
    if 'proj_size' in extra:
        raise ValueError('proj_size argument is only supported for LSTM, not RNN or GRU')
    if extra:
        raise TypeError(f'{name}.__init__() got an unexpected keyword argument {next(iter(extra))!r}')


class RNN(RNNBase):
    """Elman network: h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or relu.

    Shapes (T steps, N batch, D directions): input (T, N, input_size), hx (layers * D, N, hidden_size)
    -> output (T, N, D * hidden_size), hidden like hx.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = 'tanh',
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 device: Any = None, dtype: Any = None, **extra: Any) -> None:
        _reject_extra('RNN', extra)
        if nonlinearity not in ('tanh', 'relu'):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__('RNN_' + nonlinearity.upper(), input_size, hidden_size, num_layers, bias, batch_first,
                         dropout, bidirectional, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), gates in the order i, f, g, o.

    Shapes: input (T, N, input_size), hx = (h (layers * D, N, H), c (layers * D, N, hidden_size)) with
    H = proj_size or hidden_size -> output (T, N, D * H), (h, c).
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 proj_size: int = 0, device: Any = None, dtype: Any = None) -> None:
        super().__init__('LSTM', input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         proj_size, device, dtype)

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """(layers * directions, batch, hidden_size)."""
        return self._state_size(input, batch_sizes, self.hidden_size)

    def check_forward_args(self, input: Tensor, hidden: Hidden, batch_sizes: Tensor | None) -> None:
        """Raise when the input or the initial state does not fit."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden[0], self.get_expected_hidden_size(input, batch_sizes),
                               'Expected hidden[0] size {}, got {}')
        self.check_hidden_size(hidden[1], self.get_expected_cell_size(input, batch_sizes),
                               'Expected hidden[1] size {}, got {}')

    def permute_hidden(self, hx: Hidden, permutation: Tensor | None) -> Hidden:
        """The state with its batch entries in the order of `permutation`."""
        return hx if permutation is None else tuple(state.index_select(1, permutation) for state in hx)

    def _zero_hidden(self, input: Tensor, batch_sizes: Tensor | None) -> Hidden:
        cell = T.zeros(self.get_expected_cell_size(input, batch_sizes), dtype=input.dtype, device=input.device)
        return super()._zero_hidden(input, batch_sizes), cell

    def _batched_hidden(self, hx: Hidden, input_is_batched: bool) -> Hidden:
        dims = 3 if input_is_batched else 2
        if hx[0].dim() != dims or hx[1].dim() != dims:
            raise RuntimeError(f'For {"batched" if input_is_batched else "unbatched"} {dims}-D input, hx and cx '
                               f'should also be {dims}-D but got ({hx[0].dim()}-D, {hx[1].dim()}-D) tensors')
        return hx if input_is_batched else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))

    def _unbatched_hidden(self, hx: Hidden) -> Hidden:
        return hx[0].squeeze(1), hx[1].squeeze(1)


class GRU(RNNBase):
    """Gated recurrent unit (Cho et al., 2014), gates in the order r, z, n; the reset gate acts after W_hn.

    Shapes as `RNN`.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 device: Any = None, dtype: Any = None, **extra: Any) -> None:
        _reject_extra('GRU', extra)
        super().__init__('GRU', input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         device=device, dtype=dtype)


class RNNCellBase(Module):
    """What the single-step cells share: `weight_ih`, `weight_hh` and their biases, `num_chunks` gates."""

    __constants__ = ['input_size', 'hidden_size', 'bias']

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        factory = {'device': device, 'dtype': dtype}
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = num_chunks * hidden_size
        self.weight_ih = Parameter(T.empty((gates, input_size), **factory))
        self.weight_hh = Parameter(T.empty((gates, hidden_size), **factory))
        self.register_parameter('bias_ih', Parameter(T.empty((gates,), **factory)) if bias else None)
        self.register_parameter('bias_hh', Parameter(T.empty((gates,), **factory)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _batched_input(self, input: Tensor) -> Tensor:
        """The input as (N, input_size); ValueError unless it is 1-D or 2-D."""
        if input.dim() not in (1, 2):
            fail(ValueError, "P646", f'{type(self).__name__}: Expected input to be 1D or 2D, got {input.dim()}D instead',
                 got=describe(input), fix="the dimensions are (batch, features)")
        return input if input.dim() == 2 else input.unsqueeze(0)

    def _batched_state(self, state: Tensor | None, input: Tensor, is_batched: bool, name: str) -> Tensor:
        """A state as (N, hidden_size); zeros for None; ValueError unless it is 1-D or 2-D."""
        if state is None:
            return T.zeros((input.size(0), self.hidden_size), dtype=input.dtype, device=input.device)
        if state.dim() not in (1, 2):
            raise ValueError(f'{type(self).__name__}: Expected {name} to be 1D or 2D, '
                             f'got {state.dim()}D instead')
        return state if is_batched else state.unsqueeze(0)

    @property
    def _weights(self) -> tuple[Any, ...]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def extra_repr(self) -> str:
        s = f'{self.input_size}, {self.hidden_size}'
        if self.bias is not True:
            s += f', bias={self.bias}'
        if getattr(self, 'nonlinearity', 'tanh') != 'tanh':
            s += f', nonlinearity={self.nonlinearity}'
        return s


class RNNCell(RNNCellBase):
    """One Elman step: input (N, input_size) or (input_size), hx (N, hidden_size) -> the next hx."""

    __constants__ = ['input_size', 'hidden_size', 'bias', 'nonlinearity']

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = 'tanh',
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        is_batched = input.dim() == 2
        input = self._batched_input(input)
        hx = self._batched_state(hx, input, is_batched, 'hidden')
        if self.nonlinearity == 'tanh':
            h = T.rnn_tanh_cell(input, hx, *self._weights)
        elif self.nonlinearity == 'relu':
            h = T.rnn_relu_cell(input, hx, *self._weights)
        else:
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}. Select from 'tanh' or 'relu'.")
        return h if is_batched else h.squeeze(0)


class LSTMCell(RNNCellBase):
    """One LSTM step: input (N, input_size) or (input_size), hx = (h, c) -> the next (h, c)."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        is_batched = input.dim() == 2
        input = self._batched_input(input)
        h, c = (None, None) if hx is None else hx
        states = (self._batched_state(h, input, is_batched, 'hx[0]'),
                  self._batched_state(c, input, is_batched, 'hx[1]'))
        h, c = T.lstm_cell(input, states, *self._weights)
        return (h, c) if is_batched else (h.squeeze(0), c.squeeze(0))


class GRUCell(RNNCellBase):
    """One GRU step: input (N, input_size) or (input_size), hx (N, hidden_size) -> the next hx."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        is_batched = input.dim() == 2
        input = self._batched_input(input)
        h = T.gru_cell(input, self._batched_state(hx, input, is_batched, 'hidden'), *self._weights)
        return h if is_batched else h.squeeze(0)
