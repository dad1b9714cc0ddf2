"""A method on disk: what was learned and how to build the rest, in the two files that PEFT uses for adapters.

adapter_config.json           method, settings, class names, the encoder's name and fingerprint
adapter_model.safetensors     the learned tensors alone: kilobytes to a few megabytes
manifest.json                 the hashes of both
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from polyprompt.adapt.adapter import method_name
from polyprompt.adapt.engine import Adapted, MethodConfig, build
from polyprompt.adapt.terms import TermConfig
from polyprompt.adapt.terms import config_of as term_config
from polyprompt.disk.files import check_manifest, read_json, whole_folder, write_json
from polyprompt.disk.tensors import read_tensors
from polyprompt.errors import FileError
from polyprompt.methods import check_own, config_of
from polyprompt.nn.finite import check_finite
from polyprompt.settings import checked
from polyprompt.towers.base import DualEncoder
from polyprompt.values import Values

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
FILES = (CONFIG, TENSORS)
TYPE = "POLYPROMPT"


def save(adapted: Adapted, folder: str | Path) -> None:
    """Writes a new folder, whole or not at all.

    Raises:
        FileError: it exists already, or cannot be written.
    """
    config = {
        "peft_type": TYPE,
        "base_model_name_or_path": adapted.encoder.name,
        "encoder_fingerprint": adapted.encoder.fingerprint,
        "encoder_dtype": "bf16" if adapted.encoder.dtype == torch.bfloat16 else "fp32",
        "method": method_name(adapted.config),
        "settings": asdict(adapted.config),  # pyright: ignore[reportArgumentType]
        "class_names": list(adapted.class_names),
        "twins": list(adapted.twins),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in adapted.adapter.state_dict().items()}
    with whole_folder(folder) as temporary:
        write_json(temporary / CONFIG, config)
        save_file(tensors, temporary / TENSORS)


def load_adapter(
    folder: str | Path,
    encoder: DualEncoder | None = None,
    *,
    open_encoder: Callable[[str, str | None], DualEncoder] | None = None,
) -> Adapted:
    """The method that was saved, to the last bit.

    Args:
        encoder: the one it was trained on. None: opened by the name in the folder.
        open_encoder: how to open it, by its name and the `TowerDtype` that it was trained in (None: not noted).

    Raises:
        FileError: damaged, not an adapter of ours, or trained on another encoder.
    """
    folder = Path(folder)
    check_manifest(folder, FILES)
    saved = read_json(folder / CONFIG)
    if not isinstance(saved, dict) or saved.get("peft_type") != TYPE:
        raise FileError(f"{folder / CONFIG}: not an adapter of polyprompt (peft_type is not {TYPE})")
    try:
        name, settings, class_names = saved["method"], saved["settings"], saved["class_names"]
        base, fingerprint = saved["base_model_name_or_path"], saved["encoder_fingerprint"]
    except KeyError as error:
        raise FileError(f"{folder / CONFIG}: lacks {error.args[0]}") from None
    if odd := [one for one in (name, base, fingerprint, saved.get("encoder_dtype", "")) if not isinstance(one, str)]:
        raise FileError(f"{folder / CONFIG}: damaged, {odd[0]!r:.60} stands in the place of a text")
    if not isinstance(settings, dict):
        raise FileError(f"{folder / CONFIG}: damaged, {settings!r:.60} stands in the place of settings")
    twins = saved.get("twins", [])
    for names in (class_names, twins):
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            raise FileError(f"{folder / CONFIG}: damaged, {names!r:.60} stands in the place of names of classes")
    check_own(name, str(folder / CONFIG))
    config = config_from(name, settings)
    if encoder is None:
        if open_encoder is None:
            raise FileError(f"{folder}: was trained on {base}; give that encoder")
        encoder = open_encoder(base, saved.get("encoder_dtype"))
    if encoder.fingerprint != fingerprint:
        raise FileError(
            f"{folder}: was trained on {base} with other weights or settings than {encoder.name} has; give that encoder"
        )
    adapted = build(config, encoder, class_names, twins=twins)
    _fill(adapted, folder / TENSORS)
    return adapted


def config_from(name: str, settings: Values, where: str = "") -> MethodConfig:
    """A config of method `name` from plain JSON; `where` is the file that it stands in, for the error.

    Raises:
        UnknownNameError: no such method.
        ConfigError: a setting that the method does not have, or a value of another type.
    """
    return checked(config_of(name), settings, where or name)


def term_from(name: str, settings: Values) -> TermConfig:
    """A config of term `name` from plain JSON.

    Raises:
        UnknownNameError: no such term.
        ConfigError: a setting that it does not have, or a value of another type.
    """
    return checked(term_config(name), settings, name)


@torch.no_grad()
def _fill(adapted: Adapted, path: Path) -> None:
    tensors = read_tensors(path)
    check_finite(tensors, path)
    adapted.adapter.take_shapes({name: tensor.shape for name, tensor in tensors.items()})
    state = adapted.adapter.state_dict(keep_vars=True)
    if tensors.keys() != state.keys():
        missing, extra = sorted(state.keys() - tensors.keys()), sorted(tensors.keys() - state.keys())
        raise FileError(f"{path}: lacks {', '.join(missing) or 'nothing'}, has unknown {', '.join(extra) or 'nothing'}")
    for key, value in state.items():
        if tensors[key].shape != value.shape:
            raise FileError(f"{path}: {key} is {list(tensors[key].shape)}, not {list(value.shape)}")
        value.copy_(tensors[key])
