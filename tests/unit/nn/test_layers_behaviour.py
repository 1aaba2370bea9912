"""Layers beyond one forward pass: errors, lazy shapes, packed sequences, checkpoints, hints, legacy arguments."""
from __future__ import annotations

import contextlib
import copy
import warnings

import numpy as np
import pellucid as torch
import pytest

nn = torch.nn


def x(*shape):
    return torch.tensor(np.sin(np.arange(int(np.prod(shape))) * 1.3).astype(np.float32).reshape(shape))


def close(a, b, atol=1e-6):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=atol)


ERRORS = [
    (lambda: nn.RNN(8, 6, nonlinearity='x'), ValueError, "Unknown nonlinearity 'x'"),
    (lambda: nn.RNN(8, 6, proj_size=2), ValueError, 'proj_size argument is only supported for LSTM'),
    (lambda: nn.GRU(8, 6, proj_size=2), ValueError, 'proj_size argument is only supported for LSTM'),
    (lambda: nn.GRU(8, 6, foo=2), TypeError, 'unexpected keyword argument'),
    (lambda: nn.LSTM(8, 0), ValueError, 'hidden_size must be greater than zero'),
    (lambda: nn.LSTM(0, 8), ValueError, 'input_size must be greater than zero'),
    (lambda: nn.LSTM(8, 4, 0), ValueError, 'num_layers must be greater than zero'),
    (lambda: nn.LSTM(8.0, 4), TypeError, 'input_size should be of type int, got: float'),
    (lambda: nn.LSTM(8, 4, bias=1), TypeError, 'bias should be of type bool, got: int'),
    (lambda: nn.LSTM(8, 4, dropout=True), ValueError, 'dropout should be a number in range'),
    (lambda: nn.LSTM(8, 4, proj_size=4), ValueError, 'proj_size has to be smaller than hidden_size'),
    (lambda: nn.LSTM(8, 4, proj_size=-1), ValueError, 'proj_size should be a positive integer'),
    (lambda: nn.RNNBase('X', 2, 3), ValueError, 'Unrecognized RNN mode: X'),
    (lambda: nn.LSTM(8, 4)(x(3, 2, 8), (x(1, 2, 5), x(1, 2, 4))), RuntimeError, r'Expected hidden\[0\] size'),
    (lambda: nn.LSTM(8, 4)(x(3, 2, 8), (x(1, 2, 4), x(1, 3, 4))), RuntimeError, r'Expected hidden\[1\] size'),
    (lambda: nn.LSTM(8, 4)(x(3, 8), (x(1, 1, 4), x(1, 1, 4))), RuntimeError, 'For unbatched 2-D input, hx and cx'),
    (lambda: nn.GRU(8, 4)(x(3, 8), x(1, 1, 4)), RuntimeError, 'For unbatched 2-D input, hx should also be 2-D'),
    (lambda: nn.GRU(8, 4)(x(3, 2, 8), x(1, 4)), RuntimeError, 'For batched 3-D input, hx should also be 3-D'),
    (lambda: nn.GRU(8, 4)(x(3, 2, 8), x(1, 3, 4)), RuntimeError, r'Expected hidden size \(1, 2, 4\), got \[1, 3, 4\]'),
    (lambda: nn.GRU(7, 4)(x(3, 2, 8)), RuntimeError, r'input.size\(-1\) must be equal to input_size. Expected 7'),
    (lambda: nn.GRU(8, 4)(x(3, 2, 8).double()), ValueError, 'RNN input dtype .* does not match weight dtype'),
    (lambda: nn.LSTM(8, 4)(x(8)), ValueError, 'LSTM: Expected input to be 2D or 3D, got 1D instead'),
    (lambda: nn.RNN(8, 4)(x(8)), ValueError, 'RNN: Expected input to be 2D or 3D, got 1D tensor instead'),
    (lambda: nn.RNNCell(8, 4)(x(1, 2, 8)), ValueError, 'RNNCell: Expected input to be 1D or 2D, got 3D'),
    (lambda: nn.RNNCell(8, 4)(x(2, 8), x(1, 2, 4)), ValueError, 'RNNCell: Expected hidden to be 1D or 2D'),
    (lambda: nn.LSTMCell(8, 4)(x(2, 8), (x(2, 4), x(1, 2, 4))), ValueError, r'LSTMCell: Expected hx\[1\] to be 1D'),
    (lambda: nn.RNNCell(8, 4, nonlinearity='q')(x(8)), RuntimeError, 'Unknown nonlinearity: q'),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, 'in_channels must be divisible by groups'),
    (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, 'out_channels must be divisible by groups'),
    (lambda: nn.Conv2d(4, 4, 3, groups=0), ValueError, 'groups must be a positive integer'),
    (lambda: nn.Conv2d(3, 4, 3, padding='x'), ValueError, "Invalid padding string 'x'"),
    (lambda: nn.Conv2d(3, 4, 3, padding='same', stride=2), ValueError, "padding='same' is not supported for strided"),
    (lambda: nn.Conv2d(3, 4, 3, padding_mode='x'), ValueError, 'padding_mode must be one of'),
    (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode='reflect'), ValueError, 'Only "zeros" padding mode is supported'),
    (lambda: nn.ConvTranspose1d(3, 4, 3, 2)(x(1, 3, 5), [30]), ValueError, r'requested an output size of \[30\]'),
    (lambda: nn.ConvTranspose1d(3, 4, 3, 2)(x(1, 3, 5), [3, 30]), ValueError, 'output_size must have 1 or 3 elements'),
    (lambda: nn.LazyConv2d(3, 2)(x(4, 4)), RuntimeError, r'Expected 3D \(unbatched\) or 4D \(batched\) input'),
    (lambda: nn.LazyConv2d(4, 2, groups=2)(x(3, 4, 4)), ValueError, 'in_channels must be divisible by groups'),
    (lambda: nn.Dropout(2), ValueError, 'dropout probability has to be between 0 and 1, but got 2'),
    (lambda: nn.GroupNorm(2, 3), ValueError, r'num_channels \(3\) must be divisible by num_groups \(2\)'),
    (lambda: nn.Bilinear(0, 2, 2), ValueError, 'in1_features must be > 0'),
    (lambda: nn.Embedding(3, 2, 5), AssertionError, 'Padding_idx must be within num_embeddings'),
    (lambda: nn.EmbeddingBag(3, 2, padding_idx=-5), AssertionError, 'padding_idx must be within num_embeddings'),
    (lambda: nn.Embedding.from_pretrained(x(3)), AssertionError, 'Embeddings parameter is expected to be 2-dimension'),
    (lambda: nn.EmbeddingBag.from_pretrained(x(3)), AssertionError, 'Embeddings parameter is expected to be 2-dimens'),
    (lambda: nn.Embedding(3, 2, _weight=x(2, 3)), AssertionError, 'Shape of weight does not match'),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, []), ValueError, 'cutoffs should be a sequence of length larger'),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5, 3]), ValueError, 'cutoffs should be a sequence of unique'),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5, 10]), ValueError, 'cutoffs should be a sequence of unique'),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5])(x(3, 8), torch.tensor([1, 2, 30])), RuntimeError,
     r'Target values should be in \[0, 9\], but values in range \[1, 30\] were found'),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5])(x(3, 8), torch.tensor([1, 2])), RuntimeError,
     'Input and target should have the same size in the batch dimension'),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5])(x(3, 1, 8), torch.tensor([1, 2, 3])), RuntimeError,
     '1D target tensor expects 2D input tensors'),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5])(x(3, 8), torch.tensor(1)), RuntimeError,
     '0D target tensor expects 1D input tensors'),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5])(x(1, 8), torch.tensor([[1]])), RuntimeError,
     '0D or 1D target tensor expected, multi-target not supported'),
    (lambda: nn.MultiheadAttention(0, 1), ValueError, 'embed_dim and num_heads must be greater than 0'),
    (lambda: nn.MultiheadAttention(5, 2), AssertionError, 'embed_dim must be divisible by num_heads'),
    (lambda: nn.BatchNorm1d(3)(x(3)), ValueError, r'expected 2D or 3D input \(got 1D input\)'),
    (lambda: nn.SyncBatchNorm(3)(x(3)), ValueError, r'expected at least 2D input \(got 1D input\)'),
    (lambda: nn.SyncBatchNorm(0)(x(2, 0, 4)), ValueError, 'number of input channels should be non-zero'),
    (lambda: nn.BatchNorm2d(3)(x(2, 3, 4)), ValueError, r'expected 4D input \(got 3D input\)'),
    (lambda: nn.BatchNorm3d(3)(x(2, 3, 4)), ValueError, r'expected 5D input \(got 3D input\)'),
    (lambda: nn.InstanceNorm1d(4, affine=True)(x(2, 3, 4)), ValueError, "expected input's size at dim=1 to match"),
    (lambda: nn.Unflatten(1, 3), TypeError, 'unflattened_size must be a tuple of ints, but found type int'),
    (lambda: nn.Unflatten(1, (2.0, 3)), TypeError, 'found element of type float at pos 0'),
    (lambda: nn.HuberLoss(delta='a'), TypeError, 'delta must be a float or int'),
    (lambda: nn.MultiMarginLoss(p=3), ValueError, 'only p == 1 and p == 2 supported'),
    (lambda: nn.MultiMarginLoss(weight=x(2, 2)), ValueError, 'expected weight to be None or 1D tensor, got 2D'),
    (lambda: nn.TripletMarginLoss(margin=0), ValueError, 'expected margin to be greater than 0, got 0'),
    (lambda: nn.TripletMarginWithDistanceLoss(margin=0), ValueError, 'expected margin to be greater than 0, got 0'),
    (lambda: nn.Hardtanh(1, 0), AssertionError, r'max_val \(0\) must be greater than min_val \(1\)'),
    (lambda: nn.Softmax2d()(x(2, 2)), ValueError, 'Softmax2d: expected input to be 3D or 4D, got 2D instead'),
    (lambda: nn.CircularPad2d(1)(x(2, 2)), ValueError, r'expected 3D or 4D input \(got 2D input\)'),
    (lambda: nn.CrossMapLRN2d(3)(x(2, 2)), ValueError, 'CrossMapLRN2d: Expected input to be 4D, got 2D'),
    (lambda: nn.FractionalMaxPool2d(2), ValueError, 'requires specifying either an output size, or a pooling ratio'),
    (lambda: nn.FractionalMaxPool2d(2, 3, 0.5), ValueError, 'only one of output_size and output_ratio'),
    (lambda: nn.FractionalMaxPool3d(2, output_ratio=2.0), ValueError, 'output_ratio must be between 0 and 1'),
    (lambda: nn.FractionalMaxPool3d(0, 3), ValueError, 'kernel_size must be greater than 0, but got 0'),
    (lambda: nn.Transformer(8, 2, 1, 1)(x(3, 2, 8), x(3, 1, 8)), RuntimeError, 'the batch number of src and tgt'),
    (lambda: nn.Transformer(4, 2, 1, 1)(x(3, 2, 8), x(3, 2, 8)), RuntimeError, 'the feature number of src and tgt'),
    (lambda: nn.TransformerEncoderLayer(8, 2, activation='x'), RuntimeError, 'activation should be relu/gelu, not x'),
]


