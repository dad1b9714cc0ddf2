"""Losses in tiles against the whole matrix of logits, values and gradients; and that the whole is never held."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from polyprompt.errors import ConfigError
from polyprompt.nn.tiles import _pairs, _slices, cross_entropies, pair_losses

SIZES = [(1, 1), (5, 2), (7, 7), (8, 3), (9, 100)]


def rows(n, seed):
    return F.normalize(torch.randn(n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize(("n", "tile"), SIZES)
def test_cross_entropies_are_those_of_the_whole_matrix(n, tile):
    texts, images = rows(n, 1).requires_grad_(), rows(n, 2).requires_grad_()
    scale = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    logits = scale * texts @ images.T
    expected = [F.cross_entropy(way, torch.arange(n), reduction="none") for way in (logits, logits.T)]
    found = cross_entropies(texts, images, scale, tile)
    torch.testing.assert_close(found, tuple(expected))
    weights = torch.rand(2, n, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    gradients = [
        torch.autograd.grad((weights[0] * one + weights[1] * other).sum(), (texts, images, scale), retain_graph=True)
        for one, other in (expected, found)
    ]
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize(("n", "tile"), SIZES)
def test_pair_losses_are_those_of_the_whole_matrix(n, tile):
    left, right = (3 * rows(n, 1)).requires_grad_(), rows(n, 2).requires_grad_()
    signs = 2 * torch.eye(n, dtype=torch.float64) - 1
    expected, found = -F.logsigmoid(signs * (left @ right.T)).sum(), pair_losses(left, right, tile)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, (left, right)), torch.autograd.grad(expected, (left, right)))


@pytest.mark.parametrize(("rows", "before", "after", "tile"), [(5, 0, 0, 2), (5, 5, 0, 2), (4, 3, 6, 3), (3, 7, 1, 9)])
def test_own_columns_lie_on_the_diagonal_that_is_told(rows, before, after, tile):
    """Of this process's rows, with those of the processes before and after it among the columns."""
    own = torch.zeros(rows, before + rows + after, dtype=torch.bool)
    own[range(rows), range(before, before + rows)] = True
    for i in _slices(rows, tile):
        for j in _slices(own.shape[1], tile):
            pairs, offset = _pairs(i, j, before)
            there = torch.zeros_like(own[i, j])
            there.diagonal(offset).fill_(True)
            assert torch.equal(there, own[i, j])
            assert [*range(rows)[pairs]] == [i.start + row for row in own[i, j].any(dim=1).nonzero().flatten().tolist()]


class Largest(TorchDispatchMode):
    """The most numbers that any result has."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor):
            self.numbers = max(self.numbers, found.numel())
        return found


def test_the_whole_matrix_is_never_held():
    texts, images = rows(64, 1).requires_grad_(), rows(64, 2).requires_grad_()
    with Largest() as largest:
        text, image = cross_entropies(texts, images, torch.tensor(10.0, dtype=torch.float64), 8)
        (text.sum() + image.sum() + pair_losses(texts, images, 8)).backward()
    assert largest.numbers == texts.numel() < 64 * 64


def test_a_tile_has_rows():
    with pytest.raises(ConfigError, match="tile is 0"):
        cross_entropies(rows(2, 1), rows(2, 2), torch.tensor(1.0), 0)
