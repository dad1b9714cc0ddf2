"""The promise of a dual encoder cut open, and the change that its towers can be handed.

A tower is a pretrained encoder cut open, and a *change* is a set of tensors handed to it: rows among its tokens, small
maps beside its own. A tower does not know who learned them. Methods (methods/) use the protocols below and nothing
else, so whatever keeps these promises can be adapted: a CLIP (towers/clip.py), or an LLM as text tower that reads out K
segments (campe/encoder.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.errors import ConfigError, DepthError
from polyprompt.media.pictures import Preprocess
from polyprompt.nn.branches import Branch, Place
from polyprompt.types import Pixels

Made: TypeAlias = Callable[[Float[Tensor, "b p"]], Float[Tensor, "q *b d"]]
"""Makes rows from the attention that a block pays to those that stand there (nn/attention.py, `paid`)."""

INPUT = -1
"""The block number of a tower's input, below block 0: there tokens have yet to get places, and CLIP's `ln_pre`."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Vectors that enter a tower's sequence."""

    rows: Float[Tensor, "p *b d"]
    """p vectors; with b every picture has its own (CoCoOp). Image towers put them behind the tokens of each picture."""
    of: tuple[int, ...] | None = None
    """Text: the row that each slot reads; -1, or a slot beyond: it keeps its state. None: slot r reads row r."""
    made: Made | None = None
    """Images: what gives the rows that enter, as many as `rows`, where other rows stand in the block already."""

    def given(self, paid: Callable[[], Float[Tensor, "b p"]]) -> Float[Tensor, "p *b d"]:
        """The rows that enter; `paid` gives the attention to those that stand there, if it is asked for."""
        return self.rows if self.made is None else self.made(paid())


@dataclass(frozen=True, slots=True)
class Change:
    """What one tower is handed beside its input. Nothing in it: the tower as it was pretrained.

    Rows of `input` stand among the tokens and have places. `prompts` replace the states of the slots as they enter a
    block; the slots of a change without `input` enter there, and until then nobody sees them. Rows are never removed.
    """

    input: Rows | None = None
    prompts: Mapping[int, Rows] = field(default_factory=dict)
    branches: Mapping[tuple[int, Place], Branch] = field(default_factory=dict)

    @property
    def plan(self) -> "Plan":
        """Where it changes the tower, without a tensor."""
        entries = tuple((block, one.of) for block, one in sorted(self.entering.items()))
        attention = any(one.made is not None for one in self.entering.values())
        return Plan(entries, frozenset(self.branches), attention)

    @property
    def entering(self) -> dict[int, Rows]:
        """The rows, by the block that they enter."""
        return ({INPUT: self.input} if self.input else {}) | dict(self.prompts)

    def beside(self, block: int) -> dict[Place, Branch]:
        """The branches of one block."""
        return {place: branch for (number, place), branch in self.branches.items() if number == block}

    @property
    def pictures(self) -> int | None:
        """How many pictures have rows of their own; None: rows are the same for all."""
        return next((one.rows.shape[1] for one in self.entering.values() if one.rows.ndim == 3), None)

    def by_pictures(self, most: int) -> list["Change"]:
        """Changes for at most so many pictures each, where pictures have rows of their own; else this one."""
        count = self.pictures or 0
        return [self] if count <= most else [self._of(slice(at, at + most)) for at in range(0, count, most)]

    def _of(self, pictures: slice) -> "Change":
        def cut(one: Rows) -> Rows:
            return Rows(one.rows[:, pictures], one.of) if one.rows.ndim == 3 else one

        prompts = {block: cut(one) for block, one in self.prompts.items()}
        return Change(self.input and cut(self.input), prompts, self.branches)

    @property
    def start(self) -> int | None:
        """INPUT, the first block that is changed, or None: nothing. What enters it is the same for every method."""
        return min([*self.entering, *(block for block, _ in self.branches)], default=None)


NOTHING = Change()


@dataclass(frozen=True, slots=True)
class Plan:
    """Which blocks and slots a change is about: what a layout, or a refusal, depends on."""

    entries: tuple[tuple[int, tuple[int, ...] | None], ...] = ()
    """Blocks that rows enter, from the input up, and which row each slot reads there (`Rows.of`)."""
    branches: frozenset[tuple[int, Place]] = frozenset()
    attention: bool = False
    """Whether rows are made from a block's attention (`Rows.made`)."""

    @property
    def start(self) -> int | None:
        """See `Change.start`."""
        blocks = [block for block, _ in self.entries] + [block for block, _ in self.branches]
        return min(blocks, default=None)

    @property
    def last(self) -> int:
        """The last block that it is about; INPUT where it is about none."""
        return max([block for block, _ in self.entries] + [block for block, _ in self.branches], default=INPUT)


NO_PLAN = Plan()


class Out(NamedTuple):
    """What a tower makes of its input."""

    vectors: Float[Tensor, "t *b D"]
    """One a text or picture, not normalised; text towers give one for each picture too where rows have pictures."""
    tokens: Float[Tensor, "b p d"] | None = None
    """Image towers: the last states of the rows that entered, if any did."""


Prepared: TypeAlias = Any
"""Texts as a text tower lays them out; nobody else looks inside."""

States: TypeAlias = Any
"""What a text tower hands out at a block, and takes back."""


