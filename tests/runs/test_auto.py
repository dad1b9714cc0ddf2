"""--method auto: what is tried, what is chosen, and what becomes of it."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from toy_encoders import toy_encoder

from polyprompt.disk.files import write_bytes, write_json
from polyprompt.errors import ConfigError, DataError, FileError
from polyprompt.methods import CANDIDATES
from polyprompt.runs.adapt import adapt
from polyprompt.runs.load import load
from polyprompt.runs.settings import AdaptSettings

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (250, 250, 250)}


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for i in range(7):
            pixels = np.clip(np.array(colour) + draw.integers(-60, 60, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def quick(squares, **settings) -> AdaptSettings:
    plain = {"data": str(squares), "encoder": "toy-clip", "method": "auto", "epochs": 2, "batch": 4, "rate": 0.01}
    return AdaptSettings(**plain | {"shots": 4, "precision": "fp32", "budget": "1m"} | settings)


def read(path):
    return json.loads(path.read_text())


def test_the_best_on_held_out_training_pictures_is_trained_on_all(squares, tmp_path):
    encoder = toy_encoder("clip")
    adapt(quick(squares), tmp_path / "run", encoder=encoder)
    found = read(tmp_path / "run" / "results.json")
    table = found["auto"]
    assert [one["method"] for one in table["candidates"]] == list(CANDIDATES)
    assert table["held_out"] == 4
    tried = {one["method"]: one for one in table["candidates"] if "accuracy" in one}
    assert set(tried) == {"zeroshot", "linear_probe", "tip_adapter", "clip_lora"}
    for one in table["candidates"]:
        if one["method"] in ("maple", "promptsrc"):  # whose nine blocks the toy has not
            assert "block" in one["why_not"]
    best = max(tried.values(), key=lambda one: one["accuracy"])
    assert table["chosen"] == best["method"] == found["method"]["name"]
    drawn = read(tmp_path / "run" / "inputs.json")["drawn"]
    assert all(len(keys) == 4 for keys in drawn.values())
    assert load(tmp_path / "run", encoder).class_names == ("blue", "green", "red", "white")
    assert not [path for path in (tmp_path / "run" / "trials").iterdir() if path.is_dir()]


def test_zero_shot_is_kept_when_nothing_beats_it(squares, tmp_path):
    """Where all pictures are the same one, each method is right about one class of four."""
    for name in COLOURS:
        for i in range(7):
            (tmp_path / "alike" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(squares / "red" / "0.png", tmp_path / "alike" / name / f"{i}.png")
    adapt(quick(tmp_path / "alike"), tmp_path / "run", encoder=toy_encoder("clip"))
    found = read(tmp_path / "run" / "results.json")
    assert {one["accuracy"] for one in found["auto"]["candidates"] if "accuracy" in one} == {0.25}
    assert (found["auto"]["chosen"], found["learned"]) == ("zeroshot", 0)


def test_what_was_tried_is_not_tried_again(squares, tmp_path):
    """A run that was stopped when the second method was noted, and is resumed."""
    encoder, trials = toy_encoder("clip"), tmp_path / "run" / "trials"

    def noted():
        return {note.name: (note.stat().st_mtime_ns, note.read_bytes()) for note in trials.glob("*.json")}

    def stop(*_):
        if (trials / f"{CANDIDATES[1]}.json").exists():
            raise KeyboardInterrupt

    stopping = encoder.text.ln_final.register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        adapt(quick(squares), tmp_path / "run", encoder=encoder)
    stopping.remove()
    before = noted()
    assert before.keys() == {f"{name}.json" for name in CANDIDATES[:2]}
    note = trials / f"{CANDIDATES[0]}.json"
    whole = note.read_bytes()
    write_json(note, {name: value for name, value in read(note).items() if name not in ("files", "sha256")})
    with pytest.raises(FileError, match=r"zeroshot\.json: altered, .* has none any more"):
        adapt(quick(squares), tmp_path / "run", encoder=encoder, resume=True)
    write_bytes(note, whole)
    before = noted()
    adapt(quick(squares), tmp_path / "run", encoder=encoder, resume=True)
    assert before.items() <= noted().items()
    assert len(noted()) == len(CANDIDATES)


@pytest.mark.slow
def test_a_share_of_time_that_is_over_ends_a_trial(squares, tmp_path):
    adapt(quick(squares, epochs=20_000, budget="3s"), tmp_path / "run", encoder=toy_encoder("clip"))
    found = read(tmp_path / "run" / "results.json")
    early = {one["method"]: one["ended_early"] for one in found["auto"]["candidates"] if "ended_early" in one}
    assert early == {"zeroshot": False, "linear_probe": False, "tip_adapter": True, "clip_lora": True}
    assert found["seconds"] < 30


def test_classes_that_a_method_cannot_know_rule_it_out(squares, tmp_path):
    adapt(quick(squares, protocol="base-to-novel"), tmp_path / "run", encoder=toy_encoder("clip"))
    table = read(tmp_path / "run" / "results.json")["auto"]
    why = {one["method"]: one.get("why_not", "") for one in table["candidates"]}
    assert "class 'red'" in why["tip_adapter"]
    assert "class 'red'" in why["linear_probe"]


def test_bad_input(squares, tmp_path):
    with pytest.raises(DataError, match="has 1 picture; to hold out some takes two"):
        adapt(quick(squares, shots=1), tmp_path / "one", encoder=toy_encoder("clip"))
    with pytest.raises(ConfigError, match="method auto has no setting 'depth'"):
        adapt(quick(squares, method={"name": "auto", "depth": 3}), tmp_path / "two", encoder=toy_encoder("clip"))
