"""CAMPE's text side: one caption, K prompts behind it, K readouts joined to one embedding.

Kim and Angelova 2025 (arXiv:2508.02762). No code was published; what the paper leaves open is chosen here and named:

- one linear map a prompt, without bias, d -> D / K; `shared_map` uses the same one for all prompts
- every prompt restarts behind the caption (nn/tree.py)
- `adaptive`, where the adaptive token lives: an ordinary word ("words"), the word and a learned vector added where the
  trained blocks begin ("late"), or a learned embedding at the input ("input"), which reaches back through frozen blocks
- the LLM's final norm, made for guessing words, is replaced by one fitted to the readouts (`norm`); docs/results.md
  compares them

Other readouts of the same LLM are the baselines: its last token, the mean over the caption, a token that ends the text
as in CLIP, and adaptive tokens in a row behind the caption, read out together (after DeFo, arXiv:2210.04714). So are
other ways to train: LoRA's updates in place of the blocks' own weights, and a fresh tower (towers/vanilla.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from polyprompt.campe.config import Adaptive, Readout
from polyprompt.errors import ConfigError
from polyprompt.nn.branches import Branches, LowRank, Place
from polyprompt.nn.tree import Branch, PromptTree, Sequences, grow
from polyprompt.towers.llm import LLM, Flow
from polyprompt.types import Hidden, Segments


@dataclass(frozen=True, slots=True)
class TextOut:
    """What the text side makes of a batch of captions."""

    segments: Segments
    readouts: Float[Tensor, "b k d"]
    """States behind the final norm, before the maps."""
    negated: Segments | None


def prompt_tree(llm: LLM, words: Sequence[str], template: str, negated_template: str | None) -> PromptTree:
    """The tree of K prompts, and of their negations if there is a template for them.

    Raises:
        ConfigError: a template without exactly one {} for the adaptive word.
    """
    prompts = [_branch(llm, template, word) for word in words]
    return grow(prompts, [_branch(llm, negated_template, word) for word in words] if negated_template else [])


def token_row(llm: LLM, words: Sequence[str]) -> PromptTree:
    """Adaptive tokens in one row behind the caption, all of them read out: the DeFo-like baseline."""
    ids = [llm.behind(f" {word}")[0][-1] for word in words]
    nodes = tuple(range(len(ids)))
    return PromptTree(tuple(ids), tuple(node - 1 for node in nodes), adaptive=nodes, readouts=nodes)


def end_token(llm: LLM) -> PromptTree:
    """The token that ends a text, behind the caption, and read out: CLIP's pooling.

    Raises:
        ConfigError: the tokenizer has none.
    """
    if (end := llm.tokenizer.eos_token_id) is None:
        raise ConfigError(f"{llm.name}: its tokenizer has no token that ends a text; use text.readout=last.")
    return PromptTree((end,), (-1,), readouts=(0,))


def _updates(llm: LLM, start: int, rank: int) -> nn.ModuleDict:
    """LoRA's updates, by block and place, put beside the blocks from `start` on; none at rank 0.

    Raises:
        ConfigError: the tower learns as a whole, no block does, or the family's layers are not known.
    """
    if not rank:
        return nn.ModuleDict()
    if llm.fresh or start == llm.depth or rank > llm.width:
        raise ConfigError(
            f"text.lora is {rank}; updates stand beside trained blocks of a pretrained LLM (text.last_n of 1 or more), "
            f"and have at most its width of {llm.width}."
        )
    if llm.layers is None:
        raise ConfigError(f"{llm.name}: where its attention's layers are is not known; use text.lora=0.")
    of = {block: low_rank(llm.layers.widths, rank) for block in range(start, llm.depth)}
    llm.beside = {block: branches_of(places) for block, places in of.items()}
    return nn.ModuleDict({str(block): places for block, places in of.items()})


def low_rank(widths: Mapping[Place, tuple[int, int]], rank: int) -> nn.ModuleDict:
    """LoRA's updates of one block, by place, drawn from torch's own generator."""
    return nn.ModuleDict({place: LowRank(widths[place], rank, torch.default_generator) for place in PLACES})


def branches_of(updates: nn.ModuleDict) -> Branches:
    """A block's updates as a tower takes them."""
    return cast(Branches, dict(updates.items()))


def _branch(llm: LLM, template: str, word: str) -> Branch:
    if template.count("{}") != 1:
        raise ConfigError(
            f"template {template!r} has {template.count('{}')} places for an adaptive word; write exactly one {{}}, "
            'as in "the {} of the image means:".'
        )
    ids, places = llm.behind(" " + template.replace("{}", word))
    end = 1 + template.index("{}") + len(word)
    adaptive = next((i for i, (_, stop) in enumerate(places) if stop >= end), None)
    if adaptive is None or not word.strip():
        raise ConfigError(
            f"the adaptive word {word!r} cannot be found in the tokens of {template!r}; use a plain word."
        )
    return Branch(tuple(ids), adaptive)


