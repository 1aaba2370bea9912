"""Records what PyTorch's layers do into layers_recorded.json (run by hand, with torch installed).

    python tests/unit/nn/record_layers.py

Every case is a constructor and a call, as Python text. For each: the repr, the state_dict's keys and
shapes, the parameters drawn with seed 7 (some values and the sum), the output, and the gradients.
`test_layers.py` evaluates the same text on pellucid and compares.
"""
from __future__ import annotations

import json
import pathlib
import warnings

import numpy as np

CASES = """
Linear(3, 4) @ x(2, 3)
Linear(3, 4, bias=False, dtype=torch.float64) @ x(3).double()
Bilinear(2, 3, 4) @ x(5, 2), x(5, 3)
Identity(1, foo=2) @ x(2, 2)
LazyLinear(4) @ x(2, 3)
Conv1d(4, 6, 3, stride=2, padding=1, groups=2) @ x(2, 4, 9)
Conv1d(2, 3, 4, padding='same', padding_mode='circular') @ x(2, 9)
Conv2d(3, 4, (3, 2), padding='same', dilation=(1, 2)) @ x(2, 3, 6, 7)
Conv2d(2, 4, 3, padding=(1, 2), padding_mode='reflect', bias=False) @ x(2, 2, 5, 6)
Conv2d(2, 2, 3, padding='valid', padding_mode='replicate') @ x(2, 2, 5, 6)
Conv3d(2, 2, 2, stride=(1, 2, 1)) @ x(1, 2, 4, 5, 3)
ConvTranspose1d(2, 4, 3, stride=2, output_padding=1, groups=2) @ x(2, 2, 5)
ConvTranspose2d(2, 3, 3, stride=2, padding=1) @ x(1, 2, 4, 4), (8, 7)
ConvTranspose3d(1, 2, 2, dilation=2, bias=False) @ x(1, 1, 2, 3, 2)
LazyConv1d(4, 2) @ x(2, 3, 5)
LazyConv2d(4, 2, groups=2) @ x(2, 2, 4, 4)
LazyConv3d(2, 2, bias=False) @ x(3, 3, 3, 3)
LazyConvTranspose1d(2, 3) @ x(3, 4)
LazyConvTranspose2d(2, 3, stride=2) @ x(1, 3, 4, 4)
LazyConvTranspose3d(2, 2) @ x(1, 2, 2, 2, 2)
MaxPool1d(3, 2, padding=1) @ x(2, 3, 8)
MaxPool2d((2, 3), stride=(2, 1), ceil_mode=True) @ x(2, 2, 5, 7)
MaxPool2d(2, return_indices=True) @ x(2, 2, 4, 4)
MaxPool3d(2, dilation=1) @ x(1, 2, 4, 4, 4)
MaxUnpool1d(2) @ x(1, 2, 3), ints(1, 2, 3, high=2)+torch.tensor([0, 2, 4])
MaxUnpool2d(2, padding=0) @ x(1, 1, 1, 2), torch.tensor([[[[0, 2]]]]), (2, 4)
MaxUnpool3d((1, 1, 2)) @ x(1, 1, 1, 1, 2), torch.tensor([[[[[0, 2]]]]])
AvgPool1d(3, stride=2, padding=1, count_include_pad=False) @ x(2, 3, 8)
AvgPool2d(2, ceil_mode=True, divisor_override=3) @ x(1, 2, 5, 5)
AvgPool3d((2, 1, 2)) @ x(1, 2, 4, 3, 4)
LPPool1d(2, 3) @ x(2, 3, 8)
LPPool2d(1.5, 2, stride=1) @ x(1, 2, 4, 4).abs()
LPPool3d(3, 2) @ x(1, 1, 4, 4, 4).abs()
AdaptiveMaxPool1d(3) @ x(2, 2, 7)
AdaptiveMaxPool2d((None, 2), return_indices=True) @ x(1, 2, 4, 5)
AdaptiveMaxPool3d(2) @ x(1, 1, 3, 4, 5)
AdaptiveAvgPool1d(3) @ x(2, 2, 7)
AdaptiveAvgPool2d((3, None)) @ x(1, 2, 5, 4)
AdaptiveAvgPool3d(1) @ x(1, 2, 3, 2, 2)
FractionalMaxPool2d(2, output_size=3) @ x(1, 2, 7, 7)
FractionalMaxPool3d((2, 2, 2), output_ratio=0.5) @ x(1, 1, 6, 6, 6)
BatchNorm1d(3) @ x(4, 3, 5)
BatchNorm1d(3, momentum=None, bias=False) @ x(4, 3)
BatchNorm2d(2, affine=False, eps=0.1) @ x(3, 2, 4, 4)
BatchNorm3d(2, track_running_stats=False) @ x(2, 2, 2, 3, 2)
LazyBatchNorm1d() @ x(4, 3)
LazyBatchNorm2d(affine=False) @ x(2, 3, 2, 2)
LazyBatchNorm3d(momentum=0.3) @ x(2, 3, 2, 2, 2)
SyncBatchNorm(3) @ x(4, 3, 5)
SyncBatchNorm(3, momentum=None, affine=False) @ x(4, 3)
SyncBatchNorm(2, 0.1, bias=False, track_running_stats=False) @ x(2, 2, 3, 4)
InstanceNorm1d(3, affine=True) @ x(2, 3, 5)
InstanceNorm2d(2, track_running_stats=True) @ x(2, 4, 3)
InstanceNorm3d(2) @ x(1, 2, 2, 3, 2)
LazyInstanceNorm1d() @ x(2, 3, 5)
LazyInstanceNorm2d() @ x(2, 3, 4, 4)
LazyInstanceNorm3d() @ x(2, 3, 2, 2, 2)
LayerNorm((3, 4)) @ x(2, 3, 4)
LayerNorm(4, bias=False) @ x(2, 3, 4)
GroupNorm(2, 4) @ x(3, 4, 5)
GroupNorm(1, 4, affine=False) @ x(3, 4)
RMSNorm(5) @ x(3, 5)
RMSNorm((2, 3), eps=0.1, elementwise_affine=False) @ x(4, 2, 3)
LocalResponseNorm(3, alpha=0.5) @ x(2, 5, 4)
CrossMapLRN2d(2, alpha=0.5) @ x(2, 1, 2, 2)
Dropout(0.3) @ x(5, 7)
Dropout1d(0.5) @ x(3, 4, 5)
Dropout2d() @ x(3, 4, 2, 2)
Dropout3d(0.4) @ x(2, 4, 2, 2, 2)
AlphaDropout(0.2) @ x(5, 7)
FeatureAlphaDropout(0.5) @ x(3, 4, 5)
Threshold(0.1, 20) @ x(7)
ReLU() @ x(7)
ReLU(inplace=True) @ x(7) * 1
RReLU() @ x(7)
Hardtanh(-0.5, 0.7) @ x(7)
ReLU6() @ x(7) * 7
Sigmoid() @ x(7)
Hardsigmoid() @ x(7) * 5
Tanh() @ x(7)
SiLU() @ x(7)
Mish() @ x(7)
Hardswish(True) @ x(7) * 5
ELU(0.5) @ x(7)
CELU(1.5, inplace=True) @ x(7) * 1
SELU() @ x(7)
GLU(0) @ x(4, 3)
GELU() @ x(7)
GELU('tanh') @ x(7)
Hardshrink(0.4) @ x(7)
LeakyReLU(0.2, inplace=True) @ x(7) * 1
LogSigmoid() @ x(7)
Softplus(2, 1) @ x(7)
Softshrink(0.2) @ x(7)
PReLU(3, init=0.1) @ x(2, 3, 2)
Softsign() @ x(7)
Tanhshrink() @ x(7)
Softmin(dim=0) @ x(3, 2)
Softmax(dim=-1) @ x(3, 2)
Softmax2d() @ x(2, 3, 2, 2)
LogSoftmax(1) @ x(3, 2)
MultiheadAttention(6, 2) @ x(4, 2, 6), x(3, 2, 6), x(3, 2, 6)
MultiheadAttention(4, 2, kdim=3, vdim=5, batch_first=True) @ x(2, 4, 4), x(2, 3, 3), x(2, 3, 5)
MultiheadAttention(4, 1, bias=False, add_zero_attn=True, dropout=0.5) @ x(3, 4), x(2, 4), x(2, 4), None, False
MultiheadAttention(4, 4, add_bias_kv=True) @ x(3, 2, 4), x(3, 2, 4), x(3, 2, 4), torch.tensor([[False, False, True], [False, False, False]]), True, None, False
L1Loss() @ x(3, 2), x(3, 2) * 2
NLLLoss(torch.tensor([1.0, 2.0, 0.5]), ignore_index=1) @ x(4, 3), ints(4, high=3)
PoissonNLLLoss(full=True) @ x(4), x(4).detach().abs() * 9
GaussianNLLLoss(reduction='sum') @ x(4, 2), x(4, 2) + 1, x(4, 2).abs()
KLDivLoss(reduction='batchmean', log_target=True) @ x(4, 2), x(4, 2) + 1
MSELoss(reduction='none') @ x(3), x(3) + 1
BCELoss() @ x(4).sigmoid(), x(4).abs().clamp(0, 1).detach()
BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 3.0])) @ x(4, 2), x(4, 2).abs().clamp(0, 1).detach()
HingeEmbeddingLoss(margin=0.5) @ x(4), torch.tensor([1.0, -1.0, 1.0, -1.0])
MultiLabelMarginLoss() @ x(2, 4), torch.tensor([[3, 0, -1, 1], [1, -1, 0, 0]])
SmoothL1Loss(beta=0.5) @ x(4), x(4) * 3
HuberLoss('sum', 0.3) @ x(4), x(4) * 3
SoftMarginLoss() @ x(4), torch.tensor([1.0, -1.0, 1.0, -1.0])
CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5]), label_smoothing=0.1) @ x(4, 3), ints(4, high=3)
CrossEntropyLoss() @ x(2, 3, 4), x(2, 3, 4).detach().softmax(1)
LinearCrossEntropyLoss(3, 4, bias=True, label_smoothing=0.1) @ x(5, 3), ints(5, high=4)
LinearCrossEntropyLoss(3, 4, out_features=(2,), reduction='sum', ignore_index=1) @ x(5, 3), ints(5, 2, high=4)
LinearCrossEntropyLoss(3, 4, weight=torch.tensor([1.0, 2.0, 0.5, 1.0]), options=nn.LinearCrossEntropyOptions(batch_chunk_size=2)) @ x(5, 3), ints(5, high=4)
MultiLabelSoftMarginLoss() @ x(2, 4), torch.tensor([[1.0, 0, 0, 1], [0, 1, 1, 0]])
CosineEmbeddingLoss(0.2) @ x(3, 4), x(3, 4) + 0.3, torch.tensor([1, -1, 1])
MarginRankingLoss(0.1) @ x(4), x(4) * 2, torch.tensor([1.0, -1.0, 1.0, -1.0])
MultiMarginLoss(p=2, weight=torch.tensor([1.0, 2.0, 0.5])) @ x(4, 3), ints(4, high=3)
TripletMarginLoss(swap=True) @ x(3, 4), x(3, 4) + 0.3, x(3, 4) * 2
TripletMarginWithDistanceLoss(margin=0.5) @ x(3, 4), x(3, 4) + 0.3, x(3, 4) * 2
CTCLoss() @ x(6, 2, 4).log_softmax(-1), torch.tensor([[1, 2, 2], [3, 1, 0]]), torch.tensor([6, 5]), torch.tensor([3, 2])
Embedding(5, 3, padding_idx=-1) @ ints(2, 3, high=5)
Embedding(5, 3, norm_type=1.5, scale_grad_by_freq=True) @ ints(7, high=5)
EmbeddingBag(6, 2) @ ints(2, 3, high=6)
EmbeddingBag(6, 2, mode='max', padding_idx=2) @ ints(6, high=6), torch.tensor([0, 4])
EmbeddingBag(6, 2, mode='sum', include_last_offset=True) @ ints(6, high=6), torch.tensor([0, 4, 6]), x(6)
RNN(3, 4) @ x(5, 2, 3)
RNN(3, 4, 2, 'relu', batch_first=True, bidirectional=True) @ x(2, 5, 3), x(4, 2, 4)
LSTM(3, 4, num_layers=2, bias=False) @ x(5, 2, 3)
LSTM(3, 4, proj_size=2, bidirectional=True) @ x(5, 2, 3), (x(2, 2, 2), x(2, 2, 4))
LSTM(3, 4, num_layers=2, dropout=0.5) @ x(5, 3)
GRU(3, 4, batch_first=True) @ x(2, 5, 3)
GRU(3, 2, num_layers=2, bidirectional=True) @ x(5, 2, 3)
RNNCell(3, 4, nonlinearity='relu') @ x(2, 3)
RNNCell(3, 4, bias=False) @ x(3), x(4)
LSTMCell(3, 4) @ x(2, 3), (x(2, 4), x(2, 4))
GRUCell(3, 4) @ x(3)
TransformerEncoderLayer(4, 2, 8, dropout=0.0) @ x(3, 2, 4)
TransformerEncoderLayer(4, 2, 8, 0.1, 'gelu', batch_first=True, norm_first=True) @ x(2, 3, 4)
TransformerDecoderLayer(4, 2, 8, activation=torch.nn.GELU()) @ x(3, 2, 4), x(5, 2, 4)
TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2, nn.LayerNorm(4), False) @ x(3, 2, 4), nn.Transformer.generate_square_subsequent_mask(3)
TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 8, bias=False), 1) @ x(3, 4), x(2, 4)
Transformer(4, 2, 1, 1, 8, 0.0) @ x(3, 2, 4), x(5, 2, 4)
ReflectionPad1d(2) @ x(2, 4)
ReflectionPad2d((1, 0, 2, 1)) @ x(1, 2, 4, 3)
ReflectionPad3d(1) @ x(1, 1, 2, 2, 2)
ReplicationPad1d((1, 3)) @ x(1, 2, 3)
ReplicationPad2d(1) @ x(1, 2, 3, 2)
ReplicationPad3d(1) @ x(1, 1, 2, 2, 2)
ZeroPad1d(1) @ x(2, 3)
ZeroPad2d((1, -1, 0, 2)) @ x(2, 3, 3)
ZeroPad3d(1) @ x(1, 1, 2, 2, 2)
ConstantPad1d(2, 3.5) @ x(1, 2, 3)
ConstantPad2d((1, 2, 3, 4), -1.0) @ x(1, 2, 3)
ConstantPad3d(1, 2.5) @ x(1, 1, 2, 2, 2)
CircularPad1d(1) @ x(1, 2, 3)
CircularPad2d((1, 0, 0, 2)) @ x(2, 3, 3)
CircularPad3d(1) @ x(1, 1, 2, 2, 2)
Upsample(scale_factor=2) @ x(1, 2, 3)
Upsample(size=(3, 5), mode='bilinear', align_corners=False) @ x(1, 1, 2, 3)
UpsamplingNearest2d(scale_factor=2) @ x(1, 1, 2, 3)
UpsamplingBilinear2d(size=(3, 4)) @ x(1, 1, 2, 3)
PixelShuffle(2) @ x(1, 4, 2, 3)
PixelUnshuffle(2) @ x(1, 1, 4, 2)
ChannelShuffle(2) @ x(1, 4, 2)
Flatten() @ x(2, 3, 2)
Unflatten(1, (2, -1)) @ x(2, 6)
Fold((4, 5), (2, 2)) @ x(1, 8, 12)
Unfold(2, padding=1, stride=2) @ x(1, 2, 3, 4)
PairwiseDistance(1.5, keepdim=True) @ x(3, 4), x(3, 4) * 2
CosineSimilarity(dim=0) @ x(3, 4), x(3, 4) + 0.5
AdaptiveLogSoftmaxWithLoss(6, 9, [3, 5], div_value=2.0, head_bias=True) @ x(4, 6), torch.tensor([8, 1, 4, 5])
""".strip().splitlines()


