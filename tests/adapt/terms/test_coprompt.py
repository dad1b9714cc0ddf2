"""CoPrompt's term: which sentence and which view, against loops; and what it refuses."""

from collections import Counter

import pytest
import torch
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.engine import build
from polyprompt.adapt.terms.coprompt import Config
from polyprompt.adapt.view import PixelPictures
from polyprompt.errors import ConfigError, DataError
from polyprompt.methods import coop

SAID = {"cat": ("It purrs.", "It hunts mice.", "It is small."), "{}": ("a {} on grass.",)}


def described_coop(**settings):
    return build(coop.Config(context=2), toy_encoder("clip"), NAMES, extra=[Config(**settings)])


def test_each_sentence_comes_up_as_often_as_another():
    """cat has four sentences, the others one; the sentence of share s is number floor(s n)."""
    method = described_coop(descriptions=SAID)
    view, term = method.see(toy_images()), method.terms[1].train()
    words = method.encoder.text.words
    each = [view.text.sentences([words(one)])[0] for one in (*SAID["cat"], "a cat on grass.")]
    seen = Counter()
    for _ in range(200):
        found = term.sentences(view, term.share())
        seen[next(number for number, vector in enumerate(each) if torch.allclose(found[0], vector, atol=1e-6))] += 1
        torch.testing.assert_close(found[2], view.text.sentences([words("a dog on grass.")])[0])
    assert set(seen) == {0, 1, 2, 3}
    assert min(seen.values()) > 30
    assert int(term.steps) == 200


def test_the_frozen_encoder_sees_the_second_view():
    method = described_coop(descriptions={"{}": ("a {}.",)}, weight=1.0)
    labels, (one, two) = torch.tensor([0, 1]), (toy_images(2, seed) for seed in (1, 2))
    both = method.losses(method.see(PixelPictures(method.encoder, one, two)), labels)
    expected = 1 - torch.cosine_similarity(method.see(one).images, method.see(two).images).mean()
    torch.testing.assert_close(both["image_consistency"], expected)
    alone = method.losses(method.see(one), labels)["image_consistency"]
    torch.testing.assert_close(alone, torch.zeros(()), atol=1e-6, rtol=0)


def test_what_is_refused():
    with pytest.raises(ConfigError, match=r"weight is -1.0; a weight is 0 or more"):
        Config(weight=-1.0)
    with pytest.raises(ConfigError, match="weight is nan"):
        Config(weight=float("nan"))
    with pytest.raises(ConfigError, match="no descriptions are given; it learns from sentences: --descriptions FILE"):
        described_coop().terms[1].fit(torch.zeros(1, dtype=torch.long), NAMES)
    with pytest.raises(DataError, match="no description of class 'tabby_cat'"):
        described_coop(descriptions={"cat": ("It purrs.",)}).terms[1].fit(torch.zeros(1, dtype=torch.long), NAMES)
