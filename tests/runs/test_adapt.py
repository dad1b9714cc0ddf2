"""Few-shot runs from pictures to a saved adapter, on toy encoders: what is drawn, trained, kept and scored."""

import json
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hooks import stopped_in_pass
from miniatures import Root, picture
from outside import heard
from run_files import log_of
from safetensors.torch import load_file
from toy_adapt import COLOURS, EACH, MAPLE, flat, quick, read, run
from toy_encoders import toy_encoder

from polyprompt import methods
from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import build
from polyprompt.data.read import read_labelled
from polyprompt.errors import BadPicturesError, ConfigError, DataError, FileError
from polyprompt.media.pictures import open_picture
from polyprompt.runs.adapt import adapt
from polyprompt.runs.draw import draw
from polyprompt.runs.resolve import resolved
from polyprompt.runs.saved import load_adapter
from polyprompt.runs.training import Task

# Whole runs


@pytest.mark.parametrize("name", methods.names())
def test_every_method_from_pictures_to_an_adapter(name, encoder, photos, tmp_path):
    from test_contract import SMALL

    settings = {key: value for key, value in SMALL[name].items() if key != "consistency"}
    if name == "promptsrc":
        settings["consistency"] = {"templates": ["a {}.", "one {}."], "mean": 2.0, "std": 2.0}
    classifier = adapt(quick(photos, {"name": name} | settings), tmp_path / "run", encoder=encoder)
    results = read(tmp_path / "run" / "results.json")
    scores = results["classification"]["test"]
    drawn = read(tmp_path / "run" / "inputs.json")["drawn"]
    assert {key: len(keys) for key, keys in drawn.items()} == dict.fromkeys(COLOURS, 3)
    assert (scores["pictures"], scores["classes"]) == (4 * EACH - 12, 4)

    data = read_labelled(str(photos))
    held = [i for i, picture in enumerate(data.pictures) if picture.key not in flat(drawn)]
    found = classifier([photos / data.pictures[i].key for i in held]).argmax(dim=1).tolist()
    assert scores["accuracy"] == pytest.approx(np.mean([f == data.labels[i] for f, i in zip(found, held, strict=True)]))

    back = Classifier(load_adapter(tmp_path / "run" / "model", encoder))
    picture = open_picture(photos / "red" / "0.png")
    assert torch.equal(back([picture]), classifier([photos / "red" / "0.png"]))
    assert results["learned"] == sum(back.method.adapter.numbers().values())
    assert sum(path.stat().st_size for path in (tmp_path / "run" / "model").iterdir()) < 100_000


def test_a_published_set_has_its_own_prompt(photos, encoder, tmp_path):
    """Zero-shot by itself, and zero-shot beside what was learned; what is a set of one's own has the usual one."""
    root = Root(tmp_path)
    for name, colour in COLOURS.items():
        root.file(f"dtd/images/{name}.png", picture(colour))
    listed = [[f"{name}.png", number, name] for number, name in enumerate(COLOURS)]
    root.json("dtd/split_zhou_DescribableTextures.json", {"train": listed, "val": [], "test": listed})
    published, shown = f"dtd@{tmp_path}", {}
    for number, (source, method) in enumerate(
        [(published, "zeroshot"), (published, "taskres"), (str(photos), "kgcoop")]
    ):
        adapt(quick(Path(source), method, shots=1, epochs=1), tmp_path / f"{number}", encoder=encoder)
        shown[number] = read(tmp_path / f"{number}" / "results.json")
    prompts = [
        one["config"]["method"].get("templates") or one["config"]["method"]["template"] for one in shown.values()
    ]
    assert prompts == [["{} texture."], ["{} texture."], "a photo of a {}."]
    assert shown[1]["zero_shot"]["test"] == shown[0]["classification"]["test"]


def test_training_helps(photos, tmp_path):
    """Colours that random weights know nothing of are told apart on pictures that were not trained on."""
    encoder = toy_encoder("clip", seed=2)
    before = adapt(quick(photos, "zeroshot"), tmp_path / "before", encoder=encoder)
    maple = MAPLE | {"depth": 3, "context": 4}
    settings = quick(photos, maple, epochs=40, batch=16, rate=0.03, shots=4, optimizer="adamw", schedule="cosine")
    adapt(settings, tmp_path / "after", encoder=encoder)
    losses = [line["loss"] for line in log_of(tmp_path / "after") if "loss" in line]
    assert losses[-1] < losses[0] / 2
    accuracy = [
        read(tmp_path / run / "results.json")["classification"]["test"]["accuracy"] for run in ("before", "after")
    ]
    assert accuracy[1] > max(0.7, accuracy[0])
    assert before.class_names == ("blue", "green", "red", "white")


