"""Several sets learned together by one adapter: drawn, trained, scored and opened task by task."""

import json

import numpy as np
import pytest
import torch
from hooks import stopped_in_pass
from PIL import Image
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.tasks import build_tasks
from polyprompt.errors import ConfigError
from polyprompt.methods import mmap
from polyprompt.runs.adapt import adapt
from polyprompt.runs.saved import load_adapter
from polyprompt.runs.settings import AdaptSettings
from polyprompt.runs.training import Tasks

SETS = {"photo": ("cat", "dog", "otter"), "sketch": ("cat", "dog")}
MMAP = {"name": "mmap", "depth": 2, "words": "a photo of a"}
QUICK = {"epochs": 4, "batch": 4, "rate": 0.02, "optimizer": "adam", "shots": 3, "precision": "fp32", "cache_gb": 0}


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    """Six noisy squares a class: a set's classes have colours of their own."""
    folder, draw = tmp_path_factory.mktemp("domains"), np.random.default_rng(0)
    for at, (domain, names) in enumerate(SETS.items()):
        for number, name in enumerate(names):
            (folder / domain / name).mkdir(parents=True)
            colour = np.roll([200, 60, 30], number + at)
            for i in range(6):
                pixels = np.clip(colour + draw.integers(-40, 40, (20, 20, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / domain / name / f"{i}.png")
    return folder


def settings(domains, **given) -> AdaptSettings:
    both = {"data": str(domains / "photo"), "task": (str(domains / "sketch"),), "encoder": "toy-clip", "method": MMAP}
    return AdaptSettings(**both | QUICK | given)


def test_a_run_on_two_tasks(domains, tmp_path):
    encoder = toy_encoder("clip")
    classifier = adapt(settings(domains), tmp_path / "run", encoder=encoder)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["classification"]) == set(results["zero_shot"]) == set(SETS)
    assert [one["pictures"] for one in results["classification"].values()] == [9, 6]  # all but three a class
    drawn = json.loads((tmp_path / "run" / "inputs.json").read_text())["drawn"]
    assert {task: {name: len(keys) for name, keys in one.items()} for task, one in drawn.items()} == {
        task: dict.fromkeys(names, 3) for task, names in SETS.items()
    }
    assert classifier.class_names == SETS["photo"]
    again = Classifier(load_adapter(tmp_path / "run" / "model", encoder))
    for task, names in SETS.items():
        assert again.for_task(task).class_names == names
        expected = classifier.for_task(task)(toy_images())
        assert torch.equal(again.for_task(task)(toy_images()), expected)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]


def test_a_run_killed_in_training_goes_on_to_the_same_bits(domains, tmp_path):
    encoder = toy_encoder("clip")
    whole = adapt(settings(domains), tmp_path / "whole", encoder=encoder)
    with stopped_in_pass(6, Tasks):
        adapt(settings(domains), tmp_path / "killed", encoder=encoder)
    resumed = adapt(settings(domains), tmp_path / "killed", resume=True, encoder=encoder)
    for task in SETS:
        assert torch.equal(whole.for_task(task)(toy_images()), resumed.for_task(task)(toy_images()))


def test_the_loss_is_the_mean_over_pictures_whatever_their_task():
    methods = build_tasks(mmap.Config(depth=2, words=""), toy_encoder("clip"), {"a": NAMES, "b": NAMES[:2], "c": NAMES})
    first, second, _ = methods.values()
    pixels, labels = toy_images(), torch.tensor([0, 1, 2, 3, 0, 1])
    batch = {
        0: {"pictures": pixels[:4], "labels": labels[:4]},
        1: {"pictures": pixels[4:], "labels": labels[4:]},
    }
    found = Tasks(list(methods.values()))(batch)["loss"]
    each = [
        torch.nn.functional.cross_entropy(method(one[None]), label[None])
        for method, one, label in zip([first] * 4 + [second] * 2, pixels, labels, strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(each).mean())
    found.backward()  # also of the task without pictures, for processes that share a batch
    assert all(parameter.grad is not None for parameter in first.learned().values())
    assert not any(p.grad.any() for name, p in first.learned().items() if name.startswith("own.2."))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "maple"}, "method maple learns one task at a time; for several take one of these: mmap"),
        ({"method": "auto"}, "method auto learns one task at a time"),
        ({"protocol": "base-to-novel"}, "protocol is 'base-to-novel', and several tasks are learned few-shot"),
        ({"also": ("other",)}, "leave also out"),
        ({"select": "val"}, "leave select out"),
    ],
)
def test_what_several_tasks_do_not_go_with(given, message, domains, tmp_path):
    with pytest.raises(ConfigError, match=message) as error:
        adapt(settings(domains, **given), tmp_path / "run", encoder=toy_encoder("clip"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_task_named_twice(domains, tmp_path):
    twice = settings(domains, task=(str(domains / "photo"),))
    with pytest.raises(ConfigError, match="photo is named twice; each is learned once"):
        adapt(twice, tmp_path / "run", encoder=toy_encoder("clip"))
