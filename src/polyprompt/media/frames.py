"""Whatever moves as frames, each seen like a picture; the mean of their embeddings stands for all of it.

The mean of frame embeddings is the parameter-free pooling of CLIP4Clip (Luo et al. 2021, arXiv:2104.08860). They take
one frame a second, up to a limit; here the number is fixed, so that a long video costs no more than a short one.

Animated GIFs are read by Pillow, videos by PyAV (media/video.py).
"""

from collections.abc import Sequence
from io import BufferedReader, BytesIO
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from polyprompt.errors import ImageError
from polyprompt.media.pictures import bytes_of, check_size, open_picture, open_regular, recognised
from polyprompt.media.video import MAX_SHOWN, decoded, is_video, middles

MAX_WORK = 600_000_000
"""Pixels of a GIF's frames together: each is painted over those before it."""
MAX_FRAMES = 20_000
"""Frames of a GIF."""


def moves(data: bytes) -> bool:
    """Whether a file's bytes are a video, or a GIF of several frames."""
    return gif_frames(data, 2) > 1 if data[:4] == b"GIF8" else is_video(data)


def gif_frames(data: bytes, most: int = MAX_FRAMES + 1) -> int:
    """How many frames a GIF has, counted from its blocks without decoding any, up to `most`."""
    at, frames = 13 + _colours(data, 10), 0
    while at < len(data) and frames < most:
        mark = data[at : at + 1]
        if mark == b";":
            break
        if mark == b",":
            at, frames = _behind_blocks(data, at + 11 + _colours(data, at + 9)), frames + 1
        else:
            at = _behind_blocks(data, at + 2) if mark == b"!" else at + 1
    return frames


def _colours(data: bytes, at: int) -> int:
    """Bytes of the colour table that the flags at this place tell of."""
    flags = data[at] if at < len(data) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


def open_frames(source: str | Path | bytes | Image.Image, count: int) -> list[Image.Image]:
    """`count` frames of a video, RGB, from the middles of as many equal parts of it; a picture is its own only frame.

    Args:
        source: a path, the bytes of a file, or a PIL image.
        count: a video with fewer frames gives some of them several times.

    Raises:
        ImageError: missing, unreadable, damaged or too large, as in `open_picture`; or PyAV is not installed.
    """
    if isinstance(source, Image.Image):
        return [open_picture(source)]
    if isinstance(source, bytes):
        return _frames(BytesIO(source), "video", count) or _of_gif(source, "picture", count)
    try:
        with open_regular(source) as file:
            frames = _frames(file, str(source), count)
    except FileNotFoundError:
        raise ImageError(str(source), "no such file") from None
    except OSError as error:
        raise ImageError(str(source), f"cannot be read ({error.strerror})") from None
    return frames or _of_gif(bytes_of(source), str(source), count)


def _frames(file: BufferedReader | BytesIO, name: str, count: int) -> list[Image.Image]:
    """Those of a video; none of anything else."""
    head = file.read(32)
    file.seek(0)
    return decoded(file, count, name) if is_video(head) else []


def over_frames(rows: Float[Tensor, "f D"], frames: Sequence[int]) -> Float[Tensor, "b D"]:
    """Unit rows of frames to one unit row an item, `frames[i]` rows each: their mean, normalised."""
    if len(frames) == len(rows):
        return rows
    return F.normalize(torch.stack([part.mean(dim=0) for part in rows.split(list(frames))]), dim=-1)


def _of_gif(data: bytes, name: str, count: int) -> list[Image.Image]:
    """Frames of a GIF; a picture that does not move is its only one."""
    length = gif_frames(data) if data[:4] == b"GIF8" else 1
    if length <= 1:
        return [_named(data, name)]
    try:
        with recognised(data, name) as gif:
            check_size(gif, MAX_SHOWN // count, name)
            if length > MAX_FRAMES or length * gif.width * gif.height > MAX_WORK:
                what = f"{length:,} frames" if length <= MAX_FRAMES else f"more than {MAX_FRAMES:,} frames"
                raise ImageError(name, f"{what} of {gif.width} x {gif.height} pixels are too many; make it smaller")
            frames = []
            for at in middles(length, count):
                gif.seek(at)
                frames.append(open_picture(gif.convert("RGBA")))
            return frames
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow raises all kinds where a frame is cut or claims to be huge
        raise ImageError(name, f"damaged or truncated ({error})") from None


def _named(data: bytes, name: str) -> Image.Image:
    try:
        return open_picture(data)
    except ImageError as error:
        raise ImageError(name, error.why) from None
