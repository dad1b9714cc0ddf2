import math

import pytest
import torch
from torch import nn

from polyprompt.errors import ConfigError
from polyprompt.nn.pool import AttentionPool


def slow_pool(pool: AttentionPool, tokens: list[list[float]]) -> tuple[list[list[float]], list[list[float]]]:
    """One picture, numbers and loops only."""

    def linear(layer: nn.Linear, x: list[float]) -> list[float]:
        return [
            sum(w * v for w, v in zip(row, x, strict=True)) + b
            for row, b in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        ]

    k, heads, per_head = pool.queries.shape
    keys = [linear(pool.keys, x) for x in tokens]
    values = [linear(pool.values, x) for x in tokens]
    segments, maps = [], []
    for i in range(k):
        gathered, seen = [], [0.0] * len(tokens)
        for h in range(heads):
            columns = range(h * per_head, (h + 1) * per_head)
            query = pool.queries[i, h].tolist()
            logits = [sum(query[c - h * per_head] * key[c] for c in columns) / math.sqrt(per_head) for key in keys]
            total = sum(math.exp(x) for x in logits)
            weights = [math.exp(x) / total for x in logits]
            gathered += [sum(w * value[c] for w, value in zip(weights, values, strict=True)) for c in columns]
            seen = [s + w / heads for s, w in zip(seen, weights, strict=True)]
        table = pool.maps[i].tolist()
        segments.append([sum(g * row[e] for g, row in zip(gathered, table, strict=True)) for e in range(len(table[0]))])
        maps.append(seen)
    return segments, maps


@pytest.mark.parametrize(
    ("b", "m", "d", "k", "e", "heads"), [(1, 1, 1, 1, 1, 1), (2, 5, 6, 3, 4, 2), (3, 7, 8, 2, 5, 8)]
)
def test_equals_the_slow_loop(b, m, d, k, e, heads):
    torch.manual_seed(b * 100 + m)
    pool = AttentionPool(d, queries=k, segment=e, heads=heads).double()
    for parameter in pool.parameters():
        nn.init.normal_(parameter)
    tokens = torch.randn(b, m, d, dtype=torch.float64)

    segments, attention = pool(tokens)

    slow = [slow_pool(pool, picture.tolist()) for picture in tokens]
    torch.testing.assert_close(segments, torch.tensor([s for s, _ in slow], dtype=torch.float64))
    torch.testing.assert_close(attention, torch.tensor([a for _, a in slow], dtype=torch.float64))
    torch.testing.assert_close(attention.sum(-1), torch.ones(b, k, dtype=torch.float64))


def test_starts_near_a_mean_with_queries_that_differ():
    torch.manual_seed(0)
    pool = AttentionPool(192, queries=6, segment=32, heads=4)
    segments, attention = pool(torch.randn(8, 49, 192))
    effective = (-(attention * attention.log()).sum(-1)).exp()
    assert effective.min() > 0.7 * 49
    assert (attention[:, 0] - attention[:, 1]).abs().max() > 0.005
    assert 0.05 < segments.std() < 1  # a mean of m unit numbers has a deviation of 1 / sqrt(m)


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigError, match="heads is 4; it must divide the width 6"):
        AttentionPool(6, queries=2, segment=3, heads=4)
