"""A run folder, or a saved model's own folder -> what is in it, ready to use."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import build
from polyprompt.campe.encoder import CampeEncoder
from polyprompt.campe.model import CAMPE, MOVED, held_in
from polyprompt.disk.files import read_json
from polyprompt.disk.hub import fetched, is_on_hub
from polyprompt.disk.places import nearby
from polyprompt.errors import ConfigError, FileError, TowerError, UnknownNameError
from polyprompt.methods import ZERO_SHOT, config_of
from polyprompt.runs import saved
from polyprompt.runs.folder import absolute, check_has_model
from polyprompt.towers.encoder import Encoder
from polyprompt.zoo.load import open_encoder


def load(
    run: str | Path,
    encoder: Encoder | str | Path | None = None,
    *,
    text_tower: str | None = None,
    image_tower: str | None = None,
    tower_dtype: str | None = None,
) -> CAMPE | Classifier:
    """What `polyprompt align` trained, a CAMPE; or what `polyprompt adapt` or `import` made, a Classifier.

    It opens wherever its folder lies. Towers and encoders are looked for where they were; where they are now can be
    said, and their fingerprints are compared.

    Args:
        run: the folder; or `hf:OWNER/NAME`, what `polyprompt push` put on the hub.
        encoder: for a Classifier, the encoder that it was trained on, open or by its name.
        text_tower: for a CAMPE, or an encoder that is one: where its text tower is now, if it has moved.
        image_tower: the same for its image tower.
        tower_dtype: auto, fp32 or bf16, of frozen blocks (a CAMPE's text tower's), if not as it was trained.

    Raises:
        FileError: there is nothing, it is damaged, the run is not finished, or a tower or the encoder is another one.
        TowerError: a tower or the encoder cannot be opened.
        ConfigError: `encoder` for a CAMPE, which has none.
    """
    towers = {"text_tower": text_tower, "image_tower": image_tower, "tower_dtype": tower_dtype}
    folder = model_folder(run)
    if not (folder / saved.CONFIG).exists():
        if encoder is not None:
            raise ConfigError(f"{run}: was made by align and stands on no encoder; say where its towers are: {MOVED}.")
        return CAMPE.from_pretrained(folder, **towers)
    place = None
    if isinstance(encoder, str | Path):
        place, encoder = str(encoder), None

    def opened(name: str, trained_in: str | None) -> Encoder:
        as_trained = towers | {"tower_dtype": tower_dtype or trained_in}
        return _encoder_of(folder, name, as_trained) if place is None else load_encoder(place, **as_trained)

    return Classifier(saved.load_adapter(folder, encoder, open_encoder=opened))


def load_aligned(run: str | Path, **towers: str | None) -> CAMPE:
    """The model of a run of `align`, and of no other; `towers` as for `load`.

    Raises:
        FileError, TowerError: as `load`; and for a run of `adapt`.
    """
    folder = model_folder(run)
    if (folder / saved.CONFIG).exists():
        raise FileError(f"{run}: was made by adapt and tells classes apart; give a run of align.")
    return CAMPE.from_pretrained(folder, **towers)


def model_folder(run: str | Path) -> Path:
    """Where the model of a run lies; a saved model's own folder is one, too, and one that sentence-transformers wrote.

    What is called `hf:OWNER/NAME` is fetched from the hub (disk/hub.py).

    Raises:
        FileError: the run has no model yet, or it cannot be fetched.
    """
    if is_on_hub(run):
        return fetched(run)
    run = Path(run)
    if not os.path.exists(run):
        raise FileError(f"{run}: no such folder.{nearby(run)} Give a run's folder.")
    check_has_model(run)
    places = [run / "model", *sorted(run.glob("[0-9]_Towers/model"))]  # the latter: skins/sentence_transformers.py
    return next((place for place in places if place.is_dir()), run)


def _encoder_of(folder: Path, name: str, towers: Mapping[str, str | None]) -> Encoder:
    """The encoder that a saved adapter names."""
    try:
        return load_encoder(name, **towers)
    except (TowerError, UnknownNameError) as error:
        raise TowerError(
            f"{folder}: was trained on {name}, which cannot be opened ({error}) If it has moved, say where: --encoder, "
            "encoder= in Python."
        ) from None


def load_classifier(
    run: str | Path,
    class_names: Sequence[str] | None = None,
    encoder: Encoder | str | Path | None = None,
    task: str | None = None,
    **towers: str | None,
) -> Classifier:
    """A classifier over the given classes, or over those that were trained; a CAMPE classifies as CLIP does, zero-shot.

    Args:
        run, encoder, towers: as for `load`.
        class_names: instead of those that were trained.
        task: of a run on several tasks, the one at work; the first if not given.

    Raises:
        ConfigError: no classes, for a model that has none of its own; no such task. FileError: as `load`.
        DataError: class names that cannot be.
    """
    model = load(run, encoder, **towers)
    if isinstance(model, Classifier):
        model = model if task is None else model.for_task(task)
        return model if class_names is None else model.for_classes(class_names)
    if task is not None:
        raise ConfigError(f"{run}: was trained on captions and has no task called {task!r}; leave --task out.")
    if class_names is None:
        raise ConfigError(f"{run}: was trained on captions and has no classes of its own; name them (--classes a,b,c).")
    return zero_shot(model, str(run), class_names)


def zero_shot(
    model: CAMPE, name: str, class_names: Sequence[str], templates: Sequence[str] = (), *, twins: Sequence[str] = ()
) -> Classifier:
    """A model of captions as a classifier; its sentences are zero-shot's own unless `templates` are given."""
    config = config_of(ZERO_SHOT)(**({"templates": tuple(templates)} if templates else {}))
    return Classifier(build(config, CampeEncoder(model, name), class_names, twins=twins))


