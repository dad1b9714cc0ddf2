"""Spearman's correlation against ranks worked out by hand."""

import pytest
import torch
import torch.nn.functional as F

from polyprompt.errors import DataError
from polyprompt.evaluate.sentences import spearman


def average_ranks(values):
    return [sum(v < one for v in values) + (sum(v == one for v in values) + 1) / 2 for one in values]


def test_spearman_is_pearson_of_average_ranks():
    draw = torch.Generator().manual_seed(0)
    first, second = (F.normalize(torch.randn(40, 5, generator=draw), dim=-1) for _ in range(2))
    second[7], first[7] = second[3], first[3]  # a tie
    scores = [float(value) for value in torch.randint(0, 6, (40,), generator=draw)]
    ranks = [torch.tensor(average_ranks(values)) for values in ((first.double() * second).sum(1).tolist(), scores)]
    expected = torch.corrcoef(torch.stack(ranks))[0, 1]
    assert spearman(first, second, scores) == pytest.approx(float(expected), abs=1e-6)


def test_one_that_never_changes_has_no_rank():
    rows = F.normalize(torch.randn(4, 3), dim=-1)
    with pytest.raises(DataError, match="nothing to rank"):
        spearman(rows, rows, [1.0, 1.0, 1.0, 1.0])
    with pytest.raises(DataError, match="nothing to rank"):
        spearman(rows[:1].expand(4, -1), rows[:1].expand(4, -1), [1.0, 2.0, 3.0, 4.0])
