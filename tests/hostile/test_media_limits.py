"""Pictures that ask for much: refused by what their header claims, before any decoding, or read within limits."""

import io
import resource
import struct
import time
from multiprocessing import get_context

import av
import pillow_heif
import pytest
from PIL import Image

from polyprompt.errors import ImageError
from polyprompt.media.frames import open_frames
from polyprompt.media.pictures import FEWER, MAX_PIXELS, open_picture

MOST_SECONDS, MOST_BYTES = 5.0, 500 * 2**20


def saved(form: str, mode: str, pixels: int, **how) -> bytes:
    """One colour, almost or just over so many pixels."""
    side = int(pixels**0.5)
    file = io.BytesIO()
    image = Image.new(mode, (side, side))
    if form == "HEIF":
        pillow_heif.from_pillow(image).save(file)
    else:
        image.save(file, form, **how)
    return file.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def gif(width: int, height: int, frames: int) -> bytes:
    """A GIF whose frames paint one pixel each."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"!\xf9\x04\0\0\0\0\0," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return head + frame * frames + b";"


def several(form: str, frames: int, side: int, **how) -> bytes:
    file = io.BytesIO()
    first, *others = [Image.new("RGB", (side, side), (number % 256, 0, 0)) for number in range(frames)]
    first.save(file, form, save_all=True, append_images=others, **how)
    return file.getvalue()


def video(width: int, height: int, frames: int, gop: int, form: str = "mp4", codec: str = "mpeg4") -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = gop
        black = av.VideoFrame.from_image(Image.new("RGB", (width, height)))
        for number in range(frames):
            black.pts = number
            container.mux(stream.encode(black))
        container.mux(stream.encode())
    return file.getvalue()


def claims(form: str, width: int, height: int) -> bytes:
    """A small file that claims to be large; nothing of what it claims is there."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, form)
    data = bytearray(file.getvalue())
    match form:
        case "GIF":
            data[6:10] = struct.pack("<HH", width, height)
        case "PNG":
            import zlib

            data[16:24] = struct.pack(">II", width, height)
            data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        case "JPEG":
            at = data.find(b"\xff\xc0")
            data[at + 5 : at + 9] = struct.pack(">HH", height, width)
        case "BMP":
            data[18:26] = struct.pack("<II", width, height)
        case "PPM":
            return f"P6 {width} {height} 255\n".encode() + b"\0" * 99
        case "TIFF":
            for tag, value in ((b"\x00\x01", width), (b"\x01\x01", height)):
                at = data.find(tag + b"\x04\0")
                at = at if at >= 0 else data.find(tag + b"\x03\0")
                data[at : at + 12] = tag + struct.pack("<HII", 4, 1, value)
    return bytes(data)


@pytest.mark.parametrize("form", ["GIF", "PNG", "JPEG", "BMP", "PPM", "TIFF"])
@pytest.mark.parametrize("size", [(50_000, 50_000), (9_999, 9_999), (65_000, 1_000)], ids=str)
def test_what_a_header_claims_is_enough_to_refuse(form, size):
    """Before decoding: no second of work, and no memory, though the file is all black."""
    data = claims(form, *size)
    start, held = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="pixels"):
        open_picture(data)
    assert time.process_time() - start < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 20 * 1024


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gif(9_999, 9_999, 200), "pixels"),
        (gif(3_000, 3_000, 200), "200 frames of 3000 x 3000 pixels are too many"),
        (gif(40, 40, 30_000), "more than 20,000 frames"),
    ],
    ids=["large", "many large", "many"],
)
def test_frames_times_pixels_are_bounded_before_decoding(data, words):
    start = time.process_time()
    with pytest.raises(ImageError, match=words):
        open_frames(data, 8)
    assert time.process_time() - start < 1.0


def test_a_progressive_picture_of_many_scans():
    data = saved("JPEG", "L", 4_000_000, progressive=True)
    scan = data[data.find(b"\xff\xda", 200) :]
    with pytest.raises(ImageError, match="scans of 2000 x 2000 pixels"):
        open_picture(data[:-2] + scan * 200)


