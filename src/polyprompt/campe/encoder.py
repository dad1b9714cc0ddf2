"""A CAMPE model as a dual encoder, so that every method of methods/ runs on it.

A text is a row of token ids and slots, as for CLIP, with the model's K prompts behind it; its vector is the K segments
side by side. Learned prompts enter the row at the input of the LLM or of any block further up. Below that block nothing
ever changes, so its input is computed once and kept: with a few blocks above, a step costs a few blocks. Learned
prompts of the image side stand behind the tokens of its own blocks, new ones on a CNN's grid or a ViT's last ones.

Where texts and images meet is up to the method: the towers have depths of their own (30 blocks and 1, say), and
`text_start` and `image_start` of its config say where prompts enter each.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polyprompt.campe.image import ImageSide
from polyprompt.campe.model import CAMPE
from polyprompt.campe.text import TextSide
from polyprompt.disk.files import digest
from polyprompt.errors import DataError
from polyprompt.nn.branches import Place, beside
from polyprompt.nn.prompts import put
from polyprompt.nn.tree import Sequences, sequences
from polyprompt.towers.base import INPUT, NO_PLAN, NOTHING, Change, Out, Plan, Rows, refused
from polyprompt.towers.clip import PLACES, Savings
from polyprompt.towers.encoder import Encoder
from polyprompt.towers.fingerprint import structure_of, tensor_said
from polyprompt.towers.llm import Flow
from polyprompt.types import Hidden, Pixels

BLOCKS = 6
"""`Savings.nodes` counts tokens in towers of this depth; with fewer blocks above the prompts, more go together. (CLIP's
twelve blocks of 512 numbers take about as much memory for the gradient as six of an LLM.)"""


class Part(NamedTuple):
    """Some texts laid out, and what no prompt can change about them; `r` of them differ in more than their slots."""

    batch: Sequences
    flow: Flow
    which: Int[Tensor, "b"]
    """The row of each text among the `r`."""
    start: int
    """The first block with prompts, or INPUT."""
    hidden: Float[Tensor, "r n d"]
    """States entering the first block with prompts; with `looked`, of what is read out alone."""
    keys_values: tuple[Tensor, Tensor] | None
    """Keys and values [r, h, n, e] that the last block makes of them, where no block comes after the prompts."""
    places: Int[Tensor, "s"]
    """Where the slots are, counted along the batch's rows."""
    slots: Int[Tensor, "s"]
    """The prompt that each of them holds."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Rows of token ids and slots, the start token in front."""

    rows: tuple[tuple[int, ...], ...]
    plan: Plan


