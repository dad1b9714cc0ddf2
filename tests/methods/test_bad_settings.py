"""Settings, files and classes that cannot be: one line each, that says what is wrong and what is allowed."""

import dataclasses
import json
import math

import pytest
import torch
from test_contract import SMALL, made
from toy_encoders import NAMES, toy_encoder, toy_model

from polyprompt import methods
from polyprompt.adapt import terms
from polyprompt.adapt.engine import build
from polyprompt.campe.encoder import CampeEncoder
from polyprompt.disk.files import write_manifest
from polyprompt.errors import ConfigError, DataError, FileError
from polyprompt.methods import clip_lora, coprompt, tip_adapter, vdt_adapter
from polyprompt.runs.saved import config_from, load_adapter, save, term_from


def one_line(error) -> None:
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mma", {"start": 2, "end": 30}, "mma: end is 30, but the text tower has 3 blocks; set it lower."),
        ("mmrl", {"layers": (2, 30)}, "mmrl: layers has 30, but the text tower has 3 blocks"),
        ("clip_lora", {"position": "up"}, "position is 'up', and the text tower has no such block"),
        ("tcp", {"block": 9, "words": "a photo"}, "tcp: block, counted from 0, is 9, but"),
        ("maple", {"depth": 9, "words": "a photo"}, "maple: depth is 9, but the text tower has 3 blocks"),
        ("coprompt", {"depth": 9, "words": "a photo"}, "coprompt: depth is 9"),
        ("bmip", {"depth": 9, "words": "a photo"}, "depth"),
        ("fusion", {"depth": 9, "words": "a photo"}, "depth|block"),
        ("mmap", {"depth": 9, "words": "a photo"}, "depth|block"),
        ("lamm", {"depth": 9, "words": "a photo", "beside": "maple"}, "lamm: depth is 9"),
    ],
)
def test_blocks_that_are_not_there(name, settings, message):
    settings = SMALL[name] | {"context": 2} | settings if "context" in SMALL[name] else SMALL[name] | settings
    with pytest.raises(ConfigError, match=message) as error:
        build(methods.config_of(name)(**settings), toy_encoder("clip"), NAMES)
    one_line(error)


@pytest.mark.parametrize(("name", "setting"), [("promptsrc", "image_depth"), ("vpt", "depth"), ("bmip", "depth")])
def test_a_shallow_image_tower_says_which_depth_to_give(name, setting):
    encoder = CampeEncoder(toy_model(text_blocks=12, image_blocks=1), "toy-campe")
    message = rf"{name}: {setting} is (9|12), but the image tower has 1 block; give --set method.{setting}=1 or less\."
    with pytest.raises(ConfigError, match=message):
        build(methods.config_of(name)(), encoder, NAMES)


def test_a_rank_above_the_width():
    with pytest.raises(ConfigError, match="rank is 33, above the text tower's width of 32") as error:
        build(clip_lora.Config(rank=33), toy_encoder("clip"), NAMES)
    one_line(error)
    build(clip_lora.Config(rank=32), toy_encoder("clip"), NAMES)


NARROWED = ("cocoop", "coprompt", "tcp", "clip_adapter", "vdt_adapter")


def test_all_that_narrow_are_here():
    fields = {name: {field.name for field in dataclasses.fields(methods.config_of(name))} for name in methods.names()}
    assert set(NARROWED) == {name for name, of in fields.items() if "reduction" in of}


@pytest.mark.parametrize("name", NARROWED)
def test_nothing_is_narrowed_to_no_number_at_all(name):
    with pytest.raises(ConfigError, match="reduction is 1000") as error:
        build(methods.config_of(name)(**SMALL[name] | {"reduction": 1000}), toy_encoder("clip"), NAMES)
    one_line(error)


WEIGHTS = {
    "coprompt": ("weight",),
    "kgcoop": ("weight",),
    "promptsrc": ("text", "image", "logits"),
    "prograd": ("share",),
    "focal": ("gamma",),
}


@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf])
@pytest.mark.parametrize(("term", "field"), [(term, field) for term, fields in WEIGHTS.items() for field in fields])
def test_weights_of_terms(term, field, value):
    """In Python and from a file."""
    with pytest.raises(ConfigError, match=f"{field} is") as error:
        terms.config_of(term)(**{field: value})
    one_line(error)
    with pytest.raises(ConfigError, match=f"{term}: {field} is") as error:
        term_from(term, {field: value})
    one_line(error)


