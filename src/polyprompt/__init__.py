"""Prompt learning for vision-language models: CAMPE, MaPLe and their families."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyprompt.adapt.classifier import Classifier
    from polyprompt.campe.model import CAMPE
    from polyprompt.runs.load import load, load_classifier, load_encoder
    from polyprompt.skins.hub import from_pretrained, push_to_hub
    from polyprompt.skins.mteb import to_mteb
    from polyprompt.skins.onnx import export_onnx
    from polyprompt.skins.onnx_towers import export_towers
    from polyprompt.skins.peft import export_peft
    from polyprompt.skins.sentence_transformers import to_sentence_transformer
    from polyprompt.skins.sklearn import PromptClassifier

__version__ = "0.1.0"
__all__ = [
    "CAMPE",
    "Classifier",
    "PromptClassifier",
    "export_onnx",
    "export_peft",
    "export_towers",
    "from_pretrained",
    "load",
    "load_classifier",
    "load_encoder",
    "push_to_hub",
    "to_mteb",
    "to_sentence_transformer",
]

_HOMES = {
    "CAMPE": "campe.model",
    "Classifier": "adapt.classifier",
    "PromptClassifier": "skins.sklearn",
    "export_onnx": "skins.onnx",
    "export_peft": "skins.peft",
    "export_towers": "skins.onnx_towers",
    "from_pretrained": "skins.hub",
    "load": "runs.load",
    "load_classifier": "runs.load",
    "load_encoder": "runs.load",
    "push_to_hub": "skins.hub",
    "to_mteb": "skins.mteb",
    "to_sentence_transformer": "skins.sentence_transformers",
}


def __getattr__(name: str) -> Any:
    """The public names, loaded when they are first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"polyprompt.{_HOMES[name]}"), name)
