"""Few-shot runs from pictures to a saved adapter, on toy encoders: what is drawn, trained, kept and scored."""

import json
import math
import random
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hooks import stopped_in_pass
from outside import heard
from PIL import Image
from run_files import log_of
from safetensors.torch import load_file
from toy_encoders import toy_encoder

from polyprompt import methods
from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import build
from polyprompt.adapt.frozen import ImageStates
from polyprompt.adapt.view import FrozenText
from polyprompt.data.read import read_labelled
from polyprompt.data.transforms import crop_and_flip, rand_augment
from polyprompt.errors import BadPicturesError, ConfigError, DataError, FileError, TrainingError
from polyprompt.media.pictures import open_picture
from polyprompt.runs.adapt import adapt
from polyprompt.runs.draw import draw
from polyprompt.runs.resolve import resolved
from polyprompt.runs.saved import load_adapter
from polyprompt.runs.settings import AdaptSettings
from polyprompt.runs.training import Task
from polyprompt.train.checkpoint import Cursor

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (250, 250, 250)}
EACH = 8
MAPLE = {"name": "maple", "depth": 2, "words": "a photo"}
QUICK = {"epochs": 3, "batch": 4, "rate": 0.01, "shots": 3, "precision": "fp32"}


@pytest.fixture(scope="module")
def encoder():
    return toy_encoder("clip")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight noisy squares of each of four colours, in a folder per colour."""
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for i in range(EACH):
            pixels = np.clip(np.array(colour) + draw.integers(-60, 60, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def quick(photos, method=MAPLE, **settings) -> AdaptSettings:
    return AdaptSettings(**{"data": str(photos), "encoder": "toy-clip", "method": method} | QUICK | settings)


def read(path):
    return json.loads(path.read_text())


def flat(drawn: dict[str, list[str]]) -> list[str]:
    return [key for keys in drawn.values() for key in keys]


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


def test_prompts_are_averaged_over_epochs(encoder, photos, tmp_path):
    """With all the weight on the first epoch, three epochs end where one does."""
    soft = {"templates": ["a {}."], "mean": 1.0, "std": 0.05}
    for epochs in (1, 3):
        settings = quick(photos, MAPLE, terms={"promptsrc": soft}, epochs=epochs, schedule="constant")
        adapt(settings, tmp_path / str(epochs), encoder=encoder)
    one, three = (load_file(tmp_path / run / "model" / "adapter_model.safetensors") for run in "13")
    for name, tensor in one.items():
        torch.testing.assert_close(three[name], tensor)


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
    from toy_adapt import run

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
    for picture in (drawn[0], held[-1]):
        (data / picture.key).write_bytes(b"no picture")
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


# Killed, resumed, cached


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
    from toy_adapt import run

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


def shards(cache):
    return sorted(cache.glob("pictures/*/*.safetensors"))


def looking(encoder, look):
    """The encoder; `look` is called with all pixels that its image tower sees."""
    encoder.image.conv1.register_forward_hook(lambda _, given, __: look(given[0]))
    return encoder


def test_states_are_computed_once_for_all_methods_with_the_same_start(photos, cache):
    data, seen = read_labelled(str(photos)), []
    encoder = looking(toy_encoder("clip"), lambda pixels: seen.append(len(pixels)))
    first = ImageStates(encoder, data.pictures[:20], 0, 1.0)
    assert seen == [1, 20]  # one to see how large they are
    second = ImageStates(encoder, data.pictures[10:], 0, 1.0)
    assert seen[2:] == [1, 16]  # the 12 that the first had not, the last one five times (adapt/frozen.py's TOGETHER)
    ImageStates(encoder, data.pictures, 0, 1.0)
    assert len(seen) == 4
    ImageStates(encoder, data.pictures, None, 1.0)
    assert seen[4:] == [1, 32]
    pixels = torch.stack([encoder.image.preprocess(data.pictures[i].open()) for i in (11, 3)])
    assert torch.equal(first.read([11, 3]), encoder.image.below(pixels, 0))
    assert torch.equal(second.read([1, 1]), encoder.image.below(pixels[:1], 0).expand(2, -1, -1))


def test_other_weights_or_changed_pictures_have_states_of_their_own(encoder, photos, cache, tmp_path):
    data = read_labelled(str(photos))
    states = ImageStates(encoder, data.pictures[:4], 0, 1.0).read(range(4))
    other = ImageStates(toy_encoder("clip", seed=1), data.pictures[:4], 0, 1.0).read(range(4))
    assert not torch.equal(states, other)
    shutil.copytree(photos, tmp_path / "changed")
    Image.new("RGB", (9, 9)).save(tmp_path / "changed" / "blue" / "0.png")
    changed = ImageStates(encoder, read_labelled(str(tmp_path / "changed")).pictures[:4], 0, 1.0).read(range(4))
    assert torch.equal(states[1:], changed[1:])
    assert not torch.equal(states[0], changed[0])


@pytest.mark.parametrize("damage", [lambda data: data[:-3] + b"abc", lambda data: data[:50], lambda data: b""])
def test_a_damaged_shard_is_set_aside_and_computed_again(damage, encoder, photos, cache, capsys):
    data = read_labelled(str(photos))
    states = ImageStates(encoder, data.pictures, 0, 1.0).read(range(4))
    (shard,) = shards(cache)
    good = shard.read_bytes()
    shard.write_bytes(damage(good))
    assert torch.equal(ImageStates(encoder, data.pictures, 0, 1.0).read(range(4)), states)
    assert "set aside" in capsys.readouterr().err
    assert shard.read_bytes() == good
    assert shard.with_name(shard.name + ".damaged").exists()


def test_what_is_too_large_is_computed_when_needed(encoder, photos, cache, capsys, tmp_path):
    data = read_labelled(str(photos))
    kept, small = (ImageStates(encoder, data.pictures, 0, cap) for cap in (1.0, 1e-6))
    assert "over the cap" not in capsys.readouterr().err  # they were kept before
    shutil.rmtree(cache)
    small = ImageStates(encoder, data.pictures, 0, 1e-6)
    assert "would take 0.0 GB, over the cap of 1e-06" in capsys.readouterr().err
    assert torch.equal(small.read([3, 1]), kept.read([3, 1]))
    nothing = ImageStates(encoder, data.pictures, 0, 0.0)
    assert torch.equal(nothing.read([3, 1]), kept.read([3, 1]))
    assert not shards(cache)


def test_many_sentences_are_read_once_and_a_damaged_file_again(encoder, cache):
    """Vectors of many sentences are kept on disk, by all that determines them; of few, in memory."""
    templates = tuple(f"{number} {{}}." for number in range(50))
    read = []
    hook = encoder.text.ln_final.register_forward_hook(lambda *_: read.append(1))

    def classes(encoder, names=("red", "blue"), templates=templates, keep=True):
        return FrozenText(encoder, names, keep=keep).classes(templates)

    first = classes(encoder)
    rows = [encoder.text.words(template.format("red")) for template in templates]
    torch.testing.assert_close(first[0], encoder.encode_text([t.format("red") for t in templates], normalize=False))
    assert len(rows) == 50
    del read[:]
    assert torch.equal(classes(encoder), first)
    assert not read
    (file,) = cache.glob("sentences/*/*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    assert torch.equal(classes(encoder), first)
    assert read
    hook.remove()

    def kept():
        return len(list(cache.glob("sentences/*/*.safetensors")))

    before = kept()
    for other in ({"names": ("red", "green")}, {"templates": (*templates[1:], "a {}.")}):
        assert not torch.equal(classes(encoder, **other), first)
    assert not torch.equal(classes(toy_encoder("clip", seed=1)), first)
    assert kept() == before + 3
    classes(encoder, templates=("few {}.",))
    classes(encoder, names=("a", "b"), keep=False)
    assert kept() == before + 3


def test_caching_changes_no_number(encoder, photos, tmp_path):
    for name, cap in (("kept", 1.0), ("not", 0.0)):
        adapt(quick(photos, cache_gb=cap), tmp_path / name, encoder=encoder)
    tensors = [(tmp_path / run / "model" / "adapter_model.safetensors").read_bytes() for run in ("kept", "not")]
    assert tensors[0] == tensors[1]


# The published way


def test_augmentation_equals_torchvisions_on_the_same_draws(encoder):
    from torchvision.transforms import InterpolationMode, RandomResizedCrop
    from torchvision.transforms import functional as F

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8))
    preprocess = encoder.image.preprocess
    flipped = set()
    for seed in range(8):
        torch.manual_seed(seed)
        found = crop_and_flip(picture, preprocess)
        torch.manual_seed(seed)
        where = RandomResizedCrop.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3])
        expected = F.resized_crop(picture, *where, [16, 16], InterpolationMode.BICUBIC)
        flip = bool(torch.rand(1) < 0.5)
        expected = F.hflip(expected) if flip else expected
        flipped.add(flip)
        assert torch.equal(found, F.normalize(F.to_tensor(expected), preprocess.mean, preprocess.std))
    assert flipped == {True, False}


def test_randaugment_is_torchvisions_on_the_whole_picture(encoder):
    from torchvision.transforms import RandAugment
    from torchvision.transforms import functional as F

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8))
    preprocess, seen = encoder.image.preprocess, set()
    for seed in range(8):
        torch.manual_seed(seed)
        found = rand_augment(picture, preprocess)
        torch.manual_seed(seed)
        expected = RandAugment(2, 10)(picture.resize((16, 16), Image.Resampling.BICUBIC))
        assert torch.equal(found, F.normalize(F.to_tensor(expected), preprocess.mean, preprocess.std))
        seen.add(found.numpy().tobytes())
    assert len(seen) > 4


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


@pytest.mark.parametrize("seed", [1, 2])
def test_the_draw_is_the_published_one(photos, seed):
    """Python's own generator, seeded once, class by class."""
    found, _ = draw(quick(photos, seed=seed))
    data = read_labelled(str(photos))
    expected = []
    random.seed(seed)  # behind all that is checked at run time: beartype draws from the same generator
    for label in range(4):
        members = [p.key for p, own in zip(data.pictures, data.labels, strict=True) if own == label]
        expected += random.sample(members, 3)
    assert [picture.key for picture in found.pictures] == expected


