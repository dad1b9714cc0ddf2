"""From a file to pixels: opening pictures, and the preprocessing a pretrained image tower expects.

`Preprocess` gives the pixels of open_clip's and timm's evaluation transforms, or of transformers' image processors, bit
for bit; the tests compare.
"""

import errno
import math
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cache
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from polyprompt.errors import ConfigError, ImageError, UnknownNameError, in_one_line, install
from polyprompt.media.video import decoded, is_video
from polyprompt.values import Json, Values

MAX_BYTES = 256 * 2**20
"""Larger files are refused where their bytes are read; of a video by its path, only the frames are."""

MAX_PIXELS = 50_000_000
"""Larger pictures are refused: a few kilobytes of file can ask for gigabytes of pixels. A phone's 48 million fit."""

FEWER = {"WEBP": 25_000_000, "AVIF": 40_000_000, "JPEG2000": 6_000_000, "32 bits": 25_000_000, "plain": 2_000_000}
"""The same where decoding takes more memory (17, 10, 20 bytes a pixel for 4) or time, so that none takes 500 MiB or
five seconds: by format, and for 32 bits a pixel and for numbers written out (PPM)."""

MAX_SCANS = 500_000_000
"""Pixels that the scans of a JPEG may paint together; a progressive one has about ten, and could have a thousand."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""What is opened. Not all that Pillow knows: it would start Ghostscript for an EPS file."""

HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
"""The brands of HEIF, which the package pillow-heif reads."""

BATCH = 64
"""Pictures of 224 x 224 pixels that are encoded together; activations grow with the pixels."""

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
RESIZES = ("short", "squash")
RULES = (None, "transformers", "transformers-pil")
LARGEST_CROP = 1.15
"""That of VOLO, the largest in timm."""

STRIP = 512
"""Rows that are worked on together."""

_one_at_a_time = threading.Lock()  # warnings.catch_warnings is not thread-safe


def open_picture(source: str | Path | bytes | Image.Image, most: int = MAX_PIXELS) -> Image.Image:
    """A picture as RGB, 8 bits a channel, upright (EXIF), transparent parts on white, the first frame of several.

    Of a video it is the frame in the middle (media/frames.py has more of them).

    Args:
        source: a path, the bytes of an image file, or a PIL image.
        most: pixels that it may have; fewer of some kinds (`FEWER`).

    Raises:
        ImageError: missing, empty, unreadable, truncated, larger than allowed, or with pixels of no fixed range.
    """
    name = source if isinstance(source, str) else str(source) if isinstance(source, Path) else "picture"
    if isinstance(source, Image.Image):
        with _whatever_is_raised(name):
            check_size(source, most, name)
            return _as_rgb(ImageOps.exif_transpose(source), name)
    data = source if isinstance(source, bytes) else bytes_of(source)
    if not data:
        raise ImageError(name, "the file is empty (0 bytes)")
    if is_video(data):
        return decoded(BytesIO(data), 1, name, most)[0]
    with _whatever_is_raised(name), recognised(data, name) as image:
        check_size(image, min(most, _most(image, data)), name)
        if image.format == "JPEG" and (scans := data.count(b"\xff\xda")) * image.width * image.height > MAX_SCANS:
            raise ImageError(name, f"{scans} scans of {image.width} x {image.height} pixels; save it anew")
        ImageOps.exif_transpose(image, in_place=True)
        return _as_rgb(image, name)


