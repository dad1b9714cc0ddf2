"""Where each of the K segments looks in a picture, and what it adds to the score of a text."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from polyprompt.media.pictures import Preprocess, open_picture
from polyprompt.nn.segments import segment_scores
from polyprompt.report.grids import Bar, Tile, sheet
from polyprompt.report.words import printed

SIDE = 300
"""Size of a map in the picture that `explain` draws, in pixels."""
LIT = np.array([255.0, 176.0, 59.0])
"""The warm light that falls where a segment looks."""


@runtime_checkable
class Aligned(Protocol):
    """What a report needs of a model: embeddings in K segments, and one attention map per segment."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """The K prompts, readable."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """From a picture to what the image tower sees."""
        ...

    def encode_text(self, texts: list[str], /) -> Float[Tensor, "t D"]:
        """Unit rows, K segments of D/K numbers joined."""
        ...

    def encode_image(self, images: list[Image.Image], /) -> Float[Tensor, "i D"]:
        """Unit rows, cut into segments likewise."""
        ...

    def attention(self, images: list[Image.Image], /) -> Float[Tensor, "i k rows columns"]:
        """How much each segment looks at each part of what the tower sees."""
        ...


@torch.no_grad()
def explain(model: Aligned, picture: str | Path | Image.Image, text: str) -> Image.Image:
    """One picture: the photograph, and over it the map of each segment, with its prompt and its part in the score.

    Raises:
        ImageError: the picture cannot be read.
    """
    opened = open_picture(picture)
    seen = seen_by(model, opened)
    maps = model.attention([opened])[0].float().cpu().numpy()
    parts = contributions(model.encode_text([text])[0], model.encode_image([opened])[0], len(model.prompts))
    score, parted = sum(parts), shares(parts)
    furthest = max(map(abs, parts)) or 1.0

    title = [Tile(_enlarged(seen), [f"score {printed(score, '+.3f')}", "the picture as the model sees it"])]
    tiles = [
        Tile(_enlarged(overlay(seen, map_)), [*textwrap.wrap(prompt, 36)[:2], says(part, share)], Bar(part / furthest))
        for map_, prompt, part, share in zip(maps, model.prompts, parts, parted, strict=True)
    ]
    # As near to a rectangle as the photograph and K maps come: 1 + 6 as 4 and 3, 1 + 4 as 3 and 2.
    columns = min(1 + len(tiles), max(3, math.ceil((1 + len(tiles)) / 2)))
    notes = ["Lit is where a segment looks; each map from zero to its own peak.", warning_about(parts)]
    return sheet([text], [title + tiles], columns=columns, notes=[note for note in notes if note])


def contributions(text: Float[Tensor, "D"], image: Float[Tensor, "D"], k: int) -> list[float]:
    """What each of the k segments adds to the cosine of a text and an image (unit vectors)."""
    t, v = (side.double().cpu().view(1, k, -1) for side in (text, image))
    return segment_scores(t, v)[0, 0].tolist()


def shares(parts: Sequence[float]) -> list[float | None]:
    """Each contribution over their sum, which is the score; a negative one is a negative share.

    All None where the contributions mostly cancel (a sum under a fifth of their absolute sum, a negative one
    included): there a share would be some huge number that says nothing.
    """
    total = sum(parts)
    if total <= 0.2 * sum(map(abs, parts)):
        return [None] * len(parts)
    return [part / total for part in parts]


def says(part: float, share: float | None) -> str:
    """A contribution in words: "+0.084 · 31 % of the score"."""
    amount = printed(part, "+.3f")
    return amount if share is None else f"{amount} · {printed(100 * share, '.0f')} % of the score"


def warning_about(parts: Sequence[float]) -> str:
    """What a reader of these shares must know, in a sentence; nothing where they are plain."""
    if sum(parts) <= 0:
        return "The score is not above zero, so there are no shares of it."
    if shares(parts)[0] is None:
        return "The contributions mostly cancel: a share of the score would say nothing, so none is given."
    if min(parts) < 0:
        return "Negative contributions count against the match; with them the shares add up to 100 %."
    return ""


def seen_by(model: Aligned, picture: Image.Image) -> Image.Image:
    """The picture as it reaches the image tower: resized and cropped, so that attention maps fit over it."""
    sees = model.preprocess
    pixels = sees(picture) * torch.tensor(sees.std)[:, None, None] + torch.tensor(sees.mean)[:, None, None]
    return Image.fromarray((pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def overlay(seen: Image.Image, attention: Float[np.ndarray, "rows columns"]) -> Image.Image:
    """The picture dimmed and grey, lit where attention is high: from zero (dark) to the map's own peak.

    A map that is even everywhere lights everything: no contrast is made up.
    """
    coarse = Image.fromarray(np.maximum(attention, 0).astype(np.float32))
    smooth = np.asarray(coarse.resize(seen.size, Image.Resampling.BICUBIC))
    light = np.clip(smooth / max(float(attention.max()), 1e-12), 0, 1)[..., None]
    colour = np.asarray(seen.convert("RGB"), dtype=np.float64)
    grey = np.asarray(seen.convert("L"), dtype=np.float64)[..., None]
    lit = 0.82 * colour + 0.18 * LIT
    return Image.fromarray(((1 - light) * (0.28 * grey + 12) + light * lit).round().astype(np.uint8))


def _enlarged(picture: Image.Image) -> Image.Image:
    return picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