class FittedNorm(nn.Module):
    """Standardises each coordinate by the mean and deviation of the states it was fitted to; scale and shift learn.

    Stands for the LLM's final norm, which scales tokens and leaves what all texts have in common. (SmolLM2-135M on
    Flickr8k: nine tenths of the readouts' squares are their mean's, the largest deviation is ten times the median.)
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    @torch.no_grad()
    def fit(self, states: Float[Tensor, "r d"]) -> None:
        """Takes mean and deviation from these states."""
        self.mean.copy_(states.mean(dim=0))
        self.deviation.copy_(states.std(dim=0).clamp_min(1e-6))

    def forward(self, states: Float[Tensor, "*r d"]) -> Float[Tensor, "*r d"]:
        """States with mean 0 and deviation 1 in each coordinate, times weight, plus bias."""
        return (states - self.mean) / self.deviation * self.weight + self.bias


class Learns(NamedTuple):
    """What of the LLM learns."""

    blocks: int = 1
    """The last so many; 0: the norm alone."""
    rank: int = 0
    """Of updates beside those blocks' attention, whose own weights then stay; 0: the blocks themselves learn."""


LAST_BLOCK = Learns()
PLACES: tuple[Place, ...] = ("query", "key", "value", "out")
"""Where LoRA's updates stand."""


