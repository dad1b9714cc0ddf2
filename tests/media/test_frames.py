"""Whatever moves, as frames: GIFs as Pillow sees them, pictures as their own frame; frames to one row."""

import struct
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from polyprompt.errors import ImageError
from polyprompt.media.frames import MAX_FRAMES, MAX_WORK, gif_frames, moves, open_frames, over_frames
from polyprompt.media.video import MAX_SHOWN, is_video


def gif(*shades, size=(16, 8), mode="P", **options):
    """The bytes of a GIF that shows these greys."""
    file, (first, *rest) = BytesIO(), [Image.new("L", size, shade).convert(mode) for shade in shades]
    first.save(file, "GIF", save_all=True, append_images=rest, duration=50, **options)
    return file.getvalue()


def shades(frames):
    return [float(np.asarray(frame).mean()) for frame in frames]


@pytest.mark.parametrize(
    "options", [{}, {"loop": 0, "comment": b"a ,comment; of! all marks"}, {"mode": "RGB"}], ids=str
)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_frames_are_counted_as_pillow_counts_them(count, options):
    """Colour tables of the file's own and the frames', comments, repeats."""
    data = gif(*range(10, 10 + 30 * count, 30), **options)
    with Image.open(BytesIO(data)) as picture:
        assert gif_frames(data) == picture.n_frames == count
    assert gif_frames(data, 2) == min(count, 2)  # no further than asked
    assert moves(data) == (count > 1)


@given(st.binary(max_size=200), st.integers(0, 5))
def test_whatever_calls_itself_a_gif_is_counted_in_time(data, most):
    assert 0 <= gif_frames(b"GIF89a" + data, most) <= most


def test_a_gif_is_cut_into_as_many_parts_as_asked(tmp_path):
    data = gif(10, 60, 110, 160)
    (tmp_path / "moving.gif").write_bytes(data)
    for source in (data, tmp_path / "moving.gif", str(tmp_path / "moving.gif")):
        assert shades(open_frames(source, 2)) == pytest.approx([60, 160], abs=2)
    assert shades(open_frames(data, 8)) == pytest.approx([10, 10, 60, 60, 110, 110, 160, 160], abs=2)
    assert shades(open_frames(gif(10), 2)) == pytest.approx([10], abs=2)


def test_frames_are_rgb_with_what_is_clear_as_a_picture_has_it():
    clear = BytesIO()
    pictures = [Image.new("RGBA", (4, 4), colour) for colour in ((255, 0, 0, 255), (0, 0, 255, 255))]
    pictures[0].putpixel((0, 0), (0, 0, 0, 0))
    pictures[0].save(clear, "GIF", save_all=True, append_images=pictures[1:])
    first, second = open_frames(clear.getvalue(), 2)
    assert {first.mode, second.mode} == {"RGB"}
    assert (first.getpixel((3, 3)), second.getpixel((3, 3))) == ((255, 0, 0), (0, 0, 255))
    assert first.getpixel((0, 0)) == (255, 255, 255)  # clear is white, as in a still picture


def test_pictures_are_their_own_only_frame(tmp_path):
    picture = Image.new("RGB", (9, 7), "red")
    for suffix in ("png", "avif", "webp"):
        picture.save(tmp_path / f"a.{suffix}")
        data = (tmp_path / f"a.{suffix}").read_bytes()
        assert not is_video(data)
        assert [frame.size for frame in open_frames(data, 4)] == [(9, 7)]
    assert open_frames(picture, 4) == [picture]


def resized(data, width, height):
    """A GIF that claims another size of its screen."""
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (resized(gif(10, 90), MAX_SHOWN // 10_000 + 1, 10_000), "are more than the"),
        (resized(gif(*[10, 90] * 100), 2000, MAX_WORK // 200 // 2000 + 1), "200 frames of 2000 x 1501 pixels"),
        (gif(10, 90, size=(1, 1))[:-1] + gif(90, size=(1, 1))[-30:-1] * (MAX_FRAMES + 1), "more than 20,000 frames"),
        (gif(10, 90)[:-12], "damaged or truncated"),
        (b"GIF89a", "a.gif: "),
    ],
    ids=["frame", "work", "frames", "cut", "empty"],
)
def test_a_gif_that_is_too_much_or_damaged_is_one_line(data, words, tmp_path):
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(ImageError, match=words) as error:
        open_frames(tmp_path / "a.gif", 1)
    assert str(error.value).startswith(f"{tmp_path / 'a.gif'}: ")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        open_frames(tmp_path / "a.gif", 1)
    with pytest.raises(ImageError, match="cannot be read"):
        open_frames(tmp_path, 1)


def test_a_video_is_the_normalised_mean_of_its_frames():
    draw = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(6, 5, generator=draw, dtype=torch.float64), dim=-1)
    found = over_frames(rows, [1, 3, 2])
    for row, part in zip(found, (rows[:1], rows[1:4], rows[4:]), strict=True):
        mean = sum(part) / len(part)
        torch.testing.assert_close(row, mean / mean.square().sum().sqrt())
    assert over_frames(rows, [1] * 6) is rows
