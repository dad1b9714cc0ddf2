"""The promise of a dual encoder cut open, and the prompts that flow through it.

A prompt is a tensor handed to a tower; a tower does not know who learned it. `Prompts` says what enters the sequence of
tokens and what replaces it further up. Methods (methods/) use the three protocols below and nothing else, so whatever
keeps these promises can be prompted: a CLIP (towers/clip.py), or an LLM as text tower that reads out K segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from polyprompt.errors import ConfigError
from polyprompt.media.pictures import Preprocess
from polyprompt.types import Pixels


@dataclass(frozen=True, slots=True)
class Prompts:
    """What one tower is handed: `layers[0]` enters at the input of block `start`, `layers[i]` replaces it `i` blocks
    later.

    From the last of them on the prompt tokens stay as they come out of the blocks; they are never removed.
    Text towers: a row per slot (nn/prompts.py). Image towers: a row per prompt token, the same for all images.
    """

    layers: tuple[Float[Tensor, "p d"], ...]
    start: int = 0

    @property
    def end(self) -> int:
        """The block from which on nothing is replaced."""
        return self.start + len(self.layers)


@runtime_checkable
class TextTower(Protocol):
    """Token rows in, one vector per text out."""

    width: int
    """Numbers per token: the width of a prompt."""
    depth: int
    """Blocks that prompts can be handed to; 0 where none can, and then `closed` says why."""
    room: int
    """Tokens that a text can have, start and end tokens not counted."""
    closed: str
    """Why this tower takes no prompts; empty where it does."""

    def words(self, text: str) -> list[int]:
        """Token ids of a text, without start and end tokens."""
        ...

    def vectors(self, ids: Sequence[int]) -> Float[Tensor, "n d"]:
        """The word vectors of token ids: what a context can start from."""
        ...

    def prepare(self, rows: Sequence[Sequence[int]]) -> Any:
        """What `encode` takes: rows of token ids and slots, laid out once for many calls.

        Raises:
            DataError: a row is empty or does not fit.
        """
        ...

    def encode(self, texts: Any, prompts: Prompts | None = None) -> Float[Tensor, "t D"]:
        """One vector per prepared row, not normalised; gradients reach the prompts."""
        ...


@runtime_checkable
class ImageTower(Protocol):
    """Pixels in, one vector per picture out, in two steps: what no prompt can change, then the rest."""

    width: int
    depth: int
    closed: str
    preprocess: Preprocess

    def until(self, pixels: Pixels, block: int | None) -> Float[Tensor, "b ..."]:
        """The states at the input of `block`, prompts not yet among them; with None, the finished vectors.

        Runs without gradients and can be cached, since nothing below the first prompt ever changes.
        """
        ...

    def finish(self, states: Float[Tensor, "b m d"], prompts: Prompts) -> Float[Tensor, "b D"]:
        """The vectors, not normalised, from `until(pixels, prompts.start)`; gradients reach the prompts."""
        ...


@runtime_checkable
class DualEncoder(Protocol):
    """Two towers into one space. Everything in it is frozen."""

    name: str
    """What `load_encoder` opens it by."""
    text: TextTower
    image: ImageTower
    logit_scale: Tensor
    """Logarithm of the factor on cosines, as CLIP keeps it."""

    @property
    def fingerprint(self) -> str:
        """A hash of the weights: adapters name the encoder they were trained on."""
        ...


def check_prompts(tower: TextTower | ImageTower, what: str, layers: int, start: int) -> None:
    """Refuses prompts that the tower cannot take.

    Raises:
        ConfigError: the tower takes none, or has fewer blocks.
    """
    if tower.closed:
        raise ConfigError(f"{what} prompts: {tower.closed}")
    if start < 0 or layers < 1 or start + layers > tower.depth:
        first = f", from block {start} on" if start else ""
        raise ConfigError(f"{what} prompts: depth {layers}{first}, but the {what} tower has {tower.depth} blocks")