def test_settings_that_are_not_given_are_the_published_ones(photos):
    plain = {"data": str(photos), "encoder": "x"}
    found = resolved(AdaptSettings(method="maple", protocol="base-to-novel", **plain))
    assert (found.epochs, found.batch, found.rate) == (5, 4, 0.0035)
    assert (found.method["depth"], found.method["context"]) == (9, 2)
    assert (found.optimizer, found.weight_decay, found.schedule) == ("sgd", 5e-4, "published")
    assert (found.views, resolved(AdaptSettings(method="coprompt", **plain)).views) == ("crops", "randaugment")
    found = resolved(AdaptSettings(method="maple", protocol="cross-dataset", **plain))
    assert (found.epochs, found.rate, found.method["depth"]) == (2, 0.0026, 3)
    found = resolved(AdaptSettings(method="coop", **plain))
    assert (found.epochs, found.batch, found.method["context"]) == (200, 32, 16)
    shots = (1, 2, 4, 8, 16, None)
    found = [resolved(AdaptSettings(method="coop", shots=count, **plain)).epochs for count in shots]
    assert found == [50, 100, 100, 200, 200, 200]
    found = resolved(AdaptSettings(method={"name": "promptsrc", "consistency": {"std": 5.0}}, epochs=7, **plain))
    assert (found.epochs, found.method["consistency"]["mean"], found.method["consistency"]["std"]) == (7, 30.0, 5.0)
    found = resolved(AdaptSettings(method="zeroshot", **plain))
    assert (found.epochs, found.method["templates"]) == (None, ("a photo of a {}.",))


