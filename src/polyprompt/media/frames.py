"""Whatever moves as frames, each seen like a picture; the mean of their embeddings stands for all of it.

The mean of frame embeddings is the parameter-free pooling of CLIP4Clip (Luo et al. 2021, arXiv:2104.08860). They take
one frame a second, up to a limit; here the number is fixed, so that a long video costs no more than a short one.

Animated GIFs are read by Pillow, videos by PyAV (media/video.py).
"""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from polyprompt.errors import ImageError
from polyprompt.media.pictures import MAX_PIXELS, open_picture
from polyprompt.media.video import decoded, is_video, middles


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
        return [open_picture(source)]
    name = "video" if isinstance(source, bytes) else str(source)
    head = source[:32] if isinstance(source, bytes) else _head(Path(source))
    if is_video(head):
        return decoded(io.BytesIO(source) if isinstance(source, bytes) else str(source), count, name, MAX_PIXELS)
    if head[:4] == b"GIF8":
        return _of_gif(source, count)
    return [open_picture(source)]


def over_frames(rows: Float[Tensor, "f D"], frames: Sequence[int]) -> Float[Tensor, "b D"]:
    """Unit rows of frames to one unit row an item, `frames[i]` rows each: their mean, normalised."""
    if len(frames) == len(rows):
        return rows
    return F.normalize(torch.stack([part.mean(dim=0) for part in rows.split(list(frames))]), dim=-1)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except OSError:
        return b""  # open_picture says what is wrong


def _of_gif(source: str | Path | bytes, count: int) -> list[Image.Image]:
    first = open_picture(source)
    name = "picture" if isinstance(source, bytes) else str(source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as gif:
            length = getattr(gif, "n_frames", 1)
            if length == 1:
                return [first]
            frames = []
            for at in middles(length, count):
                gif.seek(at)
                frames.append(open_picture(gif.convert("RGBA")))
            return frames
    except (OSError, EOFError, ValueError) as error:
        raise ImageError(name, f"damaged or truncated ({error})") from None
