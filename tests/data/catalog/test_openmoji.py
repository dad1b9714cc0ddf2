import io

import numpy as np
import pytest
from PIL import Image

from polyprompt.data.catalog.openmoji import captions_by_code, draw, split_of
from polyprompt.data.read import read_pairs
from polyprompt.disk import packaged
from polyprompt.disk.files import write_manifest
from polyprompt.errors import DataError, UnknownNameError


def svg(colour="", line="", more=""):
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72">'
        f'<g id="color">{colour}</g>{more}<g id="line">{line}</g></svg>'
    )


def disc(fill, radius=20):
    return f'<circle cx="36" cy="36" r="{radius}" fill="{fill}"/>'


RING = '<circle cx="36" cy="36" r="20" fill="none" stroke="#000" stroke-width="4"/>'
CRYING, COOK, MAN_COOK, RED, BLUE, NEW, DOG = (
    "1F622",
    "1F9D1-200D-1F373",
    "1F468-200D-1F373",
    "2764",
    "1F499",
    "1F195",
    "1F436",
)
DRAWINGS = {
    CRYING: svg(disc("#ff0"), '<path stroke="#000" stroke-width="3" d="M20 50 L52 50"/>'),
    COOK: svg(disc("#0f0", 9), '<path stroke="#000" stroke-width="3" d="M50 20 L50 52"/>'),
    MAN_COOK: svg(disc("#0f0", 9), '<path stroke="#000" stroke-width="3" d="M50 20 L50 52"/>'),
    RED: svg(disc("#f00"), RING),
    BLUE: svg(disc("#00f"), RING),
    NEW: svg(disc("#0ff", 30)),
    DOG: svg(disc("#fa0"), '<path stroke="#000" stroke-width="3" d="M20 20 L52 52"/>'),
    "1F1E6-1F1EB": svg(disc("#333")),  # a country's flag
    "1F44D-1F3FD": svg(disc("#963")),  # a skin tone
    "E000": svg(disc("#123")),  # has no name
}


@pytest.fixture
def svgs(cache):
    """A cache of the test's own, and a few drawings in the place of OpenMoji's."""
    folder = packaged._place("openmoji-svg-1", packaged.OPENMOJI)
    folder.mkdir()
    for code, text in DRAWINGS.items():
        (folder / f"{code}.svg").write_text(text)
    write_manifest(folder)
    return folder


def captions(pairs):
    """{key: captions} of pairs."""
    found = {picture.key: [] for picture in pairs.images}
    for caption, image in zip(pairs.captions, pairs.image_of, strict=True):
        found[pairs.images[image].key].append(caption)
    return found


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


# Drawing


def test_a_disc_is_drawn_where_geometry_says():
    picture = pixels(draw(svg(disc("#ff0000"))))
    assert picture.shape == (224, 224, 3)
    rows, columns = np.mgrid[:224, :224] + 0.5
    distance = np.hypot(rows - 112, columns - 112)
    radius = 20 * 224 / 72
    assert (picture[distance < radius - 1] == (255, 0, 0)).all()
    assert (picture[distance > radius + 1] == 255).all()  # white, not transparent


def test_lines_alone_lose_colour_skin_and_hair_and_nothing_else():
    clothed = svg(disc("#f00"), RING, f'<g id="skin">{disc("#fc0")}</g><g id="hair">{disc("#840", 8)}</g>')
    naked = svg("", RING)
    assert (pixels(draw(clothed, lines=True)) == pixels(draw(naked))).all()
    assert not (pixels(draw(clothed)) == pixels(draw(naked))).all()
    supplement = svg().replace('id="line"></g>', f'id="line-supplement">{RING}</g>')
    assert (pixels(draw(supplement, lines=True)) == pixels(draw(naked))).all()


def test_drawing_without_resvg_says_what_to_install(not_installed):
    not_installed("resvg_py")
    with pytest.raises(DataError, match=r"pip install '\.\[demo\]' in a clone"):
        draw(svg())


# Captions


def test_captions_are_names_as_written_in_words_then_aliases():
    found = captions_by_code(["1F622", "1F44D", "2764", "1F4D6", "1F550", "1F436"])
    assert found == {
        "1F622": ["crying face", "cry"],
        "1F44D": ["thumbs up"],  # not "thumbsup", which repeats the name, and not "+1"
        "2764": ["red heart", "heart"],  # drawn without FE0F
        "1F4D6": ["open book", "book"],
        "1F550": ["one o’clock"],  # not "clock1"  # noqa: RUF001
        "1F436": ["dog face", "dog"],
    }


def test_an_alias_that_another_emoji_is_called_by_is_left_out():
    assert captions_by_code(["1F408", "1F431"])["1F431"] == ["cat face"]  # 1F408 is the "cat"
    assert captions_by_code(["1F431"])["1F431"] == ["cat face", "cat"]


