"""Weights of aspects: what they are chosen from, and that validation pictures choose them."""

import shutil

import pytest
import torch
from bits import photos
from toy_encoders import toy_encoder

from polyprompt.disk.files import read_json
from polyprompt.errors import ConfigError
from polyprompt.methods.zeroshot import Config, best_weights, candidates, raised_weights
from polyprompt.runs.adapt import adapt
from polyprompt.runs.saved import load_adapter
from polyprompt.runs.settings import AdaptSettings

TUNED = {"name": "zeroshot", "tune_aspects": True}


@pytest.fixture
def place(tmp_path, cache):
    plain = photos(tmp_path / "plain")
    for split in ("train", "val", "test"):
        shutil.copytree(plain, tmp_path / "split" / split)
    return tmp_path


def settings(data, method):
    return AdaptSettings(data=str(data), encoder="toy-campe", method=method, shots=2, precision="fp32")


def test_candidates_keep_the_sum_and_equal_ones_come_first():
    found = candidates(6)
    assert found[0] == [1.0] * 6
    assert len(found) == 1 + 3 * 6
    assert [sum(one) for one in found] == pytest.approx([6.0] * 19)
    assert raised_weights(6) == pytest.approx([1.25, 0.95, 0.95, 0.95, 0.95, 0.95])
    assert raised_weights(6) in found


@pytest.mark.parametrize("seed", range(4))
def test_the_best_weights_are_those_of_a_slow_loop(seed):
    draw = torch.Generator().manual_seed(seed)
    images, classes = (torch.randn(n, 12, generator=draw, dtype=torch.float64) for n in (40, 3))
    labels = torch.randint(3, (40,), generator=draw)

    def right(weights):
        found = 0
        for image, label in zip(images, labels, strict=True):
            scores = [
                sum(w * float(image[4 * k : 4 * k + 4] @ one[4 * k : 4 * k + 4]) for k, w in enumerate(weights))
                for one in classes
            ]
            found += scores.index(max(scores)) == label
        return found

    best = max(map(right, candidates(3)))
    assert best_weights(images, labels, classes, 3) == next(one for one in candidates(3) if right(one) == best)


def test_validation_pictures_choose_and_the_choice_is_saved(place):
    encoder = toy_encoder("campe")
    adapt(settings(place / "split", TUNED), place / "tuned", encoder=encoder)
    weights = load_adapter(place / "tuned" / "model", encoder).adapter.weights.tolist()
    assert any(weights == pytest.approx(one) for one in candidates(3))
    given = {"name": "zeroshot", "aspect_weights": weights}
    adapt(settings(place / "split", given), place / "given", encoder=encoder)
    tuned, fixed = (read_json(place / name / "results.json")["classification"] for name in ("tuned", "given"))
    assert tuned == fixed


def test_nothing_to_choose_on_or_from(place):
    with pytest.raises(ConfigError, match="no validation pictures"):
        adapt(settings(place / "plain", TUNED), place / "run", encoder=toy_encoder("campe"))
    with pytest.raises(ConfigError, match="have one aspect"):
        adapt(settings(place / "split", TUNED), place / "other", encoder=toy_encoder("clip"))
    with pytest.raises(ConfigError, match="leave one out"):
        Config(tune_aspects=True, aspect_weights=(1.0, 1.0, 1.0))