@pytest.mark.outside("import")
def test_a_method_of_ones_own_says_its_epochs(photos, tmp_path, import_from, encoder):
    (tmp_path / "my_lab.py").write_text("from polyprompt.methods.coop import Config\n\n__all__ = ['Config']\n")
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "lab.py").write_text(
        "from dataclasses import dataclass\n"
        "from polyprompt.methods import coop\n\n\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Config:\n"
        "    words: str = 'a photo'\n\n"
        "    def build(self, encoder, names, draw):\n"
        "        return coop.Config(context=2, words=self.words).build(encoder, names, draw)\n"
    )
    import_from(tmp_path)
    with pytest.raises(ConfigError, match=r"epochs is not given, and my\.lab publishes no settings"):
        resolved(AdaptSettings(data=str(photos), encoder="x", method="my.lab"))
    adapt(quick(photos, "my.lab"), tmp_path / "run", encoder=encoder)
    assert load_adapter(tmp_path / "run" / "model", encoder).config.words == "a photo"


# Sets


def test_splits_held_out_shares_and_other_test_pictures(photos, tmp_path):
    drawn, held = draw(quick(photos))
    assert len(held.pictures) == 4 * EACH - 12
    drawn, held = draw(quick(photos, held_out=0.25))
    assert len(held.pictures) == 4 * 2
    assert not {p.key for p in held.pictures} & {p.key for p in drawn.pictures}
    assert [p.key for p in held.pictures] == [p.key for p in draw(quick(photos, held_out=0.25, seed=2))[1].pictures]
    drawn, held = draw(quick(photos, test=str(photos)))
    assert len(held.pictures) == 4 * EACH
    drawn, held = draw(quick(photos, shots=None, held_out=0.5))
    assert len(drawn.pictures) == len(held.pictures) == 2 * EACH
    entries = [[f"{name}/{i}.png", label, name] for label, name in enumerate(COLOURS) for i in range(EACH)]
    split = photos.parent / f"{photos.name}.json"
    split.write_text(json.dumps({"train": entries[::2], "val": [], "test": entries[1::2]}))
    (photos.parent / "images").symlink_to(photos)
    drawn, held = draw(quick(split))
    assert drawn.class_names == tuple(COLOURS)
    assert (len(drawn.pictures), len(held.pictures)) == (12, 2 * EACH)


