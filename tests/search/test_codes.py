"""Codes against the exact search: recall with and without weights, under filters of any width, and on disk."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from polyprompt.disk.rows import RowStore
from polyprompt.errors import FileError
from polyprompt.search import codes as module
from polyprompt.search.codes import Codes, best, build, exact_best, queries
from polyprompt.search.vectors import Vectors

pytest.importorskip("faiss")
DIM, COUNT, SEGMENTS = 32, 6000, 4


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Rows in two pieces; most of their variance lies in a few directions, as in real embeddings."""
    draw = torch.Generator().manual_seed(0)
    spread = torch.linspace(2, 0.1, DIM)
    rows = F.normalize(torch.randn(COUNT, DIM, generator=draw) * spread, dim=-1)
    store = RowStore(tmp_path_factory.mktemp("rows"), "fp16", truth=True)
    for at in range(0, COUNT, COUNT // 2):
        store.append([str(i) for i in range(at, at + COUNT // 2)], list(rows[at : at + COUNT // 2, None]))
    return Vectors(store.pieces())


@pytest.fixture(scope="module")
def small():
    """What is many for a real collection is few here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, few in {"MOST": 400, "STEP": 20, "KEPT": 100, "SIZES": (8, 12)}.items():
            patch.setattr(module, name, few)
        yield


@pytest.fixture(scope="module")
def made(vectors, small):
    return build(vectors, SEGMENTS)


def asked(count=40):
    """Held out: spread as the rows are, drawn anew."""
    draw = torch.randn(count, DIM, generator=torch.Generator().manual_seed(1))
    return F.normalize(draw * torch.linspace(2, 0.1, DIM), dim=-1)


def recall(vectors, codes, asked, true):
    """The share of the exact ten best that are found with codes."""
    found = [set(best(vectors, codes, query, 10)[0].tolist()) for query in asked]
    return sum(len(one & other) for one, other in zip(found, true, strict=True)) / sum(map(len, true))


def test_recall_is_enough_for_queries_that_chose_nothing(vectors, made):
    codes, about = made
    assert min(about["recall"], about["weighted_recall"]) >= module.ENOUGH
    assert codes.nearest(asked()[0], 400).shape == (400,)
    plain = asked()
    choices = torch.tensor([0.0, 0.5, 1.0, 1.25, 2.0])
    weights = choices[torch.randint(5, (len(plain), SEGMENTS), generator=torch.Generator().manual_seed(3))]
    weights[(weights == 0).all(dim=1)] = 1.0
    weights = weights.repeat_interleave(DIM // SEGMENTS, dim=1)
    for rows in (plain, plain * weights):
        assert recall(vectors, codes, rows, exact_best(vectors, rows)) >= 0.98


def test_the_cheapest_codes_that_are_enough_are_chosen(vectors, small, monkeypatch):
    """Against a slow search over codes and counts, each asked as a user asks; codes that tie may fall either way."""
    for name, value in {"SPARE": 1.0, "STEP": 100, "QUERIES": 16, "SIZES": (10,), "FETCHED": 20.0}.items():
        monkeypatch.setattr(module, name, value)
    chosen, about = build(vectors, SEGMENTS)
    probes = queries(vectors, SEGMENTS, None)
    true = {name: exact_best(vectors, rows) for name, rows in probes.items()}
    costs = {}
    for size, numbers in itertools.product((10, DIM // 2), (1, 2)):
        made = module._made(vectors, module.principal(vectors), size, numbers)
        for reread in (100, 200, 300, 400):
            codes = replace(made, reread=reread)
            found = {name: recall(vectors, codes, probes[name], true[name]) for name in probes}
            if min(found.values()) >= module.ENOUGH + 0.005:
                costs[size, reread] = COUNT * size / 2 + 20 * 2 * DIM * reread
            if (size, numbers, reread) == (about["codes"], about["numbers"], about["reread"]):
                assert found == pytest.approx({name: about[name] for name in probes}, abs=0.01)
    assert about["codes"] * COUNT / 2 + 20 * 2 * DIM * chosen.reread <= min(costs.values())
    assert about["codes"] == DIM // 2, "fewer were enough, too, but read more rows"
    assert any(size == 10 for size, _ in costs)


@pytest.mark.parametrize(("spread", "numbers"), [(0.03, 1), (1.0, 2)])
def test_codes_are_of_one_number_where_few_directions_say_most(spread, numbers, small, tmp_path):
    """Each kind finds more than the other on rows of its own kind, and is chosen there."""
    draw = torch.Generator().manual_seed(0)
    scale = torch.cat([torch.ones(8), torch.full((8,), spread)])
    rows = F.normalize(torch.randn(COUNT, 16, generator=draw) * scale, dim=-1)
    store = RowStore(tmp_path / "rows", "fp16", truth=True)
    store.append([str(row) for row in range(COUNT)], list(rows[:, None]))
    _, about = build(Vectors(store.pieces()), 1)
    assert about["numbers"] == numbers


def test_exact_best_is_a_slow_loops(vectors):
    rows, queries = vectors.take(np.arange(COUNT)), asked(3)
    slow = [set(np.argsort([-float(query @ row) for row in rows])[:10].tolist()) for query in queries]
    assert exact_best(vectors, queries) == slow


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_filters_never_lower_recall(share, vectors, made):
    codes, _ = made
    kept = np.flatnonzero(np.random.default_rng(0).random(COUNT) < share)
    found = total = 0
    for query in asked():
        true, _ = vectors.best(query, 10, kept)
        rows, scores = best(vectors, codes, query, 10, kept)
        found, total = found + len(set(rows) & set(true)), total + len(true)
        assert set(rows) <= set(kept.tolist())
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert found / total >= 0.97


def test_a_filter_that_keeps_what_lies_far_away_is_exact(vectors, made):
    codes, _ = made
    query = asked(1)[0]
    far = np.sort(vectors.scores(query[None])[0].argsort()[:3000].numpy())
    assert best(vectors, codes, query, 10, far)[0].tolist() == vectors.best(query, 10, far)[0].tolist()


def test_on_disk(made, tmp_path):
    codes, _ = made
    codes.write(tmp_path / "codes")
    again = Codes.read(tmp_path / "codes", 50)
    assert again.reread == 50
    assert np.array_equal(again.nearest(asked()[0], 50), codes.nearest(asked()[0], 50))
    (tmp_path / "codes").write_bytes((tmp_path / "codes").read_bytes()[:100])
    with pytest.raises(FileError, match="damaged"):
        Codes.read(tmp_path / "codes", 50)
