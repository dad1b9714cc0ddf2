"""Videos as frames: the right ones, upright, in every container; damage in one line."""

import io
import struct
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyprompt.data.items import Picture
from polyprompt.errors import ImageError
from polyprompt.media.frames import open_frames
from polyprompt.media.pictures import open_picture
from polyprompt.media.suffixes import VIDEOS
from polyprompt.media.video import middles

CONTAINERS = [("mp4", "libx264"), ("mov", "mpeg4"), ("webm", "libvpx"), ("mkv", "libx264"), ("avi", "mpeg4")]


def video(format_, codec, shades, size=(48, 32)):
    """The bytes of a video that shows these greys, a key frame every six."""
    file = io.BytesIO()
    with av.open(file, "w", format={"mkv": "matroska"}.get(format_, format_)) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, "yuv420p", 6
        for shade in shades:
            pixels = np.full((size[1], size[0], 3), shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def shades(frames):
    return [float(np.asarray(frame).mean()) for frame in frames]


@pytest.fixture(scope="module")
def mp4():
    return video("mp4", "libx264", range(0, 200, 10))


@pytest.mark.parametrize(("format_", "codec"), CONTAINERS)
def test_frames_are_evenly_spaced_in_every_container(format_, codec, tmp_path):
    path = tmp_path / f"a.{format_}"
    path.write_bytes(video(format_, codec, range(0, 200, 10)))
    assert path.suffix in VIDEOS
    frames = open_frames(path, 4)
    assert [frame.size for frame in frames] == [(48, 32)] * 4
    assert {frame.mode for frame in frames} == {"RGB"}
    assert shades(frames) == pytest.approx([20, 70, 120, 170], abs=4)  # frames 2, 7, 12 and 17 of twenty
    assert shades(open_frames(path.read_bytes(), 4)) == shades(frames)
    assert shades([open_picture(path)]) == pytest.approx([100], abs=4)


def test_a_short_video_gives_its_frames_several_times():
    assert shades(open_frames(video("mp4", "libx264", [50, 150]), 4)) == pytest.approx([50, 50, 150, 150], abs=4)


@given(st.integers(1, 1000), st.integers(1, 40))
def test_middles_lie_within_their_parts(length, count):
    found = middles(length, count)
    assert found == sorted(found)
    for part, at in enumerate(found):
        assert part * length // count <= at < -(-(part + 1) * length // count)


def test_a_turned_video_stands_upright():
    """A phone writes the picture as the sensor sees it, and says in the track's matrix how to turn it."""
    data = bytearray(video("mp4", "libx264", [100]))
    at = data.index(b"tkhd") + 44
    assert struct.unpack(">9i", data[at : at + 36])[0] == 1 << 16
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    assert open_frames(bytes(data), 1)[0].size == (32, 48)


def test_only_what_is_called_like_a_video_is_looked_into(tmp_path, mp4):
    (tmp_path / "a.mp4").write_bytes(mp4)

    def picture(key):
        return Picture(key, partial(Path.read_bytes, tmp_path / "a.mp4"))

    assert picture("a.mp4").moves
    assert len(picture("a.MP4").frames(3)) == 3
    assert not picture("a.jpg").moves
    assert shades(picture("a.jpg").frames(3)) == pytest.approx([100], abs=4)  # the one in the middle


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[: len(data) // 2], "damaged or truncated"),
        (lambda data: data[:32], "damaged or truncated"),
        (lambda data: data[:8] + b"nothing" * 20, r"damaged or truncated|holds no video"),
    ],
)
def test_a_damaged_video_is_one_line(spoil, words, tmp_path, mp4):
    (tmp_path / "a.mp4").write_bytes(spoil(mp4))
    for act in (partial(open_frames, count=4), open_picture):
        with pytest.raises(ImageError, match=words) as error:
            act(tmp_path / "a.mp4")
        assert str(error.value).startswith(f"{tmp_path / 'a.mp4'}: ")
        assert "\n" not in str(error.value)
    with pytest.raises(ImageError, match=r"no such file"):
        open_frames(tmp_path / "b.mp4", 4)
