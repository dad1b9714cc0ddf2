"""Prompts among token states: where they go, what gets a gradient, what does not fit."""

import pytest
import torch

from polyprompt.errors import ConfigError
from polyprompt.nn.prompts import append, from_words, normal, put, replace_last, slot, slots


def test_slots_are_negative_and_count_down():
    assert slots(2, 3) == [slot(2), slot(3), slot(4)] == [-3, -4, -5]
    assert [~number for number in slots(0, 4)] == [0, 1, 2, 3]


def test_put_replaces_and_cuts_the_gradient():
    states = torch.arange(8.0).reshape(4, 2).requires_grad_()
    vectors = torch.tensor([[10.0, 20.0], [30.0, 40.0]], requires_grad=True)
    out = put(states, torch.tensor([3, 1]), vectors)
    assert out.tolist() == [[0, 1], [30, 40], [4, 5], [10, 20]]
    out.sum().backward()
    assert states.grad is not None
    assert states.grad[:, 0].tolist() == [1, 0, 1, 0]
    assert vectors.grad is not None
    assert vectors.grad.tolist() == [[1, 1], [1, 1]]


def test_append_and_replace_last():
    states, prompts = torch.zeros(2, 3, 4), torch.ones(2, 4)
    grown = append(states, prompts)
    assert grown.shape == (2, 5, 4)
    assert grown[0, :, 0].tolist() == [0, 0, 0, 1, 1]
    replaced = replace_last(grown, 2 * prompts)
    assert replaced[1, :, 0].tolist() == [0, 0, 0, 2, 2]


def test_from_words_copies_and_refuses_too_few():
    vectors = torch.randn(3, 4)
    start = from_words(vectors, 2, "a photo of")
    assert torch.equal(start, vectors[:2])
    assert torch.equal(from_words(vectors, 3, "a photo of"), vectors)
    start += 1
    assert not torch.equal(start, vectors[:2])
    with pytest.raises(ConfigError, match="'a photo of' is 3 tokens long, too short to start 4"):
        from_words(vectors, 4, "a photo of")


def test_normal_has_the_spread_asked_for():
    numbers = normal(200, 50, 0.02, torch.Generator().manual_seed(0))
    assert abs(float(numbers.std()) - 0.02) < 0.001
    assert abs(float(numbers.mean())) < 0.001
