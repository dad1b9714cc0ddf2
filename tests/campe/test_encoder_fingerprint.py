"""What a CAMPE model computes is in its fingerprint: both towers, what was learned, how it is put together."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from polyprompt.campe.encoder import fingerprint
from polyprompt.nn.tree import PromptTree

CHANGES = {
    "a decoder's weight": lambda model: setattr(model.text.llm, "fingerprint", "0" * 64),
    "a tower's weight": lambda model: setattr(model.image.tower, "fingerprint", "0" * 64),
    "what was learned": lambda model: model.text.maps.data.view(-1)[3].add_(1e-3),
    "the norm": lambda model: setattr(model.text.llm, "norm", nn.Identity()),
    "readout": lambda model: setattr(model.text, "readout", "last"),
    "adaptive": lambda model: setattr(model.text, "adaptive", "words"),
    "split": lambda model: setattr(model.text, "split", 1),
    "a prompt": lambda model: setattr(model.text, "tree", renamed(model.text.tree)),
    "heads": lambda model: setattr(model.image.new_blocks[0], "heads", 2),
    "eps": lambda model: setattr(model.image.new_blocks[0].norm1, "eps", 0.5),
    "activation": lambda model: model.image.new_blocks[0].mlp.__setitem__(1, nn.ReLU()),
    "mean": lambda model: setattr(model.image.tower, "preprocess", replace(model.preprocess, mean=(0.1, 0.2, 0.3))),
    "interpolation": lambda model: setattr(
        model.image.tower, "preprocess", replace(model.preprocess, interpolation="nearest")
    ),
}


def renamed(tree: PromptTree) -> PromptTree:
    """The same tree with another first word."""
    return replace(tree, ids=(tree.ids[0] + 1, *tree.ids[1:]))


@pytest.mark.parametrize("what", CHANGES)
def test_each_part_counts(toy_campe, what):
    model = toy_campe()
    first = fingerprint(model)
    assert fingerprint(toy_campe()) == first
    with torch.no_grad():
        CHANGES[what](model)
    assert fingerprint(model) != first