def together(size: int) -> int:
    """How many pictures of `size` x `size` pixels are encoded together, so that memory stays bounded.

    Of 64 at 224 pixels the largest activation of a ViT-L/14 has 270 MB (257 tokens, 4,096 numbers each, fp32); tokens
    grow with the pixels, and fewer are taken of larger pictures.
    """
    return max(1, BATCH * 224 * 224 // size**2) if size > 224 else BATCH


def bytes_of(path: str | Path) -> bytes:
    """The bytes of a picture's file.

    Raises:
        ImageError: missing, not to be read, larger than `MAX_BYTES`, or no regular file: a pipe would be waited for,
            a device has no end.
    """
    try:
        return file_bytes(path)
    except FileNotFoundError:
        raise ImageError(str(path), "no such file") from None
    except OSError as error:
        raise ImageError(str(path), f"cannot be read ({error.strerror})") from None


def file_bytes(path: str | Path) -> bytes:
    """The same, with the system's errors.

    Raises:
        OSError: see `bytes_of`.
    """
    with open_regular(path) as file:
        check_bytes(os.fstat(file.fileno()).st_size)
        return file.read(MAX_BYTES)


def check_bytes(number: int) -> None:
    """Refuses more bytes than a picture may have, before they are read.

    Raises:
        OSError: there are more than `MAX_BYTES`.
    """
    if number > MAX_BYTES:
        raise OSError(errno.EFBIG, f"more than {MAX_BYTES:,} bytes")


def open_regular(path: str | Path) -> BufferedReader:
    """A file, open, if it is a regular one.

    Raises:
        OSError: it is not, or cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(path, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115  (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def recognised(data: bytes, name: str) -> Image.Image:
    """The bytes of a picture's file as Pillow opens them, with nothing decoded yet; one of `FORMATS`, or HEIF.

    Raises:
        ImageError: not such a picture, or damaged.
    """
    formats = FORMATS
    if data[4:8] == b"ftyp" and data[8:12] in HEIF:
        _know_heif(name)
        formats = ("HEIF", "AVIF")
    try:
        with _one_at_a_time, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which `check_size` decides on, and of odd metadata
            return Image.open(BytesIO(data), formats=formats)
    except Image.DecompressionBombError:
        raise ImageError(name, f"more than the {MAX_PIXELS:,} pixels allowed; make it smaller") from None
    except Image.UnidentifiedImageError:
        raise ImageError(name, f"not a picture in a known format ({', '.join(formats)})") from None
    except Exception as error:  # Pillow's plugins raise all kinds on damaged headers
        raise ImageError(name, f"cannot be read as a picture ({in_one_line(error)})") from None


def check_size(image: Image.Image, most: int, name: str) -> None:
    """Refuses a picture that has no pixels, or more than allowed, before any of them is decoded.

    Raises:
        ImageError: it has.
    """
    width, height = image.size
    if width * height > most:
        kind, allowed = image.format or image.mode, f"the {most:,} allowed"
        raise ImageError(name, f"{width} x {height} pixels ({kind}) are more than {allowed}; make it smaller")
    if not width * height:
        raise ImageError(name, f"{width} x {height} pixels: nothing to see")


def _most(image: Image.Image, data: bytes) -> int:
    kind = "plain" if data[:2] in (b"P1", b"P2", b"P3") else "32 bits" if image.mode in ("I", "F") else image.format
    return FEWER.get(kind or "", MAX_PIXELS)


@contextmanager
def _whatever_is_raised(name: str) -> Iterator[None]:
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # truncated data alone raises OSError, SyntaxError, struct.error, ...
        raise ImageError(name, f"damaged or truncated ({in_one_line(error)})") from None


@cache
def _heif() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener(thumbnails=False)
    return True


def _know_heif(name: str) -> None:
    if not _heif():
        raise ImageError(name, f"a HEIC picture, which needs the package pillow-heif; {install('heif')}")


def _as_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F":
        raise ImageError(name, "floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if not image.has_transparency_data:
        image.load()
        return image.convert("RGB") if image.mode != "RGB" else image
    whole = Image.new("RGB", image.size)
    for top in range(0, image.height, STRIP):  # as a whole it would be three times in memory
        box = (0, top, image.width, min(top + STRIP, image.height))
        part = image.crop(box).convert("RGBA")
        whole.paste(Image.alpha_composite(Image.new("RGBA", part.size, "white"), part).convert("RGB"), box)
    return whole


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, high bytes kept; Pillow's own conversion would clip everything above 255 to white."""
    grey = np.asarray(image)
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise ValueError("pixels beyond 16 bits have no fixed range; save it with 8 or 16 bits")
    high = np.empty(grey.shape, np.uint8)
    for top in range(0, len(grey), STRIP):
        high[top : top + STRIP] = grey[top : top + STRIP] >> 8
    return Image.fromarray(high).convert("RGB")


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
    """Share of the resized side that the cut-out middle keeps (timm's `crop_pct`): 224 of 256 is 0.875. Above 1 the
    middle lies in a black frame."""
    rules: str | None = None
    """Whose way: None, open_clip's and timm's. "transformers-pil" cuts half a pixel less where the rest is odd;
    "transformers" does too, and resizes tensors, where nothing is rounded between the two directions."""

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
        if self.rules not in RULES:
            raise ConfigError(
                f"preprocess: rules is {self.rules!r}; allowed are None, {', '.join(map(repr, RULES[1:]))}"
            )
        if not 0 < self.crop <= LARGEST_CROP:
            raise ConfigError(f"preprocess: crop is {self.crop}; a share above 0, at most {LARGEST_CROP}")

    def __call__(self, picture: Image.Image) -> Float[Tensor, "3 size size"]:
        """The picture as float32, channels first.

        Raises:
            ImageError: so long and thin that resizing its shorter side would pass `MAX_PIXELS`.
        """
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as F
        from torchvision.transforms.v2 import functional as of_tensors

        if picture.mode != "RGB":
            picture = open_picture(picture)
        enlarged = math.floor(self.size / self.crop)
        short, long = sorted(picture.size)
        if self.resize == "short" and enlarged * enlarged * long > MAX_PIXELS * short:
            raise ImageError(
                "picture", f"{picture.width} x {picture.height} pixels is too long and thin to resize; crop it"
            )
        target = [enlarged] if self.resize == "short" else [enlarged, enlarged]
        method, pixels = InterpolationMode(self.interpolation), cast(Any, picture)  # its annotations know tensors only
        if self.rules == "transformers":
            pixels = of_tensors.resize(F.pil_to_tensor(pixels), target, method)
        else:
            pixels = F.resize(pixels, target, method)
        if self.rules is None:
            pixels = F.center_crop(pixels, [self.size, self.size])
        else:
            _, height, width = F.get_dimensions(pixels)
            pixels = F.crop(pixels, (height - self.size) // 2, (width - self.size) // 2, self.size, self.size)
        numbers = pixels.float() / 255 if isinstance(pixels, Tensor) else F.to_tensor(pixels)
        return F.normalize(numbers, list(self.mean), list(self.std))

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
        if not known - {"rules"} <= set(saved) <= known:
            raise ConfigError(f"preprocess: has the keys {sorted(saved)}, needs {sorted(known)}")
        try:
            mean, std = (tuple(float(number) for number in saved[key]) for key in ("mean", "std"))
            return cls(**{**saved, "mean": mean, "std": std})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"preprocess: {error}") from None
