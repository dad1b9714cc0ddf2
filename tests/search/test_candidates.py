"""What may be embedded: found in a folder, read ahead."""

import hashlib
import io
import os
import shutil

import pytest
import torch
from PIL import Image
from toy_search import paths, picture

from polyprompt.media.pictures import Preprocess
from polyprompt.search.candidates import (
    CAMERA,
    DETAILS,
    TAKEN,
    THUMBNAIL,
    Facts,
    in_folder,
    read_ahead,
    stacked,
)
from polyprompt.search.collection import Collection
from polyprompt.search.query import Query, ask

PREPROCESS = Preprocess(4, (0.5,) * 3, (0.5,) * 3)


def test_links_are_followed_and_told(model, photos, fill, tmp_path, capsys):
    picture(tmp_path / "elsewhere" / "far.png", 50)
    (photos / "out").symlink_to(tmp_path / "elsewhere")
    (photos / "a" / "loop").symlink_to(photos)
    (photos / "b" / "broken.png").symlink_to(photos / "none.png")
    os.mkfifo(photos / "b" / "pipe.png")
    picture(photos / ".hidden" / "h.png", 51)
    hidden_root = tmp_path / ".photos"
    shutil.copytree(photos, hidden_root, symlinks=True, ignore=shutil.ignore_patterns("pipe.png", "loop"))
    fill()
    err = capsys.readouterr().err
    assert "a/loop: a link back to a folder that it lies in" in err
    assert "1 link that leads out of it was followed: out" in err
    found = Collection(tmp_path / "collection")
    assert "out/far.png" in paths(ask(found, Query(wanted=model.texts(["x"])), 99))
    assert len(found) == 13
    fill(hidden_root, out=tmp_path / "other")
    assert len(Collection(tmp_path / "other")) == 13


@pytest.mark.parametrize(("said", "taken"), [("2019:05:06 07:08:09", "2019-05-06T07:08:09"), ("yesterday", None)])
def test_what_a_picture_says_of_itself_is_told(said, taken, tmp_path):
    exif = Image.Exif()
    exif[CAMERA] = "Box\0"
    exif.get_ifd(DETAILS)[TAKEN] = said
    Image.new("RGB", (400, 100), "red").save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (10, 20), "blue").save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no picture")
    ((first, second, third),) = read_ahead(in_folder(tmp_path), lambda content: False, PREPROCESS, 1)
    assert first.facts == Facts(400, 100, False, taken, "Box")
    assert second.facts == Facts(10, 20, False)
    assert first.content == hashlib.sha256((tmp_path / "a.jpg").read_bytes()).hexdigest()
    assert Image.open(io.BytesIO(first.thumbnail)).size == (THUMBNAIL, THUMBNAIL // 4)
    assert torch.equal(second.pixels[0], PREPROCESS(Image.open(tmp_path / "b.png")))
    assert third.bad.startswith("not a picture")
    assert third.line(None).keys() == {"path", "size", "changed", "bad"}
    pixels, frames = stacked([first, second])
    assert (pixels.shape, frames) == ((2, 3, 4, 4), [1, 1])


def test_what_is_known_is_not_opened(tmp_path):
    Image.new("RGB", (10, 20), "blue").save(tmp_path / "b.png")
    known = hashlib.sha256((tmp_path / "b.png").read_bytes()).hexdigest()
    ((seen,),) = read_ahead(in_folder(tmp_path), known.__eq__, PREPROCESS, 1)
    assert (seen.content, seen.facts, seen.pixels, seen.thumbnail) == (known, None, [], b"")
