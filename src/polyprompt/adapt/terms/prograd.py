"""ProGrad's projection, on any method: no step against the frozen encoder (Zhu et al. 2023, arXiv:2205.14865).

Written from a description of the authors' program (BeierZhu/Prompt-align), not from its code; tests/test_golden.py
compares gradients and steps. For each parameter tensor, ga is the gradient of the cross-entropy, gb that of how far the
scores are from the frozen encoder's. Where the two point apart, ga loses its part along gb; gb itself is never
followed. Here that is a term whose value is 0 and whose gradient is what ga loses, so that it goes with any other
term. It costs two more ways back through the text tower.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyprompt.adapt.adapter import Adapter, class_logits
from polyprompt.adapt.terms import Result, Term
from polyprompt.errors import ConfigError
from polyprompt.nn.processes import place, summed


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How much is taken away, and the teacher."""

    share: float = 1.0
    """Of what points against the teacher, so much is taken away (lambda)."""
    temperature: float = 1.0
    """Of both softmaxes (T)."""
    template: str = "a photo of a {}."
    """The teacher's sentence; the authors have one for each data set."""

    def __post_init__(self) -> None:
        if not 0 <= self.share < math.inf:
            raise ConfigError(f"prograd: share is {self.share}; it is 0 or more")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"prograd: temperature is {self.temperature}; it is above 0")

    def build(self, adapter: Adapter) -> Term:
        """The term, for what this adapter learns."""
        return Projection(self, adapter)


class Projection(Term):
    """Nothing to add to a loss, and what to take off its gradient."""

    def __init__(self, config: Config, adapter: Adapter) -> None:
        super().__init__()
        self.config = config
        self._adapter = (adapter,)  # not a part of this module

    def general(self, result: Result) -> Float[Tensor, ""]:
        """How far the scores are from the frozen encoder's: T^2 times a cross-entropy, mean over the batch."""
        t = self.config.temperature
        teacher = result.frozen.classes([self.config.template])[:, 0]
        expected = class_logits(result.frozen.images, teacher, result.scale)
        return t**2 * F.cross_entropy(result.scores["logits"] / t, (expected / t).softmax(dim=-1))

    def forward(self, result: Result) -> dict[str, Float[Tensor, ""]]:
        """projection: 0, with a gradient."""
        learned = [parameter for parameter in self._adapter[0].parameters() if parameter.requires_grad]
        if not (learned and torch.is_grad_enabled()):
            return {"projection": torch.zeros_like(result.scale)}
        cross_entropy, general = F.cross_entropy(result.scores["logits"], result.labels), self.general(result)
        lost = self._lost(cross_entropy, general, learned)  # pyright: ignore[reportCallIssue]
        value = torch.stack([(parameter * part).sum() for parameter, part in zip(learned, lost, strict=True)]).sum()
        return {"projection": value - value.detach()}

    @torch.compiler.disable
    def _lost(self, cross_entropy: Tensor, general: Tensor, learned: list[Tensor]) -> list[Tensor]:
        """-lambda (ga u) u where ga u < 0, with u = gb / |gb|; of the whole batch, in all processes."""
        lost = []
        pairs = (_gradients(loss, learned) for loss in (cross_entropy, general))
        for ga, gb in zip(*pairs, strict=True):
            along = gb / gb.norm().clamp(min=torch.finfo(gb.dtype).tiny)
            lost.append(-self.config.share * (ga * along).sum().clamp(max=0) * along)
        return lost


def _gradients(loss: Tensor, learned: list[Tensor]) -> list[Tensor]:
    """The loss's gradient for each learned parameter, mean over all processes; zeros where it does not reach."""
    gradients = torch.autograd.grad(loss, learned, retain_graph=True, materialize_grads=True)
    return [summed(gradient / place()[1]) for gradient in gradients]
