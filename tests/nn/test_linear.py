"""Linear maps that start from a generator."""

import torch
import torch.nn.functional as F

from polyprompt.nn.linear import bottleneck, linear


def test_it_starts_from_the_generator_and_within_torchs_own_bounds():
    first, again, other = (linear(16, 500, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.bias, again.bias)
    assert not torch.equal(first.weight, other.weight)
    torch.manual_seed(0)
    theirs = torch.nn.Linear(16, 500)
    for name in ("weight", "bias"):
        ours, expected = getattr(first, name), getattr(theirs, name)
        assert 0.24 < ours.max() <= 0.25  # uniform within 1 / sqrt(16), as torch's
        assert -0.25 <= ours.min() < -0.24
        assert abs(ours.std() - expected.std()) < 0.01
    assert linear(2, 3, torch.Generator(), bias=False).bias is None


def test_a_bottleneck_is_two_maps_and_two_relus():
    made = bottleneck(6, 2, torch.Generator().manual_seed(0))
    down, _, up, _ = made
    x = torch.randn(4, 6)
    assert [tuple(one.weight.shape) for one in (down, up)] == [(2, 6), (6, 2)]
    torch.testing.assert_close(made(x), F.relu(F.relu(x @ down.weight.T) @ up.weight.T))
