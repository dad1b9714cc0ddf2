"""Sentences about classes: read, matched with class names, used by zero-shot and saved with it."""

import json

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as some
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.descriptions import read_descriptions, sentences_of, with_descriptions
from polyprompt.adapt.engine import build
from polyprompt.errors import ConfigError, DataError, FileError
from polyprompt.methods import coop, zeroshot
from polyprompt.runs.saved import load_adapter, save

SAID = {
    "Cat": ["It purrs.", "A cat has soft paws."],
    "tabby cat": ["Its coat is striped."],
    "dog": ["It barks.", "A dog fetches.", "It is loyal."],
    "Big_Dog": ["It is large."],
    "otter": ["It swims."],
}


def written(folder, content) -> str:
    (folder / "said.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return str(folder / "said.json")


def test_names_match_as_a_text_model_reads_them(tmp_path):
    found = sentences_of(read_descriptions(written(tmp_path, SAID)), NAMES)
    assert found == [SAID["Cat"], SAID["tabby cat"], SAID["dog"], SAID["Big_Dog"]]


def test_sentences_of_every_class_stand_behind_its_own(tmp_path):
    found = read_descriptions(written(tmp_path, {"cat": ["It purrs."], "{}": ["a photo of a {}."]}))
    assert sentences_of(found, ["cat", "tabby_cat"]) == [
        ["It purrs.", "a photo of a cat."],
        ["a photo of a tabby cat."],
    ]


def test_what_torch_wrote_is_read_without_executing_it(tmp_path):
    torch.save({"tabby_cat": ["It purrs."], "dog": ["It barks."]}, tmp_path / "said.pt")
    assert read_descriptions(str(tmp_path / "said.pt")) == {"tabby_cat": ("It purrs.",), "dog": ("It barks.",)}
    torch.save({"cat": [print]}, tmp_path / "bad.pt")
    with pytest.raises(FileError, match=r"print"):
        read_descriptions(str(tmp_path / "bad.pt"))


@given(some.integers(1, 30), some.integers(0, 5))
def test_random_sentences_are_the_same_for_all_classes(count, seed):
    found = read_descriptions(f"random:{count}", seed)
    cat, dog = sentences_of(found, ["cat", "big_dog"])
    assert len(cat) == count
    assert [one.replace("cat", "big dog", 1) for one in cat] == dog
    assert found == read_descriptions(f"random:{count}", seed)
    assert found != read_descriptions(f"random:{count}", seed + 1)


@pytest.mark.parametrize("unit_mean", [True, False])
@pytest.mark.parametrize("family", ["clip", "campe"])
def test_zero_shot_takes_the_mean_of_unit_vectors(family, unit_mean, tmp_path):
    encoder = toy_encoder(family)
    descriptions = read_descriptions(written(tmp_path, SAID))
    method = build(zeroshot.Config(descriptions=descriptions, unit_mean=unit_mean), encoder, NAMES)
    pixels = toy_images(size=encoder.image.preprocess.size)
    image = F.normalize(encoder.image.below(pixels, None), dim=-1)
    for number, sentences in enumerate(sentences_of(descriptions, NAMES)):
        units = []
        for sentence in sentences:
            (rows,) = encoder.text.below(encoder.text.prepare([encoder.text.words(sentence)]), None)[:1]
            units.append(F.normalize(rows.reshape(-1), dim=0))
        mean = torch.stack(units).mean(dim=0)
        mean = F.normalize(mean, dim=0) if unit_mean else mean
        slow = encoder.logit_scale.exp() * image @ mean
        torch.testing.assert_close(method(pixels)[:, number], slow, atol=1e-4, rtol=1e-4)


def test_they_are_saved_with_the_adapter_and_serve_other_classes(tmp_path):
    encoder, descriptions = toy_encoder("clip"), read_descriptions(written(tmp_path, SAID))
    method = build(zeroshot.Config(descriptions=descriptions), encoder, NAMES)
    save(method, tmp_path / "kept")
    back = load_adapter(tmp_path / "kept", encoder)
    assert torch.equal(back(toy_images()), method(toy_images()))
    other = back.for_classes(["otter", "cat"])(toy_images())
    torch.testing.assert_close(other[:, 1], method(toy_images())[:, 0])
    with pytest.raises(DataError, match="no description of class 'zebra' and 1 more among 5 described classes"):
        back.for_classes(["zebra", "cat", "gnu"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must hold class names with a list of sentences each"),
        ({}, "must hold class names"),
        ({"cat": "It purrs."}, "'cat' has 'It purrs.'; each class needs a list"),
        ({"cat": []}, r"'cat' has \[\]; each class needs a list"),
        ({"cat": ["It purrs.", " "]}, "'cat' has the sentence ' '"),
        ({"cat": [3]}, "'cat' has the sentence 3"),
        ({"big_dog": ["It barks."], "Big dog": ["It barks."]}, "'big_dog' and 'Big dog' are one class"),
        ({"{}": ["a photo."]}, "'a photo.' is for every class, and needs one {}"),
        ('{"cat": ["It purrs."], "cat": ["It sleeps."]}', r"said\.json: 'cat' stands in it twice; join its sentences"),
    ],
)
def test_files_that_cannot_be(content, message, tmp_path):
    with pytest.raises(DataError, match=message) as error:
        read_descriptions(written(tmp_path, content))
    assert "\n" not in str(error.value)


def test_other_bad_input(tmp_path):
    with pytest.raises(FileError, match=r"none.json"):
        read_descriptions(str(tmp_path / "none.json"))
    with pytest.raises(FileError):
        read_descriptions(written(tmp_path, "{'cat'"))
    for count in ("none", "", "0", "-1", "1.5", "1001", "9" * 5000):
        with pytest.raises(ConfigError, match="say how many random sentences a class gets, 1 to 1000") as error:
            read_descriptions(f"random:{count}")
        assert len(str(error.value)) < 150
    with pytest.raises(
        DataError, match=r"no description of class 'cats' among 1 described classes\. Did you mean 'cat'?"
    ):
        sentences_of({"cat": ["It purrs."]}, ["cats"])
    with pytest.raises(ConfigError, match="descriptions are given, and coop reads none"):
        with_descriptions([coop.Config()], {"cat": ("It purrs.",)})
    long = zeroshot.Config(descriptions={"cat": ("It purrs.",), "dog": ("It barks. " * 9,)})
    with pytest.raises(DataError, match=r"class 'dog': the description 'It barks.*' has \d+ tokens.*at most 58"):
        build(long, toy_encoder("clip"), ["cat", "dog"])


def test_no_file_at_all():
    with pytest.raises(ConfigError, match="descriptions is empty; give a file of sentences, or random:15"):
        read_descriptions("")