class TextSide(nn.Module):
    """A decoder with a prompt tree behind each caption, and maps into the joint space.

    Args:
        llm: the tower, cut to the depth that is used.
        tree: the prompts; an empty one for "last" and "mean".
        readout: which states are read.
        dim: D, the width of the joint space.
        learns: what of the LLM learns, beside the norm and the maps; of a fresh one all.
        adaptive: where the adaptive tokens live.
        shared_map: one map for all prompts.
        fitted_norm: whether a norm fitted to the readouts stands in the place of the LLM's final one.
    """

    def __init__(
        self,
        llm: LLM,
        tree: PromptTree,
        *,
        readout: Readout = "prompts",
        dim: int = 384,
        learns: Learns = LAST_BLOCK,
        adaptive: Adaptive = "late",
        shared_map: bool = False,
        fitted_norm: bool = False,
    ) -> None:
        super().__init__()
        self.num_segments = len(tree.readouts) if readout == "prompts" else 1
        if dim % self.num_segments:
            near = round(dim / self.num_segments) * self.num_segments or self.num_segments
            raise ConfigError(
                f"dim is {dim}, which {self.num_segments} prompts do not divide; use {near}, for instance."
            )
        last_n = llm.depth if llm.fresh else learns.blocks
        if not 0 <= last_n <= llm.depth:
            raise ConfigError(f"last_n is {last_n}; the text tower has {llm.depth} blocks, so 0 to {llm.depth}.")
        if adaptive == "late" and tree.adaptive and last_n == 0:
            raise ConfigError('adaptive "late" adds vectors where trained blocks begin, and last_n is 0; use "words".')
        self.llm, self.tree, self.readout, self.dim, self.adaptive = llm, tree, readout, dim, adaptive
        self.split = llm.depth - last_n
        self.updates = _updates(llm, self.split, learns.rank)
        if not self.updates:
            llm.unfreeze(self.split)
        self.fitted_norm = FittedNorm(llm.width) if fitted_norm else None
        self.norm.requires_grad_(True)
        maps = 1 if shared_map else self.num_segments
        self.maps = nn.Parameter(torch.randn(maps, llm.width, dim // self.num_segments) * llm.width**-0.5)
        if adaptive == "late" and tree.adaptive:
            self.vectors = nn.Parameter(torch.zeros(len(tree.adaptive), llm.width))
        elif adaptive == "input" and tree.adaptive:
            ids = torch.tensor([[tree.ids[node] for node in tree.adaptive]], device=self.maps.device)
            self.vectors = nn.Parameter(llm.token_embeddings(ids)[0].clone())

    @property
    def norm(self) -> nn.Module:
        """What the readouts are normalised by."""
        return self.llm.norm if self.fitted_norm is None else self.fitted_norm

    @property
    def reads_the_tree(self) -> bool:
        """Whether tokens of the tree are read out, and none of the caption."""
        return self.readout in ("prompts", "tokens", "end")

    @property
    def cacheable(self) -> bool:
        """States below the split do not depend on anything that learns."""
        return not self.llm.fresh and self.adaptive_above

    @property
    def adaptive_above(self) -> bool:
        """Adaptive tokens do not learn at the input."""
        return self.adaptive != "input" or not self.tree.adaptive

    def forward(self, batch: Sequences, hidden: Hidden | None = None) -> TextOut:
        """Segments of a batch; `hidden` are the states entering the first trained block, if a cache has them."""
        batch = batch.to(self.maps.device)
        tree = self._tree_of(batch)
        if not self.adaptive_above:
            hidden, flow = self._through_frozen_blocks(batch)
        elif hidden is not None:
            flow = self.llm.flow(batch.positions, batch.mask)
        else:
            start, flow = self.llm.embed(batch.ids, batch.positions, batch.mask)
            with torch.no_grad():
                hidden = self.llm.run(start, flow, 0, self.split)
        hidden = hidden.to(self.maps.device)
        if self.adaptive == "late" and tree.adaptive:
            nodes = batch.width + torch.tensor(tree.adaptive, device=hidden.device)
            hidden = hidden.index_add(1, nodes, self.vectors.expand(len(hidden), -1, -1).to(hidden.dtype))
        return self.read(self._run(hidden, flow, self.rows(batch)), batch)

    def read(self, states: Float[Tensor, "b r d"], batch: Sequences) -> TextOut:
        """What is made of the states of `rows` behind the last block."""
        states = self.norm(states)
        if self.readout == "mean":
            real = batch.seen_at_the_end().to(states.device)
            states = (states * real[..., None]).sum(dim=1, keepdim=True) / real.sum(dim=1)[:, None, None]
        elif self.readout == "tokens":
            states = states.mean(dim=1, keepdim=True)
        positive, negated = states[:, : self.num_segments], states[:, self.num_segments :]
        return TextOut(self._map(positive), positive, self._map(negated) if negated.shape[1] else None)

    def fit_norm(self, batch: Sequences, hidden: Hidden | None = None) -> None:
        """Fits the norm, if it is one to be fitted, to the readouts of these captions; once, before training."""
        if self.fitted_norm is not None:
            with torch.no_grad():
                self.fitted_norm.fit(self(batch, hidden).readouts.flatten(0, 1))

    def _tree_of(self, batch: Sequences) -> PromptTree:
        """The whole tree, or the one without negations, whichever the batch was laid out for."""
        behind = batch.ids.shape[1] - batch.width
        return self.tree if behind == len(self.tree) else self.tree.positive()

    def rows(self, batch: Sequences) -> Int[Tensor, "b r"]:
        """Places of the states that are read out."""
        if self.readout == "last":
            return batch.lengths[:, None] - 1
        tree = self._tree_of(batch)
        behind = [batch.width + node for node in tree.readouts + tree.negated]
        rows = range(batch.width) if self.readout == "mean" else behind
        return torch.tensor(list(rows), device=batch.ids.device).expand(len(batch.ids), -1)

    def _run(self, hidden: Hidden, flow: Flow, rows: Int[Tensor, "b r"]) -> Float[Tensor, "b r d"]:
        """The trained blocks; the last of them for the rows that are read out alone."""
        if self.split == self.llm.depth:
            return hidden.gather(1, rows[..., None].expand(-1, -1, hidden.shape[-1]))
        hidden = self.llm.run(hidden, flow, self.split, self.llm.depth - 1)
        return self.llm.run_rows(hidden, flow, self.llm.depth - 1, rows)

    def _through_frozen_blocks(self, batch: Sequences) -> tuple[Hidden, Flow]:
        """The "input" mode: the caption without gradient, the tree behind it with one, to its embeddings."""
        width, tree = batch.width, self._tree_of(batch)
        nodes = width + torch.tensor(tree.adaptive, device=batch.ids.device)
        embeddings = self.llm.token_embeddings(batch.ids).index_copy(
            1, nodes, self.vectors.expand(len(batch.ids), -1, -1)
        )
        hidden, flow = self.llm.embed(batch.ids, batch.positions, batch.mask, embeddings)
        with torch.no_grad():
            alone = batch.mask[:, :width, :width]
            caption, caption_flow = self.llm.embed(batch.ids[:, :width], batch.positions[:, :width], alone)
            before, caption = self.llm.keys_values(caption, caption_flow, 0, self.split)
        behind = self.llm.run_behind(hidden[:, width:], flow, 0, self.split, width, before)
        return torch.cat([caption, behind], dim=1), flow

    def _map(self, states: Float[Tensor, "b k d"]) -> Segments:
        return torch.einsum("bkd,kde->bke", states, self.maps.expand(states.shape[1], -1, -1))


def join(segments: Segments) -> Float[Tensor, "b D"]:
    """K segments as one unit vector; normalised as a whole, so the segments keep their shares (section 3.1)."""
    return F.normalize(segments.flatten(1), dim=-1)
