"""Small whole files of every kind that is read, and how it is read."""

import csv
import io
import json
import tarfile
from functools import cache
from pathlib import Path

import av
import numpy as np
import pillow_heif
import torch
from PIL import Image
from safetensors.torch import save

from polyprompt.data.items import Picture
from polyprompt.data.read import read_labelled, read_pairs, read_scored, splits_of
from polyprompt.disk.foreign import tensors_of
from polyprompt.disk.yaml import read_yaml
from polyprompt.errors import ImageError
from polyprompt.media.pictures import Preprocess, open_picture
from polyprompt.runs.settings import AlignSettings
from polyprompt.search.candidates import Candidate, read_ahead
from polyprompt.settings import checked

SHOWN = Preprocess(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _picture(mode: str = "RGB", size: tuple[int, int] = (40, 30), number: int = 0) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    pixels[5:20, 5:30] = 90
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    return Image.fromarray(pixels, "RGBA").convert("RGB").convert(mode)


def _saved(form: str, mode: str = "RGB", frames: int = 1, **how: object) -> bytes:
    file = io.BytesIO()
    first, *others = [_picture(mode, number=number) for number in range(frames)]
    first.save(file, form, **({"save_all": True, "append_images": others} if others else {}), **how)
    return file.getvalue()


def _video(form: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for number in range(6):
            container.mux(stream.encode(av.VideoFrame.from_image(_picture(size=(48, 32), number=number))))
        container.mux(stream.encode())
    return file.getvalue()


def _heic() -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(_picture()).save(file)
    return file.getvalue()


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "a camera"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    return exif.tobytes()


def _table(sign: str, *rows: tuple[str, ...]) -> bytes:
    file = io.StringIO()
    csv.writer(file, delimiter=sign).writerows(rows)
    return file.getvalue().encode()


def _tar() -> bytes:
    file, png = io.BytesIO(), _saved("PNG")
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in (("a.png", png), ("a.txt", b"cat"), ("b.png", png), ("b.json", b"{}"), ("b.txt", b"dog")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def _torch(archive: bool) -> bytes:
    file, content = io.BytesIO(), {"state_dict": {"a": torch.arange(6.0), "b": torch.ones(2, 2).half()}, "epoch": 3}
    torch.save(content, file, _use_new_zipfile_serialization=archive)
    return file.getvalue()


CAPTIONS = (("file", "caption", "split"), ("a.png", "a cat, red", "train"), ("b.png", 'say "café"', "test"))
LABELS = (("path", "label", "class_name"), ("a.png", "0", "cat"), ("b.png", "1", "big dog"))
SENTENCES = (("sentence1", "sentence2", "score"), ("a cat", "one cat", "4.5"), ("a dog", "rain", "0"))
COCO = {
    "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
    "annotations": [{"id": 5, "image_id": 1, "caption": "a cat"}, {"id": 6, "image_id": 2, "caption": "a dog"}],
}
KARPATHY = {
    "images": [
        {"filename": "a.png", "split": "train", "sentences": [{"raw": "a cat"}, {"raw": "one"}]},
        {"filename": "b.png", "split": "test", "filepath": "", "sentences": [{"raw": "a dog"}]},
    ]
}
SPLIT = {"train": [["a.png", 0, "cat"], ["b.png", 1, "dog"]], "val": [], "test": [["a.png", 0, "cat"]]}
SETTINGS = b"""# a run
name: pets
data: photos
epochs: 3
rate: 1.0e-3
text: {tower: llm, prompts: 3, template: "a {}"}
image:
  tower: cnn
  width: 32
loss: {contrast: softmax}
"""


@cache
def _seeds() -> dict[str, list[bytes]]:
    lines = [json.dumps({"file_name": name, "text": text}) for name, text in (("a.png", "a cat"), ("b.png", "é"))]
    return {
        "gif": [_saved("GIF", "P", 5), _saved("GIF", "P")],
        "png": [*(_saved("PNG", mode) for mode in ("RGB", "RGBA", "P", "I;16", "LA")), _saved("PNG", frames=3)],
        "jpeg": [_saved("JPEG", exif=_exif()), _saved("JPEG", progressive=True), _saved("JPEG", "CMYK")],
        "webp": [_saved("WEBP"), _saved("WEBP", "RGBA", lossless=True), _saved("WEBP", frames=3)],
        "tiff": [_saved("TIFF"), *(_saved("TIFF", compression=c) for c in ("tiff_lzw", "tiff_deflate", "jpeg"))],
        "avif": [_saved("AVIF"), _saved("AVIF", "RGBA")],
        "heic": [_heic()],
        "jpeg 2000": [_saved("JPEG2000")],
        "bmp, ppm": [_saved("BMP"), _saved("PPM"), b"P3 2 1 255 1 2 3 4 5 6\n"],
        "mp4": [_video("mp4", "mpeg4"), _video("mp4", "libx264")],
        "webm": [_video("webm", "libvpx")],
        "avi": [_video("avi", "mpeg4")],
        "captions.csv": [_table(",", *CAPTIONS)],
        "captions.tsv": [_table("\t", *CAPTIONS)],
        "metadata.jsonl": ["\n".join(lines).encode()],
        "labels.csv": [_table(",", *LABELS)],
        "sentences.csv": [_table(",", *SENTENCES)],
        "token.txt": [b"a.png#0\ta cat\nb.png#0\ta dog\n"],
        "classnames.txt": [b"n01 cat\nn02 big dog\n"],
        "json, coco": [json.dumps(COCO).encode()],
        "json, karpathy": [json.dumps(KARPATHY).encode()],
        "json, split": [json.dumps(SPLIT).encode()],
        "yaml": [SETTINGS],
        "safetensors": [save({"a": torch.arange(6.0), "b": torch.ones(2, 2, dtype=torch.bfloat16)}, {"format": "pt"})],
        "checkpoint": [_torch(True), _torch(False)],
        "tar": [_tar()],
    }


SEEDS = _seeds()
MEDIA = frozenset(("gif", "png", "jpeg", "webp", "tiff", "avif", "heic", "jpeg 2000", "bmp, ppm", "mp4", "webm", "avi"))
BINARY = MEDIA | {"safetensors", "checkpoint", "tar"}
FILES = {
    "token.txt": "Flickr8k.token.txt",
    "json, coco": "captions_val2017.json",
    "json, karpathy": "dataset_x.json",
    "json, split": "split_x.json",
    "safetensors": "x.safetensors",
    "checkpoint": "x.pth.tar",
    "tar": "00000.tar",
}
"""What a kind's file is called, where not as the kind."""


def read(kind: str, data: bytes, place: Path) -> None:
    """Reads a file as the commands would.

    Raises:
        PolypromptError: it is refused.
    """
    if kind in MEDIA:
        _seen(data)
        open_picture(data)
    elif kind == "yaml":
        (place / "x.yaml").write_bytes(data)
        checked(AlignSettings, read_yaml(place / "x.yaml"))
    else:
        _read_file(kind, data, place)


def _seen(data: bytes) -> None:
    """As `index` and `search` see a file: frames, facts, thumbnail, pixels; it says what is bad without raising."""
    candidate = Candidate("x", len(data), -1, Picture("x", lambda: data))
    for part in read_ahead([candidate], lambda content: False, SHOWN, 3):
        for seen in part:
            if seen.bad:
                raise ImageError("x", seen.bad)


def _read_file(kind: str, data: bytes, place: Path) -> None:
    folder = place / kind.replace(", ", "-")
    for name in ("a", "b", "n01/a", "n02/b") if kind == "classnames.txt" else ("a", "b"):
        picture = folder / f"{name}.png"
        if not picture.exists():
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(SEEDS["png"][0])
    file = folder / FILES.get(kind, kind)
    file.write_bytes(data)
    match kind:
        case "safetensors" | "checkpoint":
            tensors_of(file)
        case "sentences.csv":
            read_scored(str(file))
        case "labels.csv" | "json, split" | "classnames.txt":
            source = str(folder if kind == "classnames.txt" else file)
            read_labelled(source, next(iter(splits_of(source)), None))
        case _:
            pairs = read_pairs(str(file))
            for picture in pairs.images[:2]:
                picture.open()