def test_base_to_novel(encoder, photos, tmp_path):
    classifier = adapt(quick(photos, protocol="base-to-novel"), tmp_path / "run", encoder=encoder)
    results = read(tmp_path / "run" / "results.json")
    base, novel = (results["classification"][half] for half in ("base", "novel"))
    assert list(base["class_accuracy"]) == ["blue", "green"] == list(classifier.class_names)
    assert list(novel["class_accuracy"]) == ["red", "white"]
    assert base["pictures"] == novel["pictures"] == 2 * (EACH - 3)
    mean = 2 / (1 / base["accuracy"] + 1 / novel["accuracy"]) if base["accuracy"] * novel["accuracy"] else 0
    assert results["harmonic_mean"] == pytest.approx(mean)
    all_classes, _ = draw(resolved(quick(photos)))
    drawn = read(tmp_path / "run" / "inputs.json")["drawn"]
    expected = [p.key for p, label in zip(all_classes.pictures, all_classes.labels, strict=True) if label < 2]
    assert flat(drawn) == expected  # drawn before the classes are halved, as the authors do

    other = classifier.for_classes(["red", "white"])
    held = [photos / "red" / f"{i}.png" for i in range(EACH) if f"red/{i}.png" not in expected]
    assert other(held).shape == (len(held), 2)


def test_other_sets_are_scored_among_their_own_classes(encoder, photos, tmp_path):
    other = tmp_path / "other"
    for new, old in (("crimson", "red"), ("snow", "white"), ("leaf", "green")):
        shutil.copytree(photos / old, other / new)
    adapt(quick(photos, protocol="cross-dataset", also=(str(other), str(photos))), tmp_path / "run", encoder=encoder)
    found = read(tmp_path / "run" / "results.json")["classification"]
    assert list(found) == ["test", str(other), str(photos)]
    assert list(found[str(other)]["class_accuracy"]) == ["crimson", "leaf", "snow"]
    assert found[str(other)]["pictures"] == 3 * EACH
    assert found[str(photos)]["pictures"] == 4 * EACH


def test_maple_with_promptsrcs_losses_is_a_setting(encoder, photos, tmp_path):
    soft = {"templates": ["a {}."], "mean": 2.0, "std": 1.0, "text": 5.0}
    adapt(quick(photos, MAPLE, terms={"promptsrc": soft}), tmp_path / "run", encoder=encoder)
    first = log_of(tmp_path / "run")[0]
    assert {"cross_entropy", "text_drift", "image_drift", "logit_drift"} < set(first)
    saved = read(tmp_path / "run" / "config.json")["terms"]["promptsrc"]
    assert (saved["text"], saved["image"]) == (5.0, 10.0)


