"""A run folder, or a saved model's own folder -> what is in it, ready to use."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyprompt.campe import model as campe
from polyprompt.campe.encoder import CampeEncoder, load_encoder
from polyprompt.campe.model import CAMPE
from polyprompt.errors import ConfigError, FileError
from polyprompt.methods import config_of, saved
from polyprompt.methods.classifier import Classifier


def load(run: str | Path, encoder: Any = None) -> CAMPE | Classifier:
    """What `polyprompt align` trained, a CAMPE; or what `polyprompt adapt` or `import` made, a Classifier.

    Args:
        run: the folder.
        encoder: for a Classifier, the encoder that it was trained on; None: opened by the name that the folder gives.

    Raises:
        FileError: there is nothing, it is damaged, the run is not finished, or the encoder is another one.
    """
    folder = Path(run)
    own = folder / "model" if (folder / "model").is_dir() else folder
    if (own / saved.CONFIG).exists():
        return Classifier(saved.load(own, encoder, open_encoder=load_encoder))
    if (folder / "inputs.json").exists():
        raise FileError(f"{folder}: this run has no model yet; finish it with `polyprompt adapt ... --resume`.")
    return campe.load(folder)


def load_classifier(run: str | Path, class_names: Sequence[str] | None = None, encoder: Any = None) -> Classifier:
    """A classifier over the given classes, or over those that were trained; a CAMPE classifies as CLIP does, zero-shot.

    Raises:
        ConfigError: no classes, for a model that has none of its own. DataError: class names that cannot be.
        FileError: as `load`.
    """
    found = load(run, encoder)
    if isinstance(found, Classifier):
        return found if class_names is None else found.for_classes(class_names)
    if class_names is None:
        raise ConfigError(f"{run}: was trained on captions and has no classes of its own; name them (--classes a,b,c).")
    return Classifier(config_of("zeroshot")().build(CampeEncoder(found, str(run)), class_names))