@pytest.mark.slow  # 5 s
def test_what_lies_outside_the_limits_of_a_kind_is_refused():
    for form, kind in (("WEBP", "WEBP"), ("JPEG2000", "JPEG2000")):
        side = int(FEWER[kind] ** 0.5) + 1
        with pytest.raises(ImageError, match=f"are more than the {FEWER[kind]:,} allowed"):
            open_picture(saved(form, "RGB", (side + 1) ** 2, **({"lossless": True} if form == "WEBP" else {})))


LARGEST = {
    "gif": lambda: saved("GIF", "P", MAX_PIXELS),
    "gif of frames": lambda: gif(1_700, 1_700, 200),
    "gif of many": lambda: gif(100, 100, 19_999),
    "webp": lambda: saved("WEBP", "RGBA", FEWER["WEBP"], lossless=True),
    "webp of frames": lambda: several("WEBP", 20, 1_000, lossless=True),
    "png": lambda: saved("PNG", "RGBA", MAX_PIXELS),
    "png of 16 bits": lambda: saved("PNG", "I;16", MAX_PIXELS),
    "png of frames": lambda: several("PNG", 30, 1_000),
    "png, transparent palette": lambda: saved("PNG", "P", MAX_PIXELS, transparency=0),
    "jpeg": lambda: saved("JPEG", "RGB", MAX_PIXELS),
    "jpeg, turned": lambda: saved("JPEG", "RGB", MAX_PIXELS, exif=turned()),
    "jpeg, progressive": lambda: saved("JPEG", "RGB", 40_000_000, progressive=True),
    "jpeg, cmyk": lambda: saved("JPEG", "CMYK", MAX_PIXELS),
    "tiff": lambda: saved("TIFF", "RGB", MAX_PIXELS, compression="tiff_lzw"),
    "tiff of pages": lambda: several("TIFF", 30, 1_000, compression="tiff_deflate"),
    "avif": lambda: saved("AVIF", "RGBA", FEWER["AVIF"]),
    "jpeg 2000": lambda: saved("JPEG2000", "RGB", FEWER["JPEG2000"]),
    "heic": lambda: saved("HEIF", "RGB", MAX_PIXELS),
    "mp4": lambda: video(3_840, 2_160, 12, 12),
    "mp4, keys far apart": lambda: video(640, 480, 300, 600),
    "webm": lambda: video(1_280, 720, 12, 12, "webm", "libvpx"),
}


def cost(data: bytes, frames: int, queue) -> None:
    """Seconds of processor time and bytes above the idle process that reading takes."""
    for warm in (saved("PNG", "RGBA", 100), video(32, 32, 2, 1), saved("HEIF", "RGB", 4_096)):
        open_frames(warm, 1)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    try:
        for shown in [open_picture(data)] if frames == 1 else open_frames(data, frames):
            shown.close()
        ended = "read"
    except ImageError as error:
        ended = str(error)
    queue.put((time.process_time() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) * 1024, ended))


@pytest.mark.slow  # 5 minutes in all
@pytest.mark.timeout(900)
@pytest.mark.outside("process", "socket")
@pytest.mark.parametrize("frames", [1, 8])
@pytest.mark.parametrize("kind", LARGEST)
def test_the_largest_of_each_kind_stay_within_the_limits(kind, frames):
    spawn = get_context("spawn")
    queue = spawn.SimpleQueue()
    process = spawn.Process(target=cost, args=(LARGEST[kind](), frames, queue))
    process.start()
    process.join()
    assert process.exitcode == 0
    seconds, held, ended = queue.get()
    print(f"{kind}, {frames}: {seconds:.2f} s, {held / 2**20:.0f} MiB, {ended}")
    assert seconds < MOST_SECONDS
    assert held < MOST_BYTES
    assert ended == "read" or "more than" in ended or "too many" in ended or "too large" in ended