@pytest.mark.parametrize(
    "method",
    [
        {"name": "zeroshot"},
        {"name": "coop", "context": 2},
        {"name": "maple", "depth": 1, "words": "a photo", "text_start": 2},
        {"name": "promptsrc", "text_depth": 1, "image_depth": 1, "words": "a photo", "text_start": 2},
    ],
    ids=lambda method: method["name"],
)
def test_a_model_that_align_saved_is_an_encoder_like_any_other(method, photos, tmp_path):
    if method["name"] == "promptsrc":
        method = method | {"consistency": {"templates": ["a {}."], "mean": 2.0}}
    encoder = toy_encoder("campe")
    classifier = adapt(quick(photos, method, precision="bf16"), tmp_path / "run", encoder=encoder)
    assert read(tmp_path / "run" / "results.json")["classification"]["test"]["pictures"] == 4 * EACH - 12
    back = Classifier(load_adapter(tmp_path / "run" / "model", encoder))
    picture = photos / "red" / "0.png"
    torch.testing.assert_close(back([picture]), classifier([picture]), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(photos, tmp_path, run_processes):
    for world in (1, 2):
        assert run_processes(run, world, out=tmp_path / str(world), images=photos, method=MAPLE) == [0] * world
    learned = [load_file(tmp_path / world / "model" / "adapter_model.safetensors") for world in "12"]
    config = methods.config_of("maple")(depth=2, words="a photo")
    untrained = build(config, toy_encoder("clip"), list(COLOURS), seed=1)
    for name, tensor in learned[0].items():
        moved = (tensor - untrained.learned()[name]).abs().max()
        assert moved > 1e-4, name
        assert (tensor - learned[1][name]).abs().max() < 1e-3 * moved, name


# Pictures that cannot be read


def test_unreadable_pictures_are_left_out_and_the_others_stay_drawn(encoder, photos, tmp_path, capsys):
    """One that was drawn and one that was not; a resume may allow them, where what it trains on is the same."""
    data = shutil.copytree(photos, tmp_path / "photos")
    drawn, held = (one.pictures for one in draw(quick(data)))
    for one in (drawn[0], held[-1]):
        (data / one.key).write_bytes(b"no picture")
    with pytest.raises(DataError, match=f"{drawn[0].key}: not a picture"):
        adapt(quick(data), tmp_path / "run", encoder=encoder)
    with pytest.raises(BadPicturesError, match=r"\(and 1 more\).*max_bad, now 1"):
        adapt(quick(data, max_bad=1), tmp_path / "run", encoder=encoder)
    adapt(quick(data, max_bad=2), tmp_path / "run", encoder=encoder)
    assert capsys.readouterr().err.count("left out, ") == 2
    now = flat(read(tmp_path / "run" / "inputs.json")["drawn"])
    before = [picture.key for picture in drawn]
    assert set(before) - set(now) == {drawn[0].key}
    assert read(tmp_path / "run" / "results.json")["classification"]["test"]["pictures"] == len(held) - 2


def test_a_resume_may_leave_out_what_was_to_be_scored(encoder, photos, tmp_path):
    data = shutil.copytree(photos, tmp_path / "photos")
    held = draw(quick(data))[1].pictures
    (data / held[-1].key).write_bytes(b"no picture")
    with pytest.raises(DataError, match="not a picture"):
        adapt(quick(data), tmp_path / "run", encoder=encoder)
    adapt(quick(data, max_bad=1), tmp_path / "run", encoder=encoder, resume=True)
    assert read(tmp_path / "run" / "results.json")["classification"]["test"]["pictures"] == len(held) - 1


# Killed and resumed


@pytest.mark.usefixtures("every_epoch_kept")
def test_a_run_killed_in_training_goes_on_to_the_same_bits(encoder, photos, tmp_path):
    soft = {"templates": ["a {}."], "mean": 2.0, "std": 2.0}
    settings = quick(photos, MAPLE, terms={"promptsrc": soft})
    adapt(settings, tmp_path / "whole", encoder=encoder)
    with stopped_in_pass(6, Task):  # in the second epoch's last step
        adapt(settings, tmp_path / "killed", encoder=encoder)
    assert not (tmp_path / "killed" / "model").exists()
    assert len(list((tmp_path / "killed" / "checkpoints").iterdir())) == 1
    with pytest.raises(FileError, match="Resume it with --resume"):
        adapt(settings, tmp_path / "killed", encoder=encoder)
    with pytest.raises(FileError, match="started with other settings"):
        adapt(settings.model_copy(update={"shots": 2}), tmp_path / "killed", encoder=encoder, resume=True)
    with pytest.raises(FileError, match=r"started with other inputs \(encoder differ\)"):
        adapt(settings, tmp_path / "killed", encoder=toy_encoder("clip", seed=1), resume=True)
    adapt(settings, tmp_path / "killed", encoder=encoder, resume=True)
    tensors = [(tmp_path / run / "model" / "adapter_model.safetensors").read_bytes() for run in ("whole", "killed")]
    assert tensors[0] == tensors[1]
    assert [line["step"] for line in log_of(tmp_path / "killed")] == [1, 3, 6, 9, 9]


@pytest.mark.slow
def test_a_run_killed_at_random_times_ends_with_the_same_model(photos, tmp_path, start_processes, run_processes):
    options = {"images": photos, "method": MAPLE, "epochs": 40}
    assert run_processes(run, out=tmp_path / "whole", **options) == [0]
    draw, log = random.Random(0), tmp_path / "killed" / "log.jsonl"
    for _ in range(5):
        (process,) = start_processes(run, out=tmp_path / "killed", resume=True, **options)
        size = log.stat().st_size if log.exists() else 0
        while process.is_alive() and not (log.exists() and log.stat().st_size > size):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.3))
        process.kill()
        process.join()
    assert run_processes(run, out=tmp_path / "killed", resume=True, **options) == [0]
    tensors = [(tmp_path / run / "model" / "adapter_model.safetensors").read_bytes() for run in ("whole", "killed")]
    assert tensors[0] == tensors[1]


