"""What can embed a collection: a run of align, an encoder of the zoo, or a run of adapt; unit rows from all of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.adapt.adapter import Adapter, method_name
from polyprompt.adapt.classifier import Classifier
from polyprompt.campe.config import ImageSettings
from polyprompt.campe.encoder import fingerprint
from polyprompt.campe.model import CAMPE
from polyprompt.data.names import spelt
from polyprompt.disk.files import digest
from polyprompt.disk.hub import is_on_hub
from polyprompt.errors import ConfigError
from polyprompt.inputs import list_of_texts
from polyprompt.media.pictures import Preprocess
from polyprompt.nn.precision import Choosing, products_in
from polyprompt.runs.folder import absolute
from polyprompt.runs.load import load, load_encoder
from polyprompt.runs.processes import device
from polyprompt.runs.saved import CONFIG
from polyprompt.towers.encoder import Encoder, unit
from polyprompt.towers.fingerprint import tensor_said
from polyprompt.types import Pixels
from polyprompt.zoo.load import check_name


@runtime_checkable
class Embedder(Protocol):
    """Pictures and texts to unit rows of one space."""

    name: str
    """What `open_model` opens it by."""
    fingerprint: str
    """A hash of all that its rows depend on."""
    prompts: tuple[str, ...]
    """The aspects, one for each of the K segments of a row; none where rows have no parts."""
    frames: int
    """How many frames stand for a video."""
    precision: Choosing
    """Of the products that make rows of pictures."""

    @property
    def preprocess(self) -> Preprocess:
        """How a picture becomes pixels."""
        ...

    def images(self, pixels: Pixels) -> Float[Tensor, "b D"]:
        """Unit rows of preprocessed pictures, on the CPU."""
        ...

    def texts(self, texts: Sequence[str]) -> Float[Tensor, "t D"]:
        """Unit rows of texts, on the CPU.

        Raises:
            DataError: an empty one.
        """
        ...


class AlignedEmbedder:
    """A run of align: rows of K segments."""

    precision: Choosing = "fp32"

    def __init__(self, model: CAMPE, name: str) -> None:
        self.fingerprint = digest("align", fingerprint(model), str(model.settings.image.frames))
        self.model, self.name, self.prompts = model.to(device()), name, model.prompts
        self.frames = model.settings.image.frames

    @property
    def preprocess(self) -> Preprocess:
        """See `Embedder`."""
        return self.model.preprocess

    def images(self, pixels: Pixels) -> Float[Tensor, "b D"]:
        """See `Embedder`."""
        return self.model.encode_image(pixels, precision=self.precision).cpu()

    def texts(self, texts: Sequence[str]) -> Float[Tensor, "t D"]:
        """See `Embedder`."""
        return self.model.encode_text(list_of_texts(texts)).cpu()


class PlainEmbedder:
    """An encoder as it was pretrained."""

    prompts: tuple[str, ...] = ()
    precision: Choosing = "fp32"
    frames = ImageSettings.model_fields["frames"].default

    def __init__(self, encoder: Encoder, name: str) -> None:
        self.fingerprint = digest("encoder", encoder.fingerprint, str(self.frames))
        self.encoder, self.name = encoder.to(device()), name

    @property
    def preprocess(self) -> Preprocess:
        """See `Embedder`."""
        return self.encoder.image.preprocess

    def images(self, pixels: Pixels) -> Float[Tensor, "b D"]:
        """See `Embedder`."""
        return self.encoder.encode_image(pixels, precision=self.precision).cpu()

    def texts(self, texts: Sequence[str]) -> Float[Tensor, "t D"]:
        """See `Embedder`."""
        return self.encoder.encode_text(list_of_texts(texts)).cpu()


class AdaptedEmbedder:
    """An encoder as a method of adapt changed it; a text takes the place of a class name.

    Raises:
        ConfigError: a method whose scores are more than the cosine of one vector a picture and one a class.
    """

    prompts: tuple[str, ...] = ()
    precision: Choosing = "fp32"
    frames = PlainEmbedder.frames

    def __init__(self, classifier: Classifier, name: str) -> None:
        method = classifier.method
        adapter = method.adapter
        method.head()  # class vectors that depend on pictures are refused here
        size = method.encoder.image.preprocess.size
        with torch.no_grad():
            one_vector = method.image_features(method.see(torch.zeros(1, 3, size, size))).ndim == 2
        if type(adapter).scores is not Adapter.scores or not one_vector:
            raise ConfigError(
                f"{name}: {method_name(adapter)} scores pictures in a way of its own; a collection needs one row a "
                "picture."
            )
        tensors = [tensor_said(key, tensor) for key, tensor in sorted(adapter.state_dict().items())]
        learned = digest(method.encoder.fingerprint, type(adapter).__name__, repr(method.config), *tensors)
        self.fingerprint = digest("adapt", learned, str(self.frames))
        self.method, self.name = method.to(device()).eval(), name

    @property
    def preprocess(self) -> Preprocess:
        """See `Embedder`."""
        return self.method.encoder.image.preprocess

    @torch.no_grad()
    def images(self, pixels: Pixels) -> Float[Tensor, "b D"]:
        """See `Embedder`."""
        with products_in(self.precision, self.method.encoder.logit_scale.device):
            return unit(self.method.image_features(self.method.see(pixels)).float()).cpu()

    def texts(self, texts: Sequence[str]) -> Float[Tensor, "t D"]:
        """See `Embedder`."""
        rows = []
        for text in list_of_texts(texts):
            # a method needs a second class: one that it learned, which closed ones know, too
            other = next(one for one in self.method.class_names if spelt(one) != spelt(text))
            rows.append(self.method.for_classes([text, other]).head().classes[0])
        return unit(torch.stack(rows)).cpu()


def open_model(name: str, encoder: str | None = None, **towers: str | None) -> Embedder:
    """A run of align or adapt by its folder, or an encoder by a name of the zoo.

    Args:
        name: what stands in the collection later; a local path is noted whole.
        encoder: of a run of adapt, where its encoder is now, if it has moved.
        towers: as for `load`.

    Raises:
        ConfigError: a method that gives no rows for a search. FileError, TowerError, UnknownNameError: as `load`.
    """
    name = absolute(name)
    if is_of_the_zoo(name):
        check_name(name)
        if encoder is not None:
            raise ConfigError(f"{name}: is an encoder itself; --encoder is for a run of adapt.")
        return PlainEmbedder(load_encoder(name, **towers), name)
    return embedder(load(name, encoder, **towers), name)


def embedder(model: CAMPE | Classifier, name: str) -> AlignedEmbedder | AdaptedEmbedder:
    """What `load` opened.

    Raises:
        ConfigError: a method that gives no rows for a search.
    """
    return AlignedEmbedder(model, name) if isinstance(model, CAMPE) else AdaptedEmbedder(model, name)


def is_of_the_zoo(name: str) -> bool:
    """Whether a name is an encoder's: of the zoo, a file of weights, a folder of transformers or open_clip."""
    folder = Path(name)
    if is_on_hub(name):
        return False
    if not folder.is_dir():
        return True
    if (folder / "open_clip_config.json").is_file():
        return True
    if (folder / CONFIG).is_file() or (folder / "model").is_dir() or not (folder / "config.json").is_file():
        return False
    return b"polyprompt-campe" not in (folder / "config.json").read_bytes() and not (folder / "log.jsonl").exists()


def check_model(model: Embedder, name: str, fingerprint: str, what: str) -> None:
    """Refuses a model that a collection's rows were not made with.

    Raises:
        ConfigError: it is another one.
    """
    if model.fingerprint != fingerprint:
        raise ConfigError(
            f"{what}: was made with {name} ({fingerprint[:12]}), and {model.name} is another model, or has changed "
            f"({model.fingerprint[:12]}). Use the same weights, or index into another folder."
        )


def aspects_of(model: Embedder) -> int:
    """K, the segments that a row has; 1 where it has no parts."""
    return len(model.prompts) or 1
