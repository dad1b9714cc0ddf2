"""Small models of transformers with weights in them everywhere, alone and as a whole folder."""

import torch
import transformers as hf
from open_clip.tokenizer import SimpleTokenizer
from torch import nn

PARTS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2}


def shaken(model: nn.Module) -> nn.Module:
    """Weights with something in them everywhere, norms, biases and layer scales included."""
    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape, generator=draw)
    return model.eval()


def huggingface_model(kind: str):
    torch.manual_seed(0)
    vision = {**PARTS, "hidden_size": 48, "image_size": 32, "patch_size": 8}
    if kind.startswith("clip"):
        end = 2 if kind == "clip, old end" else 49407
        act = "gelu" if kind == "clip, gelu" else "quick_gelu"
        text = {**PARTS, "vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": end, "hidden_act": act}
        vision = {**vision, "hidden_act": act}
        config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        return shaken(hf.CLIPModel(config))
    text = {**PARTS, "vocab_size": 260, "max_position_embeddings": 64, "projection_size": 48}
    if kind == "siglip":
        return shaken(hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=vision)))
    vision = {**vision, "num_patches": 16}
    del vision["image_size"]
    return shaken(hf.Siglip2Model(hf.Siglip2Config(text_config=text, vision_config=vision)))


def clip_folder(folder):
    """A whole CLIP folder, its tokenizer built from the published merges."""
    simple = SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab = {names.get(token, token): number for token, number in simple.encoder.items()}
    merges = [tuple(pair) for pair in sorted(simple.bpe_ranks, key=simple.bpe_ranks.__getitem__)]
    model = huggingface_model("clip")
    model.save_pretrained(folder)
    hf.CLIPTokenizer(vocab=vocab, merges=merges).save_pretrained(folder)
    hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return model
