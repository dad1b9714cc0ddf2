"""A video file as n of its frames, evenly spaced, by PyAV (FFmpeg).

Frames are found by their time stamps: the file is gone through once without decoding, then each frame is decoded from
the key frame before it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from io import BufferedReader, BytesIO
from itertools import islice
from typing import TYPE_CHECKING

from PIL import Image

from polyprompt.errors import ImageError, install

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

STILL = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
"""Pictures in the container that MP4 videos use."""

MAX_FRAME = 16_000_000
"""Pixels of a frame; a decoder may keep sixteen of them."""
MAX_SHOWN = 80_000_000
"""Pixels of all frames that are asked for together."""
MAX_WORK = 1_500_000_000
"""Pixels that may have to be decoded to get there: 700 frames of 1920 x 1080."""
MAX_FRAMES = 500_000
"""Frames of a video: four hours."""


def container_of(data: bytes) -> str | None:
    """FFmpeg's name for the container of a file that begins like this: MP4 and its relatives, Matroska, WebM, AVI.

    It is told to FFmpeg, which would guess among hundreds, some of which open addresses that stand in the file.
    """
    if data[4:8] == b"ftyp" and data[8:12] not in STILL:
        return "mov"
    if data[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    return "avi" if data[:4] == b"RIFF" and data[8:12] == b"AVI " else None


def is_video(data: bytes) -> bool:
    """Whether a file that begins like this moves; GIFs are not asked."""
    return container_of(data) is not None


def middles(length: int, count: int) -> list[int]:
    """Where the middles of `count` equal parts of `length` things are."""
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]


def decoded(source: BufferedReader | BytesIO, count: int, name: str, most: int = MAX_FRAME) -> list[Image.Image]:
    """`count` frames, RGB and upright, from the middles of as many equal parts of a video.

    Args:
        source: the file, open.
        count: a video with fewer frames gives some of them several times.
        name: what the video is called in errors.
        most: pixels that a frame may have.

    Raises:
        ImageError: damaged or too large, no video in it, or PyAV is not installed.
    """
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        raise ImageError(name, f"videos need the package av; {install('video')}") from None
    kind = container_of(source.read(12))
    source.seek(0)
    try:
        with av.open(source, "r", format=kind, options={"protocol_whitelist": "none"}, timeout=5.0) as container:
            if not container.streams.video:
                raise ImageError(name, "holds no video")
            stream = container.streams.video[0]
            size = stream.width * stream.height
            most = min(most, MAX_FRAME, MAX_SHOWN // count)
            if not 0 < size <= most:
                raise ImageError(name, f"{stream.width} x {stream.height} pixels are more than the {most:,} allowed")
            return [_upright(frame) for frame in _at(container, stream, _wanted(container, stream, count, name))]
    except FFmpegError as error:  # also where a file's own numbers ask for more memory than FFmpeg ever takes
        raise ImageError(name, f"damaged or truncated ({error.strerror})") from None
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # PyAV's own, on streams without what a video has
        raise ImageError(name, f"damaged or truncated ({error})") from None


def _wanted(container: "InputContainer", stream: "VideoStream", count: int, name: str) -> list[int]:
    """The time stamps of the frames that are asked for; the file is gone through, nothing decoded."""
    frames = list(
        islice(((p.pts, p.is_keyframe) for p in container.demux(stream) if p.pts is not None), MAX_FRAMES + 1)
    )
    if not frames:
        raise ImageError(name, "damaged or truncated (no frames)")
    if len(frames) > MAX_FRAMES:
        raise ImageError(name, f"more than {MAX_FRAMES:,} frames; cut it")
    keys = sorted(pts for pts, key in frames if key)
    times = sorted(pts for pts, _ in frames)
    wanted = [times[at] for at in middles(len(times), count)]
    work = sum(_between(times, keys, time) for time in wanted) * stream.width * stream.height
    if work > MAX_WORK:
        raise ImageError(
            name,
            f"its key frames are so far apart that {work:,} pixels must be decoded, over {MAX_WORK:,}; encode anew",
        )
    return wanted


def _between(times: Sequence[int], keys: Sequence[int], time: int) -> int:
    """How many frames are decoded to show the one at `time`: all since the key frame before it."""
    key = keys[max(0, bisect_right(keys, time) - 1)] if keys else times[0]
    return bisect_right(times, time) - bisect_left(times, key)


def _at(container: "InputContainer", stream: "VideoStream", times: Sequence[int]) -> Iterator["VideoFrame"]:
    """The frame shown at each time, in the stream's own units."""
    for time in times:
        container.seek(time, stream=stream)
        shown = None
        for frame in container.decode(stream):
            if frame.width * frame.height > MAX_FRAME:
                raise ImageError(container.name, f"a frame of {frame.width} x {frame.height} pixels")
            if shown is None or frame.pts is None or frame.pts <= time:
                shown = frame
            if frame.pts is not None and frame.pts >= time:
                break
        if shown is None:
            raise ImageError(container.name, "damaged or truncated (a frame is missing)")
        yield shown


def _upright(frame: "VideoFrame") -> Image.Image:
    return frame.to_image().rotate(frame.rotation, expand=True)
