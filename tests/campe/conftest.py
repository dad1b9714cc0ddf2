"""A toy CAMPE: a tiny random Llama, a tiny CNN, five captioned pictures."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from toy_decoders import toy_decoder

from polyprompt.campe.config import ModelSettings
from polyprompt.campe.model import CAMPE
from polyprompt.settings import checked
from polyprompt.towers.llm import LLM
from polyprompt.towers.timm import TimmTower


@pytest.fixture
def toy_campe(toy_tokenizer):
    """Builds a model from dotted settings: `toy_campe(**{"text.adaptive": "input"})`."""

    def build(**settings):
        values = {"dim": 12, "text": {"prompts": 3}, "image": {"width": 16}, "loss": {}}
        for key, value in settings.items():
            *above, last = key.split(".")
            (values[above[0]] if above else values)[last] = value
        torch.manual_seed(1)
        llm = LLM(toy_decoder("llama"), toy_tokenizer, "toy-llama", values["text"].get("depth"))
        cnn = timm.create_model("test_efficientnet", pretrained=False)
        tower = TimmTower(cnn, name="test_efficientnet", fingerprint="toy")
        model = CAMPE(checked(ModelSettings, values), llm, tower)
        if hasattr(model.text, "vectors"):
            model.text.vectors.data += 0.3 * torch.randn_like(model.text.vectors)
        for name, parameter in model.named_parameters():
            if ".updates." in name:  # B starts at zero, where A has no gradient
                parameter.data = 0.3 * torch.randn_like(parameter)
        return model.eval()

    return build


@pytest.fixture
def toy_pictures():
    """Five pictures of noise."""
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 255, (40, 50, 3), dtype=np.uint8)) for _ in range(5)]
