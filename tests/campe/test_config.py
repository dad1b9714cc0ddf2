"""Settings of a model: they survive a file, each limit is one, words are as many as prompts."""

import json

import pytest

from polyprompt.campe.config import LARGEST, WORDS, ModelSettings, TextSettings
from polyprompt.errors import ConfigError
from polyprompt.settings import checked, setting_names

LIMITS = {
    "dim": (1, LARGEST), "text.prompts": (1, None), "text.lora": (0, LARGEST), "text.max_tokens": (1, None),
    "image.new_blocks": (None, 1000), "image.width": (8, LARGEST), "image.queries": (1, None),
    "image.frames": (1, LARGEST), "loss.scale": (1e-9, 100), "loss.diversity": (0, None), "loss.negation": (0, None),
}  # fmt: skip
"""The least and the most of each number that has one."""


def made(name, value):
    *above, last = name.split(".")
    return checked(ModelSettings, {above[0]: {last: value}} if above else {last: value})


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_taken_and_what_lies_beyond_is_named(name):
    for limit, beyond in zip(LIMITS[name], (-1, 1), strict=True):
        if limit is not None:
            found = made(name, limit).model_dump()
            *above, last = name.split(".")
            assert (found[above[0]] if above else found)[last] == limit
            with pytest.raises(ConfigError, match=name):
                made(name, limit + beyond)


@pytest.mark.parametrize("name", ["text.readout", "text.adaptive", "text.norm", "loss.contrast", "tower_dtype"])
def test_an_unknown_choice_is_named_with_those_there_are(name):
    with pytest.raises(ConfigError, match=rf"{name}.*'"):
        made(name, "other")


def test_settings_survive_the_file_they_are_kept_in():
    values = {"dim": 12, "text": {"prompts": 3, "words": ["a", "b", "c"]}, "image": {"trained_blocks": "all"}}
    settings = checked(ModelSettings, values)
    assert checked(ModelSettings, json.loads(json.dumps(settings.model_dump(mode="json")))) == settings
    assert checked(ModelSettings, {}) == ModelSettings()


def test_options_of_their_own_are_settings():
    assert set(ModelSettings.SHOWN) <= set(setting_names(ModelSettings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ("subject", "people", "action", "scene", "color", "background")),
        ({"prompts": 16}, WORDS),
        ({"readout": "tokens", "prompts": 2}, WORDS),
        ({"prompts": 2, "words": ("one", "two")}, ("one", "two")),
    ],
    ids=str,
)
def test_each_prompt_has_a_word(settings, words):
    assert TextSettings(**settings).adaptive_words() == words


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"prompts": 17}, "text.prompts is 17 and there are 16 words"),
        ({"prompts": 3, "words": ("one", "two")}, "text.prompts is 3 and there are 2 words"),
        ({"readout": "tokens", "words": ("one",)}, "there are 1 words"),
    ],
    ids=str,
)
def test_words_that_are_not_as_many_are_one_line(settings, says):
    with pytest.raises(ConfigError, match=says):
        TextSettings(**settings).adaptive_words()


def test_the_words_differ():
    assert len(set(WORDS)) == len(WORDS)