@pytest.mark.filterwarnings('ignore:enable_nested_tensor')
@pytest.mark.parametrize('call, error, message', ERRORS, ids=[str(i) for i in range(len(ERRORS))])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_warnings():
    with pytest.warns(UserWarning, match="please use reduction='sum' instead"):
        assert nn.MSELoss(size_average=False).reduction == 'sum'
    with pytest.warns(UserWarning, match="please use reduction='none' instead"):
        assert nn.BCELoss(reduce=False).reduction == 'none'
    with pytest.warns(FutureWarning, match='NLLLoss2d'):
        nn.NLLLoss2d()
    with pytest.warns(FutureWarning, match='min_value'):
        assert nn.Hardtanh(min_value=-3).min_val == -3
    with pytest.warns(FutureWarning, match='max_value'):
        assert nn.Hardtanh(max_value=3).max_val == 3
    with pytest.warns(UserWarning, match='num_layers greater than 1'):
        nn.GRU(2, 2, dropout=0.5)
    with pytest.warns(UserWarning, match="does not match num_features"):
        nn.InstanceNorm1d(7)(x(2, 3, 4))
    with pytest.warns(UserWarning, match='enable_nested_tensor is True, but .*norm_first was True'):
        nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=True), 1)


LAZY = [('LazyLinear', (3,), (2, 5)), ('LazyConv1d', (4, 2), (2, 3, 5)), ('LazyConv2d', (4, 2), (3, 5, 5)),
        ('LazyConv3d', (4, 2), (1, 3, 3, 3, 3)), ('LazyConvTranspose1d', (4, 2), (2, 3, 5)),
        ('LazyConvTranspose2d', (4, 2), (3, 3, 3)), ('LazyConvTranspose3d', (4, 2), (1, 3, 2, 2, 2)),
        ('LazyBatchNorm1d', (), (4, 3)), ('LazyBatchNorm2d', (), (2, 3, 2, 2)), ('LazyBatchNorm3d', (), (2, 3, 2, 2, 2)),
        ('LazyInstanceNorm1d', (), (2, 3, 4)), ('LazyInstanceNorm2d', (), (2, 3, 4, 4)),
        ('LazyInstanceNorm3d', (), (2, 3, 2, 2, 2))]


