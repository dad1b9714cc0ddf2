"""Pictures and texts to rows: files as their pixels, in bf16 nearly as in fp32, large pictures fewer at a time."""

import pytest
import torch
from PIL import Image
from torch.nn.functional import cosine_similarity
from toy_encoders import FAMILIES, SIZE, toy_encoder, toy_images

from polyprompt.errors import DataError, ImageError, UnknownNameError
from polyprompt.media.pictures import together
from polyprompt.nn.precision import products_in

TEXTS = ["a cat", "two dogs on a hill", "a red bus"]


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(70)]  # more than go through together
    for number, path in enumerate(paths):
        Image.new("RGB", (SIZE, SIZE), (3 * number, 255 - 3 * number, 90)).save(path)
    return paths


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_gives_nearly_the_rows_of_fp32(family):
    encoder = toy_encoder(family)
    pixels = toy_images(size=encoder.image.preprocess.size)
    for encode, items in ((encoder.encode_image, pixels), (encoder.encode_text, TEXTS)):
        exact, low = encode(items), encode(items, precision="bf16")
        assert low.dtype == torch.float32
        assert torch.equal(exact, low) == (encode == encoder.encode_image and family == "campe")  # it convolves
        assert cosine_similarity(exact, low).min() > 0.999
        assert torch.equal(exact, encode(items))


def test_an_unknown_precision_is_named():
    with pytest.raises(UnknownNameError, match=r"fp16.*bf16.*fp32"), products_in("fp16", torch.device("cpu")):
        pass


def test_files_give_the_rows_of_their_pixels_in_order(files):
    encoder = toy_encoder("clip")
    pixels = torch.stack([encoder.image.preprocess(Image.open(path)) for path in files])
    torch.testing.assert_close(encoder.encode_image(files), encoder.encode_image(pixels))


def test_a_bad_file_among_many_is_named(files):
    files[40].write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"40\.png"):
        toy_encoder("clip").encode_image(files)


def test_one_is_a_list_of_one_as_everywhere(files):
    encoder = toy_encoder("clip")
    row = encoder.encode_image(files[:1])
    for one in (files[0], str(files[0]), files[0].read_bytes(), Image.open(files[0])):
        assert torch.equal(encoder.encode_image(one), row)
    torch.testing.assert_close(encoder.encode_image(encoder.image.preprocess(Image.open(files[0]))), row)
    assert torch.equal(encoder.encode_text("a cat"), encoder.encode_text(["a cat"]))
    assert encoder.encode_image(path for path in files[:2]).shape == (2, encoder.dim)


@pytest.mark.parametrize("given", [[], 5, ["a.png", 5]], ids=str)
def test_what_is_none_is_refused_in_one_line(given, unchecked):
    for encode in (toy_encoder("clip").encode_image, toy_encoder("clip").encode_text):
        with pytest.raises(DataError, match=r"were given|got a int|2 is of type int") as error:
            encode(given)
        assert "\n" not in str(error.value)


def test_large_pictures_go_through_fewer_at_a_time():
    assert [together(size) for size in (16, 224, 336, 448, 5000)] == [64, 64, 28, 16, 1]
