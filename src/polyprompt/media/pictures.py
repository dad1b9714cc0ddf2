"""From a file to pixels: opening pictures, and the preprocessing a pretrained image tower expects.

`Preprocess` gives the pixels of open_clip's and timm's evaluation transforms, bit for bit; the tests compare.
"""

import math
import threading
import warnings
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from polyprompt.errors import ConfigError, ImageError, UnknownNameError
from polyprompt.media.video import decoded, is_video
from polyprompt.values import Json, Values

MAX_PIXELS = 100_000_000
"""Larger pictures are refused: a few kilobytes of file can ask for gigabytes of pixels."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""What is opened. Not all that Pillow knows: it would start Ghostscript for an EPS file."""

TOGETHER = 64
"""Pictures of 224 x 224 pixels that are encoded together; activations grow with the pixels."""

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
RESIZES = ("short", "squash")

_one_at_a_time = threading.Lock()  # warnings.catch_warnings is not thread-safe


def open_picture(source: str | Path | bytes | Image.Image, most: int = MAX_PIXELS) -> Image.Image:
    """A picture as RGB, 8 bits a channel, upright (EXIF), transparent parts on white, the first frame of several.

    Of a video it is the frame in the middle (media/frames.py has more of them).

    Args:
        source: a path, the bytes of an image file, or a PIL image.
        most: pixels that it may have.

    Raises:
        ImageError: missing, empty, unreadable, truncated, larger than `most`, or with pixels of no fixed range.
    """
    name = source if isinstance(source, str) else str(source) if isinstance(source, Path) else "picture"
    if isinstance(source, Image.Image):
        return _decoded(source, name, most)
    if not isinstance(source, bytes):
        source = _bytes_of(Path(source))
    if not source:
        raise ImageError(name, "the file is empty (0 bytes)")
    if is_video(source):
        return decoded(BytesIO(source), 1, name, most)[0]
    try:
        with _one_at_a_time, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `most` decides below
            image = Image.open(BytesIO(source), formats=FORMATS)
    except Image.DecompressionBombError:
        raise ImageError(name, f"more than the {most:,} pixels allowed; make it smaller") from None
    except Image.UnidentifiedImageError:
        raise ImageError(name, f"not a picture in a known format ({', '.join(FORMATS)})") from None
    except Exception as error:  # Pillow's plugins raise all kinds on damaged headers
        raise ImageError(name, f"cannot be read as a picture ({error})") from None
    with image:
        return _decoded(image, name, most)


def together(size: int) -> int:
    """How many pictures of `size` x `size` pixels are encoded together."""
    return max(1, TOGETHER * 224 * 224 // size**2) if size > 224 else TOGETHER


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(str(path), "no such file") from None
    except OSError as error:
        raise ImageError(str(path), f"cannot be read ({error.strerror})") from None


def _decoded(image: Image.Image, name: str, most: int) -> Image.Image:
    width, height = image.size
    if width * height > most:
        raise ImageError(name, f"{width} x {height} pixels are more than the {most:,} allowed; make it smaller")
    if not width * height:
        raise ImageError(name, f"{width} x {height} pixels: nothing to see")
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode == "F":
            raise ImageError(name, "floating-point pixels have no fixed range; save it with 8 or 16 bits")
        if image.mode.startswith("I"):
            return _from_16_bits(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, image).convert("RGB")
        return image.convert("RGB")
    except ImageError:
        raise
    except Exception as error:  # as above: truncated data alone raises OSError, SyntaxError, struct.error, ...
        raise ImageError(name, f"damaged or truncated ({error})") from None


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, high bytes kept; Pillow's own conversion would clip everything above 255 to white."""
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise ValueError("pixels beyond 16 bits have no fixed range; save it with 8 or 16 bits")
    return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")


@dataclass(frozen=True)
class Preprocess:
    """From a picture to the numbers an image tower was trained on. Immutable; equal settings compare equal.

    Raises:
        ConfigError: a setting that cannot be.
    """

    size: int
    """Height and width of the result, in pixels."""
    mean: tuple[float, float, float]
    """Subtracted from each channel, which runs from 0 to 1."""
    std: tuple[float, float, float]
    """Divides each channel afterwards."""
    interpolation: str = "bicubic"
    resize: str = "short"
    """"short": resize the shorter side, cut the middle out; "squash": resize both sides, aspect ratio lost."""
    crop: float = 1.0
    """Share of the resized side that the cut-out middle keeps (timm's `crop_pct`): 224 of 256 is 0.875."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"preprocess: size is {self.size}; it counts pixels, so at least 1")
        if len(self.mean) != 3 or len(self.std) != 3:
            raise ConfigError(f"preprocess: mean {self.mean} and std {self.std} need three numbers each (RGB)")
        if not all(math.isfinite(m) for m in self.mean) or not all(0 < s < math.inf for s in self.std):
            raise ConfigError(f"preprocess: mean {self.mean} must be finite and std {self.std} above 0")
        if self.interpolation not in INTERPOLATIONS:
            raise UnknownNameError("interpolation", self.interpolation, INTERPOLATIONS)
        if self.resize not in RESIZES:
            raise UnknownNameError("way to resize", self.resize, RESIZES)
        if not 0 < self.crop <= 1:
            raise ConfigError(f"preprocess: crop is {self.crop}; a share above 0, at most 1")

    def __call__(self, picture: Image.Image) -> Float[Tensor, "3 size size"]:
        """The picture as float32, channels first.

        Raises:
            ImageError: so long and thin that resizing its shorter side would pass `MAX_PIXELS`.
        """
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as F

        if picture.mode != "RGB":
            picture = open_picture(picture)
        enlarged = math.floor(self.size / self.crop)
        short, long = sorted(picture.size)
        if self.resize == "short" and enlarged * enlarged * long > MAX_PIXELS * short:
            raise ImageError(
                "picture", f"{picture.width} x {picture.height} pixels is too long and thin to resize; crop it"
            )
        target = [enlarged] if self.resize == "short" else [enlarged, enlarged]
        pixels: Any = picture  # torchvision's annotations know tensors only
        pixels = F.resize(pixels, target, InterpolationMode(self.interpolation))
        pixels: Any = F.center_crop(pixels, [self.size, self.size])
        return F.normalize(F.to_tensor(pixels), list(self.mean), list(self.std))

    def to_json(self) -> Json:
        """Plain numbers, strings and lists, for a config file."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, saved: Values) -> "Preprocess":
        """The inverse of `to_json`.

        Raises:
            ConfigError: a key is missing, unknown, or its value is of another type.
        """
        known = {field.name for field in fields(cls)}
        if set(saved) != known:
            raise ConfigError(f"preprocess: has the keys {sorted(saved)}, needs {sorted(known)}")
        try:
            mean, std = (tuple(float(number) for number in saved[key]) for key in ("mean", "std"))
            return cls(**{**saved, "mean": mean, "std": std})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"preprocess: {error}") from None
