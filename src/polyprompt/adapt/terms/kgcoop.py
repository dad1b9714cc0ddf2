"""KgCoOp's and TCP's term, on any method: class vectors held near those of one template (Yao et al. 2023).

arXiv:2303.13283. Written from a description of the authors' programs (htyao89/KgCoOp), not from their code;
tests/test_golden.py compares the term, step by step.
"""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyprompt.adapt.adapter import Adapter, check_class_vectors
from polyprompt.adapt.terms import Result, Term
from polyprompt.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How much the term counts, and the sentence whose class vectors are the teacher."""

    weight: float = 8.0
    """Of the term."""
    template: str = "a photo of a {}."
    """The teacher's sentence; the authors have one for each data set."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ConfigError(f"kgcoop: weight is {self.weight}; a weight is 0 or more")

    def build(self, adapter: Adapter) -> Term:
        """See `TermConfig`.

        Raises:
            ConfigError: the method has no class vectors that could be held near the teacher's.
        """
        check_class_vectors("kgcoop", adapter)
        return Knowledge(self)


class Knowledge(Term):
    """1 - cosine of class vectors to the frozen encoder's, mean over all classes, of the batch or not."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, result: Result) -> dict[str, Float[Tensor, ""]]:
        """knowledge: equation 4 of the paper up to a factor, for 1 - cosine is half the squared distance."""
        teacher = result.frozen.classes([self.config.template])[:, 0]
        if result.classes.ndim == 3:
            teacher = teacher[:, None]
        return {
            "knowledge": self.config.weight
            * (1 - F.cosine_similarity(result.classes, teacher, dim=-1, eps=1e-7).mean())
        }
