"""Pixels equal open_clip's and timm's; a bad picture gives one line that says what is wrong with it."""

import contextlib
import io
import json
import struct
import zlib

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from timm.data import create_transform  # pyright: ignore[reportPrivateImportUsage]

from polyprompt.errors import ConfigError, ImageError
from polyprompt.media.pictures import Preprocess, open_picture

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ODD_SIZES = [(37, 53), (224, 224), (301, 97), (33, 33), (31, 500), (225, 223)]


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    draw = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def encoded(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("width_height", ODD_SIZES)
@pytest.mark.parametrize(("resize", "theirs"), [("short", "shortest"), ("squash", "squash")])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_equal_open_clips(width_height, resize, theirs, interpolation):
    picture = noise(*width_height)
    transform = open_clip.image_transform(
        33, is_train=False, mean=MEAN, std=STD, resize_mode=theirs, interpolation=interpolation
    )
    ours = Preprocess(33, MEAN, STD, interpolation, resize)
    assert torch.equal(ours(picture), transform(picture))


@pytest.mark.parametrize("width_height", ODD_SIZES)
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.9, 0.95, 1.15])
@pytest.mark.parametrize(("resize", "theirs"), [("short", "center"), ("squash", "squash")])
@pytest.mark.parametrize("interpolation", ["bicubic", "nearest", "lanczos"])
def test_pixels_equal_timms(width_height, crop, resize, theirs, interpolation):
    picture = noise(*width_height)
    transform = create_transform(
        (3, 47, 47), interpolation=interpolation, mean=MEAN, std=STD, crop_pct=crop, crop_mode=theirs
    )
    assert torch.equal(Preprocess(47, MEAN, STD, interpolation, resize, crop)(picture), transform(picture))


def test_preprocess_survives_json():
    preprocess = Preprocess(224, MEAN, STD, "lanczos", "squash", 0.9)
    assert Preprocess.from_json(json.loads(json.dumps(preprocess.to_json()))) == preprocess


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 0}, "size is 0"),
        ({"std": (1.0, 0.0, 1.0)}, "std .* above 0"),
        ({"interpolation": "bicubik"}, "no interpolation is called 'bicubik'. Did you mean 'bicubic'"),
        ({"resize": "longest"}, "no way to resize is called 'longest'"),
        ({"crop": 1.5}, "crop is 1.5"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        Preprocess(**({"size": 8, "mean": MEAN, "std": STD} | change))


@pytest.mark.parametrize("change", [{"sise": 3}, {"mean": 3}, {"mean": ["a", "b", "c"]}, {"mean": [0.5]}])
def test_damaged_json_is_refused(change):
    with pytest.raises(ConfigError, match="preprocess"):
        Preprocess.from_json(Preprocess(8, MEAN, STD).to_json() | change)


@pytest.mark.parametrize("format", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_files_come_back_as_they_were(tmp_path, format):
    picture = noise(13, 7)
    path = tmp_path / f"picture.{format.lower()}"
    picture.save(path)
    for source in (path, str(path), path.read_bytes(), picture):
        opened = open_picture(source)
        assert opened.mode == "RGB"
        assert np.array_equal(np.asarray(opened), np.asarray(picture))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation):
    """The file holds the corner turned; after opening, red is on top, left."""
    upright = np.zeros((4, 6, 3), np.uint8)
    upright[0, 0] = (255, 0, 0)
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_picture(encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif))
    assert np.array_equal(np.asarray(opened), upright)


def test_transparent_parts_turn_white():
    picture = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    picture.putpixel((1, 0), (0, 0, 0, 0))
    for image in (picture, picture.convert("PA")):
        opened = open_picture(image)
        assert opened.getpixel((0, 0)) == (200, 0, 0)
        assert opened.getpixel((1, 0)) == (255, 255, 255)


def test_a_transparent_palette_colour_turns_white():
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([200, 0, 0, 0, 0, 90])
    picture.putpixel((1, 0), 1)
    opened = open_picture(encoded(picture, "PNG", transparency=1))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(200, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_high_byte(format):
    grey = np.array([[0, 255, 256, 0x7FFF, 0x8000, 0xFFFF]], np.uint16)
    opened = open_picture(encoded(Image.fromarray(grey), format))
    assert np.asarray(opened)[0, :, 0].tolist() == [0, 0, 1, 127, 128, 255]


def test_cmyk_and_grey_are_converted_as_pillow_does():
    for mode in ("CMYK", "L", "1", "YCbCr", "HSV", "LAB"):
        picture = noise(5, 4, "CMYK" if mode == "CMYK" else "RGB")
        picture = (
            picture if mode == "CMYK" else picture.convert(mode) if mode != "LAB" else Image.new("LAB", (5, 4), 90)
        )
        assert np.array_equal(np.asarray(open_picture(picture)), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_taken(format):
    red, blue = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    opened = open_picture(encoded(red, format, save_all=True, append_images=[blue], lossless=True))
    assert opened.getpixel((1, 1)) == (255, 0, 0)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises many pixels and holds none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello", "not a picture in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not a picture in a known format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture in a known format"),
        (png_header(10_001, 5_000), r"10001 x 5000 pixels \(PNG\) are more than the 50,000,000 allowed"),
        (png_header(60_000, 60_000), "more than the 50,000,000 pixels allowed"),
        (encoded(Image.new("F", (3, 3)), "TIFF"), "floating-point"),
    ],
)
def test_a_bad_picture_gives_one_line(tmp_path, data, words):
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=words) as caught:
        open_picture(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"])
def test_a_truncated_picture_is_refused_wherever_it_is_cut(format):
    data = encoded(noise(40, 30), format)
    whole = np.asarray(open_picture(data))
    for share in (0.02, 0.1, 0.5, 0.9):
        try:
            cut = np.asarray(open_picture(data[: int(len(data) * share)]))
        except ImageError:
            continue
        assert np.array_equal(cut, whole), f"{format} cut at {share} gave other pixels"


def test_damaged_bytes_give_an_image_error_or_a_picture():
    draw = np.random.default_rng(0)
    for format in ("PNG", "JPEG", "WEBP", "GIF", "TIFF"):
        data = encoded(noise(20, 20), format)
        for _ in range(30):
            damaged = bytearray(data)
            for place in draw.integers(0, len(data), 5):
                damaged[place] = draw.integers(0, 256)
            with contextlib.suppress(ImageError):
                assert open_picture(bytes(damaged)).mode == "RGB"


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        open_picture(tmp_path / "none.png")
    with pytest.raises(ImageError, match="cannot be read"):
        open_picture(str(tmp_path))


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ImageError, match="0 x 5"):
        open_picture(Image.new("RGB", (0, 5)))


def test_a_thread_of_a_picture_is_refused_before_memory_is_gone():
    with pytest.raises(ImageError, match="too long and thin"):
        Preprocess(224, MEAN, STD)(Image.new("RGB", (1, 20_000)))
    assert Preprocess(224, MEAN, STD, resize="squash")(Image.new("RGB", (1, 20_000))).shape == (3, 224, 224)
