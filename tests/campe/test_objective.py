"""CAMPE's loss from a batch's vectors, term by term in slow loops; what weighs, what is left out, what moves along."""

import math

import numpy as np
import pytest
import torch

from polyprompt.campe.objective import Batch, Likeness, Objective, ScoredBatch
from polyprompt.nn.tree import sequences

TEXTS = ["two dogs play in the snow", "a cat", "a red car on a road"]
K = 3


def batch_of(model, pictures, frames=None):
    ids, _ = model.text.llm.tokens(TEXTS, 64)
    pixels = torch.stack([model.preprocess(picture) for picture in pictures])
    return Batch(sequences(ids, model.text.tree), None, model.image.frozen_tokens(pixels), None, frames)


def unit(row):
    return row / math.sqrt(sum(float(x) ** 2 for x in row))


@torch.no_grad()
def vectors(model, batch):
    """Texts, negated texts if there are any, and images [3 D] in double precision; frames are averaged one by one."""
    text = model.text(batch.captions)
    segments, _ = model.image.segments(batch.tokens)
    rows = [unit(row) for row in segments.flatten(1).double().numpy()]
    images, at = [], 0
    for count in batch.frames or [1] * len(rows):
        images.append(unit(sum(rows[at : at + count]) / count))
        at += count
    sides = (side for side in (text.segments, text.negated) if side is not None)
    texts, *negated = ([unit(row) for row in side.flatten(1).double().numpy()] for side in sides)
    return texts, *negated, images


def surprise(logits, own):
    return math.log(sum(math.exp(x) for x in logits)) - logits[own]


def correlation(texts, images):
    """The mean squared correlation of the segments' scores, from all scores."""
    scores = np.array([[np.sum(t.reshape(K, -1) * v.reshape(K, -1), axis=1) for v in images] for t in texts])
    return float(np.mean(np.corrcoef(scores.reshape(-1, K).T)[np.triu_indices(K, 1)] ** 2))


@pytest.mark.parametrize("frames", [None, [2, 1, 2]])
def test_softmax_diversity_and_negation_are_the_slow_loops(frames, toy_campe, toy_pictures):
    model = toy_campe(**{"loss.scale": 7.5, "loss.diversity": 0.3, "loss.negation": 0.6})
    batch = batch_of(model, toy_pictures[: sum(frames) if frames else 3], frames)
    texts, negated, images = vectors(model, batch)
    n, contrast, negation = len(TEXTS), 0.0, 0.0
    for i in range(n):
        of_image = [7.5 * float(texts[j] @ images[i]) for j in range(n)]
        contrast += surprise([7.5 * float(texts[i] @ images[j]) for j in range(n)], i) / (2 * n)
        contrast += surprise(of_image, i) / (2 * n)
        negation += surprise([*of_image, 7.5 * float(negated[i] @ images[i])], i) / n
    diversity = correlation(texts, images)
    terms = Objective(model)(batch)
    assert terms.keys() == {"loss", "contrast", "diversity", "negation", "scale"}
    found = [float(terms[name].detach()) for name in ("contrast", "diversity", "negation", "loss")]
    whole = contrast + 0.3 * diversity + 0.6 * negation
    assert found == pytest.approx([contrast, diversity, negation, whole], rel=2e-4)
    assert float(terms["scale"]) == pytest.approx(7.5)
    assert not terms["scale"].requires_grad


def test_sigmoid_contrast_is_the_slow_loop_and_weights_of_zero_leave_terms_out(toy_campe, toy_pictures):
    weights = {"loss.diversity": 0, "loss.negation": 0}
    model = toy_campe(**weights, **{"loss.contrast": "sigmoid", "loss.scale": 9.0, "loss.bias": -2.5})
    batch = batch_of(model, toy_pictures[:3])
    texts, images = vectors(model, batch)
    slow = 0.0
    for i, text in enumerate(texts):
        for j, image in enumerate(images):
            slow += math.log1p(math.exp((-1 if i == j else 1) * (9 * float(text @ image) - 2.5))) / len(texts)
    terms = Objective(model)(batch)
    assert terms.keys() == {"loss", "contrast", "scale"}
    assert float(terms["loss"].detach()) == pytest.approx(slow, rel=2e-4)


def test_one_segment_has_no_diversity(toy_campe, toy_pictures):
    model = toy_campe(**{"text.readout": "last"})
    assert "diversity" not in Objective(model)(batch_of(model, toy_pictures[:3]))


def test_pixels_give_what_their_cached_tokens_give(toy_campe, toy_pictures):
    model = toy_campe()
    batch = batch_of(model, toy_pictures[:3])
    pixels = torch.stack([model.preprocess(picture) for picture in toy_pictures[:3]])
    alone = Objective(model)(Batch(batch.captions, None, None, pixels))
    torch.testing.assert_close(alone, Objective(model)(batch))


def test_patches_are_dropped_while_training_and_never_in_evaluation(toy_campe, toy_pictures):
    model = toy_campe()
    batch = batch_of(model, toy_pictures[:3])
    whole, dropping = Objective(model), Objective(model, dropped_patches=0.5)
    expected = whole(batch)["loss"]
    assert torch.equal(dropping.eval()(batch)["loss"], expected)
    assert not torch.equal(dropping.train()(batch)["loss"], expected)


def test_a_batch_goes_to_a_device_with_all_its_parts(toy_campe, toy_pictures):
    model = toy_campe()
    batch = batch_of(model, toy_pictures[:3], [1, 1, 1])
    moved = batch.to(torch.device("meta"))
    assert moved.tokens.is_meta
    assert moved.captions.ids.is_meta
    assert (moved.hidden, moved.pixels, moved.frames) == (None, None, [1, 1, 1])
    scored = ScoredBatch(batch.captions, batch.tokens, torch.ones(3)).to(torch.device("meta"))
    assert scored.hidden.is_meta
    assert scored.sentences.ids.is_meta


@pytest.mark.parametrize("diversity", [0.0, 0.4])
def test_likeness_ranks_cosines_as_a_slow_loop_does(diversity, toy_campe):
    model = toy_campe()
    firsts, seconds, scores = TEXTS, ["dogs in snow", "a blue car", "the red car"], [5.0, 1.0, 3.5]
    ids, _ = model.text.llm.tokens([*firsts, *seconds], 64)
    sentences = sequences(ids, model.text.tree)
    terms = Likeness(model.text, diversity)(ScoredBatch(sentences, None, torch.tensor(scores)))
    with torch.no_grad():
        rows = [unit(row) for row in model.text(sentences).segments.flatten(1).double().numpy()]
    cosines = [float(rows[i] @ rows[i + 3]) for i in range(3)]
    wrong = sum(math.exp(20 * (cosines[j] - cosines[i])) for i in range(3) for j in range(3) if scores[i] > scores[j])
    assert float(terms["cosent"].detach()) == pytest.approx(math.log1p(wrong), rel=2e-4)
    assert ("diversity" in terms) == bool(diversity)
    added = diversity * correlation(rows[:3], rows[3:])
    assert float(terms["loss"].detach()) == pytest.approx(math.log1p(wrong) + added, rel=2e-4)
