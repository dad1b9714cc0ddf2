"""What was learned in the epoch that scored best, kept aside while training goes on."""

import torch
from torch import Tensor, nn

from polyprompt.adapt.average import buffer_name


class Best(nn.Module):
    """Buffers that hold the parameters of a module as they were when it scored best; so they are in checkpoints.

    Args:
        module: what learns.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.score: Tensor
        self.epoch: Tensor
        self.register_buffer("score", torch.tensor(-1.0, dtype=torch.float64))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))
        for name, parameter in module.named_parameters():
            self.register_buffer(buffer_name(name), parameter.detach().clone())

    @torch.no_grad()
    def offer(self, module: nn.Module, epoch: int, score: float) -> None:
        """Takes the parameters if the score is above all before; the first of equals stays."""
        if score <= float(self.score):
            return
        self.score.fill_(score)
        self.epoch.fill_(epoch)
        for name, parameter in module.named_parameters():
            getattr(self, buffer_name(name)).copy_(parameter)

    @torch.no_grad()
    def restore(self, module: nn.Module) -> None:
        """Puts the best parameters into the module."""
        for name, parameter in module.named_parameters():
            parameter.copy_(getattr(self, buffer_name(name)))