@pytest.mark.parametrize('name, args, shape', LAZY)
def test_lazy_becomes_plain_and_loads(name, args, shape):
    layer = getattr(nn, name)(*args)
    assert layer.has_uninitialized_params()
    assert set(layer.state_dict()) >= {'weight', 'bias'}
    layer(x(*shape))
    plain = getattr(nn, name.removeprefix('Lazy'))
    assert type(layer) is plain and not hasattr(layer, '_initialize_hook')
    # A lazy layer takes its shapes from a checkpoint, too; and its later first call keeps the values.
    loaded = getattr(nn, name)(*args)
    loaded.load_state_dict(layer.state_dict())
    assert not loaded.has_uninitialized_params()
    layer.eval(), loaded.eval()
    close(loaded(x(*shape)), layer(x(*shape)))
    assert type(loaded) is plain


@pytest.mark.parametrize('kind', ['RNN', 'LSTM', 'GRU'])
@pytest.mark.parametrize('bidirectional', [False, True])
def test_packed_sequence_equals_one_by_one(kind, bidirectional):
    torch.manual_seed(1)
    layer = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=bidirectional, batch_first=True)
    lengths = [2, 5, 3]
    sequences = [x(5, 3)[:n] * (i + 1) for i, n in enumerate(lengths)]
    packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    output, hidden = layer(packed)
    padded, got_lengths = nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
    assert got_lengths.tolist() == lengths
    for i, sequence in enumerate(sequences):
        one, one_hidden = layer(sequence)
        close(padded[i, :lengths[i]], one)
        for state, one_state in zip(*((hidden, one_hidden) if kind == 'LSTM' else ((hidden,), (one_hidden,)))):
            close(state[:, i], one_state)
    again, _ = layer(packed, hidden)   # an initial state is permuted into the packed order
    one = layer(sequences[1], tuple(h[:, 1] for h in hidden) if kind == 'LSTM' else hidden[:, 1])[0]
    close(nn.utils.rnn.pad_packed_sequence(again, batch_first=True)[0][1], one)


