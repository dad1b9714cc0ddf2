"""Pictures read themselves when asked; pairs and labelled pictures refuse parts that do not fit."""

import hashlib
import io
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from polyprompt.data.files import Places
from polyprompt.data.items import Labelled, Pairs, Picture
from polyprompt.errors import DataError, ImageError


def picture(key: str, data: bytes = b"") -> Picture:
    return Picture(key, lambda: data)


def pairs(**change) -> Pairs:
    parts = {
        "name": "three",
        "images": (picture("a", b"1"), picture("b", b"2"), picture("c", b"3")),
        "captions": ("one", "two", "three", "again one"),
        "image_of": (0, 1, 2, 0),
    }
    return Pairs(**(parts | change))


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.outside("pickle")
def test_a_picture_opens_and_hashes_its_bytes(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(png("red"))
    places = Places(tmp_path / "list.csv")
    found = places.find("a.png")
    assert found is not None
    assert pickle.loads(pickle.dumps(found)).open().getpixel((0, 0)) == (255, 0, 0)
    assert found.digest() == hashlib.sha256(png("red")).hexdigest()
    assert places.find("b.png") is None
    assert places.find("x" * 5000) is None


def test_errors_of_a_picture_begin_with_its_key():
    with pytest.raises(ImageError, match=r"^k: not a picture"):
        picture("k", b"no").open()
    for read, words in (
        (lambda: Path("/nowhere/x").read_bytes(), "no such file$"),
        (lambda: Path("/").read_bytes(), "cannot be read"),
    ):
        with pytest.raises(ImageError, match=f"^k: {words}"):
            Picture("k", read).open()
        with pytest.raises(ImageError, match=f"^k: {words}"):
            Picture("k", read).digest()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": ()}, "no pictures"),
        ({"image_of": (0, 1, 2)}, "4 captions, but image_of has 3"),
        ({"image_of": (0, 1, 3, 0)}, "each of the 3 pictures"),
        ({"image_of": (0, 1, 1, 0)}, "each of the 3 pictures"),
        ({"images": (picture("a"), picture("b"), picture("a"))}, "two pictures have the key 'a'"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(change, words):
    with pytest.raises(DataError, match=words):
        pairs(**change)


def test_the_fingerprint_depends_on_all_but_the_name():
    same = pairs().fingerprint()
    assert replace(pairs(), name="other").fingerprint() == same
    others = [
        pairs(images=(picture("a", b"9"), picture("b", b"2"), picture("c", b"3"))),
        pairs(images=(picture("A", b"1"), picture("b", b"2"), picture("c", b"3"))),
        pairs(captions=("one", "two", "three", "again  one")),
        pairs(image_of=(0, 1, 2, 1)),
        pairs(captions=("one", "two", "three"), image_of=(0, 1, 2)),
    ]
    assert len({same, *(other.fingerprint() for other in others)}) == 6


def test_keep_takes_pictures_in_order_with_all_their_captions():
    kept = pairs(skipped=("x",)).keep([2, 0])
    assert [image.key for image in kept.images] == ["c", "a"]
    assert kept.captions == ("three", "one", "again one")
    assert kept.image_of == (0, 1, 1)
    assert kept.skipped == ("x",)
    assert pairs().keep([1], skipped=["a: bad"]).skipped == ("a: bad",)


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ((0,), ("cat", "dog"), "2 pictures, but 1 labels"),
        ((0, 2), ("cat", "dog"), "b has label 2; with 2 classes it must be 0 to 1"),
        ((0, -1), ("cat", "dog"), "b has label -1"),
        ((0, 1), ("cat", "cat"), "'cat' and 'cat' have one name"),
        ((0, 1), ("polar bear", "Polar_bear"), "'polar bear' and 'Polar_bear' have one name"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, names, words):
    with pytest.raises(DataError, match=words):
        Labelled("two", (picture("a"), picture("b")), labels, names)
