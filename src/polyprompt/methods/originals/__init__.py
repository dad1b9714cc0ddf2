"""Checkpoints of the authors' programs, read and written; what a method's own hold stands in a file of this folder.

Their layout is `<folder>/<name>/model.pth.tar-<epoch>`, a pickle whose `state_dict` holds the learned tensors and, for
most, the frozen model (KaiyangZhou/Dassl.pytorch, `save_model`). Read here without executing anything
(disk/foreign.py). Where the authors' loader passes over misspelt, missing and misshapen keys, this one names them.
Class names are not in the files, but the vectors of their words are: they are looked up in the encoder's vocabulary.
"""

import os
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from polyprompt.adapt.adapter import method_name
from polyprompt.adapt.engine import Adapted, MethodConfig
from polyprompt.adapt.wording import context_ids, context_rows
from polyprompt.disk.files import write_text
from polyprompt.disk.foreign import read_foreign
from polyprompt.disk.places import nearby
from polyprompt.errors import ConfigError, FileError, UnknownNameError
from polyprompt.methods import config_of, maple
from polyprompt.methods.originals.layout import Checkpoint, Files, Layout, coupled_name, fitted, prompt_name, written
from polyprompt.nn.finite import check_finite
from polyprompt.settings import checked
from polyprompt.towers.clip import CLIP, ImageTransformer, TextTransformer
from polyprompt.towers.encoder import Encoder
from polyprompt.values import Values

TOKENS = re.compile(r"prompt_learner\.token_(prefix|suffix|suffix_test)$")
"""What a context stands between."""


def _layouts() -> dict[str, Layout | Files]:
    """The layouts that the files of this folder hold, by method."""
    stems = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "layout"))
    modules = [import_module(f"{__name__}.{stem}") for stem in stems]
    return {name: layout for module in modules for name, layout in module.LAYOUTS.items()}


LAYOUTS = _layouts()
"""By method."""


def original_names(method: Adapted) -> dict[str, str]:
    """The authors' name of each learned tensor, as their `named_parameters` has it."""
    layout = LAYOUTS.get(method_name(method.config))
    plain = coupled_name if isinstance(method.adapter, maple.MaPLe) else prompt_name
    theirs = plain if layout is None else layout.theirs
    return {name: theirs(name) for name in method.learned()}


# Reading


def import_original(
    name: str,
    path: str | Path,
    encoder: Encoder,
    class_names: Sequence[str] | None = None,
    *,
    epoch: int | None = None,
    words: str | None = None,
    position: str = "end",
    settings: Values | None = None,
) -> Adapted:
    """A method with the prompts of an authors' checkpoint.

    Args:
        name: the method, "maple" for example.
        path: the file, the folder it is in, or the run's output folder.
        encoder: the CLIP it was trained on; frozen weights in the file are compared with it.
        class_names: None: those that it was trained on, from the vectors in the file (lower case, as CLIP reads them).
        epoch: None: the last one.
        words: the trainer's CTX_INIT, if it was not "a photo of a" (random where it has more than 4 vectors).
        position: CoOp's CLASS_TOKEN_POSITION, which the file does not hold.
        settings: of newer methods, what the file does not hold: template, alpha, scale; else as published.

    Raises:
        FileError: missing, damaged, with more in it than plain tensors, or with tensors that do not fit.
    """
    layout, path = located(name, path, class_names, epoch)
    needs_names = isinstance(layout, Files) or layout.needs_names
    if settings and not needs_names:
        raise ConfigError(f"{name}: takes no settings here; words and position say what its checkpoint does not")
    if not (isinstance(encoder, CLIP) and isinstance(encoder.text, TextTransformer)):
        raise ConfigError(
            f"{encoder.name}: published checkpoints prompt CLIP's own text tower, not one of another kind"
        )
    if isinstance(layout, Files):
        return layout.read(path, encoder, class_names or (), settings or {})
    file, tensors = path, _state_of(path, name, layout.alone)
    read = Checkpoint(
        name=name, file=file, tensors=tensors, encoder=encoder, given=settings or {}, words=words, position=position
    )
    values = layout.settings(read) | dict(read.given) | ({"words": words} if needs_names and words is not None else {})
    config = checked(config_of(name), values, str(file))
    if class_names is None:
        class_names = _class_names(tensors, encoder.text, config, file)
    method = fitted(config, encoder, class_names, file)
    layout.check(method, tensors, file)
    _check_frozen(tensors, method, layout, file)
    _fill(method, tensors, file)
    return method


