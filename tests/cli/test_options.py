"""Every setting of a run can be reached from the command line."""

import pytest
import typer

from polyprompt.cli.main import app
from polyprompt.disk.files import make_folder, write_json
from polyprompt.runs import align
from polyprompt.runs.align import AlignSettings
from polyprompt.settings import setting_names

SETTINGS = {
    "dim": ("48", 48), "name": ("other", "other"), "data": ("photos", "photos"), "epochs": ("3", 3),
    "text.tower": ("llm", "llm"), "text.depth": ("24", 24), "text.readout": ("mean", "mean"), "text.prompts": ("2", 2),
    "text.words": ("[people, place]", ("people", "place")), "text.template": ("its {} is:", "its {} is:"),
    "text.negated_template": ("its {} is not:", "its {} is not:"), "text.adaptive": ("input", "input"),
    "text.last_n": ("2", 2), "text.norm": ("own", "own"),
    "text.shared_map": ("true", True), "text.max_tokens": ("32", 32),
    "image.tower": ("cnn", "cnn"), "image.trained_blocks": ("all", "all"), "image.new_blocks": ("2", 2),
    "image.width": ("64", 64), "image.queries": ("4", 4), "image.frames": ("12", 12),
    "loss.contrast": ("sigmoid", "sigmoid"),
    "loss.diversity": ("0", 0.0), "loss.diversity_of": ("readouts", "readouts"),
    "loss.negation": ("0.5", 0.5), "loss.negation_columns": ("all", "all"),
    "train_split": ("train+restval", "train+restval"), "dev_split": ("null", None), "test_split": ("null", None),
    "max_bad": ("7", 7), "batch": ("16", 16), "rate": ("0.01", 0.01), "tower_rate": ("1e-5", 1e-5),
    "norm_rate": ("1e-2", 1e-2),
    "weight_decay": ("0", 0.0), "seed": ("5", 5), "precision": ("bf16", "bf16"), "cache": ("false", False),
    "cache_dtype": ("int8", "int8"), "cache_gb": ("0.5", 0.5),
}  # fmt: skip
"""A setting, a value as the user writes it, and what it is then."""

OPTIONS = {
    "--text-tower": "text.tower", "--text-depth": "text.depth", "--last-n": "text.last_n",
    "--image-tower": "image.tower", "--trained-blocks": "image.trained_blocks", "--new-blocks": "image.new_blocks",
    "--prompts": "text.prompts", "--dim": "dim", "--template": "text.template",
    "--negated-template": "text.negated_template", "--adaptive": "text.adaptive", "--readout": "text.readout",
    "--contrast": "loss.contrast", "--diversity": "loss.diversity", "--negation": "loss.negation", "--epochs": "epochs",
    "--batch": "batch", "--rate": "rate", "--tower-rate": "tower_rate", "--seed": "seed", "--precision": "precision",
    "--train-split": "train_split", "--dev-split": "dev_split", "--test-split": "test_split", "--max-bad": "max_bad",
    "--cache-dtype": "cache_dtype", "--cache-gb": "cache_gb",
}  # fmt: skip


@pytest.fixture
def settings_of(monkeypatch, polyprompt, tmp_path):
    """The settings that `align` is called with, for these words on the command line."""

    def run(*words):
        found = []

        def instead(settings, out, resume):
            found.append(settings)
            write_json(make_folder(out) / "results.json", {"retrieval": {}})

        monkeypatch.setattr(align, "align", instead)
        code, _, err = polyprompt("align", *words, "--out", tmp_path / "run")
        assert code == 0, err
        return found[0]

    return run


def value_of(settings, name):
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def test_every_setting_is_reached_by_set(settings_of):
    assert set(SETTINGS) == set(setting_names(AlignSettings))
    assigned = [f"--set={name}={written}" for name, (written, _) in SETTINGS.items()]
    found = settings_of("openmoji", *assigned)
    assert {name: value_of(found, name) for name in SETTINGS} == {name: value for name, (_, value) in SETTINGS.items()}
    untouched = settings_of("openmoji")
    assert all(value_of(untouched, name) != value for name, (_, value) in SETTINGS.items())


def test_every_option_reaches_its_setting(settings_of):
    taken = {option for one in typer.main.get_command(app).commands["align"].params for option in one.opts}
    others = {"data", "--out", "--config", "--set", "--cache", "--resume", "--help"}
    assert set(OPTIONS) == taken - others
    words = [word for option, name in OPTIONS.items() for word in (option, SETTINGS[name][0].replace("null", "none"))]
    found = settings_of("photos", "--no-cache", *words)
    for name in (*OPTIONS.values(), "data", "cache"):
        assert value_of(found, name) == SETTINGS[name][1], name
    assert found.name == "run"
