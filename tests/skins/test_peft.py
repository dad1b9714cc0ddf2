"""PEFT's two files of a CLIP-LoRA, opened by PEFT itself on transformers' CLIP, and merged by hand."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from toy_encoders import toy_encoder
from toy_huggingface import huggingface_model

from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import build
from polyprompt.errors import ConfigError
from polyprompt.media.pictures import Preprocess
from polyprompt.methods import clip_lora, coop
from polyprompt.skins.peft import export_peft
from polyprompt.towers.words import openai_words
from polyprompt.zoo.huggingface import from_huggingface

NAMES = ("cat", "tabby_cat", "dog")
SENTENCES = ("a photo of a cat.", "a photo of a tabby cat.", "a photo of a dog.")
PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SETTINGS = {"all": {"places": ("query", "key", "value", "out"), "rank": 3}, "image": {"towers": "image"}}
CLOSE = {"atol": 1e-4, "rtol": 1e-5}  # of numbers up to 100


@pytest.fixture(scope="module")
def clip():
    """A CLIP of transformers."""
    return huggingface_model("clip")


@pytest.fixture(params=SETTINGS)
def lora(request, clip):
    """Updates that change something."""
    encoder = from_huggingface(clip, openai_words(), Preprocess(32, (0.5,) * 3, (0.5,) * 3), "ViT-B-16/openai")
    made = build(clip_lora.Config(alpha=2.0, **SETTINGS[request.param]), encoder, NAMES)
    draw = torch.Generator().manual_seed(0)
    for parameter in made.learned().values():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=draw)
    return Classifier(made)


@torch.no_grad()
def logits(model):
    """As the card says: 100 times the cosine to the template with each name."""
    words = openai_words()
    rows = [[*words.start, *words.encode(text), *words.end] for text in SENTENCES]
    ids = torch.tensor([row + [49407] * (12 - len(row)) for row in rows])
    found = model(input_ids=ids, pixel_values=PIXELS)
    return 100 * F.normalize(found.image_embeds, dim=-1) @ F.normalize(found.text_embeds, dim=-1).T


def test_the_files_merged_by_hand_give_our_logits(lora, clip, tmp_path):
    export_peft(lora, tmp_path / "peft")
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert config["use_rslora"]  # what the factor below is called
    model = copy.deepcopy(clip)
    with safe_open(tmp_path / "peft" / "adapter_model.safetensors", "pt") as file, torch.no_grad():
        for layer in config["target_modules"]:
            a, b = (file.get_tensor(f"base_model.model.{layer}.lora_{part}.weight") for part in "AB")
            model.get_submodule(layer).weight += config["lora_alpha"] / config["r"] ** 0.5 * b @ a
        assert len(file.keys()) == 2 * len(config["target_modules"])
        facts = {name: json.loads(value) for name, value in file.metadata().items() if name != "format"}
    torch.testing.assert_close(logits(model), lora.method(PIXELS).detach(), **CLOSE)
    assert (logits(clip) - logits(model)).abs().max() > 0.5
    assert facts == {"class_names": list(NAMES), "template": "a photo of a {}.", "scale": 100.0}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's, of transformers
def test_peft_opens_them(lora, clip, tmp_path):
    from peft import PeftModel

    export_peft(lora, tmp_path / "peft")
    model = PeftModel.from_pretrained(copy.deepcopy(clip), tmp_path / "peft").eval()
    torch.testing.assert_close(logits(model), lora.method(PIXELS).detach(), **CLOSE)
    assert not [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    torch.testing.assert_close(logits(model.merge_and_unload()), logits(model), **CLOSE)


def test_other_methods_and_encoders_are_refused(tmp_path):
    encoder = toy_encoder("clip")
    with pytest.raises(ConfigError, match=r"method coop: .*only clip_lora"):
        export_peft(Classifier(build(coop.Config(context=2), encoder, NAMES)), tmp_path / "peft")
    aligned = Classifier(build(clip_lora.Config(), toy_encoder("campe"), NAMES))
    with pytest.raises(ConfigError, match=r"toy-campe: .*transformers' CLIP"):
        export_peft(aligned, tmp_path / "peft")
    assert not (tmp_path / "peft").exists()