def test_rnn_weights_are_read_by_attribute():
    layer = nn.LSTM(2, 3, num_layers=2, bidirectional=True)
    assert [len(names) for names in layer.all_weights] == [4] * 4
    assert layer.all_weights[1][0] is layer.weight_ih_l0_reverse
    layer.flatten_parameters()
    before = layer(x(4, 1, 2))[0]
    layer.weight_hh_l0 = nn.Parameter(layer.weight_hh_l0.detach() * 0)
    assert not torch.equal(layer(x(4, 1, 2))[0], before)
    close(copy.deepcopy(layer)(x(4, 1, 2))[0], layer(x(4, 1, 2))[0])


def test_lstm_is_its_cells():
    torch.manual_seed(2)
    layer, cell = nn.LSTM(3, 4), nn.LSTMCell(3, 4)
    cell.load_state_dict({k.removesuffix('_l0'): v for k, v in layer.state_dict().items()})
    output, (h, c) = layer(x(5, 2, 3))
    state = None
    for t in range(5):
        state = cell(x(5, 2, 3)[t], state)
        close(output[t], state[0])
    close(h[0], state[0])
    close(c[0], state[1])


def test_convert_sync_batchnorm():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=None, eps=0.1), nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.ReLU()),
                        nn.BatchNorm1d(4, track_running_stats=False, bias=False).eval(), nn.LayerNorm(4))
    plain = copy.deepcopy(net)
    group = torch.distributed.group.WORLD
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(net, group)
    assert converted is net and [type(m).__name__ for m in net.modules() if 'Norm' in type(m).__name__] == ['SyncBatchNorm'] * 3 + ['LayerNorm']
    assert net[1].process_group is group and not net[3].training
    assert list(net.state_dict()) == list(plain.state_dict())
    for _ in range(2):
        close(net(x(5, 3)), plain(x(5, 3)))
    for a, b in zip(net.state_dict().values(), plain.state_dict().values()):
        close(a.float(), b.float())
    net(x(5, 3)).pow(2).sum().backward()
    plain(x(5, 3)).pow(2).sum().backward()
    for a, b in zip(net.parameters(), plain.parameters()):
        close(a.grad, b.grad)
    plain.load_state_dict(net.state_dict())
    layer = nn.BatchNorm2d(3)
    alone = nn.SyncBatchNorm.convert_sync_batchnorm(layer)
    assert type(alone) is nn.SyncBatchNorm and alone.weight is layer.weight and alone.running_mean is layer.running_mean
    assert nn.SyncBatchNorm.convert_sync_batchnorm(nn.ReLU()).extra_repr() == ''


