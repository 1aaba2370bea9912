"""clip_grad_*, parameters_to_vector and back."""

import pytest

import pellucid


def parameters(torch, *grads):
    found = []
    for grad in grads:
        p = torch.nn.Parameter(torch.zeros(len(grad) if grad else 1))
        p.grad = torch.tensor(grad) if grad else None
        found.append(p)
    return found


@pytest.mark.parametrize("norm_type", [1.0, 2, 3.5, float("inf"), "inf", 0.5])
@pytest.mark.parametrize("max_norm", [0.5, 100, 0])
def test_clip_grad_norm(norm_type, max_norm, same):
    def scenario(torch):
        ps = parameters(torch, [1.0, -2.0], None, [3.0])
        norm = torch.nn.utils.clip_grad_norm_(ps, max_norm, norm_type)
        return norm, [p.grad for p in ps]

    same(scenario)


def test_one_parameter_none_and_generators(same):
    def scenario(torch):
        clip = torch.nn.utils.clip_grad_norm_
        p, = parameters(torch, [3.0, 4.0])
        return (clip(p, 1.0), p.grad, clip([], 1.0), clip(parameters(torch, None), 1.0), clip((q for q in [p]), 10.0),
                clip((q for q in []), 1.0))

    same(scenario)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nonfinite(bad, same):
    def scenario(torch):
        ps = parameters(torch, [1.0, bad])
        torch.nn.utils.clip_grad_norm_(ps, 1.0)
        torch.nn.utils.clip_grad_norm_(parameters(torch, [1.0, bad]), 1.0, error_if_nonfinite=True)

    same(scenario)


def test_in_two_steps(same):
    def scenario(torch):
        u = torch.nn.utils
        ps = parameters(torch, [3.0, 4.0], [12.0])
        total = u.get_total_norm([p.grad for p in ps])
        u.clip_grads_with_norm_(ps, 1.3, total)
        u.clip_grads_with_norm_(ps[0], 100.0, total)
        return total, [p.grad for p in ps], u.get_total_norm([]), u.get_total_norm(torch.ones(4))

    same(scenario)


def test_old_name(same):
    same(lambda torch: torch.nn.utils.clip_grad_norm(parameters(torch, [3.0]), 1.0))


def test_clip_grad_value(same):
    def scenario(torch):
        ps = parameters(torch, [3.0, -4.0, 0.1], None, [12.0])
        torch.nn.utils.clip_grad_value_(ps, 2)
        torch.nn.utils.clip_grad_value_(ps[2], 0.5)
        return [p.grad for p in ps]

    same(scenario)


def test_clipping_is_not_recorded():
    p = pellucid.nn.Parameter(pellucid.ones(2))
    (p**3).sum().backward(create_graph=True)
    assert not pellucid.nn.utils.clip_grad_norm_([p], 1.0).requires_grad


def test_vectors(same):
    def scenario(torch):
        u = torch.nn.utils
        m = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
        vector = u.parameters_to_vector(m.parameters())
        u.vector_to_parameters(torch.arange(9.0), m.parameters())
        return vector.shape, vector.requires_grad, dict(m.named_parameters())

    same(scenario)
    same(lambda torch: torch.nn.utils.vector_to_parameters([1.0], []))


def test_vector_shares_memory():
    m = pellucid.nn.Linear(1, 1)
    vector = pellucid.zeros(2)
    pellucid.nn.utils.vector_to_parameters(vector, m.parameters())
    vector.fill_(3.0)
    assert m.weight.item() == 3.0 and m.bias.item() == 3.0
