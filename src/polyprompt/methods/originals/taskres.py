"""TaskRes's checkpoints: the residuals, and beside them the frozen class vectors."""

from pathlib import Path

import torch
from torch import Tensor

from polyprompt.adapt.engine import Adapted
from polyprompt.errors import FileError
from polyprompt.methods import taskres
from polyprompt.methods.originals.layout import Checkpoint, Layout, Settings, Tensors

RESIDUALS, BASE = "prompt_learner.text_feature_residuals", "prompt_learner.base_text_features"


def _settings(read: Checkpoint) -> Settings:
    read.shape(RESIDUALS)
    return {}


def _check(method: Adapted, tensors: Tensors, file: Path) -> None:
    """Compares the frozen class vectors in a file with those that the templates give.

    Raises:
        FileError: they are missing, or others.
    """
    base, ours, config = tensors.pop(BASE, None), base_vectors(method), method.config
    assert isinstance(config, taskres.Config)
    if base is None or base.shape != ours.shape or not (base - ours).abs().max() <= 0.02 * ours.abs().max():
        raise FileError(
            f"{file}: its base_text_features are not what {', '.join(map(repr, config.templates))} "
            f"gives for {len(method.class_names)} classes; other class names, templates or another encoder"
        )


@torch.no_grad()
def base_vectors(method: Adapted) -> Tensor:
    """TaskRes's frozen class vectors."""
    text = method.encoder.text
    rows = method.adapter.rows(text, method.class_names)
    vectors = torch.cat(list(text.below(text.prepare(rows), None)))
    return vectors.unflatten(0, (len(method.class_names), -1)).mean(dim=1).float().cpu()


LAYOUTS = {
    "taskres": Layout(
        folders=("prompt_learner",),
        alone="prompt_learner.",
        theirs=lambda name: RESIDUALS,
        settings=_settings,
        check=_check,
        beside=lambda method: {BASE: base_vectors(method)},
    ),
}
