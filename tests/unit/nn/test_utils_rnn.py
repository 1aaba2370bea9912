"""Packing and padding sequences."""

import pickle

import numpy as np
import pytest

import pellucid


def batch(torch, batch_first=False):
    x = torch.arange(24.0).reshape(4, 3, 2)
    return x.transpose(0, 1).contiguous() if batch_first else x


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [[4, 3, 1], [2, 2, 2], [4, 4, 4]])
def test_pack_and_pad(lengths, batch_first, same):
    def scenario(torch):
        rnn = torch.nn.utils.rnn
        p = rnn.pack_padded_sequence(batch(torch, batch_first), lengths, batch_first)
        return (p.data, p.batch_sizes, p.sorted_indices, rnn.pad_packed_sequence(p, batch_first),
                rnn.pad_packed_sequence(p, not batch_first, 7.0, 5), rnn.unpack_sequence(p))

    same(scenario)


def test_unsorted(same):
    def scenario(torch):
        rnn = torch.nn.utils.rnn
        x = batch(torch).requires_grad_()
        p = rnn.pack_padded_sequence(x, torch.tensor([2, 4, 1]), enforce_sorted=False)
        back, lengths = rnn.pad_packed_sequence(p)
        (back * torch.arange(24.0).reshape(4, 3, 2)).sum().backward()
        return p, p.sorted_indices, p.unsorted_indices, back, lengths, x.grad

    same(scenario)


WRONG = {
    "order": lambda torch: (batch(torch), [2, 3, 1]),
    "number": lambda torch: (batch(torch), [4, 3]),
    "zero": lambda torch: (batch(torch), [4, 3, 0]),
    "empty": lambda torch: (batch(torch)[:0], [1, 1, 1]),
    "lengths 2-d": lambda torch: (batch(torch), torch.tensor([[3, 2, 1]])),
    "one dimension": lambda torch: (torch.ones(3), [1, 1, 1]),
}


@pytest.mark.parametrize("name", WRONG)
def test_pack_refuses(name, same):
    same(lambda torch: torch.nn.utils.rnn.pack_padded_sequence(*WRONG[name](torch)))


def test_a_length_beyond_the_padding_is_refused():
    with pytest.raises(RuntimeError, match="Expected every length to be at most 4, the padded length, but got 5"):
        pellucid.nn.utils.rnn.pack_padded_sequence(batch(pellucid), [5, 3, 2])


def test_total_length_too_short(same):
    def scenario(torch):
        rnn = torch.nn.utils.rnn
        rnn.pad_packed_sequence(rnn.pack_padded_sequence(batch(torch), [4, 3, 1]), total_length=3)

    same(scenario)


PADS = {
    "right": ([(2, 3), (4, 3), (1, 3)], {}),
    "batch first": ([(2, 3), (4, 3)], {"batch_first": True, "padding_value": -1.0}),
    "left": ([(2,), (4,), (4,)], {"padding_side": "left", "padding_value": 9.0}),
    "side": ([(2,), (3,)], {"padding_side": "up"}),
    "none": ([], {}),
}


@pytest.mark.parametrize("name", PADS)
def test_pad_sequence(name, same):
    shapes, kwargs = PADS[name]

    def scenario(torch):
        return torch.nn.utils.rnn.pad_sequence([torch.arange(float(np.prod(s))).reshape(s) for s in shapes], **kwargs)

    same(scenario)


def test_pad_sequence_of_other_things(same):
    same(lambda torch: torch.nn.utils.rnn.pad_sequence(3))
    same(lambda torch: torch.nn.utils.rnn.pad_sequence(torch.ones(2, 3)))
    same(lambda torch: torch.nn.utils.rnn.pad_sequence(torch.ones(n) for n in (1, 2)))
    same(lambda torch: torch.nn.utils.rnn.pad_sequence([torch.ones(2).long(), torch.ones(3)]))


def test_pack_sequence_and_unpad(same):
    def scenario(torch):
        rnn = torch.nn.utils.rnn
        sequences = [torch.arange(float(n)) for n in (3, 1, 2)]
        p = rnn.pack_sequence(sequences, enforce_sorted=False)
        return p, rnn.unpack_sequence(p), rnn.unpad_sequence(batch(torch), torch.tensor([1, 4, 2])), rnn.invert_permutation(None)

    same(scenario)
    same(lambda torch: torch.nn.utils.rnn.pack_sequence([torch.ones(1), torch.ones(2)]))


def test_packed_sequence_converts(same):
    def scenario(torch):
        rnn = torch.nn.utils.rnn
        p = rnn.pack_sequence([torch.arange(float(n)) for n in (1, 3)], enforce_sorted=False)
        kinds = [getattr(p, n)().data.dtype for n in ("double", "float", "half", "long", "int", "short", "char", "byte")]
        return (kinds, p.to(torch.float32) is p, p.to("cpu") is p, p.cpu() is p, p.to(torch.float64).sorted_indices, p.is_cuda,
                p.is_pinned(), repr(p), type(p.double()).__name__, p._fields)

    same(scenario)


def test_packed_sequence_by_hand():
    rnn = pellucid.nn.utils.rnn
    data, sizes = pellucid.ones(3), pellucid.tensor([2, 1])
    assert rnn.PackedSequence((data, sizes)).batch_sizes is sizes
    with pytest.raises(AssertionError, match="Expected data to be a list or tuple of length 2"):
        rnn.PackedSequence(data)
    back = pickle.loads(pickle.dumps(rnn.PackedSequence(data, sizes)))
    assert type(back) is rnn.PackedSequence and back.sorted_indices is None


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_take_packed_sequences(kind):
    """Packed sequences give each sequence what it gives alone."""
    pellucid.manual_seed(0)
    rnn = pellucid.nn.utils.rnn
    net = getattr(pellucid.nn, kind)(2, 3, num_layers=2, bidirectional=True)
    sequences = [pellucid.randn(n, 2) for n in (2, 4, 1)]
    out, _ = net(rnn.pack_sequence(sequences, enforce_sorted=False))
    for sequence, together in zip(sequences, rnn.unpack_sequence(out)):
        alone, _ = net(sequence)
        np.testing.assert_allclose(together.detach().numpy(), alone.detach().numpy(), atol=1e-6)
