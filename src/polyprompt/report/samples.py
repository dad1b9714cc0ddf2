"""What a trained model does on a few pictures, kept in a small folder, so that pages can be made without its weights.

`samples/` holds samples.json (`Samples`, below), the pictures that it names as small JPEGs, and manifest.json. The
attention maps are kept as numbers, and drawn when a page is made.
"""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from polyprompt.data.items import Pairs
from polyprompt.disk.files import check_manifest, digest, whole_folder, write_bytes, write_json
from polyprompt.errors import DataError, FileError
from polyprompt.evaluate.aspects import segment_correlation
from polyprompt.progress import track
from polyprompt.report.checked import read_checked
from polyprompt.report.explain import Aligned, contributions, seen_by

SIDE = 192
"""Longer side of the pictures kept, in pixels."""
BATCH = 32

FileName = Annotated[str, Field(pattern=r"^[0-9a-f]{16}\.jpg$")]
"""A plain name: whoever made the folder, nothing outside it is read."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Match(_Part):
    """One picture that a search found."""

    file: FileName
    key: str
    score: float


class Search(_Part):
    """A text, and the best pictures for it, best first."""

    query: str
    results: tuple[Match, ...]


class Explained(_Part):
    """One picture with its first caption, and what each of the K segments makes of the two."""

    file: FileName
    """The picture as the model sees it: resized, and cropped."""
    key: str
    caption: str
    contributions: tuple[float, ...]
    """K numbers <t_k, v_k>; their sum is the cosine."""
    maps: tuple[tuple[tuple[float, ...], ...], ...]
    """K attention maps, rows by columns."""


class Samples(_Part):
    """The content of samples.json."""

    version: Literal[1] = 1
    data: str
    """Name of the set that the pictures come from."""
    images: int
    captions: int
    prompts: tuple[str, ...]
    correlation: tuple[tuple[float | None, ...], ...]
    """K x K, `segment_correlation` over all captions and pictures; None where a segment's scores never change."""
    looks: tuple[Explained, ...]
    searches: tuple[Search, ...]

    @model_validator(mode="after")
    def _one_for_each_prompt(self) -> "Samples":
        k = len(self.prompts)
        if k < 1 or [len(row) for row in self.correlation] != [k] * k:
            raise ValueError(f"correlation is not {k} x {k} for {k} prompts")
        for explained in self.looks:
            if len(explained.contributions) != k or len(explained.maps) != k:
                raise ValueError(f"{explained.key} has not one contribution and one map for each of {k} prompts")
            if any(not map_ or not map_[0] or len({*map(len, map_)}) > 1 for map_ in explained.maps):
                raise ValueError(f"{explained.key} has a map that is no rectangle")
        return self


@torch.no_grad()
def collect(
    model: Aligned,
    pairs: Pairs,
    queries: Sequence[str],
    folder: Path,
    *,
    texts: Float[Tensor, "t D"] | None = None,
    images: Float[Tensor, "i D"] | None = None,
    shown: int = 5,
    top: int = 6,
) -> Samples:
    """Search `pairs` for the queries, look at `shown` of its pictures, and keep what comes out in `folder`.

    The pictures looked at are spread evenly over the set, none is chosen. An earlier samples folder is replaced.

    Args:
        model: an aligned model.
        pairs: pictures and captions that it was not trained on.
        queries: free texts to search for.
        folder: `samples` in the run's folder.
        texts: embeddings of all captions, images: of all pictures, where an evaluation has just made them.
        shown: pictures whose attention maps are kept.
        top: results kept of each search.

    Raises:
        DataError: the embeddings given do not belong to these pairs. ImageError: a picture is unreadable.
        FileError: `folder` cannot be written, or is something else.
    """
    if images is None:
        batches = track(range(0, len(pairs.images), BATCH), "Encoding pictures for the report")
        images = torch.cat([model.encode_image([p.open() for p in pairs.images[at : at + BATCH]]) for at in batches])
    if texts is None:
        batches = track(range(0, len(pairs.captions), BATCH), "Encoding captions for the report")
        texts = torch.cat([model.encode_text(list(pairs.captions[at : at + BATCH])) for at in batches])
    if (len(texts), len(images)) != (len(pairs.captions), len(pairs.images)):
        raise DataError(
            f"{pairs.name}: {len(texts)} text and {len(images)} image embeddings for "
            f"{len(pairs.captions)} captions and {len(pairs.images)} pictures"
        )

    jpegs: dict[str, bytes] = {}
    searches = _searches(model, pairs, queries, images, top, jpegs) if queries else []
    looks = [_explained(model, pairs, i, texts, images, jpegs) for i in _evenly(len(pairs.images), shown)]
    samples = Samples(
        data=pairs.name,
        images=len(pairs.images),
        captions=len(pairs.captions),
        prompts=tuple(model.prompts),
        correlation=_correlation(texts, images, len(model.prompts)),
        looks=tuple(looks),
        searches=tuple(searches),
    )
    if (folder / "samples.json").is_file():
        shutil.rmtree(folder)
    with whole_folder(folder) as temporary:
        for name, data in jpegs.items():
            write_bytes(temporary / name, data)
        write_json(temporary / "samples.json", samples.model_dump(mode="json"))
    return samples


