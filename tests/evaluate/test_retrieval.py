"""Recall against a slow loop, torchmetrics and clip_benchmark; ties; what is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from polyprompt.errors import ConfigError, DataError
from polyprompt.evaluate.retrieval import middle, ranks, recall, shares

FLOAT = torch.float64


def some(images, captions, width=4, seed=0, noise=1.0, dtype=FLOAT):
    """Images, and captions near the image each belongs to; every image has one before any has two, in mixed order."""
    draw = torch.Generator().manual_seed(seed)
    image_of = (torch.arange(captions) % images)[torch.randperm(captions, generator=draw)]
    pictures = torch.randn(images, width, generator=draw, dtype=dtype)
    texts = pictures[image_of] + noise * torch.randn(captions, width, generator=draw, dtype=dtype)
    return F.normalize(pictures, dim=-1), F.normalize(texts, dim=-1), image_of


def slow_recall(images, captions, image_of, ks):
    """Each query's wrong answers counted one by one; ties go against the model."""
    scores = [[sum(x * y for x, y in zip(v, t, strict=True)) for t in captions.tolist()] for v in images.tolist()]
    owner = image_of.tolist()
    ranks = {"image_to_text": [], "text_to_image": []}
    for i in range(len(images)):
        own = [scores[i][t] for t in range(len(captions)) if owner[t] == i]
        if own:
            ahead = [t for t in range(len(captions)) if owner[t] != i and scores[i][t] >= max(own)]
            ranks["image_to_text"].append(1 + len(ahead))
    for t in range(len(captions)):
        ahead = [i for i in range(len(images)) if i != owner[t] and scores[i][t] >= scores[owner[t]][t]]
        ranks["text_to_image"].append(1 + len(ahead))
    return {
        way: {f"recall@{k}": sum(rank <= k for rank in found) / len(found) for k in ks} for way, found in ranks.items()
    }


@pytest.mark.parametrize(("images", "captions"), [(1, 1), (5, 5), (7, 23), (11, 4)])
@pytest.mark.parametrize("block", [1, 3, 100])
def test_recall_equals_the_slow_loop(images, captions, block):
    data = some(images, captions, seed=images)
    ks = (1, 2, 5, 40)
    assert recall(*data, ks=ks, block=block) == slow_recall(*data, ks)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_recall_equals_the_slow_loop_on_embeddings_full_of_ties(data):
    """Small whole numbers: scores are exact, and many of them equal."""
    images, captions = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 9))
    whole = st.lists(st.integers(-1, 1), min_size=2, max_size=2)
    pictures = torch.tensor([data.draw(whole) for _ in range(images)], dtype=torch.float32)
    texts = torch.tensor([data.draw(whole) for _ in range(captions)], dtype=torch.float32)
    image_of = torch.tensor([data.draw(st.integers(0, images - 1)) for _ in range(captions)])
    block = data.draw(st.integers(1, 10))
    found = recall(pictures, texts, image_of, ks=(1, 2, 3), block=block)
    assert found == slow_recall(pictures, texts, image_of, (1, 2, 3))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_recall_equals_torchmetrics():
    from torchmetrics.retrieval import RetrievalHitRate

    images, captions, image_of = some(17, 51, seed=1)
    right = image_of == torch.arange(17)[:, None]  # [i, t]
    scores = images @ captions.T
    found = recall(images, captions, image_of)
    for k in (1, 5, 10):
        hits = RetrievalHitRate(top_k=k)
        asking = torch.arange(17)[:, None].expand(17, 51)
        expected = float(hits(scores.flatten(), right.flatten(), indexes=asking.flatten()))
        assert found["image_to_text"][f"recall@{k}"] == pytest.approx(expected)
        hits = RetrievalHitRate(top_k=k)
        asking = torch.arange(51).expand(17, 51)
        expected = float(hits(scores.flatten(), right.flatten(), indexes=asking.flatten()))
        assert found["text_to_image"][f"recall@{k}"] == pytest.approx(expected)


def test_recall_equals_clip_benchmark():
    evaluate = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval").evaluate
    images, captions, _ = some(23, 115, width=8, noise=2.0, dtype=torch.float32)
    image_of = torch.arange(115) // 5

    class Given:
        """Embeddings are handed in as if they were pixels and tokens."""

        encode_image = encode_text = staticmethod(lambda rows: rows)

    texts = [list(rows) for rows in captions.split(5)]
    batches = [(images[i : i + 6], texts[i : i + 6]) for i in range(0, 23, 6)]
    expected = evaluate(Given, batches, torch.stack, "cpu", amp=False, recall_k_list=[1, 5, 10])
    found = recall(images, captions, image_of)
    for k in (1, 5, 10):
        assert found["text_to_image"][f"recall@{k}"] == pytest.approx(expected[f"image_retrieval_recall@{k}"])
        assert found["image_to_text"][f"recall@{k}"] == pytest.approx(expected[f"text_retrieval_recall@{k}"])
    assert found["image_to_text"]["recall@1"] < found["image_to_text"]["recall@5"] < 1  # not all or nothing


