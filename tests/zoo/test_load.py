"""Encoders by their names; what there is none of is told."""

import json

import pytest

from polyprompt.errors import FileError, TowerError, UnknownNameError
from polyprompt.zoo.huggingface import open_huggingface
from polyprompt.zoo.load import open_encoder


def test_other_models_and_folders_are_named(tmp_path):
    with pytest.raises(TowerError, match=r"without config\.json"):
        open_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(TowerError, match="a bert model; dual encoders read from transformers: clip, siglip, siglip2"):
        open_huggingface(str(tmp_path), "mine")
    with pytest.raises(UnknownNameError, match="ViT-B-16/openai"):
        open_encoder("ViT-B-16/opnai")
    with pytest.raises(UnknownNameError, match=r"no encoder is called 'ViT-B16'\. Did you mean 'ViT-B-16'"):
        open_encoder("ViT-B16")
    with pytest.raises(FileError, match="no such file"):
        open_encoder(str(tmp_path / "missing.pt"))
