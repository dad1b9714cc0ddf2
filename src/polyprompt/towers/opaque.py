"""Towers of other kinds, used as a whole: they cannot be cut open, and so take no prompts."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyprompt.errors import TowerError
from polyprompt.media.pictures import Preprocess
from polyprompt.towers.base import Prompts
from polyprompt.towers.reader import Reader
from polyprompt.towers.words import Words
from polyprompt.types import Pixels


class OpaqueText(Reader):
    """A text tower of another kind.

    Args:
        run: padded ids [t, length] to vectors.
        words: whole texts to ids; `run` gets start and end as the tokenizer sets them.
        closed: why it takes no prompts.
    """

    def __init__(
        self, model: nn.Module, run: Callable[[Tensor], Tensor], words: Words, length: int, closed: str
    ) -> None:
        super().__init__()
        self.model, self.run, self.tokenizer, self.length = model, run, words, length
        self.width, self.depth, self.closed = 0, 0, closed

    def vectors(self, ids: Sequence[int]) -> Float[Tensor, "n d"]:
        """Refused."""
        raise TowerError(self.closed)

    def prepare(self, rows: Sequence[Sequence[int]]) -> Int[Tensor, "t n"]:
        """Padded ids."""
        return torch.tensor(self.padded(self.framed(rows)))

    @torch.no_grad()
    def encode(self, texts: Int[Tensor, "t n"], prompts: Prompts | None = None) -> Float[Tensor, "t D"]:
        """One vector per text."""
        if prompts is not None:
            raise TowerError(self.closed)
        device = next(self.model.parameters()).device
        return torch.cat([self.run(part.to(device)) for part in texts.split(256)])


class OpaqueImage(nn.Module):
    """An image tower of another kind.

    Args:
        run: pixels to vectors.
        closed: why it takes no prompts.
    """

    def __init__(self, model: nn.Module, preprocess: Preprocess, closed: str) -> None:
        super().__init__()
        self.model, self.preprocess = model, preprocess
        self.width, self.depth, self.closed = 0, 0, closed

    @torch.no_grad()
    def until(self, pixels: Pixels, block: int | None) -> Float[Tensor, "b ..."]:
        """The finished vectors."""
        if block is not None:
            raise TowerError(self.closed)
        return self.model(pixels)

    def finish(self, states: Float[Tensor, "b m d"], prompts: Prompts) -> Float[Tensor, "b D"]:
        """Refused."""
        raise TowerError(self.closed)
