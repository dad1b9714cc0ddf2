"""Small models of open_clip with random weights, and one in OpenAI's own layout."""

import open_clip
import torch
from torch import nn
from toy_huggingface import shaken

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
SENTENCES = ["a photo of a cat.", "two dogs", "A photo of a large, fluffy Maine Coon on a sofa"]
VISION = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 3, "head_width": 16}
TEXT = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3}
SETTINGS = {
    "size": 32,
    "mean": (0.5, 0.4, 0.3),
    "std": (0.2, 0.3, 0.25),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def zoo_model(vision=(), text=(), **model) -> nn.Module:
    torch.manual_seed(0)
    kind = open_clip.CustomTextCLIP if model.pop("custom", False) else open_clip.CLIP
    built = kind(24, {**VISION, **dict(vision)}, {**TEXT, **dict(text)}, **model)
    open_clip.set_model_preprocess_cfg(built, dict(SETTINGS))
    return shaken(built)


def openai_state() -> dict[str, torch.Tensor]:
    """What a file of OpenAI's holds."""
    state = zoo_model({"head_width": 64}, {"heads": 1, "width": 64}, quick_gelu=True).state_dict()
    extra = {"input_resolution": 32, "context_length": 20, "vocab_size": 49408}
    return {**state, **{key: torch.tensor(value) for key, value in extra.items()}}