@pytest.mark.parametrize("last", ["model", "results.json"])
def test_a_run_killed_behind_its_training_is_ended_by_a_resume(last, encoder, photos, tmp_path):
    """Killed when the one or the other, whole under another name, was about to get its own."""

    def killed(written, name, *_):
        if Path(name) == tmp_path / "run" / last:
            raise KeyboardInterrupt

    with heard("os.rename", killed), pytest.raises(KeyboardInterrupt):
        adapt(quick(photos), tmp_path / "run", encoder=encoder)
    assert (tmp_path / "run" / "model").exists() == (last == "results.json")
    assert not (tmp_path / "run" / "results.json").exists()
    classifier = adapt(quick(photos), tmp_path / "run", encoder=encoder, resume=True)
    written = (tmp_path / "run" / "results.json").stat().st_mtime_ns
    again = adapt(quick(photos), tmp_path / "run", encoder=encoder, resume=True)
    assert (tmp_path / "run" / "results.json").stat().st_mtime_ns == written  # finished: opened, not done again
    pixels = torch.randn(2, 3, 16, 16)
    assert torch.equal(again(pixels), classifier(pixels))


def test_caching_changes_no_number(encoder, photos, tmp_path):
    for name, cap in (("kept", 1.0), ("not", 0.0)):
        adapt(quick(photos, cache_gb=cap), tmp_path / name, encoder=encoder)
    tensors = [(tmp_path / run / "model" / "adapter_model.safetensors").read_bytes() for run in ("kept", "not")]
    assert tensors[0] == tensors[1]


# What cannot be


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (MAPLE | {"depth": 4}, "maple: depth is 4, but the text tower has 3 blocks"),
        (MAPLE | {"context": 9}, "'a photo' is 7 tokens long, too short to start 9 context vectors"),
        ({"name": "coop", "context": 60}, "makes a prompt of .* tokens, the text tower reads at most"),
    ],
)
def test_prompts_that_do_not_fit_leave_no_run_behind(method, message, encoder, photos, tmp_path):
    with pytest.raises((ConfigError, DataError), match=message):
        adapt(quick(photos, method), tmp_path / "run", encoder=encoder)
    assert not (tmp_path / "run").exists()


def test_a_class_name_that_is_too_long_is_told_before_training(encoder, photos, tmp_path):
    shutil.copytree(photos / "red", tmp_path / "other" / ("d" * 80))
    shutil.copytree(photos / "blue", tmp_path / "other" / "blue")
    with pytest.raises(DataError, match="class name 'ddd"):
        adapt(quick(photos, also=(str(tmp_path / "other"),)), tmp_path / "run", encoder=encoder)
    assert not (tmp_path / "run").exists()


def test_a_picture_that_cannot_be_read_is_named(encoder, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "red" / "1.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"red/1\.png: not a picture"):
        adapt(quick(tmp_path / "photos"), tmp_path / "run", encoder=encoder)


# Descriptions


def test_a_run_with_descriptions(encoder, photos, tmp_path):
    """Zero-shot stands beside it; the adapter needs the file no more; a changed file is another input."""
    path = tmp_path / "said.json"
    path.write_text(json.dumps({name: [f"It is {name}.", f"{name} all over"] for name in COLOURS}))
    settings = quick(photos, "zeroshot", descriptions=str(path))
    adapt(settings, tmp_path / "run", encoder=encoder)
    found = read(tmp_path / "run" / "results.json")
    assert found["zero_shot"]["test"]["calibration_error"] != found["classification"]["test"]["calibration_error"]
    (tmp_path / "run" / "results.json").unlink()
    path.write_text(json.dumps({name: ["It is bright."] for name in COLOURS}))
    with pytest.raises(FileError, match=r"started with other inputs \(descriptions differ\)"):
        adapt(settings, tmp_path / "run", encoder=encoder, resume=True)
    path.unlink()
    assert set(load_adapter(tmp_path / "run" / "model", encoder).config.descriptions) == set(COLOURS)


@pytest.mark.parametrize(
    ("method", "descriptions", "message"),
    [
        (MAPLE, "random:3", "descriptions are given, and maple reads none"),
        ("zeroshot", "random:0", "say how many random sentences"),
        ("zeroshot", "nowhere.json", r"nowhere\.json"),
    ],
)
def test_descriptions_that_cannot_be(method, descriptions, message, encoder, photos, tmp_path):
    with pytest.raises((ConfigError, FileError), match=message):
        adapt(quick(photos, method, descriptions=descriptions), tmp_path / "run", encoder=encoder)