class CampeText(nn.Module):
    """The text side as a `TextTower`: any Hugging Face decoder with K prompts behind each text.

    Slots have places whatever block their rows enter: in an LLM with rotary positions they would else all stand on one
    spot. So the words behind them are shifted alike, and below such a block they differ a little from the unchanged
    tower's, for the start token is nearer there.

    Args:
        side: the trained text side.
        most: tokens of a text, the start token included.
    """

    def __init__(self, side: TextSide, most: int) -> None:
        super().__init__()
        self.side, self.savings = side, Savings()
        self.tree = side.tree.positive()
        self.width, self.depth = side.llm.width, side.llm.depth
        self.front = side.llm.front()
        self.max_tokens = most - len(self.front)

    def refuses(self, plan: Plan) -> str:
        """Why a change does not fit: blocks that are not there, or branches in a family that is not known."""
        layers = self.side.llm.layers
        return refused(plan, self.depth, frozenset(layers.widths if layers else ()))

    def widths(self, place: Place) -> tuple[int, int]:
        """Numbers that a branch at this place is given, and gives."""
        layers = self.side.llm.layers
        return layers.widths[place] if layers and place in layers.widths else (self.width, self.width)

    def words(self, text: str) -> list[int]:
        """Token ids of a text, without the start token."""
        (ids,), _ = self.side.llm.tokens([text], 1 << 30)
        return ids[len(self.front) :]

    def vectors(self, ids: Sequence[int]) -> Float[Tensor, "n d"]:
        """Rows of the LLM's input table."""
        return self.side.llm.token_embeddings(torch.tensor([list(ids)], device=self.side.maps.device))[0]

    def prepare(self, rows: Sequence[Sequence[int]], plan: Plan = NO_PLAN) -> Texts:
        """Rows with the start token in front.

        Raises:
            DataError: a text is empty or too long.
        """
        for number, row in enumerate(rows):
            if not 0 < len(row) <= self.max_tokens:
                raise DataError(f"text {number} has {len(row)} tokens; this text tower reads 1 to {self.max_tokens}")
        return Texts(tuple((*self.front, *row) for row in rows), plan)

    @torch.no_grad()
    def below(self, texts: Texts, start: int | None) -> list[Part] | list[Tensor]:
        """What a change that starts at a block leaves alone, part by part; with None, the finished vectors."""
        if start is None:
            return [self._finish(part, NOTHING) for part in self._parts(texts.rows, 0, alone=False)]
        return list(self._parts(texts.rows, start, alone=not texts.plan.branches))

    def above(self, texts: Texts, states: list[Part] | list[Tensor], change: Change) -> Out:
        """The K segments of each text side by side, not normalised. Gradients reach the change.

        Pictures with rows of their own go through one after the other. Where there are several passes, their inner
        states are computed again for the gradient.
        """
        if change.start is None:
            return Out(torch.cat(cast(list[Tensor], states)))
        changes, run = change.by_pictures(1), self._finish
        if len(states) * len(changes) > 1 and torch.is_grad_enabled():
            run = partial(checkpoint, self._finish, use_reentrant=False)
        parts = cast(list[Part], states)
        vectors = [torch.cat([run(part, one) for part in parts]) for one in changes]
        return Out(vectors[0] if change.pictures is None else torch.stack(vectors, dim=1))

    def _parts(self, rows: Sequence[tuple[int, ...]], start: int, *, alone: bool) -> Iterator[Part]:
        """As many texts at a time as the memory for the blocks from `start` on allows; `alone` as in `_part`."""
        most = self.savings.nodes * BLOCKS // (self.depth - max(start, 0))
        first, longest = 0, 0
        for number, row in enumerate(rows):
            longest = max(longest, len(row))
            if number > first and (number + 1 - first) * (longest + len(self.tree)) > most:
                yield self._part(rows[first:number], start, alone=alone)
                first, longest = number, len(row)
        yield self._part(rows[first:], start, alone=alone)

    @torch.no_grad()
    def _part(self, rows: Sequence[tuple[int, ...]], start: int, *, alone: bool) -> Part:
        """Texts laid out; `alone`: rows are all that enters, so the last block's keys and values can be kept."""
        side, device = self.side, self.side.maps.device
        patterns: dict[tuple[int, ...], int] = {}
        which = [patterns.setdefault(tuple(max(token, -1) for token in row), len(patterns)) for row in rows]
        batch = sequences(rows, self.tree).to(device)
        tokens = batch.ids.flatten()
        places = (tokens < 0).nonzero()[:, 0]
        distinct = sequences(list(patterns), self.tree).to(device)
        hidden, flow = self._below(distinct, start)
        keys_values = None
        counts = {sum(token < 0 for token in row) for row in rows}
        even = len(counts) == 1 and 0 not in counts
        if alone and 0 < start == self.depth - 1 and even and side.reads_the_tree and self.savings.last_row:
            keys_values = side.llm.keys_values_of(start, hidden, flow)
            hidden = pick(hidden, side.rows(distinct))
        flow = self._embed(batch)[1]
        which = torch.tensor(which, device=device)
        return Part(batch, flow, which, start, hidden, keys_values, places, ~tokens[places])

    def _below(self, batch: Sequences, start: int) -> tuple[Hidden, Flow]:
        """States entering block `start`; no other token sees a slot, whose prompt is not there yet."""
        slot = batch.ids < 0
        alone = torch.eye(batch.ids.shape[1], dtype=torch.bool, device=slot.device)
        hidden, flow = self._embed(replace(batch, mask=batch.mask & (~slot[:, None, :] | alone)))
        for index in range(start):
            hidden = self.side.llm.run(self._late(index, hidden, batch), flow, index, index + 1)
        return self._late(start, hidden, batch), flow

    def _embed(self, batch: Sequences, put_in: Callable[[Tensor], Tensor] = lambda x: x) -> tuple[Hidden, Flow]:
        """States entering block 0, from the rows of the input table after `put_in`."""
        side, ids = self.side, batch.ids.clamp(min=0)
        embeddings = side.llm.token_embeddings(ids)
        if not side.adaptive_above:
            embeddings = embeddings.index_copy(1, self._adaptive(batch), side.vectors.expand(len(ids), -1, -1))
        return side.llm.embed(ids, batch.positions, batch.mask, put_in(embeddings))

    def _finish(self, part: Part, change: Change) -> Float[Tensor, "b D"]:
        """From the states that a part holds to the vectors."""
        side, last, batch = self.side, self.depth - 1, part.batch
        rows, entering = side.rows(batch), change.entering
        if part.keys_values is not None:
            return side.read(self._last_alone(part, _alone(entering[last]), rows), batch).segments.flatten(1)
        if change.start == INPUT:
            hidden = self._embed(batch, partial(_at_input, part, change))[0]
        else:
            hidden = part.hidden.index_select(0, part.which)
        for index in range(max(part.start, 0), self.depth):
            if index in entering:
                hidden = _put_in(part, entering[index], hidden)
            if index > part.start:
                hidden = self._late(index, hidden, batch)
            if index < last or not self.savings.last_row:
                hidden = side.llm.run(hidden, part.flow, index, index + 1, change.beside(index))
        if self.savings.last_row:
            states = side.llm.run_rows(hidden, part.flow, last, rows, change.beside(last))
        else:
            states = pick(hidden, rows)
        return side.read(states, batch).segments.flatten(1)

    def _last_alone(self, part: Part, layer: Tensor, rows: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
        """The last block, where all but the prompts' keys and values is at hand."""
        assert part.keys_values is not None
        llm, last = self.side.llm, self.depth - 1
        columns = part.places.remainder(part.batch.ids.shape[1]).unflatten(0, (len(rows), -1))
        prompts = F.embedding(part.slots.view_as(columns), layer)
        both = []
        for old, new in zip(part.keys_values, llm.keys_values_of(last, prompts, part.flow.rows(columns)), strict=True):
            places = columns[:, None, :, None].expand_as(new)
            both.append(old.index_select(0, part.which).scatter(2, places, new.to(old.dtype)))
        return llm.attend_with(last, part.hidden.index_select(0, part.which), part.flow.rows(rows), *both)

    def _late(self, index: int, hidden: Hidden, batch: Sequences) -> Hidden:
        """Adds the adaptive vectors where the blocks begin that were trained with them."""
        side = self.side
        if side.adaptive != "late" or index != side.split or not self.tree.adaptive:
            return hidden
        vectors = side.vectors.expand(len(hidden), -1, -1).to(hidden.dtype)
        return hidden.index_add(1, self._adaptive(batch), vectors)

    def _adaptive(self, batch: Sequences) -> Int[Tensor, "k"]:
        return batch.width + torch.tensor(self.tree.adaptive, device=batch.ids.device)


def _alone(rows: Rows) -> Float[Tensor, "p d"]:
    """Rows that are the same for all pictures, or one picture's."""
    return rows.rows if rows.rows.ndim == 2 else rows.rows[:, 0]


def _at_input(part: Part, change: Change, embeddings: Hidden) -> Hidden:
    """Rows of the input table with what a change does to them."""
    if change.input is not None:
        embeddings = _put_in(part, change.input, embeddings)
    return beside("input", embeddings, embeddings, change.beside(INPUT))


def _put_in(part: Part, rows: Rows, hidden: Hidden) -> Hidden:
    """States with the rows in their slots."""
    places, slots = part.places, part.slots
    if rows.of is not None:
        of = torch.tensor([*rows.of, -1], device=slots.device)
        slots = of[slots.clamp(max=len(rows.of))]
        places, slots = places[slots >= 0], slots[slots >= 0]
    vectors = F.embedding(slots, _alone(rows))
    return put(hidden.flatten(0, 1), places, vectors).unflatten(0, hidden.shape[:2])


def pick(hidden: Hidden, rows: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
    """The states at some places of each sequence."""
    return hidden.gather(1, rows[..., None].expand(-1, -1, hidden.shape[-1]))


class CampeImage(nn.Module):
    """The image side as an `ImageTower`; rows enter its own blocks, counted from the first of them."""

    def __init__(self, side: ImageSide) -> None:
        super().__init__()
        self.side, self.width, self.depth = side, side.width, len(side.blocks)
        self.preprocess = side.tower.preprocess

    def refuses(self, plan: Plan) -> str:
        """Why a change does not fit: no blocks, or not so many; branches beside a pretrained ViT's own blocks."""
        if plan.start is None:
            return ""
        if not self.depth:
            return (
                f"the image side has no blocks of its own, {self.side.tower.name}'s tokens go straight into attention "
                "pooling; align it with image.new_blocks of 1 or more, or use a method that changes the text alone"
            )
        new = len(self.side.new_blocks) > 0
        return refused(plan, self.depth, PLACES if new else frozenset(), attention=new)

    def widths(self, place: Place) -> tuple[int, int]:
        """Numbers that a branch at this place is given, and gives."""
        return self.width, self.width

    @torch.no_grad()
    def below(self, pixels: Pixels, start: int | None) -> Float[Tensor, "b ..."]:
        """The states entering block `start`; with None, the finished vectors."""
        states = self.side.enter(self.side.tower.trunk_tokens(pixels))
        if start is not None:
            return self.side.run(states, 0, max(start, 0))
        return self.side.read(self.side.run(states, 0, self.depth))[0].flatten(1)

    def above(self, states: Float[Tensor, "b ..."], change: Change) -> Out:
        """Vectors from `below(pixels, change.start)`, not normalised. Gradients reach the change."""
        if change.start is None:
            return Out(states)
        if change.start == INPUT:  # nothing lies between the input and block 0 here
            states = beside("input", states, states, change.beside(INPUT))
        states = self.side.run(states, max(change.start, 0), self.depth, change)
        count = len(change.entering[max(change.entering)].rows) if change.entering else 0
        tokens = self.side.norm(states)[:, states.shape[1] - count :] if count else None
        return Out(self.side.read(states)[0].flatten(1), tokens)


class CampeEncoder(Encoder):
    """A CAMPE model frozen, as a `DualEncoder`.

    Args:
        model: taken over and frozen.
        name: what `load_encoder` opens it by.
    """

    def __init__(self, model: CAMPE, name: str) -> None:
        text, image = CampeText(model.text, model.settings.text.max_tokens), CampeImage(model.image)
        learned_print = fingerprint(model)  # of what learned, so before all is frozen
        super().__init__(image, text, model.scale.log(), name)
        self._fingerprint, self.dtype = learned_print, model.text.llm.dtype
        self.aspects = model.text.num_segments

    def hashed(self) -> str:
        """Taken at the start, before all was frozen."""
        return self._fingerprint

    def saving(self, savings: Savings) -> None:
        """Turns off the last block for the readouts alone, or sets how many tokens are computed at a time."""
        assert isinstance(self.text, CampeText)
        self.text.savings = savings

    def train(self, mode: bool = True) -> "CampeEncoder":
        """Stays in evaluation mode."""
        return super().train(False)


def fingerprint(model: CAMPE) -> str:
    """A hash of both backbones, of all that was learned, and of how texts are read out."""
    side = model.text
    read = [
        side.tree.positive(),
        side.readout,
        side.adaptive,
        side.split,
        side.llm.depth,
        model.settings.text.max_tokens,
    ]
    parts = [side.llm.fingerprint, model.image.tower.fingerprint, repr(read)]
    parts += [*structure_of(side.llm.norm), *structure_of(model.image)]
    parts += [tensor_said(name, tensor) for name, tensor in sorted(model.learned().items())]
    return digest(*parts)