# What cannot be


def test_what_cannot_be_drawn_or_scored(photos, tmp_path):
    with pytest.raises(DataError, match=r"class 'blue' has 8 pictures, 9 shots were asked for\. Ask for 8 or fewer"):
        draw(quick(photos, shots=9))
    with pytest.raises(ConfigError, match="nothing is left to score, all 32 pictures are trained on"):
        draw(quick(photos, shots=8))
    with pytest.raises(ConfigError, match="nothing is left to score"):
        draw(quick(photos, shots=9, take_fewer=True))
    shutil.copytree(photos / "red", tmp_path / "one" / "red")
    with pytest.raises(DataError, match=r"1 class \(red\); telling classes apart needs at least two"):
        draw(quick(tmp_path / "one"))
    shutil.copytree(photos / "red", tmp_path / "one" / "Red")
    with pytest.raises(DataError, match="the classes 'Red' and 'red' have one name"):
        draw(quick(tmp_path / "one"))
    shutil.copytree(photos / "red", tmp_path / "two" / "violet")
    shutil.copytree(photos / "red", tmp_path / "two" / "red")
    with pytest.raises(DataError, match="class 'violet' is not among the 4 expected"):
        draw(quick(photos, test=str(tmp_path / "two")))


def test_settings_that_cannot_be(photos):
    for method, message in (
        ({"name": "mapel"}, r"no method is called 'mapel'\. Did you mean 'maple'"),
        (MAPLE | {"dept": 2}, r"maple: no setting is called 'dept'\. Did you mean depth"),
        (MAPLE | {"depth": "two"}, "maple: depth is 'two'; it should be a valid integer"),
        ({"depth": 2}, "method has no name"),
        ({"name": "promptsrc", "consistency": {"mean": 900.0, "std": 1.0}}, "give each of the 3 epochs the weight 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            resolved(quick(photos, method))


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


def test_a_loss_that_is_no_number_stops_the_run(encoder, photos, tmp_path):
    with pytest.raises(TrainingError, match=r"is not finite .* at learning rate 1e\+30. Try a smaller rate"):
        adapt(quick(photos, rate=1e30, schedule="constant"), tmp_path / "run", encoder=encoder)
    assert not (tmp_path / "run" / "results.json").exists()


def test_a_picture_that_cannot_be_read_is_named(encoder, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "red" / "1.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"red/1\.png: not a picture"):
        adapt(quick(tmp_path / "photos"), tmp_path / "run", encoder=encoder)


def test_split_folders_without_a_test_ask_which_one_is_scored(photos, tmp_path):
    for split in ("train", "val"):
        shutil.copytree(photos, tmp_path / "sets" / split)
    with pytest.raises(ConfigError, match=r"Known: train, val. Say which one is scored: --set test_split=NAME"):
        draw(quick(tmp_path / "sets"))
    drawn, held = draw(quick(tmp_path / "sets", test_split="val"))
    assert drawn.class_names == held.class_names == tuple(sorted(COLOURS))
    assert {picture.key.split("/")[0] for picture in held.pictures} == {"val"}


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


# Which epoch stays, and until when


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


@pytest.mark.parametrize("budget", ["5", "five minutes", "-5m", "0s", "5 m"])
def test_times_that_cannot_be(budget, photos):
    from polyprompt.settings import checked

    plain = {"data": str(photos), "encoder": "toy", "method": "maple"}
    assert checked(AdaptSettings, plain | {"budget": "1.5m"}).budget == 90
    with pytest.raises(ConfigError, match=r"budget is .*; it should be (a time, as in 90s, 5m or 1h|greater than 0)"):
        checked(AdaptSettings, plain | {"budget": budget})
