"""CLIP-LoRA in the two files of PEFT, for transformers' CLIP and SigLIP, which then need nothing of this library.

adapter_config.json         rank, alpha, the layers' whole names; use_rslora: an update counts alpha / sqrt(rank)
adapter_model.safetensors   B and A of each layer; class_names, template and scale stand in its metadata
README.md                   how to open it
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from polyprompt.adapt.adapter import method_name
from polyprompt.adapt.classifier import Classifier
from polyprompt.disk.files import whole_folder, write_json, write_text
from polyprompt.errors import ConfigError
from polyprompt.methods.clip_lora import CLIPLoRA
from polyprompt.nn.branches import LowRank
from polyprompt.towers.clip import CLIP

TOWERS = {"text": "text_model", "image": "vision_model"}
LAYERS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
BASES = {
    "ViT-B-32/openai": "openai/clip-vit-base-patch32",
    "ViT-B-16/openai": "openai/clip-vit-base-patch16",
    "ViT-L-14/openai": "openai/clip-vit-large-patch14",
    "ViT-L-14-336/openai": "openai/clip-vit-large-patch14-336",
}
"""The same weights in open_clip's zoo and on the hub as transformers reads them."""
CARD = """---
library_name: peft
base_model: {base}
tags: [clip, lora]
---

# CLIP-LoRA, {count} classes

    from peft import PeftModel
    from transformers import AutoModel

    model = PeftModel.from_pretrained(AutoModel.from_pretrained({base!r}), "this folder")

A class scores {scale:g} times the cosine between the picture and {template!r} with the class's name (underscores are
spaces). Classes: {names}.
"""


def export_peft(classifier: Classifier, folder: str | Path) -> None:
    """Writes a new folder, whole or not at all, that `peft.PeftModel.from_pretrained` opens.

    Raises:
        ConfigError: another method than CLIP-LoRA, or an encoder that transformers does not have.
        FileError: the folder exists already, or cannot be written.
    """
    adapter, encoder = classifier.method.adapter, classifier.method.encoder
    if not isinstance(adapter, CLIPLoRA):
        method = method_name(classifier.method.config)
        raise ConfigError(f"method {method}: PEFT's files hold LoRA's updates; only clip_lora makes them.")
    if not isinstance(encoder, CLIP):
        raise ConfigError(
            f"{encoder.name}: PEFT's files are for transformers' CLIP and SigLIP; this encoder is neither."
        )
    config, base = adapter.config, BASES.get(encoder.name, encoder.name)
    updates = updates_of(adapter)
    facts = {"class_names": list(classifier.class_names), "template": config.template, "scale": adapter.scale}
    names = ", ".join(classifier.class_names)
    card = CARD.format(
        base=base, count=len(classifier.class_names), scale=adapter.scale, template=config.template, names=names
    )
    with whole_folder(folder) as temporary:
        write_json(
            temporary / "adapter_config.json",
            {
                "peft_type": "LORA",
                "base_model_name_or_path": base,
                "r": config.rank,
                "lora_alpha": config.alpha,
                "use_rslora": True,
                "lora_dropout": config.dropout,
                "target_modules": list(updates),
                "bias": "none",
                "inference_mode": True,
            },
        )
        metadata = {"format": "pt"} | {name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()}
        save_file(tensors_of(updates), temporary / "adapter_model.safetensors", metadata=metadata)
        write_text(temporary / "README.md", card)


def updates_of(adapter: CLIPLoRA) -> dict[str, LowRank]:
    """The updates by transformers' names of the layers that they stand beside."""
    updates: dict[str, LowRank] = {}
    for name, module in adapter.named_modules():
        if isinstance(module, LowRank):
            tower, block, place = name.split(".")
            updates[f"{TOWERS[tower]}.encoder.layers.{block}.self_attn.{LAYERS[place]}"] = module
    return updates


@torch.no_grad()
def tensors_of(updates: Mapping[str, LowRank]) -> dict[str, Tensor]:
    """Both matrices of each, under PEFT's names."""
    return {
        f"base_model.model.{layer}.lora_{part}.weight": getattr(update, part).detach().float().cpu().contiguous()
        for layer, update in updates.items()
        for part in "AB"
    }