def load_encoder(
    name: str | Path, *, text_tower: str | None = None, image_tower: str | None = None, tower_dtype: str | None = None
) -> Encoder:
    """A dual encoder by name, frozen, on the CPU.

    A folder that `polyprompt align` wrote, a run or its model; else as in zoo/load.py: open_clip's zoo
    ("ViT-B-16/openai", "hf-hub:..."), transformers' CLIP and SigLIP (folder or hub id), OpenAI's own files.

    Args:
        name: noted with its whole path if it is a file or folder.
        text_tower: of what `align` wrote, where its text tower is now, if it has moved.
        image_tower: the same for its image tower.
        tower_dtype: auto, fp32 or bf16, of frozen blocks: of what `align` wrote as for `load`, of others fp32 if none
            is given.

    Raises:
        UnknownNameError: no such model in open_clip's zoo. ConfigError: towers for one that align did not write.
        TowerError: it cannot be opened, is of a kind that is not known here, or holds prompts alone.
        FileError: a file is damaged, or the run has no model yet.
    """
    name = absolute(str(name))
    folder = model_folder(name) if is_on_hub(name) or os.path.exists(name) else Path(name)
    if (folder / saved.CONFIG).is_file():
        config = read_json(folder / saved.CONFIG)
        base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
        raise TowerError(f"{name}: holds prompts that were trained on {base!r}, no encoder; give that one.")
    if (folder / "config.json").is_file():
        config = read_json(folder / "config.json")
        if isinstance(config, dict) and str(config.get("format")).startswith("polyprompt-campe"):
            towers = {"text_tower": text_tower, "image_tower": image_tower, "tower_dtype": tower_dtype}
            return CampeEncoder(CAMPE.from_pretrained(folder, **towers), name)
    if text_tower is not None or image_tower is not None:
        raise ConfigError(f"{name}: was not made by align, so it has no towers with places of their own.")
    return open_encoder(name, held_in(tower_dtype or "fp32"))
