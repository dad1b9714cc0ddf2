"""The sizes of ViT-B/16 without its weights: enough of an encoder to build a method and count what it learns."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.errors import TowerError
from polyprompt.media.pictures import Preprocess
from polyprompt.nn.branches import Place
from polyprompt.towers.base import NO_PLAN, Change, Out, Plan, Prepared, States

NOTHING_THERE = "ViT-B/16 without weights: it has sizes and encodes nothing; open an encoder (load_encoder)"


class TowerSizes:
    """A tower of CLIP's ViT-B/16 that can encode nothing; each word is one token."""

    depth, max_tokens, front = 12, 75, (0,)
    preprocess = Preprocess(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(self, width: int) -> None:
        self.width = width

    def refuses(self, plan: Plan) -> str:
        """It takes every change."""
        return ""

    def widths(self, place: Place) -> tuple[int, int]:
        """All are the tower's own."""
        return self.width, self.width

    def words(self, text: str) -> list[int]:
        """A number a word."""
        return list(range(len(text.split())))

    def vectors(self, ids: Sequence[int]) -> Float[Tensor, "n d"]:
        """Zeros, in the shape that word vectors have."""
        return torch.zeros(len(ids), self.width)

    def prepare(self, rows: Sequence[Sequence[int]], plan: Plan = NO_PLAN) -> Prepared:
        """Nothing is laid out.

        Raises:
            TowerError: always.
        """
        raise TowerError(NOTHING_THERE)

    below = prepare

    def above(self, texts: Prepared, states: States, change: Change) -> Out:
        """Nothing is encoded.

        Raises:
            TowerError: always.
        """
        raise TowerError(NOTHING_THERE)


class Sizes:
    """A dual encoder that has widths and depths."""

    name = fingerprint = "ViT-B/16 without weights"
    dim, aspects, dtype = 512, 1, torch.float32

    def __init__(self) -> None:
        self.text, self.image, self.logit_scale = TowerSizes(512), TowerSizes(768), torch.tensor(4.6052)
