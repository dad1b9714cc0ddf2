"""A run as a `SentenceTransformer`: encode, similarity, evaluators, save and reload, by that library's own code.

`SentenceTransformer(folder)` opens classes of its own package alone; a folder saved here names one of ours, so it asks
for `trust_remote_code=True`, and then imports this module, which is installed; the folder holds no code. Without that
word: `to_sentence_transformer(folder)`.

A call takes texts, or pictures (PIL, or {"image": path or PIL}), not both: sentence-transformers refuses a mixture. A
plain string is a text, even one that is a path. Rows have no gradient: a run is trained by `align` and `adapt`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from PIL import Image
from torch import Tensor

from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import Adapted
from polyprompt.campe.model import CAMPE
from polyprompt.errors import ConfigError, DataError, install
from polyprompt.inputs import Picture
from polyprompt.media.pictures import open_picture
from polyprompt.progress import step
from polyprompt.runs.load import load
from polyprompt.runs.saved import save
from polyprompt.search.models import AlignedEmbedder, embedder
from polyprompt.values import Values

try:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modality_types import Modality, PairInput, SingleInput
    from sentence_transformers.base.modules import InputModule
except ImportError:
    raise ConfigError(f"this needs the package sentence-transformers; {install('sentence-transformers')}") from None

Features: TypeAlias = dict[str, Tensor | list[str]]
"""What runs through the modules: "texts" or "pixels" on the way in, "sentence_embedding" on the way out."""


class Towers(InputModule):
    """Both towers of a run as one module of that library; what it is called stands in the folders that it saves.

    Args:
        model: what `load` opened.
        name: where from.
    """

    save_in_root = False  # there its README would take the place of the model's own, whose hash is in the manifest

    def __init__(self, model: CAMPE | Classifier, name: str) -> None:
        super().__init__()
        self.embedder = embedder(model, name)
        # Parameters would show sentence-transformers the decoder inside, which it would take for a whole one.
        self.register_buffer("here", torch.empty(0), persistent=False)

    @property
    def towers(self) -> CAMPE | Adapted:
        """The module inside, with the parameters that this one does not show."""
        return self.embedder.model if isinstance(self.embedder, AlignedEmbedder) else self.embedder.method

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Towers":
        self.towers._apply(fn)
        return super()._apply(fn, recurse)

    @property
    def modalities(self) -> list[Modality]:
        """What can be encoded."""
        return ["text", "image"]

    @property
    def max_seq_length(self) -> int:
        """Tokens of a text that are read."""
        towers = self.towers
        return towers.settings.text.max_tokens if isinstance(towers, CAMPE) else towers.encoder.text.max_tokens

    def get_embedding_dimension(self) -> int:
        """D, numbers in a row."""
        return self.towers.settings.dim if isinstance(self.towers, CAMPE) else self.towers.encoder.dim

    def preprocess(self, inputs: Sequence[SingleInput | PairInput], prompt: str | None = None, **_: object) -> Features:
        """Texts behind the prompt, or the pixels of pictures.

        Raises:
            DataError: something that is neither, or both in one call. ImageError: a picture that cannot be read.
        """
        items = [_kind(item) for item in inputs]
        if all(kind == "text" for kind, _ in items):
            return {"texts": [(prompt or "") + str(text) for _, text in items]}
        if not all(kind == "image" for kind, _ in items):
            raise DataError("texts and pictures in one call; encode each kind by itself")
        return {"pixels": torch.stack([self.embedder.preprocess(open_picture(picture)) for _, picture in items])}

    def forward(self, features: Features, **_: object) -> Features:
        """What `preprocess` made, with unit rows as `sentence_embedding`."""
        match features:
            case {"pixels": Tensor() as pixels}:
                rows = self.embedder.images(pixels)
            case {"texts": list(texts)}:
                rows = self.embedder.texts(texts)
            case _:
                raise DataError(f"features {', '.join(features)}; give what `preprocess` makes: texts or pixels")
        return {**features, "sentence_embedding": rows}

    def save(self, output_path: str, *_: object, **__: object) -> None:
        """The model whole, in a folder `model`, as a run has it.

        Raises:
            FileError: there is one already.
        """
        folder = Path(output_path) / "model"
        if isinstance(self.towers, CAMPE):
            self.towers.save_pretrained(folder)
        else:
            save(self.towers, folder)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: Values | None = None,
        **_: object,
    ) -> "Towers":
        """What was saved, from a folder or from the hub; arguments as that library hands them over."""
        folder = cls.load_dir_path(model_name_or_path, subfolder, token, cache_folder, revision, local_files_only)
        return cls(load(str(folder)), model_name_or_path)


def _kind(item: SingleInput | PairInput) -> tuple[str, Picture]:
    """ "text" or "image", and the thing itself."""
    match item:
        case str():
            return "text", item
        case Image.Image():
            return "image", item
        case {"text": str(text), **rest} if not rest:
            return "text", text
        case {"image": str() | Path() | Image.Image() as picture, **rest} if not rest:
            return "image", picture
    raise DataError(f'{item!r:.60}: is neither a text nor a picture; give a str, a PIL picture, or {{"image": path}}')


def to_sentence_transformer(
    run: str | Path, encoder: str | Path | None = None, **towers: str | None
) -> SentenceTransformer:
    """A run of `align` or `adapt`, or what `SentenceTransformer.save_pretrained` made of one, as that library has it.

    Args:
        run, encoder, towers: as for `load`.

    Raises:
        FileError, TowerError: as `load`. ConfigError: a method that gives no rows (search/models.py).
    """
    with step(f"Opening {run}"):
        module = Towers(load(run, encoder, **towers), str(run))
    return SentenceTransformer(modules=[module], trust_remote_code=False, similarity_fn_name="cosine")