def located(
    name: str, path: str | Path, class_names: Sequence[str] | None, epoch: int | None
) -> tuple[Layout | Files, Path]:
    """What a method's checkpoint holds, and where it lies; all that can be said without its encoder is said here.

    Raises:
        UnknownNameError: a method without published checkpoints.
        FileError: there is no checkpoint, or it does not say which classes it was trained on.
    """
    layout = LAYOUTS.get(name)
    if layout is None:
        raise UnknownNameError("method with published checkpoints", name, LAYOUTS)
    path = Path(path)
    if not os.path.exists(path):
        raise FileError(f"{path}: no such file or folder.{nearby(path)} Give a checkpoint, or the folder of one.")
    if class_names is None and (isinstance(layout, Files) or layout.needs_names):
        raise FileError(f"{path}: does not say which classes it was trained on; give their names")
    return layout, path if isinstance(layout, Files) else find(path, layout, epoch)


def _state_of(file: Path, name: str, alone: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint, under their names in the whole model."""
    content = read_foreign(file)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise FileError(f"{file}: no state_dict of tensors in it; a checkpoint of {name} has one")
    prefix = "" if any(key.startswith(alone) for key in state) else alone
    return {prefix + key: value.float() for key, value in state.items()}


@torch.no_grad()
def _fill(method: Adapted, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Puts them where they belong."""
    for ours, theirs in original_names(method).items():
        parameter = method.learned()[ours]
        if parameter.shape != tensors[theirs].shape:
            raise FileError(
                f"{file}: {theirs} is {list(tensors[theirs].shape)}, {method.encoder.name} needs "
                f"{list(parameter.shape)}; the checkpoint was trained on another encoder"
            )
        check_finite({theirs: tensors[theirs]}, file)
        parameter.copy_(tensors[theirs])


def find(path: Path, layout: Layout, epoch: int | None) -> Path:
    """The checkpoint file in a run's output folder.

    Raises:
        FileError: there is none.
    """
    if path.is_file():
        return path
    folder = next((path / one for one in layout.folders if (path / one).is_dir()), path)
    files = {int(m[1]): file for file in folder.glob("model.pth.tar-*") if (m := re.search(r"-(\d+)$", file.name))}
    if not files or (epoch is not None and epoch not in files):
        name = f"model.pth.tar-{'N' if epoch is None else epoch}"
        have = f" (there are epochs {', '.join(map(str, sorted(files)))})" if files else ""
        raise FileError(f"{path}: no {layout.folders[0]}/{name} in it{have}")
    return files[max(files) if epoch is None else epoch]


def _class_names(tensors: Mapping[str, Tensor], text: TextTransformer, config: MethodConfig, file: Path) -> list[str]:
    """Class names from the word vectors behind the context."""
    suffix = tensors.get("prompt_learner.token_suffix")
    if suffix is None or text.tokenizer.decode is None:
        raise FileError(f"{file}: does not say which classes it was trained on; give their names")
    if suffix.shape[-1] != text.width:
        raise FileError(
            f"{file}: its words have {suffix.shape[-1]} numbers, this text tower's {text.width}; the checkpoint was "
            f"trained on another encoder"
        )
    words, end = getattr(config, "words", ""), text.tokenizer.end[0]
    rest = text.words(words)[config_context(config) :] if words else []
    table, names = text.token_embedding.weight, []
    for row in suffix:
        ids = torch.cdist(row[: text.max_tokens], table).argmin(dim=1).tolist()
        ids = ids[: ids.index(end)] if end in ids else ids
        if ids[: len(rest)] != rest:
            raise FileError(
                f"{file}: its prompts do not go on with {text.tokenizer.decode(rest)!r}, so its context did not start "
                f"from {words!r}; pass the words it was trained with"
            )
        names.append(text.tokenizer.decode(ids[len(rest) :]).strip().removesuffix(".").strip())
    return names


def config_context(config: MethodConfig) -> int:
    """The number of context vectors in the text."""
    return next(getattr(config, field) for field in ("text_context", "context") if hasattr(config, field))


def frozen_tensors(encoder: CLIP) -> dict[str, Tensor]:
    """An encoder's weights under the authors' names; they leave out the word vectors."""
    tensors = {"logit_scale": encoder.logit_scale}
    for prefix, tower in (("image_encoder.", encoder.image), ("text_encoder.", encoder.text)):
        assert isinstance(tower, nn.Module)
        tensors |= {prefix + key: value for key, value in tower.state_dict().items() if key != "token_embedding.weight"}
    return tensors


def _check_frozen(tensors: Mapping[str, Tensor], method: Adapted, layout: Layout, file: Path) -> None:
    """Every key of the file is known, none is missing, and the frozen ones are the encoder's.

    Raises:
        FileError: names the first key that is wrong.
    """
    encoder = method.encoder
    assert isinstance(encoder, CLIP)
    learned = set(original_names(method).values())
    ours = frozen_tensors(encoder)
    ours |= layout.frozen(ours)
    left = re.compile(layout.left)
    theirs = {k: v for k, v in tensors.items() if k not in learned and not left.match(k) and not TOKENS.match(k)}
    towers = {key.split(".")[0] for key in theirs}
    expected = {key for key in ours if key.split(".")[0] in towers}

    for key in sorted(learned - tensors.keys()) + sorted(expected - theirs.keys()):
        raise FileError(f"{file}: lacks {key}; it is damaged, or not a checkpoint of this method")
    for key, tensor in sorted(theirs.items()):
        if key not in ours:
            raise FileError(
                f"{file}: has the unknown key {key}; misspelt, or a checkpoint of another method or encoder"
            )
        if tensor.shape != ours[key].shape:
            raise FileError(
                f"{file}: {key} is {list(tensor.shape)}, in {encoder.name} {list(ours[key].shape)}; the checkpoint was "
                f"trained on another encoder"
            )
        apart = (tensor - ours[key].cpu()).abs().max()
        if not apart <= 0.02 * ours[key].abs().max():  # half precision and averaging move weights far less
            raise FileError(f"{file}: {key} has other values than in {encoder.name}; it was trained on another encoder")


# Writing


def export_original(method: Adapted, folder: str | Path, epoch: int) -> Path:
    """Writes a method's prompts as its authors' program would, for their loader; returns the file.

    Raises:
        ConfigError: a method, a setting or an encoder that their programs do not know.
        FileError: the file exists already, or cannot be written.
    """
    name, encoder = method_name(method.config), method.encoder
    layout = LAYOUTS.get(name)
    if layout is None:
        raise ConfigError(
            f"method {name}: no checkpoint layout of its authors is known here; export one of {', '.join(LAYOUTS)}"
        )
    if not isinstance(encoder, CLIP) or not _openai_like(encoder):
        raise ConfigError(f"{encoder.name}: the authors' programs know OpenAI's vision transformers only")
    if isinstance(layout, Files):
        return layout.write(method, Path(folder))
    for field in layout.begins:
        if start := getattr(method.config, field, 0):
            raise ConfigError(f"{name}: {field} is {start}; the authors' prompts enter at block 0")
    names = original_names(method)
    state = {names[ours]: value.detach().float().cpu() for ours, value in method.learned().items()}
    state |= layout.beside(method) | (_token_buffers(method) if layout.words else {})
    whole = not layout.alone or layout.whole(method.config)
    if whole:
        frozen = layout.frozen(frozen_tensors(encoder))
        state = {key: _narrow(value) for key, value in frozen.items()} | state
    else:
        state = {key.removeprefix(layout.alone): value for key, value in state.items()}
    file = Path(folder) / layout.folders[-1 if whole else 0] / f"model.pth.tar-{epoch}"
    written(file, {"state_dict": state, "epoch": epoch, "optimizer": None, "scheduler": None, "val_result": None})
    write_text(file.parent / "checkpoint", f"{file.name}\n")
    return file


def _openai_like(encoder: CLIP) -> bool:
    image, text = encoder.image, encoder.text
    return (
        isinstance(image, ImageTransformer)
        and isinstance(text, TextTransformer)
        and image.readout == "class"
        and text.causal
        and not any("ls_1" in key or key in ("conv1.bias", "proj_bias") for key in image.state_dict())
    )


def _token_buffers(method: Adapted) -> dict[str, Tensor]:
    """Vectors of the start token, and of what follows the context when the class name stands behind it."""
    text, config = method.encoder.text, method.config
    assert isinstance(text, TextTransformer)
    count = config_context(config)
    rows = context_rows(text, context_ids(text, count, getattr(config, "words", "")), method.class_names)
    prefix, suffix = [], []
    for row in rows:
        full = [*text.tokenizer.start, *row, *text.tokenizer.end]
        full += [text.tokenizer.pad] * (text.length - len(full))
        prefix.append(text.vectors(full[:1]))
        suffix.append(text.vectors(full[1 + count :]))
    return {
        "prompt_learner.token_prefix": _narrow(torch.stack(prefix)),
        "prompt_learner.token_suffix": _narrow(torch.stack(suffix)),
    }


def _narrow(tensor: Tensor) -> Tensor:
    """In half precision where that loses nothing, as the authors keep most of the frozen weights."""
    tensor = tensor.detach().float().cpu()
    half = tensor.half()
    return half if torch.equal(half.float(), tensor) else tensor
