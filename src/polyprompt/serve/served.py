"""What is served: models and collections, each by an id that tells nothing of where it lies."""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.adapt.wording import in_prompt
from polyprompt.errors import ImageError
from polyprompt.methods.zeroshot import Config as ZeroShot
from polyprompt.runs.folder import absolute
from polyprompt.search.collection import Collection, is_collection
from polyprompt.search.models import AdaptedEmbedder, AlignedEmbedder, Embedder, PlainEmbedder, check_model, open_model
from polyprompt.serve.batching import Batcher
from polyprompt.serve.errors import Refused
from polyprompt.serve.pictures import opened
from polyprompt.towers.encoder import unit

TEXTS, PICTURES = 64, 32
"""Texts and pictures in one call of a model."""
LEARNED = 64
"""What was learned from marks and is remembered, of each collection."""

Entry = TypeVar("Entry")
Place = TypeVar("Place")


class ServedModel:
    """A model that many ask at once."""

    def __init__(self, id: str, embedder: Embedder, lock: threading.Lock) -> None:
        self.id, self.embedder, self.created, self.lock = id, embedder, int(time.time()), lock
        self._texts = Batcher[str, Tensor](lambda texts: embedder.texts(texts).unbind(), TEXTS, lock)
        self._pixels = Batcher[Tensor, Tensor](
            lambda pixels: embedder.images(torch.stack(pixels)).unbind(), PICTURES, lock
        )
        self._readers = ThreadPoolExecutor(2)
        """Two pictures are decoded at a time, however many are sent."""

    async def texts(self, texts: Sequence[str]) -> Float[Tensor, "t D"]:
        """Unit rows of texts."""
        return torch.stack(await self._texts(texts))

    async def pictures(self, pictures: Sequence[bytes], param: str) -> Float[Tensor, "i D"]:
        """Unit rows of pictures.

        Raises:
            Refused: one of them cannot be read.
        """
        loop = asyncio.get_running_loop()
        reading = [loop.run_in_executor(self._readers, self._read, data, param) for data in pictures]
        return torch.stack(await self._pixels(await asyncio.gather(*reading)))

    async def classes(self, labels: Sequence[str]) -> Float[Tensor, "c D"]:
        """Unit rows of classes: what an adapted model learned to read, else the mean of zero-shot's sentences."""
        rows = await self.texts([sentence for label in labels for sentence in self._sentences(label)])
        return unit(rows.unflatten(0, (len(labels), -1)).mean(dim=1))

    def cut_labels(self, labels: Sequence[str]) -> list[int]:
        """Places of the labels whose sentences the model reads in part."""
        return [at for at, label in enumerate(labels) if self.cut(dict(enumerate(self._sentences(label))))]

    @property
    def scale(self) -> float:
        """The factor on cosines."""
        match self.embedder:
            case AlignedEmbedder(model=model):
                return model.scale.item()
            case AdaptedEmbedder(method=method):
                return method.scale.item()
            case PlainEmbedder(encoder=encoder):
                return encoder.logit_scale.exp().item()
            case _:
                raise TypeError(type(self.embedder))

    def tokens(self, text: str) -> tuple[int, bool]:
        """How many tokens of a text the model reads, and whether it has more."""
        match self.embedder:
            case AlignedEmbedder(model=model):
                (read,), cut = model.text.llm.tokens([text], model.settings.text.max_tokens)
                return len(read), cut > 0
            case AdaptedEmbedder(method=method):
                tower = method.encoder.text
            case PlainEmbedder(encoder=encoder):
                tower = encoder.text
            case _:
                raise TypeError(type(self.embedder))
        length = len(tower.words(text))
        return min(length, tower.max_tokens), length > tower.max_tokens

    def cut(self, texts: Mapping[Place, str]) -> list[Place]:
        """Places of the texts that the model reads in part."""
        return [place for place, text in texts.items() if self.tokens(text)[1]]

    def close(self) -> None:
        """Ends the threads that embed and that read pictures."""
        for batcher in (self._texts, self._pixels):
            batcher.close()
        self._readers.shutdown()

    def _sentences(self, label: str) -> list[str]:
        if isinstance(self.embedder, AdaptedEmbedder):
            return [label]
        return [template.replace("{}", in_prompt(label)) for template in ZeroShot().templates]

    def _read(self, data: bytes, param: str) -> Float[Tensor, "3 size size"]:
        try:
            return self.embedder.preprocess(opened(data, param))
        except ImageError as error:  # too long and thin
            raise Refused(400, f"{param}: {error.why}", param, "invalid_image") from None