@pytest.mark.parametrize(("images", "captions", "width"), [(3, 7, 2), (40, 200, 67), (129, 500, 384)])
def test_a_model_that_says_the_same_of_everything_finds_nothing(images, captions, width):
    """Also where the products of a large matrix may be rounded in different places."""
    _, _, image_of = some(images, captions)
    one = F.normalize(torch.randn(1, width, generator=torch.Generator().manual_seed(0)), dim=-1)
    found = recall(one.expand(images, -1), one.expand(captions, -1), image_of, ks=(1, 2), block=37)
    assert set(found["image_to_text"].values()) | set(found["text_to_image"].values()) == {0.0}


def test_own_captions_are_no_rivals_of_one_another():
    images, captions = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = recall(images, captions, torch.tensor([0, 0, 1]), ks=[1])
    assert found == {"image_to_text": {"recall@1": 1.0}, "text_to_image": {"recall@1": 1.0}}


def test_an_image_without_a_caption_is_an_answer_but_no_question():
    images, captions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]]), torch.tensor([[0.95, 0.05], [0.0, 1.0]])
    found = recall(images, captions, torch.tensor([2, 1]), ks=[1, 99])
    assert found["image_to_text"] == {"recall@1": 1.0, "recall@99": 1.0}  # of two questions, not three
    assert found["text_to_image"] == {"recall@1": 0.5, "recall@99": 1.0}  # image 0 stands before image 2


def test_half_precision_is_scored_in_full():
    images, captions, image_of = some(9, 27, dtype=torch.float32)
    half = recall(images.bfloat16(), captions.bfloat16(), image_of.int())
    assert half == recall(images.bfloat16().float(), captions.bfloat16().float(), image_of)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": torch.zeros(0, 4)}, DataError, "no image"),
        ({"captions": torch.zeros(0, 4), "image_of": torch.zeros(0, dtype=torch.long)}, DataError, "no caption"),
        ({"images": torch.tensor([[1.0] * 4, [float("nan")] * 4])}, DataError, r"image 1 holds NaN .*1 of 2"),
        ({"captions": torch.full((3, 4), float("inf"))}, DataError, r"caption 0 holds NaN or infinity \(3 of 3"),
        ({"captions": torch.full((3, 4), 1e30)}, DataError, "caption 0 holds"),
        ({"image_of": torch.tensor([0, 2, 1])}, DataError, "caption 1 belongs to image 2, .* 0 to 1"),
        ({"image_of": torch.tensor([0, 1, -1])}, DataError, "caption 2 belongs to image -1"),
        ({"ks": ()}, ConfigError, r"ks is \(\)"),
        ({"ks": (0, 5)}, ConfigError, r"ks is \(0, 5\)"),
        ({"block": 0}, ConfigError, "block is 0"),
    ],
)
def test_what_has_no_recall_is_refused(change, error, message):
    good = {"images": torch.ones(2, 4), "captions": torch.ones(3, 4), "image_of": torch.tensor([0, 1, 1])}
    with pytest.raises(error, match=message):
        recall(**(good | change))


def test_ranks_are_those_of_a_slow_loop():
    """Median and mean rank; grouped, a rank counts wrong pictures and not wrong captions."""
    images, captions, image_of = some(9, 31, seed=3)
    scores = images @ captions.T
    plain, grouped = [], []
    for i in range(len(images)):
        own = [float(scores[i, t]) for t in range(31) if image_of[t] == i]
        if not own:
            continue
        plain.append(1 + sum(float(scores[i, t]) >= max(own) for t in range(31) if image_of[t] != i))
        best = {}
        for t in range(31):
            best[int(image_of[t])] = max(best.get(int(image_of[t]), -9.0), float(scores[i, t]))
        grouped.append(1 + sum(score >= best[i] for other, score in best.items() if other != i))
    found = ranks(images, captions, image_of, grouped=True, block=4)
    assert found["image_to_text"].tolist() == plain
    assert found["image_to_text_grouped"].tolist() == grouped
    assert max(grouped) < max(plain)
    assert middle(found["image_to_text"]) == {
        "median_rank": np.median(plain),
        "mean_rank": pytest.approx(np.mean(plain)),
    }
    assert shares(found["image_to_text"], (1,)) == shares(found["image_to_text_grouped"], (1,))