def test_sync_batch_norm_compiles_within_a_process_group():
    torch.distributed.init_process_group('gloo', rank=0, world_size=1, init_method='tcp://127.0.0.1:29511')
    try:
        layer, plain = nn.SyncBatchNorm(3, process_group=torch.distributed.group.WORLD), nn.BatchNorm1d(3)
        step = torch.compile(layer, fullgraph=True)
        for _ in range(3):
            close(step(x(4, 3, 2)), plain(x(4, 3, 2)))
        close(layer.running_var, plain.running_var)
        assert layer.num_batches_tracked.item() == 3
    finally:
        torch.distributed.destroy_process_group()


def test_batch_norm_running_statistics_and_old_checkpoints():
    layer = nn.BatchNorm1d(3, momentum=None)   # cumulative average
    batches = [x(8, 3), x(8, 3) * 3 + 1]
    for batch in batches:
        layer(batch)
    stacked = np.stack([b.numpy() for b in batches])
    np.testing.assert_allclose(layer.running_mean.numpy(), stacked.mean(1).mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), stacked.var(1, ddof=1).mean(0), rtol=1e-5)
    assert layer.num_batches_tracked.item() == 2
    old = layer.state_dict()
    del old['num_batches_tracked']
    old._metadata[''] = {'version': 1}
    fresh = nn.BatchNorm1d(3)
    fresh.load_state_dict(old)
    assert fresh.num_batches_tracked.item() == 0
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0, 0, 0] and layer.running_var.tolist() == [1, 1, 1]
    with pytest.raises(RuntimeError, match='track_running_stats=False'):
        nn.InstanceNorm1d(3).load_state_dict({'running_mean': x(3)})


