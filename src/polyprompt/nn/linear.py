"""Linear maps that start from a generator."""

import torch
from torch import nn


def linear(inputs: int, outputs: int, draw: torch.Generator, *, bias: bool = True) -> nn.Linear:
    """torch's own start of a linear map, uniform within 1 / sqrt(inputs)."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_((torch.rand(parameter.shape, generator=draw) * 2 - 1) * inputs**-0.5)
    return layer


def bottleneck(width: int, middle: int, draw: torch.Generator) -> nn.Sequential:
    """CLIP-Adapter's map: ReLU(W2 ReLU(W1 x)), through `middle` numbers, without biases."""
    down, up = linear(width, middle, draw, bias=False), linear(middle, width, draw, bias=False)
    return nn.Sequential(down, nn.ReLU(), up, nn.ReLU())
