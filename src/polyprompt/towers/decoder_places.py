"""Where the places of branches are in a Hugging Face decoder's block: names, and slices where three layers are one."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.nn.branches import Branches, Place
from polyprompt.values import Foreign, Values

ATTENTION = ("self_attn", "attn")
NORMS = ("input_layernorm", "ln_1", "self_attn_layer_norm")
"""The norm that the states entering a block pass first."""
LAYERS: Mapping[Place, tuple[str, ...]] = {
    "query": ("q_proj",), "key": ("k_proj",), "value": ("v_proj",), "out": ("o_proj", "out_proj", "c_proj"),
}  # fmt: skip
FUSED = ("qkv_proj", "c_attn")
"""One layer for queries, keys and values, one behind the other. Families that interleave heads are not here."""
QKV: tuple[Place, ...] = ("query", "key", "value")


class Layers(NamedTuple):
    """What a block has at each place: a layer's name in its attention, or "mlp"; and the numbers in and out of it."""

    norm: str
    attention: str
    names: Mapping[Place, str]
    widths: Mapping[Place, tuple[int, int]]


def layers_of(block: nn.Module, config: Foreign) -> Layers | None:
    """The places of a block; None where the family is not known."""
    attention = next((name for name in ATTENTION if hasattr(block, name)), None)
    norm = next((name for name in NORMS if hasattr(block, name)), None)
    if attention is None or norm is None:
        return None
    inner, width = cast(Foreign, getattr(block, attention)), config.hidden_size
    head = getattr(config, "head_dim", None) or width // config.num_attention_heads
    heads = head * config.num_attention_heads
    shared = head * (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    fused = next((name for name in FUSED if hasattr(inner, name)), None)
    names: dict[Place, str] = {}
    for place, known in LAYERS.items():
        name = next((name for name in known if hasattr(inner, name)), fused if place in QKV else None)
        if name is None:
            return None
        names[place] = name
    widths: dict[Place, tuple[int, int]] = {
        "query": (width, heads), "key": (width, shared), "value": (width, shared), "out": (heads, width),
        "block": (width, width), "input": (width, width),
    }  # fmt: skip
    if hasattr(block, "mlp"):
        widths["mlp"] = (width, width)
    return Layers(norm, attention, names, widths)


class Beside(nn.Module):
    """A layer with branches beside it; where it holds several layers, each has the slice of its place."""

    def __init__(self, layer: nn.Module, parts: Sequence[tuple[Callable[[Tensor], Tensor] | None, int]]) -> None:
        super().__init__()
        self.layer, self.parts = layer, parts

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
        """The layer's result and the branches'."""
        added = [branch(x) if branch else x.new_zeros(*x.shape[:-1], width) for branch, width in self.parts]
        return self.layer(x) + (added[0] if len(added) == 1 else torch.cat(added, dim=-1))


def with_branches(block: nn.Module, layers: Layers, branches: Branches) -> Callable[[nn.Module], Values]:
    """What is to be other in a block's parts, so that branches stand beside its layers (`_changed` in llm.py)."""
    attention = getattr(block, layers.attention)

    def change(part: nn.Module) -> Values:
        if part is block and "mlp" in branches:
            return {"mlp": Beside(cast(Foreign, block).mlp, [(branches["mlp"], layers.widths["mlp"][1])])}
        if part is not attention:
            return {}
        by_name: dict[str, list[Place]] = {}
        for place, name in layers.names.items():
            by_name.setdefault(name, []).append(place)
        return {
            name: Beside(getattr(part, name), [(branches.get(p), layers.widths[p][1]) for p in places])
            for name, places in by_name.items()
            if branches.keys() & set(places)
        }

    return change