@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf])
@pytest.mark.parametrize("term", ["focal", "class_weighted"])
def test_weights_of_classes(term, value):
    with pytest.raises(ConfigError, match=f"the weight of class 'cat' is {value}; a weight is 0 or more"):
        terms.config_of(term)(weights={"cat": value})
    with pytest.raises(ConfigError) as error:
        term_from(term, {"weights": {"cat": value}})
    one_line(error)


FLOATS = [
    (name, field.name)
    for name in methods.names()
    for field in dataclasses.fields(methods.config_of(name))
    if field.type is float
]


@pytest.mark.parametrize(("name", "field"), FLOATS)
def test_no_number_is_nan(name, field):
    assert len(FLOATS) > 8
    with pytest.raises(ConfigError, match=field) as error:
        config_from(name, {field: math.nan})
    one_line(error)


@pytest.mark.parametrize("value", [-1.0, math.inf])
@pytest.mark.parametrize(("name", "field"), FLOATS)
def test_no_number_of_a_method_is_below_0_or_infinite(name, field, value):
    """In Python, where no file's check stands before."""
    with pytest.raises(ConfigError, match=field if name != "tip_adapter" else "alpha and beta") as error:
        methods.config_of(name)(**SMALL[name] | {field: value})
    one_line(error)


STARTS = [
    (name, field.name)
    for name in methods.names()
    for field in dataclasses.fields(methods.config_of(name))
    if field.type is int and field.name.endswith("start")
]


@pytest.mark.parametrize(("name", "field"), STARTS)
def test_no_block_is_before_the_first(name, field):
    assert len(STARTS) > 8
    with pytest.raises(ConfigError, match=f"{field} is -1") as error:
        methods.config_of(name)(**SMALL[name] | {field: -1})
    one_line(error)


def test_factors_of_nothing():
    for name in ("clip_lora", "taskres"):
        with pytest.raises(ConfigError, match=f"{name}: alpha is 0.0; it must be above 0, or nothing is learned"):
            methods.config_of(name)(alpha=0.0)
    with pytest.raises(ConfigError, match="aspect_weights are all 0"):
        methods.config_of("zeroshot")(aspect_weights=(0.0, 0.0))


@pytest.mark.parametrize("field", ["alpha", "beta"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_tip_adapters_weights(field, value):
    with pytest.raises(ConfigError, match="alpha and beta are 0 or more"):
        tip_adapter.Config(**{field: value})


def test_tip_adapter_needs_a_picture_of_every_class():
    method = build(tip_adapter.Config(), toy_encoder("clip"), NAMES)
    with pytest.raises(DataError, match="class 'dog' has no training picture; each class needs at least one") as error:
        method.adapter.fit(torch.randn(1, 3, method.encoder.dim), torch.tensor([0, 1, 3]))
    one_line(error)


SAID = {"{}": ("one {}.",)}


@pytest.mark.parametrize(
    ("kind", "descriptions", "message"),
    [
        (vdt_adapter, {}, "vdt_adapter: .*descriptions"),
        (coprompt, {}, "coprompt: .*descriptions"),
        (vdt_adapter, {"cats": ("It purrs.",)}, "no description of class 'cat' and 3 more.*Did you mean 'cats'"),
        (coprompt, {"cats": ("It purrs.",)}, "no description of class 'cat' and 3 more.*Did you mean 'cats'"),
    ],
)
def test_descriptions_of_other_classes_or_none(kind, descriptions, message):
    small = SMALL[kind.__name__.rpartition(".")[2]]

    def before_training():
        method = build(kind.Config(**small | {"descriptions": descriptions}), toy_encoder("clip"), NAMES)
        for term in method.terms:
            term.fit(torch.arange(len(NAMES)), NAMES)

    with pytest.raises((ConfigError, DataError), match=message) as error:
        before_training()
    one_line(error)


def test_a_saved_adapter_of_another_rank(tmp_path):
    save(made("clip_lora", toy_encoder("clip")), tmp_path / "adapter")
    facts = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    facts["settings"]["rank"] = 4
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(facts))
    write_manifest(tmp_path / "adapter")
    with pytest.raises(FileError, match=r"query.A is \[2, 32\], not \[4, 32\]") as error:
        load_adapter(tmp_path / "adapter", toy_encoder("clip"))
    one_line(error)
