"""Towers of other kinds, used as a whole: they cannot be cut open, and so take no change."""

from collections.abc import Callable, Sequence
from typing import NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyprompt.errors import ConfigError
from polyprompt.media.pictures import Preprocess
from polyprompt.nn.branches import Place
from polyprompt.towers.base import NO_PLAN, Change, Out, Plan
from polyprompt.towers.reader import Reader
from polyprompt.towers.words import Words
from polyprompt.types import Pixels

BATCH = 256
"""Texts computed together."""


class Opaque:
    """A closed tower: no blocks, and no tokens of any width."""

    reason: str
    depth = 0
    width = 0

    def widths(self, place: Place) -> tuple[int, int]:
        """None: nothing stands beside a closed tower."""
        return 0, 0

    def refuses(self, plan: Plan) -> str:
        """The reason, for any change."""
        return self.reason if plan != NO_PLAN else ""


class OpaqueText(Opaque, Reader):
    """A text tower of another kind.

    Args:
        run: padded ids [t, length] to vectors.
        words: whole texts to ids; `run` gets start and end as the tokenizer sets them.
        reason: why it takes no change.
    """

    def __init__(
        self, model: nn.Module, run: Callable[[Tensor], Tensor], words: Words, length: int, reason: str
    ) -> None:
        super().__init__()
        self.model, self.run, self.tokenizer, self.length, self.reason = model, run, words, length, reason

    def vectors(self, ids: Sequence[int]) -> NoReturn:
        """Not known.

        Raises:
            ConfigError: says why.
        """
        raise ConfigError(self.reason)

    def prepare(self, rows: Sequence[Sequence[int]], plan: Plan = NO_PLAN) -> Int[Tensor, "t n"]:
        """Ids, padded to the length that the tower reads."""
        return torch.tensor([self.padded(row, self.length) for row in self.framed(rows)])

    @torch.no_grad()
    def below(self, texts: Int[Tensor, "t n"], start: int | None) -> list[Tensor]:
        """The finished vectors, part by part."""
        assert start is None
        device = next(self.model.parameters()).device
        return [self.run(part.to(device)) for part in texts.split(BATCH)]

    def above(self, texts: Int[Tensor, "t n"], states: list[Tensor], change: Change) -> Out:
        """The finished vectors of `below`, joined: a closed tower takes no change."""
        assert change.start is None
        return Out(torch.cat(states))


class OpaqueImage(Opaque, nn.Module):
    """An image tower of another kind.

    Args:
        model: pixels to vectors.
        reason: why it takes no change.
    """

    def __init__(self, model: nn.Module, preprocess: Preprocess, reason: str) -> None:
        super().__init__()
        self.model, self.preprocess, self.reason = model, preprocess, reason

    @torch.no_grad()
    def below(self, pixels: Pixels, start: int | None) -> Float[Tensor, "b ..."]:
        """The finished vectors [b D]; nothing changes a closed tower, so `start` is None."""
        assert start is None
        return self.model(pixels)

    def above(self, states: Float[Tensor, "b ..."], change: Change) -> Out:
        """The finished vectors of `below`: a closed tower takes no change."""
        assert change.start is None
        return Out(states)
