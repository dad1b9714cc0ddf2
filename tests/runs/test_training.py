"""What a run of adapt trains on, which epoch of it stays, and until when it trains."""

import math
import re
import shutil

import pytest
import torch
from run_files import log_of
from safetensors.torch import load_file
from toy_adapt import COLOURS, EACH, MAPLE, looking, quick, read
from toy_encoders import toy_encoder

from polyprompt.adapt.classifier import Classifier
from polyprompt.data.read import read_labelled
from polyprompt.errors import ConfigError, TrainingError
from polyprompt.runs.adapt import adapt
from polyprompt.runs.saved import load_adapter
from polyprompt.train.checkpoint import Cursor


def test_prompts_are_averaged_over_epochs(encoder, photos, tmp_path):
    """With all the weight on the first epoch, three epochs end where one does."""
    soft = {"templates": ["a {}."], "mean": 1.0, "std": 0.05}
    for epochs in (1, 3):
        settings = quick(photos, MAPLE, terms={"promptsrc": soft}, epochs=epochs, schedule="constant")
        adapt(settings, tmp_path / str(epochs), encoder=encoder)
    one, three = (load_file(tmp_path / run / "model" / "adapter_model.safetensors") for run in "13")
    for name, tensor in one.items():
        torch.testing.assert_close(three[name], tensor)


def test_coprompt_sees_two_draws_of_randaugment(photos, tmp_path):
    shown = set()
    encoder = looking(toy_encoder("clip"), lambda pixels: shown.update(one.numpy().tobytes() for one in pixels))
    plain = {encoder.image.preprocess(one.open()).numpy().tobytes() for one in read_labelled(str(photos)).pictures}
    method = {"name": "coprompt", "depth": 2, "words": "a photo", "descriptions": {"{}": ("one {}.",)}}
    adapt(quick(photos, method, augment=True, epochs=1), tmp_path / "run", encoder=encoder)
    assert 12 < len(shown - plain) <= 2 * 12  # both views of three pictures of four classes; some may be left plain


def test_an_augmented_run_sees_other_pictures_in_each_epoch(encoder, photos, tmp_path, cache):
    adapt(quick(photos, augment=True), tmp_path / "run", encoder=encoder)
    adapt(quick(photos), tmp_path / "plain", encoder=encoder)
    losses = [[line.get("loss") for line in log_of(tmp_path / run)] for run in ("run", "plain")]
    assert losses[0] != losses[1]


def test_a_loss_that_is_no_number_stops_the_run(encoder, photos, tmp_path):
    with pytest.raises(TrainingError, match=r"is not finite .* at learning rate 1e\+30. Try a smaller rate"):
        adapt(quick(photos, rate=1e30, schedule="constant"), tmp_path / "run", encoder=encoder)
    assert not (tmp_path / "run" / "results.json").exists()


def in_splits(photos, folder, val=COLOURS):
    """The photos in a folder a split: 4 to train on, 2 to choose on, 2 to score."""
    for split, numbers in (("train", range(4)), ("val", range(4, 6)), ("test", range(6, 8))):
        for name in val if split == "val" else COLOURS:
            (folder / split / name).mkdir(parents=True)
            for number in numbers:
                shutil.copy(photos / name / f"{number}.png", folder / split / name)
    return folder


def scripted(monkeypatch, scores):
    """What `evaluate` finds, in turn; and what was learned each time."""
    from polyprompt.runs import training as module

    real, seen = module.evaluate, []

    def evaluate(adapted, data, cache_gb):
        found = real(adapted, data, cache_gb)
        if len(seen) < len(scores):
            seen.append((data, {name: p.detach().clone() for name, p in adapted.learned().items()}))
            found["accuracy"] = scores[len(seen) - 1]
        return found

    monkeypatch.setattr(module, "evaluate", evaluate)
    return seen


