"""A video file as n of its frames, evenly spaced, by PyAV (FFmpeg).

Frames are found by their time stamps: the file is gone through once without decoding, then each frame is decoded from
the key frame before it.
"""

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from PIL import Image

from polyprompt.errors import ImageError

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

STILL = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")
"""Pictures in the container that MP4 videos use."""


def is_video(data: bytes) -> bool:
    """Whether a file that begins like this moves: MP4 and its relatives, Matroska and WebM, AVI. GIFs are not asked."""
    mp4 = data[4:8] == b"ftyp" and data[8:12] not in STILL
    return mp4 or data[:4] == b"\x1aE\xdf\xa3" or (data[:4] == b"RIFF" and data[8:12] == b"AVI ")


def middles(length: int, count: int) -> list[int]:
    """Where the middles of `count` equal parts of `length` things are."""
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]


def decoded(source: io.BytesIO | str, count: int, name: str, most: int) -> list[Image.Image]:
    """`count` frames, RGB and upright, from the middles of as many equal parts of a video.

    Args:
        source: the file's bytes, or its path.
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
        raise ImageError(name, "videos need the package av; pip install 'polyprompt[video]'") from None
    try:
        with av.open(source, "r") as container:
            if not container.streams.video:
                raise ImageError(name, "holds no video")
            stream = container.streams.video[0]
            if stream.width * stream.height > most:
                raise ImageError(name, f"{stream.width} x {stream.height} pixels are more than the {most:,} allowed")
            times = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
            if not times:
                raise ImageError(name, "damaged or truncated (no frames)")
            wanted = [times[at] for at in middles(len(times), count)]
            return [_upright(frame) for frame in _at(container, stream, wanted)]
    except FFmpegError as error:
        raise ImageError(name, f"damaged or truncated ({error.strerror})") from None


def _at(container: "InputContainer", stream: "VideoStream", times: Sequence[int]) -> Iterator["VideoFrame"]:
    """The frame shown at each time, in the stream's own units."""
    for time in times:
        container.seek(time, stream=stream)
        shown = None
        for frame in container.decode(stream):
            if shown is None or frame.pts is None or frame.pts <= time:
                shown = frame
            if frame.pts is not None and frame.pts >= time:
                break
        if shown is None:
            raise ImageError(container.name, "damaged or truncated (a frame is missing)")
        yield shown


def _upright(frame: "VideoFrame") -> Image.Image:
    return frame.to_image().rotate(frame.rotation, expand=True)