@dataclass
class ServedCollection:
    """A collection with its model, and what was learned from marks on its pictures."""

    id: str
    collection: Collection
    model: ServedModel
    learned: dict[str, Float[Tensor, "D"]] = field(default_factory=dict)

    def keep(self, row: Float[Tensor, "D"]) -> str:
        """Remembers what was learned, under an id; the oldest is forgotten."""
        while len(self.learned) >= LEARNED:
            del self.learned[next(iter(self.learned))]
        id = secrets.token_hex(8)
        self.learned[id] = row
        return id

    def adapted_row(self, id: str) -> Float[Tensor, "D"]:
        """What was learned, as a query.

        Raises:
            Refused: it is not known, or was forgotten.
        """
        if id not in self.learned:
            message = f"no adaptation is called {id!r:.60}, or it was forgotten; adapt again"
            raise Refused(404, message, "adapted", "adaptation_not_found")
        return self.learned[id]


@dataclass
class Service:
    """All that is served."""

    models: Mapping[str, ServedModel]
    collections: Mapping[str, ServedCollection]

    def model(self, id: str) -> ServedModel:
        """A model by its id.

        Raises:
            Refused: there is none.
        """
        return _entry(self.models, id, "model", "model_not_found")

    def collection(self, id: str) -> ServedCollection:
        """A collection by its id.

        Raises:
            Refused: there is none.
        """
        return _entry(self.collections, id, "collection", "collection_not_found")

    def close(self) -> None:
        """Ends the threads of every model."""
        for model in self.models.values():
            model.close()


def open_service(names: Iterable[str], open_: Callable[[str], Embedder] = open_model) -> Service:
    """Collections by their folders, models as `open_model` takes them; each model is opened once.

    Raises:
        PolypromptError: whatever is wrong with one of them.
    """
    lock = threading.Lock()
    models: dict[str, ServedModel] = {}
    by_name: dict[str, ServedModel] = {}
    collections: dict[str, ServedCollection] = {}

    def served(name: str) -> ServedModel:
        if name not in by_name:
            id = free(called(name), models)
            by_name[name] = models[id] = ServedModel(id, open_(name), lock)
        return by_name[name]

    for name in dict.fromkeys(map(absolute, names)):
        if is_collection(name):
            collection = Collection(name)
            model = served(collection.about.model)
            check_model(model.embedder, collection.about.model, collection.about.fingerprint, name)
            id = free(called(name), collections)
            collections[id] = ServedCollection(id, collection, model)
        else:
            served(name)
    return Service(models, collections)


def called(name: str) -> str:
    """What a folder is called, and any other name as it is, in letters that an address can have."""
    path = Path(name.removeprefix("local-dir:"))
    word = path.resolve().name if path.exists() else name
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_.") else "-" for sign in word) or "model"


def free(id: str, taken: Iterable[str]) -> str:
    """The id, with a number behind it if it is taken."""
    taken, number, one = set(taken), 2, id
    while one in taken:
        one, number = f"{id}-{number}", number + 1
    return one


def _entry(known: Mapping[str, Entry], id: str, what: str, code: str) -> Entry:
    if id not in known:
        there = ", ".join(list(known)[:20]) or "none"
        raise Refused(404, f"no {what} is called {id!r:.60}; there are: {there}", what, code)
    return known[id]
