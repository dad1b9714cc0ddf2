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
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import Head
from polyprompt.disk.files import write_bytes
from polyprompt.errors import ConfigError, FileError
from polyprompt.methods import method_name
from polyprompt.types import Pixels
from polyprompt.values import Foreign

LARGEST = 2**31 - 1
"""Bytes that fit one ONNX file (protobuf's limit)."""


class LogitsAndProbabilities(nn.Module):
    """A head with the two outputs of the file."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, pixels: Pixels) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
        """Logits and probabilities."""
        logits = self.head(pixels)
        return logits, logits.softmax(dim=-1)


def export_onnx(classifier: Classifier, path: str | Path) -> None:
    """Writes a classifier as an ONNX file: input `pixels` [b, 3, size, size], outputs `logits`, `probabilities` [b, c].

    Raises:
        DependsOnPicturesError: the class vectors depend on the picture (CoCoOp). ConfigError: ONNX is not installed.
        FileError: the file exists, cannot be written, or would be larger than ONNX allows.
    """
    try:
        import onnxscript  # noqa: F401  # what torch translates with
    except ImportError:
        raise ConfigError("ONNX files need the package onnxscript; pip install 'polyprompt[onnx]'") from None

    path, method = Path(path), classifier.method
    if path.exists():
        raise FileError(f"{path}: exists already; give another name, or move it away.")
    frozen = LogitsAndProbabilities(method.head()).eval()
    size = sum(tensor.numel() * tensor.element_size() for tensor in frozen.state_dict().values())
    if size > LARGEST:
        raise FileError(f"{path}: would hold {size / 1e9:.1f} GB, an ONNX file at most 2.1; use a smaller image tower.")
    program = _translated(frozen, classifier.preprocess.size)
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


def _translated(frozen: LogitsAndProbabilities, size: int) -> Foreign:
    """An ONNX program. Two pictures as an example: of one, the exporter would think that it is always one."""
    example = torch.zeros(2, 3, size, size, device=frozen.head.scale.device)
    batch = {0: torch.export.Dim("batch")}
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    try:
        quiet.setLevel(logging.ERROR)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's and onnxscript's, of their own old names
            # strict: the towers ask for len(pixels), which has to stay free
            exported = torch.export.export(frozen, (example,), dynamic_shapes=(batch,), strict=True)
            return torch.onnx.export(
                exported, input_names=["pixels"], output_names=["logits", "probabilities"], dynamo=True, verbose=False
            )
    finally:
        quiet.setLevel(level)
