"""Folders, pictures and members whose names are not UTF-8: every reader takes them, or says in one line why not."""

import io
import json
import os
import tarfile

import pytest
from PIL import Image

from polyprompt.data.read import read_labelled, read_pairs
from polyprompt.errors import PolypromptError

ODD, SHOWN = "caf\udce9", "caf\\xe9"
"""A name as Python has it whose bytes are Latin-1, and how it is written everywhere."""
COLOURS = ("red", "blue")


def png(colour):
    data = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(params=["plain", "\udcff", f"{ODD} ü"])
def place(request, tmp_path):
    """Two pictures a colour, of which one is called oddly, in a folder of any name."""
    folder = tmp_path / request.param
    for colour in COLOURS:
        (folder / "images" / colour).mkdir(parents=True)
        for name in (ODD if colour == "red" else "a", "b"):
            (folder / "images" / colour / f"{name}.png").write_bytes(png(colour))
    return folder


def files(place):
    """Every picture's path below the place and its colour."""
    return [(str(path.relative_to(place)), path.parent.name) for path in sorted((place / "images").rglob("*.png"))]


def captions_jsonl(place):
    rows = [json.dumps({"file": name, "caption": colour}) for name, colour in files(place)]
    (place / "captions.jsonl").write_text("\n".join(rows))


def karpathy(place):
    images = [{"filename": name, "split": "train", "sentences": [{"raw": colour}]} for name, colour in files(place)]
    (place / "dataset_x.json").write_text(json.dumps({"images": images}))


def coco(place):
    found = list(enumerate(files(place)))
    images = [{"id": number, "file_name": name} for number, (name, _) in found]
    notes = [{"id": number, "image_id": number, "caption": colour} for number, (_, colour) in found]
    (place / "captions_val2017.json").write_text(json.dumps({"images": images, "annotations": notes}))


def split_file(place):
    rows = [[name, COLOURS.index(colour), colour] for name, colour in files(place)]
    (place / "split_x.json").write_text(json.dumps({"train": rows, "val": [], "test": rows[:0]}))


def odd_bytes_in(name, head, row):
    """A list that holds the odd name's own bytes, which are not UTF-8."""

    def write(place):
        (place / name).write_bytes(head + b"".join(os.fsencode(row.format(*pair)) for pair in files(place)))

    return write


def tar(place):
    with tarfile.open(place / f"{ODD}.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for number, (name, colour) in enumerate(files(place)):
            for ending, data in ((".png", (place / name).read_bytes()), (".txt", colour.encode())):
                member = tarfile.TarInfo(f"{number}{name.removesuffix('.png').replace('/', '_')}{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


READ = {"captions.jsonl": captions_jsonl, "Karpathy's": karpathy, "COCO's": coco, "tar": tar}
LISTS = {
    "csv": odd_bytes_in("captions.csv", b"file,caption\n", "{},{}\n"),
    "Kaggle's": odd_bytes_in("captions.txt", b"image,caption\n", "{},{}\n"),
    "Flickr's": odd_bytes_in("Flickr8k.token.txt", b"", "{}#0\t{}\n"),
}


@pytest.mark.parametrize("form", READ)
def test_captions_are_read(form, place):
    READ[form](place)
    pairs = read_pairs(str(place))
    assert len(pairs.images) == len(pairs.captions) == 4
    keys = [image.key for image in pairs.images]
    assert "".join(keys).encode()
    assert sum(SHOWN in key for key in keys) >= 1
    for caption, image in zip(pairs.captions, pairs.image_of, strict=True):
        with Image.open(io.BytesIO(pairs.images[image].read())) as picture:
            assert (
                picture.convert("RGB").getpixel((0, 0)) == {"red": (255, 0, 0), "blue": (0, 0, 255)}[caption.split()[0]]
            )


@pytest.mark.parametrize("form", LISTS)
def test_a_list_that_is_not_utf8_is_one_line(form, place):
    LISTS[form](place)
    with pytest.raises(PolypromptError, match=r"byte \d+ is not UTF-8; save ") as error:
        read_pairs(str(place))
    assert "\n" not in str(error.value)


def test_labels_are_read(place):
    for read in (
        lambda: read_labelled(str(place / "images")),
        lambda: (split_file(place), read_labelled(str(place), "train"))[1],
    ):
        found = read()
        assert sorted(found.class_names) == sorted(COLOURS)
        assert len(found.pictures) == 4
        assert any(SHOWN in image.key for image in found.pictures)
        assert found.fingerprint()
        assert all(image.read() for image in found.pictures)


def test_a_class_that_is_not_utf8_is_one_line(place):
    (place / "images" / "red").rename(place / "images" / ODD)
    with pytest.raises(PolypromptError, match=r"is half a character \(a lone surrogate\), or no UTF-8") as error:
        read_labelled(str(place / "images"))
    assert "\n" not in str(error.value)
