"""A run or an encoder as mteb evaluates models: texts, pictures, and pairs of them, by that library's own tasks.

    model = polyprompt.to_mteb("runs/photos")
    mteb.evaluate(model, mteb.get_tasks(tasks=["STSBenchmark.v2", "Flickr30kT2IRetrieval"]), cache=None)

Where an item has a text and a picture, their rows are added, as mteb's own CLIP wrappers do.
"""

from pathlib import Path

import torch
from torch import Tensor

from polyprompt.errors import ConfigError, install
from polyprompt.search.models import Embedder, open_model
from polyprompt.towers.encoder import pixel_batches
from polyprompt.values import Foreign

try:
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta, ScoringFunction
except ImportError:
    raise ConfigError(f"this needs the package mteb; {install('mteb')}") from None


class MTEBModel(AbsEncoder):
    """What `mteb.evaluate` takes."""

    def __init__(self, model: Embedder) -> None:
        self.model = model
        self.mteb_model_meta = _meta(model)

    @torch.no_grad()
    def encode(self, inputs: Foreign, **_: object) -> Foreign:
        """One row an item of the loader, [n, D]; batches have "text", "image", or both."""
        return torch.cat([torch.stack(self._parts(batch)).sum(dim=0) for batch in inputs]).numpy()

    def _parts(self, batch: Foreign) -> list[Tensor]:
        """Rows of a batch's texts and of its pictures.

        Raises:
            ConfigError: a task of something else.
        """
        parts = []
        if "text" in batch:
            parts.append(self.model.texts(batch["text"]))
        if "image" in batch:
            pixels = pixel_batches([picture.convert("RGB") for picture in batch["image"]], self.model.preprocess)
            parts.append(torch.cat([self.model.images(part) for part in pixels]))
        if not parts:
            raise ConfigError(
                f"{self.model.name}: this task is of {', '.join(batch)}; only texts and pictures are read"
            )
        return parts


def _meta(model: Embedder) -> ModelMeta:
    return ModelMeta(
        loader=None,
        name=f"polyprompt/{Path(model.name).name}",
        revision=model.fingerprint[:12],
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=None,
        embed_dim=model.texts(["a"]).shape[-1],
        license=None,
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=False,
        training_datasets=None,
        modalities=["text", "image"],
    )


def to_mteb(name: str | Path, encoder: str | None = None, **towers: str | None) -> MTEBModel:
    """A run of `align` or `adapt` by its folder, or an encoder of the zoo by its name, for `mteb.evaluate`.

    Args:
        name, encoder, towers: as `open_model` takes them.

    Raises:
        ConfigError, FileError, TowerError, UnknownNameError: as `open_model`.
    """
    return MTEBModel(open_model(str(name), encoder, **towers))
