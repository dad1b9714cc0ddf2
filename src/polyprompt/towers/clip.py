"""Dual encoders of CLIP's kind: two pre-norm transformers into one space, cut open.

Radford et al. 2021 (arXiv:2103.00020), and SigLIP (Zhai et al. 2023, arXiv:2303.15343) with its other readouts. The
families that exist differ in names and details, not in kind; each is read into this one form (zoo/) and tested against
its own implementation. Where rows go follows the authors' codes. MaPLe's and PromptSRC's enter at the input: visual
ones stand behind the patches, have no position embedding, and pass `ln_pre`; text ones stand where the slots are and
get the position embeddings of their places. MMRL's enter a block: their slots have no places, the words keep the
positions that they have without them, so that all below is the unchanged tower.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polyprompt.errors import TowerError
from polyprompt.media.pictures import Preprocess
from polyprompt.nn.branches import NONE, Branches, Place, beside
from polyprompt.nn.prompts import append, put, replace_last, slot
from polyprompt.nn.trie import Pattern, Trie, attend, pack, pick
from polyprompt.towers.base import INPUT, NO_PLAN, Change, Out, Plan, refused
from polyprompt.towers.encoder import Encoder
from polyprompt.towers.fingerprint import fingerprint
from polyprompt.towers.reader import Reader
from polyprompt.towers.transformer import MLP, Attention, Block, Stack, attend_all
from polyprompt.towers.words import Words
from polyprompt.types import Pixels


@dataclass(frozen=True, slots=True)
class Savings:
    """Exact ways to do less in the text tower. All on by default; each can be turned off and gives the same numbers."""

    share: bool = True
    """Equal beginnings of texts once (causal towers only)."""
    cut: bool = True
    """Rows as long as the longest text, not as the tower's context (causal towers only)."""
    last_row: bool = True
    """The last block for the readout token alone."""
    nodes: int = 8192
    """Tokens computed at a time. Beyond that, texts go through in parts whose inner states are computed again for the
    gradient, so that memory does not grow with their number."""


PLACES: frozenset[str] = frozenset(get_args(Place))


@dataclass(frozen=True, slots=True)
class Stage:
    """How texts are laid out from one block on, until rows enter that tell apart what was alike below."""

    trie: Trie
    every: Pattern
    """Attention of all nodes; slots that nothing has entered yet are seen by themselves alone."""
    where: Int[Tensor, "n"] | None
    """The node of the stage below, for each node; None: the same ones."""
    places: Int[Tensor, "q"]
    """The slots that rows enter here."""
    rows: Int[Tensor, "q"]
    """The row that each of them reads."""

    def to(self, device: torch.device) -> "Stage":
        """The same on another device."""
        where = None if self.where is None else self.where.to(device)
        trie, every = self.trie.to(device), self.every.to(device)
        return Stage(trie, every, where, self.places.to(device), self.rows.to(device))

    def enter(self, states: Float[Tensor, "m ... d"], rows: Float[Tensor, "p ... d"]) -> Float[Tensor, "n ... d"]:
        """States laid out as from here on, with rows in the slots."""
        if self.where is not None:
            states = pick(self.where, states)
        vectors = rows[self.rows]
        if vectors.ndim > states.ndim:
            states = states[:, None].expand(-1, vectors.shape[1], -1)
        return put(states, self.places, vectors)


@dataclass(frozen=True, slots=True)
class Texts:
    """Prepared texts, in parts of bounded size: the stages of each by the block where they begin, INPUT among them."""

    parts: tuple[Mapping[int, Stage], ...]

    def to(self, device: torch.device) -> "Texts":
        """The same on another device."""
        return Texts(tuple({block: stage.to(device) for block, stage in part.items()} for part in self.parts))


@dataclass(frozen=True, kw_only=True, slots=True)
class TextForm:
    """What a text tower is beside its blocks and words."""

    length: int
    """Tokens in the longest text, start and end included."""
    heads: int
    """Attention heads per block."""
    vocabulary: int
    """Word vectors."""
    embedding: int
    """D, numbers per text."""
    eps: float = 1e-5
    """Of the last norm."""
    causal: bool = True
    """A token sees those before it; off (SigLIP): all, padding included."""
    bias: bool = False
    """Whether the last map has one."""


