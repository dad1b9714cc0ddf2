"""A method on disk: what was learned and how to build the rest, in the two files that PEFT uses for adapters.

adapter_config.json           method, settings, class names, the encoder's name and fingerprint
adapter_model.safetensors     the learned tensors alone: kilobytes to a few megabytes
manifest.json                 the hashes of both
"""

from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from polyprompt.adapt.consistency import Consistency
from polyprompt.adapt.engine import Method
from polyprompt.disk.files import check_manifest, read_json, whole_folder, write_json
from polyprompt.errors import ConfigError, FileError, UnknownNameError
from polyprompt.methods import config_of

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
TYPE = "POLYPROMPT"


def save(method: Any, folder: str | Path) -> None:
    """Writes a new folder, whole or not at all.

    Raises:
        FileError: it exists already, or cannot be written.
    """
    module = type(method.config).__module__
    config = {
        "peft_type": TYPE,
        "base_model_name_or_path": method.encoder.name,
        "encoder_fingerprint": method.encoder.fingerprint,
        "method": module.removeprefix("polyprompt.methods."),
        "settings": asdict(method.config),
        "class_names": list(method.class_names),
    }
    tensors = {name: parameter.detach().cpu().contiguous() for name, parameter in method.learned().items()}
    with whole_folder(folder) as temporary:
        write_json(temporary / CONFIG, config)
        save_file(tensors, temporary / TENSORS)


def load(folder: str | Path, encoder: Any = None, *, open_encoder: Callable[[str], Any] | None = None) -> Method:
    """The method that was saved, to the last bit.

    Args:
        encoder: the one it was trained on. None: opened by the name in the folder.
        open_encoder: how to open it; `load_encoder` if not given.

    Raises:
        FileError: damaged, not an adapter of ours, or trained on another encoder.
    """
    folder = Path(folder)
    check_manifest(folder)
    saved = read_json(folder / CONFIG)
    if not isinstance(saved, dict) or saved.get("peft_type") != TYPE:
        raise FileError(f"{folder / CONFIG}: not an adapter of polyprompt (peft_type is not {TYPE})")
    try:
        name, settings, class_names = saved["method"], saved["settings"], saved["class_names"]
        base, fingerprint = saved["base_model_name_or_path"], saved["encoder_fingerprint"]
    except KeyError as error:
        raise FileError(f"{folder / CONFIG}: lacks {error.args[0]}") from None
    config = config_from(name, settings)
    if encoder is None:
        if open_encoder is None:
            from polyprompt.zoo.load import open_encoder as open_encoder
        encoder = open_encoder(base)
    if encoder.fingerprint != fingerprint:
        raise FileError(
            f"{folder}: was trained on {base} with other weights than {encoder.name} has; give that encoder"
        )
    method = config.build(encoder, class_names)
    _fill(method, folder / TENSORS)
    return method


def config_from(name: str, settings: dict[str, Any]) -> Any:
    """A config of method `name` from plain JSON.

    Raises:
        UnknownNameError: a setting that the method does not have.
        ConfigError: a value of another type.
    """
    kind = config_of(name)
    known = {field.name for field in fields(kind)}
    for key in settings:
        if key not in known:
            raise UnknownNameError(f"setting of {name}", key, known)
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}
    if isinstance(values.get("consistency"), dict):
        values["consistency"] = _consistency(name, values["consistency"])
    hints = get_type_hints(kind)
    for key, value in values.items():
        values[key] = _typed(name, key, value, hints[key])
    return kind(**values)


def _consistency(name: str, settings: dict[str, Any]) -> Consistency:
    known = {field.name for field in fields(Consistency)}
    for key in settings:
        if key not in known:
            raise UnknownNameError(f"setting of {name}'s consistency", key, known)
    hints = get_type_hints(Consistency)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    return Consistency(**{key: _typed(name, key, value, hints[key]) for key, value in values.items()})


def _typed(name: str, key: str, value: Any, hint: Any) -> Any:
    """`value`, once it is clear that its type is that of the field; whole numbers serve for floats."""
    if get_origin(hint) is tuple:
        fits, expected = isinstance(value, tuple) and all(isinstance(item, str) for item in value), "a list of texts"
    else:
        if hint is float and type(value) is int:
            value = float(value)
        fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
        expected = f"of type {getattr(hint, '__name__', hint)}"
    if not fits:
        raise ConfigError(f"{name}: {key} is {value!r}; it must be {expected}")
    return value


@torch.no_grad()
def _fill(method: Any, path: Path) -> None:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise FileError(f"{path}: cannot be read ({error})") from None
    learned = method.learned()
    if tensors.keys() != learned.keys():
        missing, extra = sorted(learned.keys() - tensors.keys()), sorted(tensors.keys() - learned.keys())
        raise FileError(f"{path}: lacks {', '.join(missing) or 'nothing'}, has unknown {', '.join(extra) or 'nothing'}")
    for key, parameter in learned.items():
        if tensors[key].shape != parameter.shape:
            raise FileError(f"{path}: {key} is {list(tensors[key].shape)}, not {list(parameter.shape)}")
        parameter.copy_(tensors[key])