@runtime_checkable
class TextTower(Protocol):
    """Token rows in, one vector per text out, in two steps: what a change leaves alone, then the rest."""

    width: int
    """Numbers per token: the width of a prompt."""
    depth: int
    """Blocks that a change can be about; 0 where there are none, and then `refuses` says why."""
    max_tokens: int
    """Tokens that a text can have, start and end tokens not counted."""
    front: Sequence[int]
    """Token ids that the tower puts before each text; none for SigLIP, and for an LLM without a first token."""

    def refuses(self, plan: Plan) -> str:
        """Why this tower cannot take such a change; empty where it can."""
        ...

    def widths(self, place: Place) -> tuple[int, int]:
        """Numbers that a branch at this place is given, and gives; they differ where heads share keys and values."""
        ...

    def words(self, text: str) -> list[int]:
        """Token ids of a text, without start and end tokens."""
        ...

    def vectors(self, ids: Sequence[int]) -> Float[Tensor, "n d"]:
        """The word vectors of token ids: what a context can start from."""
        ...

    def prepare(self, rows: Sequence[Sequence[int]], plan: Plan = NO_PLAN) -> Prepared:
        """Rows of token ids and slots (nn/prompts.py), laid out once for changes of one plan; it never changes.

        Raises:
            DataError: a row is empty or does not fit.
        """
        ...

    def below(self, texts: Prepared, start: int | None) -> States:
        """The states entering block `start`, slots not yet among them; with None, the finished vectors [t D].

        Runs without gradients. The same for every change that starts there, so it can be kept.
        """
        ...

    def above(self, texts: Prepared, states: States, change: Change) -> Out:
        """From `below(texts, change.start)` to the vectors; gradients reach the change."""
        ...


@runtime_checkable
class ImageTower(Protocol):
    """Pixels in, one vector per picture out, in the same two steps."""

    width: int
    depth: int
    preprocess: Preprocess

    def refuses(self, plan: Plan) -> str:
        """As of text towers."""
        ...

    def widths(self, place: Place) -> tuple[int, int]:
        """As of text towers."""
        ...

    def below(self, pixels: Pixels, start: int | None) -> Float[Tensor, "b ..."]:
        """The states [b m d] entering block `start`, rows not yet among them; with None, the finished vectors [b D].

        Runs without gradients and can be kept on disk, for nothing below a change ever moves.
        """
        ...

    def above(self, states: Float[Tensor, "b ..."], change: Change) -> Out:
        """From `below(pixels, change.start)` to the vectors; gradients reach the change."""
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
    aspects: int
    """Segments that a vector consists of: K of a CAMPE, else 1."""
    dtype: torch.dtype
    """What texts are multiplied in: float32, or bfloat16 where an LLM's frozen blocks are held so."""

    @property
    def dim(self) -> int:
        """D, numbers in a vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of all that determines its vectors: adapters name the encoder they were trained on."""
        ...


def refused(plan: Plan, depth: int, places: frozenset[str], *, attention: bool = False) -> str:
    """Why a change does not fit a tower of so many blocks that takes branches at these places; empty where it does.

    `attention`: whether the tower can say what attention a block pays to the rows that stand in it.
    """
    if plan.last >= depth:
        return f"the change reaches block {plan.last}, and it has {depth}, 0 to {depth - 1}; use less depth"
    wrong = sorted({place for _, place in plan.branches} - places)
    if wrong:
        return f"takes no branch at {wrong[0]!r}, only at {', '.join(sorted(places)) or 'no place'}"
    if plan.attention and not attention:
        return "does not say what attention its blocks pay to prompts, which this method mixes them by"
    return ""


def check_change(tower: TextTower | ImageTower, what: str, plan: Plan) -> None:
    """Refuses a change that the tower cannot take.

    Raises:
        ConfigError: says why; a `DepthError` where it has no such block.
    """
    if why := tower.refuses(plan):
        raise (DepthError if plan.last >= tower.depth else ConfigError)(f"{what} tower: {why}")


def check_depth(
    method: str, tower: TextTower | ImageTower, what: str, depth: int, start: int = 0, *, setting: str = "depth"
) -> None:
    """Refuses more blocks of prompts than a tower has from block `start` on, or a tower that takes none.

    Raises:
        DepthError: names the setting and what to give.
        ConfigError: says why the tower takes none.
    """
    check_open(tower, what)
    left = max(tower.depth - start, 0)
    if depth > left:
        there = blocks(tower.depth)
        there += f", {left} of them from block {start} on" if start else ""
        give = f"--set method.{setting}={left} or less" if left else f"a start of {tower.depth - 1} or less"
        raise DepthError(f"{method}: {setting} is {depth}, but the {what} tower has {there}; give {give}.")


def blocks(depth: int) -> str:
    """So many blocks, in words."""
    return f"{depth} block{'s' * (depth != 1)}"


def check_block(method: str, tower: TextTower | ImageTower, what: str, block: int, said: str) -> None:
    """Refuses a setting that names a block, counted from 0, which a tower does not have; `said` is how the user put it.

    Raises:
        DepthError: names the setting.
        ConfigError: says why the tower takes no change.
    """
    check_open(tower, what)
    if block >= tower.depth:
        raise DepthError(f"{method}: {said}, but the {what} tower has {blocks(tower.depth)}; set it lower.")


def check_depths(method: str, encoder: DualEncoder, depth: int) -> None:
    """`check_depth` of both towers, of the shallower one first.

    Raises:
        ConfigError: as there.
    """
    for tower, what in sorted(((encoder.text, "text"), (encoder.image, "image")), key=lambda one: one[0].depth):
        check_depth(method, tower, what, depth)


def check_open(tower: TextTower | ImageTower, what: str) -> None:
    """Refuses a tower that cannot be cut open, before anything is made as wide as its tokens.

    Raises:
        ConfigError: says why.
    """
    if not tower.depth:
        check_change(tower, what, Plan(((INPUT, None),)))