def values(case: str, torch, to_numpy) -> dict:
    """Build the layer with seed 7, call it, run backward; return everything that is compared."""
    constructor, call = case.split(' @ ')
    leaves = []

    def x(*shape):
        n = int(np.prod(shape))
        leaf = torch.tensor(np.sin(np.arange(n) * 1.7 + len(leaves)).astype(np.float32).reshape(shape))
        leaves.append(leaf.requires_grad_())
        return leaves[-1]

    def ints(*shape, high):
        return torch.tensor((np.arange(int(np.prod(shape))) * 7 % high).reshape(shape))

    def arrays(result):
        if result is None:
            return []
        return [a for r in result for a in arrays(r)] if isinstance(result, (tuple, list)) else [result]

    scope = {'torch': torch, 'nn': torch.nn, 'x': x, 'ints': ints}
    torch.manual_seed(7)
    layer = eval('nn.' + constructor, scope)
    text = repr(layer)
    initial = {k: v.detach().clone() for k, v in layer.state_dict().items() if 'Lazy' not in constructor}
    out = arrays(layer(*eval(f'({call},)', scope)))
    state = dict(layer.state_dict()) if 'Lazy' in constructor or 'Norm' in constructor else {}
    for name, parameter in layer.named_parameters():
        leaves.append(parameter)
    total = sum((o.double() * torch.tensor(np.cos(np.arange(o.numel()) * 0.3).reshape(tuple(o.shape)))).sum()
                for o in out if o.is_floating_point() and o.requires_grad)
    if hasattr(total, 'backward'):
        total.backward()
    grads = [leaf.grad for leaf in leaves]

    def brief(array):
        array = to_numpy(array)
        flat = array.astype(np.float64).reshape(-1)
        return [str(array.dtype), list(array.shape), [float(f'{v:.9g}') for v in flat[:3]],
                float(f'{flat.sum():.9g}')]

    return {'repr': text, 'init': {k: brief(v) for k, v in initial.items()},
            'state': {k: brief(v) for k, v in state.items()},
            'out': [brief(o.detach()) for o in out],
            'grad': [None if g is None else brief(g) for g in grads]}


if __name__ == '__main__':
    import torch
    recorded = {}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for case in CASES:
            recorded[case] = values(case, torch, lambda t: t.numpy())
    target = pathlib.Path(__file__).with_name('layers_recorded.json')
    target.write_text('{\n' + ',\n'.join(f'{json.dumps(k)}: {json.dumps(v)}' for k, v in recorded.items()) + '\n}\n')
    print(f'{len(recorded)} cases, torch {torch.__version__}')
