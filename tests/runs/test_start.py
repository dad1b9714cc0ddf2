"""A run that starts from another: its numbers, what is new in it, and what does not fit."""

import json

import pytest
import torch
from run_files import learned
from toy_runs import toy_settings

from polyprompt.campe.model import build
from polyprompt.disk.files import read_json, sha256
from polyprompt.errors import ConfigError, FileError
from polyprompt.runs.align import align
from polyprompt.runs.start import start_from


@pytest.fixture(scope="module")
def first(place, tmp_path_factory, module_cache):
    """The run that others start from."""
    folder = tmp_path_factory.mktemp("first")
    align(toy_settings(place, text=text_of(place, adaptive="words")), folder / "run")
    return folder / "run"


def text_of(place, **settings):
    return {"tower": str(place / "llm"), "prompts": 3, **settings}


def test_a_run_that_hardly_moves_ends_where_the_first_one_did(first, place, tmp_path, cd):
    cd(first.parent)
    still = {"rate": 1e-12, "tower_rate": 1e-12, "weight_decay": 0.0, "seed": 7, "epochs": 1, "start_from": "run"}
    settings = toy_settings(place, text=text_of(place, adaptive="words"), **still)
    align(settings, tmp_path / "run")
    for name, tensor in learned(first).items():
        torch.testing.assert_close(learned(tmp_path / "run")[name], tensor, rtol=0, atol=1e-9, msg=name)
    inputs, config = read_json(tmp_path / "run" / "inputs.json"), read_json(tmp_path / "run" / "config.json")
    assert inputs["start_from"] == sha256(first / "model" / "model.safetensors")
    assert config["start_from"] == str(first)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["config"]["start_from"] == str(first)


def test_what_is_new_starts_anew_and_is_told(first, place, capsys):
    model = build(toy_settings(place, text=text_of(place, adaptive="late"), loss={"contrast": "sigmoid"}))
    before = {name: tensor.clone() for name, tensor in model.learned().items()}
    start_from(model, str(first))
    assert f"Starting from {first}; it does not have bias, text.vectors, which start anew." in capsys.readouterr().err
    after, old = model.learned(), learned(first)
    assert after.keys() - old.keys() == {"bias", "text.vectors"}
    for name in after:
        assert torch.equal(after[name], old.get(name, before[name])), name


def test_what_does_not_fit_is_refused(first, place, tmp_path):
    for settings, expected in (
        ({"dim": 48}, r"image\.pool\.maps is \[3, 32, 8\] there and \[3, 32, 16\] here"),
        ({"text": text_of(place, norm="own")}, "has learned text.*, for which this model has no place"),
        ({"image": {"tower": str(place / "cnn"), "width": 32, "new_blocks": 0}}, r"image\..* and \d+ more, for which"),
        ({"text": text_of(place, last_n=0, adaptive="words")}, r"has learned text\.llm\.blocks\.2.*no place"),
    ):
        model = build(toy_settings(place, **settings))
        before = {name: tensor.clone() for name, tensor in model.learned().items()}
        with pytest.raises(ConfigError, match=expected):
            start_from(model, str(first))
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.learned().items())
    with pytest.raises(FileError, match="no saved model here"):
        start_from(model, str(tmp_path))


def test_adaptive_tokens_that_live_elsewhere_are_refused(place, tmp_path):
    build(toy_settings(place)).save_pretrained(tmp_path / "late")
    model = build(toy_settings(place, text=text_of(place, adaptive="input")))
    with pytest.raises(ConfigError, match=r"its text\.adaptive is 'late'; give the same one"):
        start_from(model, str(tmp_path / "late"))


def test_other_towers_are_refused(first, place, tmp_path):
    from toy_decoders import tokenizer, toy_decoder

    torch.manual_seed(5)
    toy_decoder("mistral").save_pretrained(tmp_path / "llm")
    tokenizer().save_pretrained(tmp_path / "llm")
    with pytest.raises(ConfigError, match=r"was trained on another text tower, .*llm' \("):
        align(toy_settings(tmp_path, data=str(place / "captions"), image={"tower": str(place / "cnn"), "width": 32},
                           start_from=str(first)), tmp_path / "run")  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_the_command_says_from(first, place, tmp_path, typed, capsys):
    from polyprompt.cli.main import main

    (tmp_path / "a.yaml").write_text(f"start_from: elsewhere\ntext: {{tower: {place / 'llm'}, adaptive: words}}\n")
    words = ["align", place / "captions", "--config", tmp_path / "a.yaml", "--from", first, "--out", tmp_path / "run"]
    small = ["--text-prompts", 3, "--dim", 24, "--image-tower", place / "cnn", "--set", "image.width=32", "--epochs", 1]
    typed(*words, *small, "--batch", 4, "--precision", "fp32")
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0, capsys.readouterr().err
    assert read_json(tmp_path / "run" / "config.json")["start_from"] == str(first)
