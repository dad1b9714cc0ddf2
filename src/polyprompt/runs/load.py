"""A run folder, or a saved model's own folder -> what is in it, ready to use."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyprompt.adapt.classifier import Classifier
from polyprompt.campe import model as campe
from polyprompt.campe.encoder import CampeEncoder
from polyprompt.campe.model import CAMPE
from polyprompt.disk.files import read_json
from polyprompt.errors import ConfigError, TowerError
from polyprompt.methods import config_of
from polyprompt.runs import saved
from polyprompt.runs.folder import check_has_model
from polyprompt.towers.clip import CLIP
from polyprompt.zoo.load import open_encoder


def load(run: str | Path, encoder: Any = None) -> CAMPE | Classifier:
    """What `polyprompt align` trained, a CAMPE; or what `polyprompt adapt` or `import` made, a Classifier.

    Args:
        run: the folder.
        encoder: for a Classifier, the encoder that it was trained on; None: opened by the name that the folder gives.

    Raises:
        FileError: there is nothing, it is damaged, the run is not finished, or the encoder is another one.
    """
    folder = Path(run)
    check_has_model(folder)
    own = folder / "model" if (folder / "model").is_dir() else folder
    if (own / saved.CONFIG).exists():
        return Classifier(saved.load(own, encoder, open_encoder=load_encoder))
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


def load_encoder(name: str) -> CLIP | CampeEncoder:
    """A dual encoder by name, frozen, in float32 on the CPU.

    A folder that `polyprompt align` wrote, a run or its model; else as in zoo/load.py: open_clip's zoo
    ("ViT-B-16/openai", "hf-hub:..."), transformers' CLIP and SigLIP (folder or hub id), OpenAI's own files.

    Raises:
        UnknownNameError: no such model in open_clip's zoo.
        TowerError: it cannot be opened, is of a kind that is not known here, or holds prompts alone.
        FileError: a file is damaged, or the run has no model yet.
    """
    folder = Path(name)
    check_has_model(folder)
    own = folder / "model" if (folder / "model").is_dir() else folder
    if (own / "adapter_config.json").is_file():
        base = read_json(own / "adapter_config.json").get("base_model_name_or_path")
        raise TowerError(f"{folder}: holds prompts that were trained on {base!r}, no encoder; give that one.")
    if (own / "config.json").is_file():
        config = read_json(own / "config.json")
        if isinstance(config, dict) and str(config.get("format")).startswith("polyprompt-campe"):
            return CampeEncoder(campe.load(own), name)
    return open_encoder(name)
