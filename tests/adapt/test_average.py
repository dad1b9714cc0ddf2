"""The average over epochs against one that keeps them all."""

import math

import pytest
import torch
from torch import nn

from polyprompt.adapt.average import GaussianAverage, weights
from polyprompt.errors import ConfigError


def density(epoch, mean, std):
    return math.exp(-((epoch - mean) ** 2) / (2 * std**2))


@pytest.mark.parametrize(("epochs", "mean", "std"), [(1, 1.0, 1.0), (4, 3.0, 0.7), (5, 30.0, 1.0)])
@pytest.mark.parametrize("twice", [False, True])
def test_epochs_count_by_a_normal_density(epochs, mean, std, twice):
    """Also where all of them lie far from its middle; to be told of an epoch twice changes nothing."""
    draw = torch.Generator().manual_seed(0)
    module = nn.Linear(3, 2).double()
    average, seen = GaussianAverage(module, mean, std), []
    for epoch in range(1, epochs + 1):
        for parameter in module.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
        seen.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
        for _ in range(1 + twice):
            average.epoch_end(module, epoch, epochs)
    top = max(-((epoch - mean) ** 2) for epoch in range(1, epochs + 1))
    parts = [math.exp((-((epoch - mean) ** 2) - top) / (2 * std**2)) for epoch in range(1, epochs + 1)]
    expected = sum(part * one for part, one in zip(parts, seen, strict=True)) / sum(parts)
    torch.testing.assert_close(torch.cat([p.detach().flatten() for p in module.parameters()]), expected)


def test_training_that_ends_early_has_the_average_of_what_there_was():
    module = nn.Linear(1, 1, bias=False)
    average = GaussianAverage(module, 2.0, 1.0)
    for epoch, value in ((1, 1.0), (2, 3.0)):
        module.weight.data.fill_(value)
        average.epoch_end(module, epoch, 10)
        assert module.weight.item() == value  # nothing is put in place before the end
    module.weight.data.fill_(99.0)
    average.epoch_end(module, 2, 2)
    expected = (density(1, 2, 1) * 1 + density(2, 2, 1) * 3) / (density(1, 2, 1) + density(2, 2, 1))
    assert module.weight.item() == pytest.approx(expected)


def test_it_goes_on_from_a_checkpoint():
    module = nn.Linear(2, 2)
    first, again = GaussianAverage(module, 1.0, 1.0), GaussianAverage(module, 1.0, 1.0)
    first.epoch_end(module, 1, 3)
    again.load_state_dict(first.state_dict())
    ends = []
    for average in (first, again):
        copied = nn.Linear(2, 2)
        copied.load_state_dict({name: 2 * tensor for name, tensor in module.state_dict().items()})
        average.epoch_end(copied, 2, 2)
        ends.append(copied.state_dict())
    for name, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][name])


def test_weights_sum_to_one_and_those_that_are_all_nothing_are_refused():
    found = weights(3, 2.0, 1.0)
    assert found == pytest.approx([density(e, 2, 1) / sum(density(i, 2, 1) for i in (1, 2, 3)) for e in (1, 2, 3)])
    assert sum(found) == pytest.approx(1)
    with pytest.raises(ConfigError, match=r"mean 900\.0 and std 1\.0 give each of the 3 epochs the weight 0"):
        weights(3, 900.0, 1.0)
