"""The card of a model says what a reader of the hub wants to know, and the hub can read its head."""

import pytest
import yaml
from huggingface_hub import ModelCard
from toy_encoders import toy_encoder

from polyprompt.adapt.engine import build
from polyprompt.disk.files import write_json
from polyprompt.disk.sealed import write_sealed
from polyprompt.errors import FileError
from polyprompt.methods import maple
from polyprompt.runs.saved import save
from polyprompt.skins.card import card_of, hub_id, public

HEAD = {"versions": {"torch": "2.14.1"}, "machine": "two cores", "date": "2026-11-26", "seconds": 12.3}
HALF = {"accuracy": 0.75, "macro_f1": 0.7, "auc": None, "calibration_error": 0.1}
RECALL = {"recall@1": 0.25, "recall@5": 0.5}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    save(build(maple.Config(depth=2, words=""), toy_encoder("clip"), ["cat", "dog"]), run / "model")
    config = {"data": "hf:me/animals:small", "protocol": "base-to-novel", "shots": 4, "seed": 0, "rate": None}
    zero = {"base": HALF | {"accuracy": 0.5}, "novel": HALF}
    found = {"classification": {"base": HALF, "novel": HALF}, "zero_shot": zero, "harmonic_mean": 0.75}
    write_json(run / "results.json", HEAD | found | {"config": config})
    return run


def test_a_classifiers_card(run):
    card = ModelCard(card_of(run, "me/pets", "apache-2.0"))
    assert (card.data.license, card.data.library_name, card.data.model_name) == ("apache-2.0", "polyprompt", "pets")
    assert card.data.datasets == ["me/animals"]
    (accuracy,) = [
        one for one in card.data.eval_results if (one.metric_type, one.dataset_name[-4:]) == ("accuracy", "base")
    ]
    assert accuracy.metric_value == 0.75
    for line in (
        "A classifier of pictures into 2 classes: cat, dog.",
        "Method `maple`: MaPLe",
        "It stands on `toy-clip`",
        'model = pp.from_pretrained("me/pets")',
        "| hf:me/animals:small, base | accuracy | 0.750 | 0.500 |",
        "| hf:me/animals:small, base and novel | harmonic mean | 0.750 |  |",
        "protocol base-to-novel, shots 4, seed 0.",
        "`apache-2.0`, of what was learned.",
    ):
        assert line in card.content


def test_a_card_of_align(aligned, tmp_path):
    place = tmp_path / "run"
    place.mkdir()
    (place / "model").symlink_to(aligned / "run" / "model")
    retrieval = {"/home/somebody/photos test": {"text_to_image": RECALL, "image_to_text": RECALL}}
    config = {"data": "/home/somebody/photos", "epochs": 3}
    write_json(place / "results.json", HEAD | {"retrieval": retrieval, "config": config})
    card = card_of(place, "me/photos")
    for line in (
        "24 numbers in 3 segments",
        "It stands on `llm` and `cnn`",
        "| photos test | text to image, recall@1 | 0.250 |  |",
        "Data: `photos`. epochs 3.",
        "None was stated, so all rights are reserved.",
    ):
        assert line in card
    assert "somebody" not in card
    assert "license" not in yaml.safe_load(card.split("---")[1])


def test_a_model_without_its_run_says_that_nothing_is_known(run):
    card = card_of(run / "model", "me/pets")
    assert "None were measured" in card
    assert "What it was trained on was not noted." in card


def test_altered_figures_are_not_published(run, tmp_path):
    """results.json is sealed by whoever wrote it."""
    place = tmp_path / "run"
    place.mkdir()
    (place / "model").symlink_to(run / "model")
    write_sealed(place / "results.json", HEAD | {"classification": {"test": HALF}, "config": {"data": "pets"}})
    assert "| pets, test | accuracy | 0.750 |" in card_of(place, "me/pets")
    text = (place / "results.json").read_text()
    (place / "results.json").write_text(text.replace("0.75", "0.95", 1))
    with pytest.raises(FileError, match="damaged or altered"):
        card_of(place, "me/pets")


def test_what_the_hub_calls_a_tower():
    assert hub_id("ViT-B-16/openai") == "openai/clip-vit-base-patch16"
    assert hub_id("ViT-B-32/laion2b_s34b_b79k") == ""
    assert hub_id("hf-hub:timm/ViT-B-16-SigLIP") == "timm/ViT-B-16-SigLIP"
    assert hub_id("google/gemma-2b") == "google/gemma-2b"
    assert hub_id("clip.safetensors") == ""
    assert (public("/home/me/clip"), public("ViT-B-16/openai")) == ("clip", "ViT-B-16/openai")


@pytest.mark.parametrize("content", ["[]", "null", "5"])
@pytest.mark.parametrize("name", ["adapter_config.json", "config.json"])
def test_a_config_of_another_form_is_one_line(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(FileError, match=r"(damaged, it holds no names and values|no (saved )?model)"):
        card_of(tmp_path, "me/pets")
