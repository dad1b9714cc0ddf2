"""A prompt tree: many prompts behind one caption, in one masked pass.

CAMPE (Kim and Angelova 2025, arXiv:2508.02762) sets K prompts ("the [APT-k] of the image means:") behind one caption.
They share beginnings, and a prompt shares all but its end with its negation, so they are kept as a tree. Everything
follows from `parents`: a node sees itself and its ancestors, its position is the number of its ancestors (so every
prompt restarts behind the caption), and its state equals that of the same words run alone (tests/towers/test_llm.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from polyprompt.types import Mask, Tokens

CAPTION = -1
"""The parent of a node that stands directly behind the caption."""


class Branch(NamedTuple):
    """One prompt as token ids; `adaptive` is the place of the adaptive token in it, if it has one."""

    ids: tuple[int, ...]
    adaptive: int | None = None


@dataclass(frozen=True, slots=True)
class PromptTree:
    """Nodes behind a caption; each stands after its parent.

    `adaptive[k]` is the node of prompt k's adaptive token, `readouts[k]` its last node, `negated[k]` that of its
    negation.
    """

    ids: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()
    adaptive: tuple[int, ...] = ()
    readouts: tuple[int, ...] = ()
    negated: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def ancestors(self, node: int) -> list[int]:
        """`node` and the nodes before it, from the caption on."""
        chain = []
        while node != CAPTION:
            chain.append(node)
            node = self.parents[node]
        return chain[::-1]

    def path(self, node: int) -> tuple[int, ...]:
        """Token ids from behind the caption to `node`; with the caption they determine its state."""
        return tuple(self.ids[i] for i in self.ancestors(node))

    def sees(self) -> Bool[Tensor, "s s"]:
        """`sees[i, j]`: node j is node i or an ancestor of it."""
        mask = torch.zeros(len(self), len(self), dtype=torch.bool)
        for node in range(len(self)):
            mask[node, self.ancestors(node)] = True
        return mask

    def keep(self, leaves: Sequence[int]) -> list[int]:
        """The nodes that `leaves` need: themselves and their ancestors, in order."""
        return sorted({node for leaf in leaves for node in self.ancestors(leaf)})

    def take(self, nodes: Sequence[int]) -> "PromptTree":
        """The tree of `nodes` alone, which must hold the parents of all of them."""
        place = {CAPTION: CAPTION} | {node: i for i, node in enumerate(nodes)}
        return PromptTree(
            ids=tuple(self.ids[node] for node in nodes),
            parents=tuple(place[self.parents[node]] for node in nodes),
            adaptive=tuple(place[node] for node in self.adaptive if node in place),
            readouts=tuple(place[node] for node in self.readouts if node in place),
            negated=tuple(place[node] for node in self.negated if node in place),
        )

    def positive(self) -> "PromptTree":
        """The tree without its negations: what inference runs."""
        return self.take(self.keep(self.readouts))

    @property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """The path of every node. Two nodes may share one: adaptive tokens that start from the same word."""
        return tuple(self.path(node) for node in range(len(self)))


def spanning(paths: Sequence[tuple[int, ...]]) -> PromptTree:
    """The smallest tree with a node for each of these paths, in the order of first need; nothing is read out of it."""
    places: dict[tuple[int, ...], int] = {(): CAPTION}
    for path in paths:
        for end in range(1, len(path) + 1):
            places.setdefault(path[:end], len(places) - 1)
    nodes = list(places)[1:]
    return PromptTree(tuple(path[-1] for path in nodes), tuple(places[path[:-1]] for path in nodes))


def grow(prompts: Sequence[Branch], negations: Sequence[Branch] = ()) -> PromptTree:
    """Joins prompts, and their negations, at their common beginnings.

    Prompt k and negation k share the adaptive token k; two prompts never share one, whatever word it starts from.
    """
    ids: list[int] = []
    parents: list[int] = []
    adaptive: dict[int, int] = {}
    nodes: dict[tuple[int, int, int | None], int] = {}

    def leaf(branch: Branch, prompt: int) -> int:
        node = CAPTION
        for place, token in enumerate(branch.ids):
            owner = prompt if place == branch.adaptive else None  # an adaptive token is its prompt's alone
            key = (node, token, owner)
            if key not in nodes:
                nodes[key] = len(ids)
                ids.append(token)
                parents.append(node)
            node = nodes[key]
            if owner is not None:
                adaptive[owner] = node
        return node

    readouts = tuple(leaf(branch, k) for k, branch in enumerate(prompts))
    negated = tuple(leaf(branch, k) for k, branch in enumerate(negations))
    return PromptTree(tuple(ids), tuple(parents), tuple(adaptive[k] for k in sorted(adaptive)), readouts, negated)


@dataclass(frozen=True, slots=True)
class Sequences:
    """A batch of captions with one tree behind each: `width` caption places, padded at their end, then the tree."""

    ids: Tokens
    positions: Tokens
    mask: Mask
    lengths: Int[Tensor, "b"]
    width: int

    def seen_at_the_end(self) -> Bool[Tensor, "b n"]:
        """Which of the caption places its last token sees: the whole caption, but what was dropped."""
        last = (self.lengths - 1)[:, None, None].expand(-1, 1, self.width)
        return self.mask[:, :, : self.width].gather(1, last)[:, 0]

    def to(self, device: torch.device) -> "Sequences":
        """The same batch on another device."""
        ids, positions, mask = self.ids.to(device), self.positions.to(device), self.mask.to(device)
        return Sequences(ids, positions, mask, self.lengths.to(device), self.width)


def without_words(batch: Sequences, share: float) -> Sequences:
    """The same batch, in which nobody but themselves sees a random share of the captions' tokens.

    A caption's last token always stays, so that no caption is empty. Drawn from torch's own generator. States that
    were made before had seen the dropped tokens: from a cache this acts in the trained blocks alone.
    """
    rows, places = torch.arange(len(batch.ids))[:, None], torch.arange(batch.width)
    dropped = torch.rand(len(batch.ids), batch.width) < share
    dropped[rows[:, 0], batch.lengths.cpu() - 1] = False
    dropped &= places < batch.lengths.cpu()[:, None]
    mask = batch.mask.clone()
    mask[:, :, : batch.width] &= ~dropped.to(mask.device)[:, None, :]
    mask |= torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return replace(batch, mask=mask)


def sequences(captions: Sequence[Sequence[int]], tree: PromptTree, pad: int = 0) -> Sequences:
    """Lays captions and the tree out for one pass.

    A caption is causal; a node of the tree sees the whole caption, its ancestors and itself. Padding is seen by itself
    alone, so it changes nothing and no row of the mask is empty.
    """
    lengths = torch.tensor([len(caption) for caption in captions])
    width, rows = int(lengths.max()), len(captions)
    ids = torch.full((rows, width + len(tree)), pad)
    for row, caption in enumerate(captions):
        ids[row, : len(caption)] = torch.tensor(caption)
    ids[:, width:] = torch.tensor(tree.ids, dtype=torch.long)

    sees = tree.sees()
    places = torch.arange(width)
    real = places < lengths[:, None]
    positions = torch.cat([places.expand(rows, -1), lengths[:, None] + sees.sum(dim=1)[None] - 1], dim=1)

    mask = torch.eye(width + len(tree), dtype=torch.bool).repeat(rows, 1, 1)
    mask[:, :width, :width] |= torch.ones(width, width, dtype=torch.bool).tril() & real[:, None, :] & real[:, :, None]
    mask[:, width:, :width] = real[:, None, :]
    mask[:, width:, width:] = sees
    return Sequences(ids, positions, mask, lengths, width)