@pytest.mark.parametrize(("select", "part"), [("val", "val"), ("authors-test", "test")])
def test_the_epoch_that_scores_best_stays(select, part, encoder, photos, tmp_path, monkeypatch):
    """The first of equals, of any method; and results.json says where it was chosen."""
    data = in_splits(photos, tmp_path / "data", val=list(COLOURS)[1:])
    seen = scripted(monkeypatch, [0.25, 0.5, 0.5])
    adapt(quick(data, select=select), tmp_path / "run", encoder=encoder)
    assert {picture.key.split("/")[0] for picture in seen[0][0].pictures} == {part}
    names = [seen[0][0].class_names[label] for label in seen[0][0].labels]
    assert all(name in picture.key for name, picture in zip(names, seen[0][0].pictures, strict=True))
    assert read(tmp_path / "run" / "results.json")["selected"] == {"on": select, "epoch": 2, "accuracy": 0.5}
    kept = load_adapter(tmp_path / "run" / "model", encoder).learned()
    assert all(torch.equal(kept[name], tensor) for name, tensor in seen[1][1].items())
    assert not all(torch.equal(kept[name], tensor) for name, tensor in seen[2][1].items())


def test_tip_adapter_chooses_on_validation_pictures_unasked(encoder, photos, tmp_path, capsys):
    tip = {"name": "tip_adapter", "search_steps": [4, 3]}
    adapt(quick(in_splits(photos, tmp_path / "data"), tip), tmp_path / "run", encoder=encoder)
    found = read(tmp_path / "run" / "results.json")
    assert found["config"]["select"] == found["selected"]["on"] == "val"
    adapt(quick(photos, tip), tmp_path / "plain", encoder=encoder)
    assert "has no split 'val' to choose on" in capsys.readouterr().err
    assert "selected" not in read(tmp_path / "plain" / "results.json")


def test_a_selection_needs_pictures(encoder, photos, tmp_path):
    with pytest.raises(ConfigError, match=r"select is 'val', and .* has no split 'val'"):
        adapt(quick(photos, select="val"), tmp_path / "run", encoder=encoder)


def test_a_budget_ends_training_and_what_stands_is_kept(encoder, photos, tmp_path, capsys, lines_at_once):
    adapt(quick(photos, epochs=10**6, budget="1s"), tmp_path / "run", encoder=encoder)
    found = read(tmp_path / "run" / "results.json")
    assert found["ended_early"]["seconds"] == 1
    assert 0 < found["ended_early"]["step"] < found["ended_early"]["of"] == 3 * 10**6
    said = capsys.readouterr().err
    assert "1 seconds are over: training ends after step" in said
    assert re.search(r"Training: 1 of 3,000,000 \(0 %\), [01] s left", said)
    assert found["seconds"] < 20
    kept = Classifier(load_adapter(tmp_path / "run" / "model", encoder))
    assert kept(sorted((photos / "red").iterdir())).shape == (EACH, 4)
    adapt(quick(photos, epochs=2, budget="1h"), tmp_path / "whole", encoder=encoder)
    assert "ended_early" not in read(tmp_path / "whole" / "results.json")


def test_a_budget_leaves_the_average_of_the_epochs_so_far(encoder, photos, tmp_path, monkeypatch):
    """Three epochs of ten: their prompts, weighted as in three."""
    from polyprompt.runs import training as module

    seen = []

    def three(task, batches, how, out, *, every_epoch, groups, **rest):
        for epoch in (1, 2, 3):
            for parameter in groups[0]["params"]:
                parameter.data += epoch
            seen.append([parameter.detach().clone() for parameter in groups[0]["params"]])
            every_epoch(epoch)
        return Cursor(epoch=4, step=9)

    monkeypatch.setattr(module, "fit", three)
    method = {"name": "promptsrc", "text_depth": 1, "image_depth": 1, "words": "", "consistency": {"mean": 9, "std": 4}}
    classifier = adapt(quick(photos, method=method, epochs=10, budget="1h"), tmp_path / "run", encoder=encoder)
    parts = [math.exp(-0.5 * ((epoch - 9) / 4) ** 2) for epoch in (1, 2, 3)]
    for number, parameter in enumerate(classifier.method.learned().values()):
        mean = sum(part * epoch[number] for part, epoch in zip(parts, seen, strict=True)) / sum(parts)
        torch.testing.assert_close(parameter.detach(), mean)


def test_a_budget_that_is_over_before_training_leaves_one_step(encoder, photos, tmp_path):
    """And an epoch chosen within it is that step's."""
    data = in_splits(photos, tmp_path / "data")
    adapt(quick(data, budget=0.001, select="val"), tmp_path / "run", encoder=encoder)
    found = read(tmp_path / "run" / "results.json")
    assert found["ended_early"]["step"] == 1
    assert found["selected"]["epoch"] == 1
