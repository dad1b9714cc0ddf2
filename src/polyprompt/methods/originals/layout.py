"""What a checkpoint of a method's authors holds, as a record; a method's own stand in a file of this folder."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from polyprompt.adapt.engine import Adapted, MethodConfig, build
from polyprompt.disk.files import check_new, make_folder, write_bytes
from polyprompt.errors import DepthError, FileError
from polyprompt.nn.finite import check_finite
from polyprompt.towers.base import DualEncoder
from polyprompt.towers.clip import CLIP
from polyprompt.towers.encoder import Encoder

Tensors = dict[str, Tensor]
Settings = dict[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """What was read, and what was said beside it."""

    name: str
    """The method."""
    file: Path
    tensors: Tensors
    """Under the names that they have in the whole model."""
    encoder: CLIP
    given: Mapping[str, object]
    """Settings."""
    words: str | None
    """CTX_INIT, if it was told."""
    position: str
    """CLASS_TOKEN_POSITION of CoOp."""

    def shape(self, key: str, *dimensions: int) -> torch.Size:
        """The shape of a tensor.

        Raises:
            FileError: it is not there, or has not so many dimensions (2 unless they are given).
        """
        tensors = self.tensors
        if key not in tensors or tensors[key].ndim not in (dimensions or (2,)):
            near = [k for k in tensors if k.split(".")[-1][:3] == key.split(".")[-1][:3] and "resblocks" not in k]
            hint = f"; it has {near[0]}" if near and near[0] != key else ""
            raise FileError(f"{self.file}: lacks {key}{hint}. Is it a checkpoint of {self.name}?")
        return tensors[key].shape

    def numbers(self, pattern: str) -> list[int]:
        """The numbers that stand in keys where the pattern has a group."""
        return sorted({int(match[1]) for key in self.tensors if (match := re.match(pattern, key))})

    def narrowed(self, key: str) -> int:
        """How many times fewer numbers a map gives than it takes."""
        middle, dim = self.shape(key)
        return max(dim // max(middle, 1), 1)


def fitted(config: MethodConfig, encoder: DualEncoder, class_names: Sequence[str], file: Path) -> Adapted:
    """The method that a file describes, before its tensors are in it.

    Raises:
        FileError: the encoder has fewer blocks than the one that the file was trained on.
    """
    try:
        return build(config, encoder, class_names)
    except DepthError as error:
        raise FileError(
            f"{file}: does not fit {encoder.name} ({error.why}); give the encoder that it was trained on"
        ) from None


def prompt_name(name: str) -> str:
    """The authors' name of a prompt in their towers."""
    kind, _, rest = name.partition(".")
    index = int(rest.split(".")[0]) if rest[:1].isdigit() else 0
    match kind:
        case "context":
            return "prompt_learner.ctx"
        case "text":
            return f"text_encoder.transformer.resblocks.{index}.VPT_shallow" if index else "prompt_learner.ctx"
        case "image":
            return f"image_encoder.transformer.resblocks.{index}.VPT_shallow" if index else "image_encoder.VPT"
        case _:
            return f"prompt_learner.{name}"


def coupled_name(name: str) -> str:
    """The same where a text prompt in a later block is MaPLe's, and a map gives the image's."""
    kind, _, rest = name.partition(".")
    index, _, part = rest.partition(".")
    match kind:
        case "text" if index != "0":
            return f"prompt_learner.compound_prompts_text.{int(index) - 1}"
        case "couplings" if index == "0":
            return f"prompt_learner.proj.{part}"
        case "couplings":
            return f"prompt_learner.compound_prompt_projections.{int(index) - 1}.{part}"
        case _:
            return prompt_name(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a program of Dassl's saves a method: `<folder>/model.pth.tar-<epoch>`, a `state_dict`."""

    folders: tuple[str, ...]
    """The name under which the trainer registers what it saves; the last one where it saves the whole model."""
    settings: Callable[[Checkpoint], Settings]
    """What the shapes tell of the settings; FileError where a tensor is missing."""
    alone: str = ""
    """Of a part that is saved alone, the prefix that its tensors have in the whole."""
    whole: Callable[[MethodConfig], bool] = lambda config: False
    """Whether with these settings the whole model is saved all the same."""
    theirs: Callable[[str], str] = prompt_name
    """Their name of a tensor of ours that learns, as their `named_parameters` has it."""
    needs_names: bool = True
    """Whether class names have to be told, and settings may be; else both are read from the file."""
    words: bool = False
    """Whether the vectors of the words around the context are saved."""
    begins: tuple[str, ...] = ("start", "text_start", "image_start")
    """Settings that must be 0, since the authors' prompts enter at block 0."""
    left: str = r"(?!)"
    """Keys of what their program saves and never uses."""
    frozen: Callable[[Tensors], Tensors] = lambda tensors: tensors
    """Of the encoder's tensors, what is saved."""
    check: Callable[[Adapted, Tensors, Path], None] = lambda method, tensors, file: None
    """Compares what is saved beside what learns, and takes it out; FileError where it is other."""
    beside: Callable[[Adapted], Tensors] = lambda method: {}
    """What is saved beside what learns and the encoder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """A program that writes files of its own kind."""

    read: Callable[[Path, Encoder, Sequence[str], Mapping[str, object]], Adapted]
    write: Callable[[Adapted, Path], Path]
    theirs: Callable[[str], str]
    """As in `Layout`."""


def put(parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, object], encoder: str, file: Path) -> None:
    """Copies tensors into the parameters of the same names.

    Raises:
        FileError: of another size, or no numbers.
    """
    for name, parameter in parameters.items():
        tensor = tensors[name]
        if not isinstance(tensor, Tensor) or tensor.shape != parameter.shape:
            has = list(tensor.shape) if isinstance(tensor, Tensor) else "no tensor"
            raise FileError(f"{file}: {name} is {has}, {encoder} and its settings need {list(parameter.shape)}")
        check_finite({name: tensor}, file)
        with torch.no_grad():
            parameter.copy_(tensor)


def written(file: Path, content: object) -> Path:
    """A torch file, whole or not at all.

    Raises:
        FileError: it exists already, or cannot be written.
    """
    check_new(file)
    data = io.BytesIO()  # torch's own writer has another error for a full disk
    torch.save(content, data)
    write_bytes(make_folder(file.parent) / file.name, data.getvalue())
    return file