def test_batch_norm_moves_its_statistics_outside_the_history():
    """The same bits whether or not somebody watches (under a mode every operator of the update is seen)."""
    def trained(mode):
        layer = nn.BatchNorm2d(3, momentum=0.25)
        mean, version = layer.running_mean, layer.running_mean._version
        with mode:
            y = layer((x(4, 3, 5, 5) * 2 + 1).requires_grad_())
        assert layer.running_mean is mean and mean._version > version and not mean.requires_grad and mean.grad_fn is None
        assert y.requires_grad and torch.is_grad_enabled() and layer.num_batches_tracked.item() == 1
        y.sum().backward()
        return layer
    plain, watched = trained(contextlib.nullcontext()), trained(torch.overrides.TorchFunctionMode())
    np.testing.assert_array_equal(plain.running_mean.numpy(), watched.running_mean.numpy())
    np.testing.assert_array_equal(plain.running_var.numpy(), watched.running_var.numpy())
    batch = (x(4, 3, 5, 5) * 2 + 1).numpy().astype(np.float64)
    np.testing.assert_allclose(plain.running_mean.numpy(), 0.25 * batch.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(plain.running_var.numpy(), 0.75 + 0.25 * batch.var((0, 2, 3), ddof=1), rtol=1e-5)


def test_embedding_options():
    layer = nn.Embedding.from_pretrained(x(4, 2))
    assert not layer.weight.requires_grad
    assert nn.Embedding.from_pretrained(x(4, 2), freeze=False).weight.requires_grad
    bag = nn.EmbeddingBag.from_pretrained(x(4, 2), mode='sum')
    close(bag(torch.tensor([[0, 1]])), x(4, 2)[:1] + x(4, 2)[1:2])
    layer = nn.Embedding(4, 2, padding_idx=0, max_norm=0.5)
    layer(torch.tensor([0, 1, 3])).sum().backward()
    norms = layer.weight.detach().norm(dim=1)
    assert norms[0] == 0 and norms[1] <= 0.5001 and norms[3] <= 0.5001 and norms[2] != norms[1]
    assert layer.weight.grad[0].tolist() == [0, 0] and layer.weight.grad[1].tolist() == [1, 1]


def test_attention_masks_and_layouts():
    torch.manual_seed(3)
    layer = nn.MultiheadAttention(4, 2, batch_first=True)
    q = x(2, 3, 4)
    padding = torch.tensor([[False, False, True], [False, False, False]])
    causal = torch.triu(torch.ones(3, 3, dtype=torch.bool), 1)
    out, weights = layer(q, q, q, key_padding_mask=padding, attn_mask=causal)
    assert weights[0, :, 2].abs().max() == 0 and weights[1, 0, 1:].abs().max() == 0
    close(weights.sum(-1), torch.ones(2, 3))
    # a float mask of -inf is the same mask, a hint with the mask changes nothing
    float_causal = nn.Transformer.generate_square_subsequent_mask(3)
    close(layer(q, q, q, attn_mask=float_causal, is_causal=True, need_weights=False)[0],
          layer(q, q, q, attn_mask=causal)[0])
    # sequence first, and without a batch
    layer.batch_first = False
    t = q.transpose(0, 1)
    close(layer(t, t, t, attn_mask=causal, key_padding_mask=padding)[0].transpose(0, 1), out)
    close(layer(q[1], q[1], q[1], attn_mask=causal)[0], out[1])
    merged, kind = layer.merge_masks(float_causal, torch.zeros(2, 3), q)
    assert kind == 2 and tuple(merged.shape) == (2, 2, 3, 3)
    assert layer.merge_masks(None, padding, q) == (padding, 1) and layer.merge_masks(None, None, q) == (None, None)
    with pytest.raises(RuntimeError, match='Need attn_mask if specifying the is_causal hint'):
        layer(t, t, t, is_causal=True)


def test_encoder_zeroes_padding_in_evaluation():
    torch.manual_seed(4)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2).eval()
    src, padding = x(2, 3, 4), torch.tensor([[False, False, True], [False, False, False]])
    with torch.no_grad():
        fast = encoder(src, src_key_padding_mask=padding)
        ragged = encoder(src, src_key_padding_mask=torch.tensor([[True, False, False]] * 2))
    slow = encoder(src, src_key_padding_mask=padding)
    close(fast[:, :2], slow[:, :2])
    assert fast[0, 2].abs().max() == 0 and slow[0, 2].abs().max() > 0 and ragged.abs().min() > 0


def test_encoder_detects_a_causal_mask():
    seen = []

    class Layer(nn.TransformerEncoderLayer):
        def forward(self, src, is_causal=False, **kwargs):
            seen.append(is_causal)
            return super().forward(src, is_causal=is_causal, **kwargs)

    encoder = nn.TransformerEncoder(Layer(4, 2, 8), 1, enable_nested_tensor=False)
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    for given in (mask, mask * 0, None):
        encoder(x(3, 1, 4), given)
    encoder(x(3, 1, 4), mask, is_causal=False)
    assert seen == [True, False, False, False]


def test_transformer_custom_stacks_and_equal_layers():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2, enable_nested_tensor=False)
    assert torch.equal(encoder.layers[0].linear1.weight, encoder.layers[1].linear1.weight)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = nn.Transformer(4, 2, num_decoder_layers=2, custom_encoder=encoder, dim_feedforward=8, batch_first=True)
    assert model.encoder is encoder
    # drawn anew, all matrices differ
    assert not torch.equal(encoder.layers[0].linear1.weight, encoder.layers[1].linear1.weight)
    model.encoder = nn.Identity()
    model.encoder.forward = lambda src, **kwargs: src
    assert tuple(model(x(2, 3, 4), x(2, 5, 4)).shape) == (2, 5, 4)