def test_no_caption_is_said_of_two_emoji():
    every = captions_by_code("-".join(f"{ord(c):04X}" for c in emoji) for emoji in all_emoji())
    texts = [text.casefold() for kept in every.values() for text in kept]
    assert len(every) > 1600
    assert len(texts) == len(set(texts))
    assert all(text == text.strip() and "_" not in text and ":" not in text for text in texts)


def all_emoji():
    from emoji import EMOJI_DATA

    return EMOJI_DATA


# The set


def test_the_set_in_colour(svgs):
    pairs = read_pairs("openmoji")
    assert pairs.name == "openmoji"
    found = captions(pairs)
    assert set(found) == {"1F622.png", "1F468-200D-1F373.png", "2764.png", "1F499.png", "1F195.png", "1F436.png"}
    assert found["1F622.png"] == ["crying face", "cry"]
    assert found["1F468-200D-1F373.png"][0] == "man cook"
    assert "cook" in found["1F468-200D-1F373.png"]  # drawn alike: one picture
    for picture in pairs.images:
        expected = pixels(draw(DRAWINGS[picture.key.removesuffix(".png")]))
        assert (np.asarray(picture.open()) == expected).all()


def test_the_set_as_lines(svgs):
    pairs = read_pairs("openmoji:lines")
    assert pairs.name == "openmoji:lines"
    found = captions(pairs)
    assert set(found) == {
        "1F622.png",
        "1F468-200D-1F373.png",
        "1F499.png",
        "1F436.png",
    }  # nothing is left of the NEW button
    assert {"blue heart", "red heart"} <= set(found["1F499.png"])  # alike without their colours
    for picture in pairs.images:
        assert set(np.unique(np.ptp(np.asarray(picture.open()).astype(int), axis=2))) == {0}  # grey throughout


def test_splits_share_nothing_and_miss_nothing(svgs):
    for name in ("openmoji", "openmoji:lines"):
        whole = captions(read_pairs(name))
        parts = [captions(read_pairs(name, split)) for split in ("train", "dev", "test")]
        keys = [key for part in parts for key in part]
        assert len(keys) == len(set(keys))
        if name == "openmoji":
            assert {key: kept for part in parts for key, kept in part.items()} == whole
        assert sorted(t for p in parts for kept in p.values() for t in kept) == sorted(
            t for kept in whole.values() for t in kept
        )


def test_splits_are_the_same_everywhere():
    """Written down once, so that a change of the rule is seen: it would mix what was learned from and tested on."""
    codes = ["1F622", "2764", "1F499", "1F195", "1F408", "1F436", "1F600", "1F468-200D-1F373"]
    assert [split_of(code) for code in codes] == ["test", "train", "train", "train", "train", "dev", "train", "train"]


def test_splits_are_about_eight_one_one():
    drawn = [split_of(f"{code:04X}") for code in range(0x1F300, 0x1F300 + 3000)]
    shares = [drawn.count(split) / 3000 for split in ("train", "dev", "test")]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.02)


def test_drawings_are_made_once_and_again_when_damaged(svgs, capsys):
    first = read_pairs("openmoji")
    fingerprint, path = first.fingerprint(), first.images[0].read.args[0]
    drawn = path.stat()
    capsys.readouterr()
    assert read_pairs("openmoji").fingerprint() == fingerprint
    assert (path.stat().st_ino, path.stat().st_ctime_ns) == (drawn.st_ino, drawn.st_ctime_ns)
    assert capsys.readouterr().err == ""

    path.write_bytes(b"damaged")
    assert read_pairs("openmoji").fingerprint() == fingerprint
    assert path.stat().st_size == drawn.st_size
    assert f"{path}: damaged" in capsys.readouterr().err


def test_other_drawings_are_drawn_anew(svgs):
    before = read_pairs("openmoji").fingerprint()
    (svgs / "1F622.svg").write_text(svg(disc("#f0f")))
    write_manifest(svgs)
    assert read_pairs("openmoji").fingerprint() != before


def test_an_unknown_split_is_named(svgs):
    with pytest.raises(UnknownNameError, match=r"no split of openmoji is called 'tset'. Did you mean 'test'"):
        read_pairs("openmoji", "tset")


@pytest.mark.slow
@pytest.mark.outside("process")  # pip, the first time on a machine
def test_the_real_set():
    for name, sizes in (("openmoji", (1293, 171, 161)), ("openmoji:lines", (1265, 170, 161))):
        sets = [read_pairs(name, split) for split in ("train", "dev", "test")]
        assert tuple(len(pairs.images) for pairs in sets) == sizes
        if name == "openmoji":
            digests = [picture.digest() for pairs in sets for picture in pairs.images]
            assert len(digests) == len(set(digests))  # nothing that is learned from is tested on