class TextTransformer(Reader):
    """A text tower: word vectors, positions, blocks, the state of one token, a linear map.

    Args:
        blocks: in order, from the input.
        words: the tokenizer.
        form: what else it is.
    """

    def __init__(self, blocks: list[Block], words: Words, form: TextForm) -> None:
        super().__init__()
        width = blocks[0].ln_1.normalized_shape[0]
        if words.vocabulary > form.vocabulary:
            raise TowerError(
                f"the tokenizer has {words.vocabulary} ids, the text tower {form.vocabulary} word vectors; "
                f"they do not belong together"
            )
        self.width, self.depth, self.length = width, len(blocks), form.length
        self.heads, self.causal = form.heads, form.causal
        self.tokenizer = words
        self.savings = Savings()
        self.token_embedding = nn.Embedding(form.vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(form.length, width))
        self.transformer = Stack(blocks)
        self.ln_final = nn.LayerNorm(width, eps=form.eps)
        self.text_projection = nn.Parameter(torch.empty(width, form.embedding))
        self.text_bias = nn.Parameter(torch.empty(form.embedding)) if form.bias else None

    def vectors(self, ids: Sequence[int]) -> Float[Tensor, "n d"]:
        """Word vectors, without positions."""
        return self.token_embedding.weight[list(ids)]

    def refuses(self, plan: Plan) -> str:
        """Why a change does not fit: blocks that are not there."""
        return refused(plan, self.depth, PLACES)

    def widths(self, place: Place) -> tuple[int, int]:
        """Numbers that a branch at this place is given, and gives."""
        return self.width, self.width

    def prepare(self, rows: Sequence[Sequence[int]], plan: Plan = NO_PLAN) -> Texts:
        """Lays texts out: start and end tokens added, padded where the tower wants it, equal beginnings merged.

        Raises:
            DataError: a text is empty or too long.
        """
        placed = any(block == INPUT for block, _ in plan.entries)
        framed = self.framed(rows, placed=placed)
        lengths = [self.length + (0 if placed else sum(token < 0 for token in row)) for row in framed]
        ends = [len(row) - 1 if self.causal else length - 1 for row, length in zip(framed, lengths, strict=True)]
        if not (self.savings.cut and self.causal):
            framed = [self.padded(row, length) for row, length in zip(framed, lengths, strict=True)]
        layout = partial(pack, share=self.savings.share, causal=self.causal, placed=placed)
        parts = self._parts(framed)
        return Texts(tuple(stages(framed[part], ends[part], plan, layout) for part in parts))

    def _parts(self, rows: list[list[int]]) -> list[slice]:
        """As many texts in a part as fit, counted as if nothing were shared but what all have in common."""
        parts, first, size = [], 0, 0
        common = 0
        if self.savings.share and self.causal:
            common = next((i for i, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), 0)
        for number, row in enumerate(rows):
            if size and size + len(row) - common > self.savings.nodes:
                parts.append(slice(first, number))
                first, size = number, 0
            size += len(row) - common
        return [*parts, slice(first, None)]

    @torch.no_grad()
    def below(self, texts: Texts, start: int | None) -> list[Tensor]:
        """The states entering block `start`, part by part; with None, the finished vectors."""
        parts = texts.to(self.positional_embedding.device).parts
        if start is None:
            return [self._above(part, self._below(part, INPUT), Change()) for part in parts]
        return [self._below(part, start) for part in parts]

    def _below(self, part: Mapping[int, Stage], start: int) -> Float[Tensor, "n d"]:
        stage = part[INPUT]
        states = self.token_embedding(stage.trie.ids.clamp(min=0))
        for number in range(INPUT, start):
            states = self._block(number, stage, states)
        return states

    def above(self, texts: Texts, states: list[Tensor], change: Change) -> Out:
        """One vector per text, from `below(texts, change.start)`. Gradients reach the change.

        Texts go through in parts, and pictures that have rows of their own a few at a time; where there are several,
        their inner states are computed again for the gradient.
        """
        if change.start is None:
            return Out(torch.cat(states))
        parts = texts.to(self.positional_embedding.device).parts
        largest = max(len(stage.trie.ids) for part in parts for stage in part.values())
        changes = change.by_pictures(max(1, self.savings.nodes // largest))
        run = self._above
        if len(parts) * len(changes) > 1 and torch.is_grad_enabled():
            run = partial(checkpoint, self._above, use_reentrant=False)
        pictures = [torch.cat([run(*part, one) for part in zip(parts, states, strict=True)]) for one in changes]
        return Out(torch.cat(pictures, dim=1) if len(pictures) > 1 else pictures[0])

    def _above(self, part: Mapping[int, Stage], states: Tensor, change: Change) -> Float[Tensor, "t *b D"]:
        stage, entering = part[INPUT], change.entering
        for number in range(INPUT if change.start is None else change.start, self.depth):
            if number in entering:
                stage = part[number]
                states = stage.enter(states, entering[number].rows)
            states = self._block(number, stage, states, change.beside(number))
        if not self.savings.last_row:
            states = pick(stage.trie.readouts, states)
        vectors = self.ln_final(states) @ self.text_projection
        return vectors if self.text_bias is None else vectors + self.text_bias

    def _block(self, number: int, stage: Stage, states: Tensor, branches: Branches = NONE) -> Float[Tensor, "n *b d"]:
        """One block, or at INPUT the places; the last one for the readouts alone."""
        if number == INPUT:
            states = beside("input", states, states, branches)
            places = self.positional_embedding[stage.trie.positions]
            return states + (places if states.ndim == 2 else places[:, None])
        block = self.transformer.resblocks[number]
        if number == self.depth - 1 and self.savings.last_row:
            attending = partial(attend, pattern=stage.trie.last, heads=self.heads)
            return block(states, attending, partial(pick, stage.trie.readouts), branches)
        return block(states, partial(attend, pattern=stage.every, heads=self.heads), None, branches)


def stages(
    rows: Sequence[Sequence[int]], ends: Sequence[int], plan: Plan, layout: Callable[..., tuple[Trie, list[list[int]]]]
) -> dict[int, Stage]:
    """The layouts of some texts, from the input up.

    Before rows enter, slots are alike; where they enter, those that read different rows part, and with them the texts
    behind them. So contexts of each class's own (TCP) cost nothing below the block where they enter.
    """
    count = 1 + max((~token for row in rows for token in row), default=-1)
    names, entered = (0,) * count, [False] * count
    paths: list[list[int]] = []
    layouts: dict[int, Stage] = {}
    trie: Trie | None = None
    for block, of in sorted(({INPUT: ()} | dict(plan.entries)).items()):
        reads = list(range(count)) if of is None else [of[s] if s < len(of) else -1 for s in range(count)]
        entered = [before or row >= 0 for before, row in zip(entered, reads, strict=True)]
        known: dict[tuple[int, int], int] = {}
        finer = tuple(known.setdefault(pair, len(known)) for pair in zip(names, reads, strict=True))
        where = None
        if finer != names or trie is None:
            trie, new = layout([[slot(finer[~token]) if token < 0 else token for token in row] for row in rows], ends)
            where = _above_which(paths, new, len(trie.ids)) if paths else None
            names, paths = finer, new
        layouts[block] = _stage(trie, where, _slots(rows, paths), reads, entered)
    return layouts


def _above_which(coarse: list[list[int]], fine: list[list[int]], nodes: int) -> Int[Tensor, "n"]:
    """For each node of the finer layout that of the coarser one."""
    where = torch.zeros(nodes, dtype=torch.long)
    for old, new in zip(coarse, fine, strict=True):
        where[new] = torch.tensor(old)
    return where


def _slots(rows: Sequence[Sequence[int]], paths: Sequence[Sequence[int]]) -> dict[int, int]:
    """The nodes that are slots, and which; in order."""
    pairs = (pair for row, path in zip(rows, paths, strict=True) for pair in zip(path, row, strict=True))
    return {node: ~token for node, token in sorted(set(pairs)) if token < 0}


def _stage(
    trie: Trie, where: Int[Tensor, "n"] | None, slots: dict[int, int], reads: Sequence[int], entered: Sequence[bool]
) -> Stage:
    hidden = torch.zeros(len(trie.ids), dtype=torch.bool)
    hidden[[node for node, slot in slots.items() if not entered[slot]]] = True
    every = trie.every.without(hidden) if hidden.any() else trie.every
    read = {node: reads[slot] for node, slot in slots.items() if reads[slot] >= 0}
    places, rows = (torch.tensor(list(numbers), dtype=torch.long) for numbers in (read, read.values()))
    return Stage(trie, every, where, places, rows)


class Probe(nn.Module):
    """SigLIP's readout: a learned query gathers from all tokens, then an MLP with a skip."""

    def __init__(self, width: int, hidden: int, heads: int, activation: str, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.probe = nn.Parameter(torch.empty(1, 1, width))
        self.attn = Attention(width)
        self.ln = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, hidden, activation)

    def forward(self, tokens: Float[Tensor, "b m d"]) -> Float[Tensor, "b d"]:
        """What the query gathered."""
        width = tokens.shape[-1]
        weight, bias = self.attn.in_proj_weight, self.attn.in_proj_bias
        query = F.linear(self.probe, weight[:width], bias[:width]).expand(len(tokens), -1, -1)
        both = F.linear(tokens, weight[width:], bias[width:])
        gathered = self.attn.out_proj(attend_all(query, both, self.heads))
        return (gathered + self.mlp(self.ln(gathered)))[:, 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageForm:
    """What an image tower is beside its blocks and preprocessing."""

    patch: int
    """Height and width of a patch, in pixels."""
    heads: int
    """Attention heads per block."""
    embedding: int | None
    """D, or None where the readout is not mapped."""
    readout: "str | Probe" = "class"
    """"class": the class token; "mean": the mean over all patches; or a `Probe`."""
    class_token: bool = True
    """Whether there is one, in front of the patches."""
    patch_bias: bool = False
    """Whether the patch embedding has a bias."""
    pre_norm: bool = True
    """Whether token states are normalised before the first block."""
    norm_first: bool = True
    """Normalise all tokens before reading out; off: normalise the readout."""
    projection_bias: bool = False
    """Whether the last map has a bias."""
    eps: float = 1e-5
    """Of the norms."""


class ImageTransformer(nn.Module):
    """A vision transformer: patches, positions, blocks, and one of three readouts.

    Args:
        blocks: in order, from the input.
        preprocess: how pictures become pixels; its size fixes the grid.
        form: what else it is.
    """

    def __init__(self, blocks: list[Block], preprocess: Preprocess, form: ImageForm) -> None:
        super().__init__()
        width, embedding, probe = blocks[0].ln_1.normalized_shape[0], form.embedding, form.readout
        self.width, self.depth, self.heads, self.norm_first = width, len(blocks), form.heads, form.norm_first
        self.preprocess, self.patch = preprocess, form.patch
        self.last_row = True
        self.readout = form.readout if isinstance(form.readout, str) else "probe"
        self.tokens = (preprocess.size // form.patch) ** 2 + form.class_token
        self.conv1 = nn.Conv2d(3, width, form.patch, form.patch, bias=form.patch_bias)
        self.class_embedding = nn.Parameter(torch.empty(width)) if form.class_token else None
        self.positional_embedding = nn.Parameter(torch.empty(self.tokens, width))
        self.ln_pre = nn.LayerNorm(width, eps=form.eps) if form.pre_norm else nn.Identity()
        self.transformer = Stack(blocks)
        self.ln_post = nn.LayerNorm(width, eps=form.eps)
        self.pool = probe if isinstance(probe, Probe) else None
        self.proj = None if embedding is None else nn.Parameter(torch.empty(width, embedding))
        self.proj_bias = nn.Parameter(torch.empty(embedding)) if embedding and form.projection_bias else None

    def refuses(self, plan: Plan) -> str:
        """Why a change does not fit: blocks that are not there."""
        return refused(plan, self.depth, PLACES, attention=True)

    def widths(self, place: Place) -> tuple[int, int]:
        """Numbers that a branch at this place is given, and gives."""
        return self.width, self.width

    @torch.no_grad()
    def below(self, pixels: Pixels, start: int | None) -> Float[Tensor, "b ..."]:
        """The states entering block `start`; with None, the finished vectors."""
        states = self.conv1(pixels).flatten(2).transpose(1, 2)
        if self.class_embedding is not None:
            states = torch.cat([self.class_embedding.to(states.dtype).expand(len(states), 1, -1), states], dim=1)
        states = states + self.positional_embedding.to(states.dtype)
        for number in range(INPUT, self.depth if start is None else start):
            states = self._block(number, states)
        return self._read(states).vectors if start is None else states

    def above(self, states: Float[Tensor, "b ..."], change: Change) -> Out:
        """Vectors from `below(pixels, change.start)`. Gradients reach the change."""
        if change.start is None:
            return Out(states)
        entering, count = change.entering, 0
        for number in range(change.start, self.depth):
            if number in entering:
                rows = entering[number].given(partial(self._paid, number, states, count))
                states = replace_last(states, rows) if count else append(states, rows)
                count = len(rows)
            states = self._block(number, states, change.beside(number), count)
        return self._read(states, count)

    def _block(
        self, number: int, states: Float[Tensor, "b n d"], branches: Branches = NONE, count: int = 0
    ) -> Float[Tensor, "b r d"]:
        """One block, or at INPUT `ln_pre`; the last one for the class token and the `count` rows that entered alone."""
        if number == INPUT:
            states = self.ln_pre(states)
            return beside("input", states, states, branches)
        alone = number == self.depth - 1 and self.last_row and self.readout == "class"
        attending = partial(attend_all, heads=self.heads)
        rows = partial(_ends, count=count) if alone else None
        return self.transformer.resblocks[number](states, attending, rows, branches)

    def _paid(self, number: int, states: Float[Tensor, "b n d"], count: int) -> Float[Tensor, "b p"]:
        """The attention that a block pays to the `count` rows that stand in it."""
        block = self.transformer.resblocks[number]
        assert isinstance(block, Block)
        return block.paid(states, count, self.heads)

    def _read(self, states: Float[Tensor, "b n d"], count: int = 0) -> Out:
        if self.norm_first:
            states = self.ln_post(states)
        tokens = states[:, states.shape[1] - count :] if count else None
        if self.pool is not None:
            states = self.pool(states)
        elif self.readout == "mean":  # over the patches: neither class token nor rows that entered
            states = states[:, int(self.class_embedding is not None) : self.tokens].mean(dim=1)
        else:
            states = states[:, 0]
        if not self.norm_first:
            states = self.ln_post(states)
            tokens = None if tokens is None else self.ln_post(tokens)
        if self.proj is not None:
            states = states @ self.proj
        return Out(states if self.proj_bias is None else states + self.proj_bias, tokens)


def _ends(states: Float[Tensor, "b n d"], count: int) -> Float[Tensor, "b r d"]:
    """The class token and the last `count` tokens."""
    return torch.cat([states[:, :1], states[:, states.shape[1] - count :]], dim=1) if count else states[:, :1]


class CLIP(Encoder):
    """A frozen dual encoder (`DualEncoder` in base.py).

    Args:
        image, text, logit_scale, name: as for `Encoder`; tensors may lie in any dtype, mapped from a file.
        dtype: in which the blocks' matrices are held: fp32, bf16, or with None as they lie where that is one of the
            two. In bf16 only they are, and products of theirs; states between blocks, norms and all else stay fp32.
            With None they stay mapped where they are; with fp32 all is in memory of its own.
    """

    def __init__(
        self,
        image: nn.Module,
        text: nn.Module,
        logit_scale: Tensor,
        name: str,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        super().__init__(image, text, logit_scale, name)
        stacks = [part for part in self.modules() if isinstance(part, Stack)]
        matrices = [matrix for stack in stacks for matrix in stack.matrices()]
        if dtype == torch.bfloat16 and not matrices:
            raise TowerError(
                f"{name}: neither tower is a plain transformer, whose blocks could be held in bf16; use fp32"
            )
        lie_low = all(matrix.dtype == torch.bfloat16 for matrix in matrices)
        if matrices and (dtype == torch.bfloat16 or (dtype is None and lie_low)):
            if not lie_low:
                self._fingerprint = self.hashed()  # what it is stays what its file says
            self.dtype = torch.bfloat16
        held = set(map(id, matrices))
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.is_floating_point():
                # what lies mapped is not aligned, and would round otherwise than a copy of it
                copied = dtype == torch.float32
                tensor.data = tensor.data.to(self.dtype if id(tensor) in held else torch.float32, copy=copied)

    def hashed(self) -> str:
        """A hash of weights and structure, tokenizer and preprocessing (towers/fingerprint.py)."""
        return fingerprint(self)

    def saving(self, savings: Savings) -> None:
        """Turns the exact savings of both transformers on or off; texts prepared before keep their layout."""
        if isinstance(self.text, TextTransformer):
            self.text.savings = savings
        if isinstance(self.image, ImageTransformer):
            self.image.last_row = savings.last_row


PLAIN = replace(Savings(), share=False, cut=False, last_row=False, nodes=1 << 40)
"""No saving at all: every class at full length, every token through every block."""
