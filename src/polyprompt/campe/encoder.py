"""A CAMPE model as a dual encoder, so that every method of methods/ runs on it.

A text is a row of token ids and slots, as for CLIP, with the model's K prompts behind it; its vector is the K segments
side by side. Learned prompts enter the row at the input of the LLM or of any block further up. Below that block nothing
ever changes, so its input is computed once and kept: with a few blocks above, a step costs a few blocks. Learned
prompts of the image side stand behind the tokens of its own blocks, new ones on a CNN's grid or a ViT's last ones.

Where texts and images meet is up to the method: the towers have depths of their own (30 blocks and 1, say), and
`text_start` and `image_start` of its config say where prompts enter each.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polyprompt.campe.image import ImageSide
from polyprompt.campe.model import CAMPE
from polyprompt.campe.text import TextSide
from polyprompt.disk.files import digest
from polyprompt.errors import DataError, TowerError
from polyprompt.nn.prompts import put
from polyprompt.nn.tree import Sequences, sequences
from polyprompt.towers.base import Prompts
from polyprompt.towers.clip import Savings
from polyprompt.towers.fingerprint import structure_of, tensor_said
from polyprompt.towers.llm import Flow
from polyprompt.types import Hidden, Pixels

BLOCKS = 6
"""`Savings.nodes` counts tokens in towers of this depth; with fewer blocks above the prompts, more go together. (CLIP's
twelve blocks of 512 numbers take about as much memory for the gradient as six of an LLM.)"""


class Part(NamedTuple):
    """Some texts laid out, and what no prompt can change about them; `u` of them differ in more than their slots."""

    batch: Sequences
    flow: Flow
    which: Int[Tensor, "b"]
    """The row of each text among the `u`."""
    hidden: Float[Tensor, "u n d"]
    """States entering the first block with prompts; with `looked`, of what is read out alone."""
    looked: tuple[Tensor, Tensor] | None
    """Keys and values [u, h, n, e] that the last block makes of them, where no block comes after the prompts."""
    places: Int[Tensor, "s"]
    """Where the slots are, counted along the batch's rows."""
    slots: Int[Tensor, "s"]
    """The prompt that each of them holds."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Rows of token ids and slots, and what was computed of them once."""

    rows: tuple[tuple[int, ...], ...]
    kept: dict[Any, list[Part]] = field(default_factory=dict)


