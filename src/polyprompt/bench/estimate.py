"""How long cells should take here before any of them is done: an encoder's pace and a step of each method, timed.

It tells minutes from days and no more: what else the machine does meanwhile counts, too.
"""

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple, cast

import torch
from jaxtyping import Int
from torch import Tensor

from polyprompt.adapt.adapter import Adapter
from polyprompt.adapt.engine import Adapted
from polyprompt.adapt.view import PixelPictures
from polyprompt.bench.tasks import FRAMES
from polyprompt.data.items import Labelled, Picture
from polyprompt.data.read import open_labels, read_pairs, read_scored
from polyprompt.nn.precision import products_in
from polyprompt.progress import track
from polyprompt.runs.cells import Cell
from polyprompt.runs.draw import read_sets
from polyprompt.runs.load import load_encoder
from polyprompt.runs.resolve import AUTO
from polyprompt.runs.settings import AdaptSettings
from polyprompt.runs.training import epochs_of
from polyprompt.runs.untrained import untrained
from polyprompt.settings import checked
from polyprompt.towers.encoder import Encoder
from polyprompt.train.batches import Batches

TIMED = 8
"""Pictures, or texts, whose way through an encoder is timed."""


class Way(NamedTuple):
    """What a method costs on a set, in seconds, above what is kept of pictures."""

    step: float
    picture: float
    """Of a picture that is scored."""
    start: int | None
    """The block of the image tower at whose input states are kept; None: finished vectors."""


def estimated(cells: Sequence[Cell]) -> float:
    """Seconds that cells should take one after the other, none of them done.

    Raises:
        PolypromptError: what a cell reads cannot be read.
    """
    paces = _Paces()
    tasks = {"classify": paces.classified, "retrieve": paces.retrieved, "compare": paces.compared}
    return sum(tasks[cell.task](cell) for cell in track(cells, "Timing"))


class _Paces:
    """What was timed, each once, and the pictures of which earlier cells will have kept states."""

    def __init__(self) -> None:
        self.encoder, self.source = cache(load_encoder), cache(open_labels)
        self.ways: dict[tuple[str, str, str], Way] = {}
        self.pictures: dict[str, float] = {}
        self.kept: set[tuple[str, int | None, str]] = set()

    def classified(self, cell: Cell) -> float:
        """Seconds for a run of `adapt`: its steps, and the pictures that it scores."""
        settings = checked(AdaptSettings, cell.settings)
        if settings.method["name"] == AUTO:
            return cast(float, settings.budget)
        encoder, (drawn, tests) = self.encoder(str(cell.settings["encoder"])), read_sets(settings, self.source)
        key = (cell.encoder, cell.method, cell.data)
        if key not in self.ways:
            self.ways[key] = _way(settings, encoder, drawn)
        way, seconds = self.ways[key], self.keeping(cell, encoder, drawn, self.ways[key].start)
        for data in tests.values():
            seconds += self.keeping(cell, encoder, data, None)  # for zero-shot's figures
            seconds += self.keeping(cell, encoder, data, way.start) + len(data.pictures) * way.picture
        step = way.step
        if settings.augment:
            step += cast(int, settings.batch) * self.picture(cell, encoder, drawn.pictures)
        trained = _steps(settings, len(drawn.pictures)) * step if way.step else 0.0
        return seconds + min(trained, settings.budget or trained)

    def retrieved(self, cell: Cell) -> float:
        """Seconds to embed the pictures or videos of a set of captions, and its captions."""
        encoder = self.encoder(str(cell.settings["encoder"]))
        split, max_bad = cast(str, cell.settings["split"]), cast(int, cell.settings["max_bad"])
        pairs = read_pairs(cell.data, split, max_bad=max_bad)
        frames = sum(FRAMES if picture.moves else 1 for picture in pairs.images)
        return frames * self.picture(cell, encoder, pairs.images) + _texts(encoder, pairs.captions)

    def compared(self, cell: Cell) -> float:
        """Seconds to embed the sentences of a set of scored pairs, each different one once."""
        scored = read_scored(cell.data, cast(str, cell.settings["split"]))
        return _texts(self.encoder(str(cell.settings["encoder"])), list({*scored.first, *scored.second}))

    def keeping(self, cell: Cell, encoder: Encoder, data: Labelled, start: int | None) -> float:
        """Seconds to compute the states of those pictures of which none are kept yet."""
        fresh = {(cell.encoder, start, picture.key) for picture in data.pictures} - self.kept
        self.kept |= fresh
        return len(fresh) * self.picture(cell, encoder, data.pictures)

    def picture(self, cell: Cell, encoder: Encoder, pictures: Sequence[Picture]) -> float:
        """Seconds from the file of a picture, or of a frame, to its vector."""
        if cell.encoder not in self.pictures:
            some = pictures[:TIMED]
            seconds = timed(lambda: encoder.encode_image([frame for one in some for frame in one.frames(1)]))
            self.pictures[cell.encoder] = seconds / len(some)
        return self.pictures[cell.encoder]


def _way(settings: AdaptSettings, encoder: Encoder, drawn: Labelled) -> Way:
    """Seconds for a training step of a method, and for a picture to be scored."""
    method = untrained(settings, encoder, drawn.class_names, twins=drawn.twins)
    if type(method.adapter).fit is not Adapter.fit:
        return Way(0.0, 0.0, None)  # it works on finished vectors, which cost next to nothing once they are there
    some = range(min(settings.batch or TIMED, len(drawn.pictures)))
    pixels = torch.stack([encoder.image.preprocess(drawn.pictures[item].open()) for item in some])
    pictures, labels = PixelPictures(encoder, pixels), torch.tensor([drawn.labels[item] for item in some])
    seconds = timed(training_step(method, pictures, labels, settings.precision)) if method.learned() else 0.0
    with torch.no_grad():
        scored = timed(lambda: method.eval().image_features(method.see(pictures)))
    return Way(seconds, scored / len(some), method.image_start)


def training_step(
    method: Adapted, pictures: PixelPictures, labels: Int[Tensor, "b"], precision: str
) -> Callable[[], None]:
    """A step of a method on pictures whose states are kept, forward and back; nothing is changed by it."""
    for start in (None, method.image_start):
        pictures.states(start)  # as they are kept: before the steps, in full precision

    def step() -> None:
        with products_in(precision, pictures.pixels.device):
            loss = method.losses(method.see(pictures), labels.to(pictures.pixels.device))["loss"]
        loss.backward()

    return step


def _steps(settings: AdaptSettings, pictures: int) -> int:
    """How many training steps a run takes on so many pictures."""
    batches = len(Batches(fetch=list, image_of=range(pictures), size=cast(int, settings.batch)))
    return batches * epochs_of(settings, batches)


def _texts(encoder: Encoder, texts: Sequence[str]) -> float:
    """Seconds to embed all of some texts, by the pace of the first few."""
    some = list(texts[:TIMED])
    return len(texts) * timed(lambda: encoder.encode_text(some)) / len(some)


def timed(work: Callable[[], object]) -> float:
    """Seconds of the second of two calls; the first one warms up."""
    work()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
