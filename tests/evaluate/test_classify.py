"""Scores of classifiers against scikit-learn, torchmetrics, a slow loop, and cases worked by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from torchmetrics.functional.classification import multiclass_calibration_error
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.classifier import probabilities
from polyprompt.adapt.engine import build
from polyprompt.errors import DataError
from polyprompt.evaluate.classify import (
    accuracy,
    auc,
    calibration_error,
    class_accuracies,
    class_aucs,
    harmonic_mean,
    macro_f1,
    scores,
)
from polyprompt.methods import zeroshot


def drawn(n: int, c: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities that are right more often than not."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(c, (n,), generator=draw)
    logits = 2 * torch.randn(n, c, generator=draw)
    logits[torch.arange(n), labels] += 2
    return logits.softmax(dim=1), labels


CASES = [(1, 2, 0), (7, 3, 1), (50, 9, 2), (200, 40, 3), (301, 2, 4)]


@pytest.mark.parametrize("case", CASES)
def test_accuracy_and_macro_f1_equal_scikit_learns(case):
    probabilities, labels = drawn(*case)
    predicted = probabilities.argmax(dim=1)
    assert accuracy(probabilities, labels) == pytest.approx(accuracy_score(labels, predicted))
    expected = f1_score(labels, predicted, average="macro", labels=labels.unique(), zero_division=0)
    assert macro_f1(probabilities, labels) == pytest.approx(expected)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 40), st.integers(2, 5), st.integers(0, 1000), st.booleans())
def test_auc_equals_scikit_learns(n, c, seed, ties):
    """With equal probabilities, and classes without pictures, too."""
    probabilities, labels = drawn(n, c, seed)
    probabilities = (10 * probabilities).round() / 10 if ties else probabilities
    found = class_aucs(probabilities, labels)
    for label, one in enumerate(found):
        inside = (labels == label).int()
        if inside.unique().numel() < 2:
            assert one is None
        else:
            assert one == pytest.approx(roc_auc_score(inside, probabilities[:, label]))
    known = [one for one in found if one is not None]
    assert auc(probabilities, labels) == (pytest.approx(sum(known) / len(known)) if known else None)


@pytest.mark.parametrize("case", [(90, 5, 2), (301, 2, 4)])
def test_mean_auc_equals_scikit_learns(case):
    probabilities, labels = drawn(*case)
    given = probabilities.double() if case[1] > 2 else probabilities[:, 1]
    given = given / given.sum(dim=1, keepdim=True) if case[1] > 2 else given
    assert auc(probabilities, labels) == pytest.approx(roc_auc_score(labels.numpy(), given.numpy(), multi_class="ovr"))


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("case", CASES)
def test_calibration_error_equals_torchmetrics(case, bins):
    probabilities, labels = drawn(*case)
    expected = multiclass_calibration_error(probabilities, labels, probabilities.shape[1], n_bins=bins, norm="l1")
    assert calibration_error(probabilities, labels, bins) == pytest.approx(expected.item(), abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(2, 6), st.integers(1, 20), st.integers(0, 1000))
def test_calibration_error_equals_a_slow_loop(n, c, bins, seed):
    probabilities, labels = drawn(n, c, seed)
    total = 0.0
    for bin in range(bins):
        members = []
        for row, label in zip(probabilities.double().tolist(), labels.tolist(), strict=True):
            if bin / bins < max(row) <= (bin + 1) / bins:
                members.append((max(row), row.index(max(row)) == label))
        if members:
            confidence = sum(p for p, _ in members) / len(members)
            right = sum(hit for _, hit in members) / len(members)
            total += len(members) / n * abs(right - confidence)
    assert calibration_error(probabilities, labels, bins) == pytest.approx(total, abs=1e-9)


def test_worked_by_hand():
    """Two of three right; the sure one and the half-sure one are right, the other is sure and wrong."""
    probabilities = torch.tensor([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]])
    labels = torch.tensor([0, 0, 1])
    assert accuracy(probabilities, labels) == pytest.approx(2 / 3)
    assert class_accuracies(probabilities, labels) == [1.0, 0.0]
    assert macro_f1(probabilities, labels) == pytest.approx((4 / 5 + 0) / 2)
    assert calibration_error(probabilities, labels) == pytest.approx((abs(1 - 2) + abs(1 - 0.5)) / 3)


def test_a_class_without_items_does_not_count():
    probabilities, labels = torch.eye(3)[[0, 1]], torch.tensor([0, 1])
    assert macro_f1(probabilities, labels) == 1
    assert class_accuracies(probabilities, labels) == [1, 1, None]


@pytest.mark.parametrize(("base", "novel"), [(0.8228, 0.7514), (1.0, 1.0), (0.2, 0.9)])
def test_harmonic_mean(base, novel):
    assert harmonic_mean(base, novel) == pytest.approx(1 / ((1 / base + 1 / novel) / 2))


def test_harmonic_mean_of_published_figures_and_of_nothing():
    assert round(100 * harmonic_mean(0.8228, 0.7514), 2) == 78.55  # MaPLe, averages over 11 data sets
    assert harmonic_mean(0.0, 0.9) == harmonic_mean(0.9, 0.0) == harmonic_mean(0.0, 0.0) == 0


def test_all_scores_in_one():
    probabilities, labels = drawn(20, 3, 0)
    found = scores(probabilities, labels, ["a", "b", "c"])
    assert (found["pictures"], found["classes"]) == (20, 3)
    assert found["accuracy"] == accuracy(probabilities, labels)
    assert list(found["class_accuracy"]) == ["a", "b", "c"]


def test_what_cannot_be_scored():
    with pytest.raises(DataError, match="no pictures to score"):
        scores(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), ["a", "b"])
    with pytest.raises(DataError, match="of 1 of 2 pictures are not numbers"):
        scores(torch.tensor([[math.nan, 1.0], [0.0, 1.0]]), torch.tensor([0, 1]), ["a", "b"])


def test_zero_shot_accuracy_equals_clip_benchmarks():
    """Its class vectors and its logits, of our encoder."""
    theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    encoder = toy_encoder("clip")
    templates = ["a photo of a {}.", "a drawing of the {}."]
    names = [name.replace("_", " ") for name in NAMES]
    labels, pixels = torch.arange(24) % len(NAMES), toy_images(24)
    model = SimpleNamespace(
        encode_text=lambda rows: encoder.encode_text([sentences[int(row)] for row in rows]),
        encode_image=encoder.encode_image,
    )
    sentences: list[str] = []

    def tokenizer(texts):
        sentences.extend(texts)
        return torch.arange(len(sentences) - len(texts), len(sentences))

    written = [template.replace("{}", "{c}") for template in templates]
    vectors = theirs.zero_shot_classifier(model, tokenizer, names, written, "cpu", amp=False)
    logits, true = theirs.run_classification(model, vectors, [(pixels, labels)], "cpu", amp=False)
    ours = build(zeroshot.Config(templates=tuple(templates)), encoder, names)
    mine = probabilities(ours.head(), ours.see(pixels))
    expected = accuracy_score(true, logits.topk(1)[1][:, 0])  # as its `accuracy`, which numpy 2.4 and later refuse
    assert accuracy(mine, labels) == pytest.approx(expected)
    assert 0 < expected < 1
    torch.testing.assert_close(mine, (ours.encoder.logit_scale.exp() / 100 * logits).softmax(-1))