def test_adaptive_softmax_is_a_distribution():
    torch.manual_seed(5)
    layer = nn.AdaptiveLogSoftmaxWithLoss(6, 9, [3, 5], div_value=2.0)
    features, target = x(40, 6) * 5, torch.tensor(np.arange(40) % 9)
    log_probs = layer.log_prob(features)
    close(log_probs.exp().sum(1), torch.ones(40))
    output, loss = layer(features, target)
    close(output, log_probs.gather(1, target.unsqueeze(1)).squeeze(1), atol=1e-5)
    close(loss, -output.mean())
    assert torch.equal(layer.predict(features), log_probs.argmax(1))
    close(layer(features[0], target[0]).output, output[0])
    before = layer.head.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(layer.head.weight, before)


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
def test_linear_cross_entropy_in_blocks(reduction):
    layer = nn.LinearCrossEntropyLoss(3, 5, bias=True, reduction=reduction, ignore_index=2, weight=torch.tensor([1.0, 2, 1, 1, 3]))
    target = torch.tensor([4, 2, 0, 1, 3, 2, 1])
    results = []
    for options in (None, nn.LinearCrossEntropyOptions(batch_chunk_size=3), nn.LinearCrossEntropyOptions(chunking_method='aspect_ratio')):
        layer.options = options
        features = x(7, 3).requires_grad_()
        loss = layer(features, target)
        grads = torch.autograd.grad(loss.sum(), [features, *layer.parameters()])
        results.append((loss, *grads))
    for other in results[1:]:
        for a, b in zip(results[0], other):
            close(a, b)
    assert nn.LinearCrossEntropyOptions(chunking_method='aspect_ratio:2').rows(64, 8, 64) == 4
    for bad in ({'acc_policy': 'x'}, {'chunking_method': 'aspect_ratio:0'}, {'batch_chunk_size': 0}, {'acc_dtype': torch.int64}):
        with pytest.raises(ValueError):
            nn.LinearCrossEntropyOptions(**bad)


def test_channels_last_weights_draw_the_same_numbers():
    torch.manual_seed(6)
    a = nn.Conv2d(3, 4, 3)
    b = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    torch.manual_seed(6)
    b.reset_parameters()
    assert torch.equal(a.weight, b.weight) and torch.equal(a.bias, b.bias)


def test_factory_arguments_reach_every_parameter():
    layers = [nn.Linear(2, 2, dtype=torch.float64), nn.Conv1d(2, 2, 1, dtype=torch.float64, device='cpu'),
              nn.BatchNorm1d(2, dtype=torch.float64), nn.LayerNorm(2, dtype=torch.float64),
              nn.Embedding(2, 2, dtype=torch.float64), nn.LSTM(2, 3, proj_size=1, dtype=torch.float64),
              nn.GRUCell(2, 2, dtype=torch.float64), nn.PReLU(dtype=torch.float64),
              nn.MultiheadAttention(2, 1, add_bias_kv=True, dtype=torch.float64),
              nn.TransformerDecoderLayer(2, 1, 2, dtype=torch.float64),
              nn.AdaptiveLogSoftmaxWithLoss(4, 5, [2], dtype=torch.float64)]
    for layer in layers:
        assert {p.dtype for p in layer.parameters()} == {torch.float64}, layer
    assert nn.BatchNorm1d(2, dtype=torch.float64).num_batches_tracked.dtype == torch.int64


def test_dropout_in_evaluation_is_the_identity():
    for name in ('Dropout', 'Dropout1d', 'Dropout2d', 'Dropout3d', 'AlphaDropout', 'FeatureAlphaDropout'):
        value = x(2, 3, 4, 4, 4) if name == 'Dropout3d' else x(2, 3, 4)
        value = value if name != 'Dropout2d' else x(2, 3, 4, 4)
        layer = getattr(nn, name)(0.5)
        assert not torch.equal(layer(value), value)
        assert torch.equal(layer.eval()(value), value)


def test_consume_prefix():
    model = nn.Sequential(nn.Linear(2, 2))
    state = nn.Module.state_dict(model, prefix='module.')
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, 'module.')
    assert list(state) == ['0.weight', '0.bias'] and '0' in state._metadata
    model.load_state_dict(state)
