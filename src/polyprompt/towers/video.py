"""A video as frames: n of them, evenly spaced, each seen like a picture; their embeddings' mean stands for the video.

The mean of frame embeddings is the parameter-free pooling of CLIP4Clip (Luo et al. 2021, arXiv:2104.08860). They take
one frame a second, up to a limit; here the number is fixed, so that a long video costs no more than a short one.

Frames are found by their time stamps: the file is gone through once without decoding, then each frame is decoded from
the key frame before it. Animated GIFs are read by Pillow, everything else by PyAV (FFmpeg).
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from polyprompt.errors import ImageError
from polyprompt.towers import pictures

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"})
"""Names that videos go by."""

STILL = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")
"""Pictures in the container that MP4 videos use."""


def is_video(data: bytes) -> bool:
    """Whether a file that begins like this moves: MP4 and its relatives, Matroska and WebM, AVI. GIFs are not asked."""
    mp4 = data[4:8] == b"ftyp" and data[8:12] not in STILL
    return mp4 or data[:4] == b"\x1aE\xdf\xa3" or (data[:4] == b"RIFF" and data[8:12] == b"AVI ")


def moves(data: bytes) -> bool:
    """Whether a file's bytes are a video, or a GIF of several frames."""
    if data[:4] != b"GIF8":
        return is_video(data)
    try:
        with Image.open(io.BytesIO(data)) as gif:
            return getattr(gif, "n_frames", 1) > 1
    except (OSError, ValueError):
        return False  # damaged; open_picture says so


def open_frames(source: str | Path | bytes | Image.Image, count: int) -> list[Image.Image]:
    """`count` frames of a video, RGB, from the middles of as many equal parts of it; a picture is its own only frame.

    Args:
        source: a path, the bytes of a file, or a PIL image.
        count: a video with fewer frames gives some of them several times.

    Raises:
        ImageError: missing, unreadable, damaged or too large, as in `open_picture`; or PyAV is not installed.
    """
    if isinstance(source, Image.Image):
        return [pictures.open_picture(source)]
    name = "video" if isinstance(source, bytes) else str(source)
    head = source[:32] if isinstance(source, bytes) else _head(Path(source))
    if is_video(head):
        return decoded(io.BytesIO(source) if isinstance(source, bytes) else str(source), count, name)
    if head[:4] == b"GIF8":
        return _of_gif(source, count)
    return [pictures.open_picture(source)]


def over_frames(rows: Float[Tensor, "f D"], frames: Sequence[int]) -> Float[Tensor, "b D"]:
    """Unit rows of frames to one unit row an item, `frames[i]` rows each: their mean, normalised."""
    if len(frames) == len(rows):
        return rows
    return F.normalize(torch.stack([part.mean(dim=0) for part in rows.split(list(frames))]), dim=-1)


def middles(length: int, count: int) -> list[int]:
    """Where the middles of `count` equal parts of `length` things are."""
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except OSError:
        return b""  # open_picture says what is wrong


def _of_gif(source: str | Path | bytes, count: int) -> list[Image.Image]:
    first = pictures.open_picture(source)
    name = "picture" if isinstance(source, bytes) else str(source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as gif:
            length = getattr(gif, "n_frames", 1)
            if length == 1:
                return [first]
            frames = []
            for at in middles(length, count):
                gif.seek(at)
                frames.append(pictures.open_picture(gif.convert("RGBA")))
            return frames
    except (OSError, EOFError, ValueError) as error:
        raise ImageError(name, f"damaged or truncated ({error})") from None


def decoded(source: io.BytesIO | str, count: int, name: str) -> list[Image.Image]:
    """As `open_frames`, for what is known to be a video; `name` stands in errors."""
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
            if stream.width * stream.height > pictures.MAX_PIXELS:
                raise ImageError(
                    name, f"{stream.width} x {stream.height} pixels are more than the {pictures.MAX_PIXELS:,} allowed"
                )
            times = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
            if not times:
                raise ImageError(name, "damaged or truncated (no frames)")
            wanted = [times[at] for at in middles(len(times), count)]
            return [_upright(frame) for frame in _at(container, stream, wanted)]
    except FFmpegError as error:
        raise ImageError(name, f"damaged or truncated ({error.strerror})") from None


def _at(container: Any, stream: Any, times: Sequence[int]) -> Iterator[Any]:
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


def _upright(frame: Any) -> Image.Image:
    return frame.to_image().rotate(frame.rotation, expand=True)
