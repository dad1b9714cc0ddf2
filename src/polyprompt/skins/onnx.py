"""A classifier as one ONNX file: pixels in, logits and probabilities out, for any runtime and without this library.

Class vectors are computed once and kept as a matrix, so the text tower stays behind; image prompts become constants of
the image tower. The number of pictures is free. Class names and preprocessing stand in the file's metadata:

    class_names     JSON list, in the order of the outputs' columns
    preprocess      JSON: size, mean, std, interpolation, resize, crop (media/pictures.py, `Preprocess`)
    method, encoder, encoder_fingerprint, polyprompt
"""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.adapter import method_name
from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import Head
from polyprompt.disk.files import check_new, write_bytes
from polyprompt.errors import ConfigError, FileError, install
from polyprompt.progress import step
from polyprompt.types import Pixels
from polyprompt.values import Foreign

LARGEST = 2**31 - 1
"""Bytes that fit one ONNX file (protobuf's limit)."""
BATCH_AXIS = "batch"


class LogitsAndProbabilities(nn.Module):
    """A head with the two outputs of the file."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, pixels: Pixels) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
        """Logits [b c] of preprocessed pictures, and their softmax over classes."""
        logits = self.head(pixels)
        return logits, logits.softmax(dim=-1)


def export_onnx(classifier: Classifier, path: str | Path) -> None:
    """Writes a classifier as an ONNX file: input `pixels` [b, 3, size, size], outputs `logits`, `probabilities` [b, c].

    Raises:
        DependsOnPicturesError: the class vectors depend on the picture (CoCoOp). ConfigError: ONNX is not installed.
        FileError: the file exists, cannot be written, or would be larger than ONNX allows.
    """
    check_onnx()
    path, method = Path(path), classifier.method
    check_new(path)
    frozen = LogitsAndProbabilities(method.head()).eval()
    check_size(frozen, path)
    size = classifier.preprocess.size
    example = torch.zeros(2, 3, size, size, device=frozen.head.scale.device)
    # strict: the towers ask for len(pixels), which has to stay free
    free = {0: torch.export.Dim(BATCH_AXIS)}
    with step(f"Writing {path.name}, some ten seconds"):
        program = translated(frozen, {"pixels": example}, ["logits", "probabilities"], free, strict=True)
    encoder = method.encoder
    program.model.metadata_props.update(
        class_names=json.dumps(list(classifier.class_names), ensure_ascii=False),
        preprocess=json.dumps(classifier.preprocess.to_json()),
        method=method_name(method.config),
        encoder=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        polyprompt=version("polyprompt"),
    )
    write_bytes(path, program.model_proto.SerializeToString())


def check_onnx() -> None:
    """Refuses where the packages are missing.

    Raises:
        ConfigError: they are.
    """
    try:
        import onnxscript  # noqa: F401  # what torch translates with
    except ImportError:
        raise ConfigError(f"ONNX files need the package onnxscript; {install('onnx')}") from None


def check_size(module: nn.Module, path: Path) -> None:
    """Refuses what does not fit one file.

    Raises:
        FileError: it does not. ConfigError: weights in bf16.
    """
    if any(tensor.dtype == torch.bfloat16 for tensor in module.parameters()):
        raise ConfigError(f"{path}: the encoder is held in bf16, an ONNX file is fp32; open it without tower_dtype.")
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    if size > LARGEST:
        raise FileError(f"{path}: would hold {size / 1e9:.1f} GB, an ONNX file at most 2.1; use a smaller tower.")


def translated(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    free: Mapping[int, torch.export.Dim],
    *,
    strict: bool,
) -> Foreign:
    """An ONNX program.

    Args:
        module: in evaluation mode.
        inputs: an example of each, by name; two of a kind: of one, the exporter would think that it is always one.
        outputs: their names.
        free: axes of every input whose size is free.
        strict: whether torch reads the code that it runs, or follows the numbers through it.
    """
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    try:
        quiet.setLevel(logging.ERROR)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's and onnxscript's, of their own old names
            shapes = tuple(dict(free) for _ in inputs)
            exported = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=shapes, strict=strict)
            return torch.onnx.export(
                exported, input_names=list(inputs), output_names=list(outputs), dynamo=True, verbose=False
            )
    finally:
        quiet.setLevel(level)
