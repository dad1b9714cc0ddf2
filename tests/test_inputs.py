"""One thing where several are meant, nothing at all, and things that are none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyprompt.errors import DataError
from polyprompt.inputs import checked_pixels, list_of_pictures, list_of_texts

DOT = Image.new("RGB", (4, 4))


@pytest.mark.parametrize("one", ["a cat", "", "x"])
def test_one_text_is_a_list_of_one(one):
    assert list_of_texts(one) == list_of_texts([one]) == [one]


@pytest.mark.parametrize(
    "several", [("a", "b"), np.array(["a", "b"]), {"a": 1, "b": 2}, iter("ab")], ids=lambda one: type(one).__name__
)
def test_whatever_can_be_gone_through_is_a_list_of_texts(several):
    assert list_of_texts(several) == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no texts were given"),
        (5, "texts: got a int"),
        (None, "texts: got a NoneType"),
        (b"cat", "texts: got a bytes"),
        (["a", 5], "text 2 is of type int"),
        ([["a"]], "text 1 is of type list"),
        (["caf\ud800"], r"text 1, 'caf\\ud800', holds half a character"),
        ("caf\ud800", "half a character"),
    ],
    ids=lambda one: repr(one)[:30],
)
def test_what_is_no_text_is_one_line(given, words):
    with pytest.raises(DataError, match=words) as caught:
        list_of_texts(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("one", ["a.png", Path("a.png"), b"GIF89a", DOT], ids=lambda one: type(one).__name__)
def test_one_picture_is_a_list_of_one(one):
    assert list_of_pictures(one) == list_of_pictures([one]) == [one]


def test_a_list_of_pictures_is_several_and_a_list_in_a_list_is_a_video():
    assert list_of_pictures([DOT, DOT], frames=True) == [DOT, DOT]
    assert list_of_pictures([[DOT, DOT]], frames=True) == [[DOT, DOT]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "no pictures were given"),
        (5, "pictures: got a int"),
        (["a.png", 5], "picture 2 is of type int"),
        ([np.zeros((4, 4, 3))], "picture 1 is of type ndarray"),
        ([[DOT]], "picture 1 is of type list; give each as a path or a PIL picture$"),
    ],
    ids=lambda one: repr(one)[:30],
)
def test_what_is_no_picture_is_one_line(given, words):
    with pytest.raises(DataError, match=words) as caught:
        list_of_pictures(given)
    assert "\n" not in str(caught.value)


def test_an_empty_video_is_refused():
    with pytest.raises(DataError, match=r"picture 1 is of type list; .*, or a list of PIL pictures for a video"):
        list_of_pictures([[]], frames=True)


def test_pixels_of_one_picture_are_a_batch_of_one():
    pixels = torch.zeros(3, 8, 8)
    assert checked_pixels(pixels).shape == (1, 3, 8, 8)
    assert checked_pixels(pixels[None]).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (torch.zeros(0, 3, 8, 8), "no pictures were given"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "got torch.uint8 of shape"),
        (torch.zeros(1, 8, 8, 3), r"shape \[1, 8, 8, 3\]"),
        (torch.zeros(8, 8), r"shape \[8, 8\]"),
    ],
    ids=lambda one: str(getattr(one, "shape", one)),
)
def test_pixels_that_are_none_are_one_line(pixels, words):
    with pytest.raises(DataError, match=words) as caught:
        checked_pixels(pixels)
    assert "\n" not in str(caught.value)
