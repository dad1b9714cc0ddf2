"""A new model that starts from what a run of `align` has learned."""

import torch

from polyprompt.campe.model import CAMPE, TENSORS, read_config
from polyprompt.disk.files import sha256
from polyprompt.disk.tensors import read_tensors
from polyprompt.errors import ConfigError
from polyprompt.nn.finite import check_finite
from polyprompt.progress import say
from polyprompt.runs.load import model_folder


@torch.no_grad()
def start_from(model: CAMPE, run: str) -> str:
    """Puts the learned tensors of a run into a new model; what the new one has besides stays as it is, and is told.

    Returns:
        The sha256 of the file with the tensors.

    Raises:
        FileError: there is no model, or it is damaged.
        ConfigError: other towers; a tensor that the new model has no place for, or one of another shape; adaptive
            tokens that live elsewhere, whose numbers mean something else.
    """
    folder = model_folder(run)
    settings, fingerprints = read_config(folder)
    actual = {"text": model.text.llm.fingerprint, "image": model.image.tower.fingerprint}
    for side, expected in fingerprints.items():
        if actual[side] != expected:
            tower = getattr(settings, side).tower
            raise ConfigError(
                f"{run}: was trained on another {side} tower, {tower!r} ({expected[:12]}); give that one."
            )
    saved, learned = read_tensors(folder / TENSORS), model.learned()
    if "text.vectors" in saved and settings.text.adaptive != model.settings.text.adaptive:
        raise ConfigError(f"{run}: its text.adaptive is {settings.text.adaptive!r}; give the same one.")
    lost = sorted(saved.keys() - learned.keys())
    if lost:
        raise ConfigError(
            f"{run}: has learned {_some(lost)}, for which this model has no place; give the same settings."
        )
    other = [name for name in saved if saved[name].shape != learned[name].shape]
    if other:
        name = other[0]
        raise ConfigError(
            f"{run}: {name} is {list(saved[name].shape)} there and {list(learned[name].shape)} here; give the settings "
            "that it was trained with."
        )
    check_finite(saved, folder / TENSORS)
    new = sorted(learned.keys() - saved.keys())
    if new:
        say(f"Starting from {run}; it does not have {_some(new)}, which start anew.")
    for name, tensor in saved.items():
        learned[name].copy_(tensor)
    return sha256(folder / TENSORS)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
