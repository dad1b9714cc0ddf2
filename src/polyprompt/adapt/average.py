"""The average of what is learned over all epochs, with Gaussian weights: PromptSRC's self-ensembling.

Khattak et al. 2023 (arXiv:2307.06948); authors' code: muzairkhattak/PromptSRC, trainers/promptsrc.py. What differs:
only what learns is averaged, where the authors average the frozen weights too (3e-6 in logits, rounding); and a resumed
run averages on, where theirs ends without averaging.
"""

import math

import torch
from torch import Tensor, nn

from polyprompt.errors import ConfigError


class GaussianAverage(nn.Module):
    """Buffers that follow the parameters of a module.

    Args:
        module: what learns.
        mean: epoch whose parameters weigh most.
        std: standard deviation of the weights, in epochs.
    """

    def __init__(self, module: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        self.epochs: Tensor
        self.register_buffer("epochs", torch.zeros((), dtype=torch.long))
        for name, parameter in module.named_parameters():
            self.register_buffer(buffer_name(name), torch.zeros_like(parameter))

    @torch.no_grad()
    def epoch_end(self, module: nn.Module, epoch: int, epochs: int) -> None:
        """Averages with this epoch's parameters; after the last epoch the average takes their place.

        The average is at any time that of the epochs so far, so training may end early: the epoch is then the last.
        """
        if epoch > int(self.epochs):
            share = self._share(epoch)
            for name, parameter in module.named_parameters():
                getattr(self, buffer_name(name)).lerp_(parameter, share)
            self.epochs.fill_(epoch)
        if epoch == epochs:
            for name, parameter in module.named_parameters():
                parameter.copy_(getattr(self, buffer_name(name)))

    def _share(self, epoch: int) -> float:
        """What an epoch counts among those up to it; everything where all of them weigh nothing."""
        so_far = densities(epoch, self.mean, self.std)
        return so_far[-1] / sum(so_far) if sum(so_far) else 1.0


def weights(epochs: int, mean: float, std: float) -> list[float]:
    """A normal density at the epochs 1, 2, ..., divided by its sum.

    Raises:
        ConfigError: so far from all epochs that every weight is 0.
    """
    unscaled = densities(epochs, mean, std)
    total = sum(unscaled)
    if not total:
        raise ConfigError(
            f"average: mean {mean} and std {std} give each of the {epochs} epochs the weight 0; "
            "choose a mean among them"
        )
    return [density / total for density in unscaled]


def densities(epochs: int, mean: float, std: float) -> list[float]:
    """A normal density at the epochs 1, 2, ..., up to a factor."""
    return [math.exp(-0.5 * ((epoch - mean) / std) ** 2) for epoch in range(1, epochs + 1)]


def buffer_name(parameter: str) -> str:
    """A buffer's name may have no dots."""
    return parameter.replace(".", "_")