class CampeText(nn.Module):
    """The text side as a `TextTower`: any Hugging Face decoder with K prompts behind each text.

    Args:
        side: the trained text side.
        most: tokens of a text, the start token included.
    """

    def __init__(self, side: TextSide, most: int) -> None:
        super().__init__()
        self.side, self.savings, self.closed = side, Savings(), ""
        self.tree = side.tree.positive()
        self.width, self.depth = side.llm.width, side.llm.depth
        whole = side.llm.tokens(["a"], most)[0][0]
        self.expecting = self.depth  # the first block that gradients have run through
        self.front = whole[: len(whole) - len(side.llm.tokenizer("a", add_special_tokens=False).input_ids)]
        self.room = most - len(self.front)

    def words(self, text: str) -> list[int]:
        """Token ids of a text, without the start token."""
        (ids,), _ = self.side.llm.tokens([text], 1 << 30)
        return ids[len(self.front) :]

    def vectors(self, ids: Sequence[int]) -> Float[Tensor, "n d"]:
        """Rows of the LLM's input table."""
        return self.side.llm.token_embeddings(torch.tensor([list(ids)], device=self.side.maps.device))[0]

    def prepare(self, rows: Sequence[Sequence[int]]) -> Texts:
        """Rows with the start token in front.

        Raises:
            DataError: a text is empty or too long.
        """
        for number, row in enumerate(rows):
            if not 0 < len(row) <= self.room:
                raise DataError(f"text {number} has {len(row)} tokens; this text tower reads 1 to {self.room}")
        return Texts(tuple((*self.front, *row) for row in rows))

    def encode(self, texts: Texts, prompts: Prompts | None = None) -> Float[Tensor, "t D"]:
        """The K segments of each text side by side, not normalised. Gradients reach the prompts."""
        if prompts is None:
            with torch.no_grad():
                return torch.cat([self._finish(part, ()) for part in self._parts(texts.rows, 0)])
        if prompts.start < self.expecting and torch.is_grad_enabled():
            self.side.llm.expect_gradients(prompts.start)
            self.expecting = prompts.start
        device = self.side.maps.device
        key = prompts.start, self.savings, str(device), torch.is_autocast_enabled(device.type)
        if key not in texts.kept:
            texts.kept[key] = list(self._parts(texts.rows, prompts.start))
        parts = texts.kept[key]
        finish: Callable[..., Tensor] = partial(self._finish, start=prompts.start)
        if len(parts) > 1 and torch.is_grad_enabled():
            finish = partial(checkpoint, finish, use_reentrant=False)
        return torch.cat([finish(part, prompts.layers) for part in parts])

    def _parts(self, rows: Sequence[tuple[int, ...]], start: int) -> Iterator[Part]:
        """As many texts at a time as the memory for the blocks from `start` on allows."""
        most = self.savings.nodes * BLOCKS // (self.depth - start)
        first, longest = 0, 0
        for number, row in enumerate(rows):
            longest = max(longest, len(row))
            if number > first and (number + 1 - first) * (longest + len(self.tree)) > most:
                yield self._part(rows[first:number], start)
                first, longest = number, len(row)
        yield self._part(rows[first:], start)

    @torch.no_grad()
    def _part(self, rows: Sequence[tuple[int, ...]], start: int) -> Part:
        side, device = self.side, self.side.maps.device
        patterns: dict[tuple[int, ...], int] = {}
        which = [patterns.setdefault(tuple(max(token, -1) for token in row), len(patterns)) for row in rows]
        batch = sequences(rows, self.tree).to(device)
        tokens = batch.ids.flatten()
        places = (tokens < 0).nonzero()[:, 0]
        alone = sequences(list(patterns), self.tree).to(device)
        hidden, flow = self._below(alone, start)
        looked = None
        counts = {sum(token < 0 for token in row) for row in rows}
        even = len(counts) == 1 and 0 not in counts
        reads_the_tree = side.readout in ("prompts", "tokens")  # and so never a prompt
        if 0 < start == self.depth - 1 and even and reads_the_tree and self.savings.last_row:
            looked = side.llm.keys_values_of(start, hidden, flow)
            hidden = pick(hidden, side.rows(alone))
        flow = self._embed(batch)[1]
        return Part(batch, flow, torch.tensor(which, device=device), hidden, looked, places, ~tokens[places])

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
        if not side.cacheable:
            embeddings = embeddings.index_copy(1, self._adaptive(batch), side.vectors.expand(len(ids), -1, -1))
        return side.llm.embed(ids, batch.positions, batch.mask, put_in(embeddings))

    def _finish(self, part: Part, layers: Sequence[Tensor], start: int = 0) -> Float[Tensor, "b D"]:
        """From the states entering block `start` to the vectors."""
        side, last, batch = self.side, self.depth - 1, part.batch
        rows = side.rows(batch)
        if part.looked is not None:
            return side.read(self._last_alone(part, layers[0], rows), batch).segments.flatten(1)

        def put_in(layer: Tensor, hidden: Tensor) -> Tensor:
            vectors = F.embedding(part.slots, layer)
            return put(hidden.flatten(0, 1), part.places, vectors).unflatten(0, hidden.shape[:2])

        hidden = part.hidden.index_select(0, part.which)
        for index in range(start, self.depth):
            layer = layers[index - start] if index - start < len(layers) else None
            if index == 0 and layer is not None:
                hidden = self._late(0, self._embed(batch, partial(put_in, layer))[0], batch)
            elif layer is not None:
                hidden = put_in(layer, hidden)
            if index > start:
                hidden = self._late(index, hidden, batch)
            if index < last or not self.savings.last_row:
                hidden = side.llm.run(hidden, part.flow, index, index + 1)
        states = side.llm.run_rows(hidden, part.flow, last, rows) if self.savings.last_row else pick(hidden, rows)
        return side.read(states, batch).segments.flatten(1)

    def _last_alone(self, part: Part, layer: Tensor, rows: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
        """The last block, where all but the prompts' keys and values is at hand."""
        assert part.looked is not None
        llm, last = self.side.llm, self.depth - 1
        columns = part.places.remainder(part.batch.ids.shape[1]).unflatten(0, (len(rows), -1))
        prompts = F.embedding(part.slots.view_as(columns), layer)
        both = []
        for old, new in zip(part.looked, llm.keys_values_of(last, prompts, part.flow.rows(columns)), strict=True):
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


def pick(hidden: Hidden, rows: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
    """The states at some places of each sequence."""
    return hidden.gather(1, rows[..., None].expand(-1, -1, hidden.shape[-1]))


class CampeImage(nn.Module):
    """The image side as an `ImageTower`; prompts enter its own blocks, counted from the first of them."""

    def __init__(self, side: ImageSide) -> None:
        super().__init__()
        self.side, self.width, self.depth = side, side.width, len(side.blocks)
        self.preprocess = side.tower.preprocess
        self.closed = "" if self.depth else (
            f"the image side has no blocks of its own, {side.tower.name}'s tokens go straight into attention pooling; "
            "align it with image.new_blocks of 1 or more, or use a method that prompts the text alone (coop, cocoop, "
            "language)"
        )  # fmt: skip

    @torch.no_grad()
    def until(self, pixels: Pixels, block: int | None) -> Float[Tensor, "b ..."]:
        """States at the input of `block`, without prompts; with None, the finished vectors."""
        states = self.side.enter(self.side.tower.trunk_tokens(pixels))
        if block is not None:
            return self.side.run(states, 0, block)
        return self.side.read(self.side.run(states, 0, self.depth))[0].flatten(1)

    def finish(self, states: Float[Tensor, "b m d"], prompts: Prompts) -> Float[Tensor, "b D"]:
        """Vectors from `until(pixels, prompts.start)`, not normalised. Gradients reach the prompts."""
        if self.closed:
            raise TowerError(self.closed)
        states = self.side.run(states, prompts.start, self.depth, prompts)
        return self.side.read(states)[0].flatten(1)


class CampeEncoder(nn.Module):
    """A CAMPE model frozen, as a `DualEncoder`.

    Args:
        model: taken over and frozen.
        name: what `load_encoder` opens it by.
    """

    def __init__(self, model: CAMPE, name: str) -> None:
        super().__init__()
        self.name, self.fingerprint = name, fingerprint(model)
        self.text = CampeText(model.text, model.settings.text.max_tokens)
        self.image = CampeImage(model.image)
        self.logit_scale: Tensor
        self.register_buffer("logit_scale", model.scale.detach().log())
        self.requires_grad_(False)
        self.eval()

    def encode_image(self, pixels: Pixels) -> Float[Tensor, "b D"]:
        """Image vectors without prompts, not normalised."""
        return self.image.until(pixels, None)

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "t D"]:
        """Text vectors without prompts, not normalised; long texts are cut as in training."""
        return self.text.encode(self.text.prepare([self.text.words(text)[: self.text.room] for text in texts]))

    def saving(self, savings: Savings) -> None:
        """Turns off the last block for the read-outs alone, or sets how many tokens are computed at a time."""
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