def read(folder: Path) -> Samples:
    """The samples in a folder, after every file was found whole.

    Raises:
        FileError: a file is missing, damaged, or not what `Samples` describes.
    """
    listed = check_manifest(folder, ["samples.json"])
    path = folder / "samples.json"
    samples = read_checked(Samples, path)
    named = {one.file for one in samples.looks} | {match.file for s in samples.searches for match in s.results}
    if missing := sorted(named - set(listed)):
        raise FileError(f"{path}: names {missing[0]}, which manifest.json does not list.")
    return samples


def _searches(
    model: Aligned,
    pairs: Pairs,
    queries: Sequence[str],
    images: Float[Tensor, "i D"],
    top: int,
    jpegs: dict[str, bytes],
) -> list[Search]:
    """The `top` best pictures for each query."""
    scores = (model.encode_text(list(queries)).float() @ images.float().T).cpu()
    searches = []
    for query, row in zip(queries, scores, strict=True):
        best, where = row.topk(min(top, len(row)))
        matches = [
            Match(file=_keep(pairs.images[i].open(), jpegs), key=pairs.images[i].key, score=_short(score))
            for i, score in zip(where.tolist(), best.tolist(), strict=True)
        ]
        searches.append(Search(query=query, results=tuple(matches)))
    return searches


def _correlation(
    texts: Float[Tensor, "t D"], images: Float[Tensor, "i D"], k: int
) -> tuple[tuple[float | None, ...], ...]:
    """Of the segments' scores; None where a segment's never change."""
    rows = segment_correlation(texts.unflatten(1, (k, -1)), images.unflatten(1, (k, -1))).tolist()
    moving = [row[segment] > 0 for segment, row in enumerate(rows)]
    return tuple(
        tuple(_short(number) if moves and moving[other] else None for other, number in enumerate(row))
        for moves, row in zip(moving, rows, strict=True)
    )


def _explained(
    model: Aligned,
    pairs: Pairs,
    index: int,
    texts: Float[Tensor, "t D"],
    images: Float[Tensor, "i D"],
    jpegs: dict[str, bytes],
) -> Explained:
    picture, caption = pairs.images[index], pairs.image_of.index(index)
    seen = seen_by(model, picture.open())
    maps = model.attention([picture.open()])[0].float().cpu()
    parts = contributions(texts[caption], images[index], len(model.prompts))
    return Explained(
        file=_keep(seen, jpegs),
        key=picture.key,
        caption=pairs.captions[caption],
        contributions=tuple(map(_short, parts)),
        maps=tuple(tuple(tuple(map(_short, row)) for row in rows) for rows in maps.tolist()),
    )


def _keep(picture: Image.Image, jpegs: dict[str, bytes]) -> str:
    """Put a small JPEG of the picture among `jpegs`, under a name made of its content; the name."""
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=82, optimize=True)
    name = digest(file.getvalue())[:16] + ".jpg"
    jpegs[name] = file.getvalue()
    return name


def _evenly(n: int, shown: int) -> list[int]:
    """`shown` of n positions, one from the middle of each of `shown` equal parts."""
    shown = min(n, shown)
    return [(2 * i + 1) * n // (2 * shown) for i in range(shown)]


def _short(number: float) -> float:
    """Five digits are enough for a picture, and keep the file small."""
    return float(f"{number:.5g}")
