"""Dual encoders of CLIP's kind: two pre-norm transformers into one space, cut open for prompts.

Radford et al. 2021 (arXiv:2103.00020), and SigLIP (Zhai et al. 2023, arXiv:2303.15343) with its other read-outs. The
families that exist differ in names and details, not in kind; each is read into this one form (openai.py, open_clip.py,
huggingface.py) and tested against its own implementation. Where prompts go follows MaPLe's and PromptSRC's code:
visual prompts stand behind the patches, have no position embedding, and enter before `ln_pre`; text prompts stand where
the slots are and get the position embedding of their places only at the input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polyprompt.errors import TowerError
from polyprompt.media.pictures import Preprocess
from polyprompt.nn import prompts as slots
from polyprompt.nn.trie import Trie, attend, pack
from polyprompt.towers.base import ImageTower, Prompts, TextTower
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
    """The last block for the read-out token alone."""
    nodes: int = 8192
    """Tokens computed at a time. Beyond that, texts go through in parts whose inner states are computed again for the
    gradient, so that memory does not grow with their number."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Prepared texts, in parts of bounded size."""

    parts: tuple[Trie, ...]


class TextTransformer(Reader):
    """A text tower: word vectors, positions, blocks, the state of one token, a linear map.

    Args:
        blocks: in order, from the input.
        length: tokens in the longest text, start and end included.
        heads: attention heads per block.
        words: the tokenizer.
        embedding: D, numbers per text.
        causal: a token sees those before it; off (SigLIP): all, padding included.
        bias: whether the last map has one.
    """

    def __init__(
        self,
        blocks: list[Block],
        *,
        length: int,
        heads: int,
        words: Words,
        vocabulary: int,
        embedding: int,
        eps: float = 1e-5,
        causal: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        width = blocks[0].ln_1.normalized_shape[0]
        if words.vocabulary > vocabulary:
            raise TowerError(
                f"the tokenizer has {words.vocabulary} ids, the text tower {vocabulary} word vectors; "
                f"they do not belong together"
            )
        self.width, self.depth, self.length, self.heads, self.causal = width, len(blocks), length, heads, causal
        self.tokenizer = words
        self.closed = ""
        self.savings = Savings()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(length, width))
        self.transformer = Stack(blocks)
        self.ln_final = nn.LayerNorm(width, eps=eps)
        self.text_projection = nn.Parameter(torch.empty(width, embedding))
        self.text_bias = nn.Parameter(torch.empty(embedding)) if bias else None

    def vectors(self, ids: Sequence[int]) -> Float[Tensor, "n d"]:
        """Word vectors, without positions."""
        return self.token_embedding.weight[list(ids)]

    def prepare(self, rows: Sequence[Sequence[int]]) -> Texts:
        """Lays texts out: start and end tokens added, padded where the tower wants it, equal beginnings merged.

        Raises:
            DataError: a text is too long.
        """
        framed = self.framed(rows)
        ends = [len(row) - 1 if self.causal else self.length - 1 for row in framed]
        whole = not (self.savings.cut and self.causal)
        return Texts(tuple(self._parts(self.padded(framed) if whole else framed, ends)))

    def _parts(self, rows: list[list[int]], ends: list[int]) -> list[Trie]:
        """As many texts in a part as fit, counted as if nothing were shared but what all have in common."""
        layout = partial(pack, share=self.savings.share, causal=self.causal)
        parts, first, size = [], 0, 0
        common = 0
        if self.savings.share and self.causal:
            common = next((i for i, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), 0)
        for number, row in enumerate(rows):
            if size and size + len(row) - common > self.savings.nodes:
                parts.append(layout(rows[first:number], ends[first:number]))
                first, size = number, 0
            size += len(row) - common
        return [*parts, layout(rows[first:], ends[first:])]

    def encode(self, texts: Texts, prompts: Prompts | None = None) -> Float[Tensor, "t D"]:
        """One vector per text, not normalised. Gradients reach the prompts."""
        device = self.positional_embedding.device
        parts = [trie.to(device) for trie in texts.parts]
        if len(parts) == 1 or prompts is None or not torch.is_grad_enabled():
            return torch.cat([self._encode(trie, prompts) for trie in parts])
        layers = prompts.layers
        again = partial(checkpoint, self._encode_layers, use_reentrant=False)
        return torch.cat([again(trie, prompts.start, *layers) for trie in parts])

    def _encode_layers(self, trie: Trie, start: int, *layers: Tensor) -> Tensor:
        return self._encode(trie, Prompts(layers, start))

    def _encode(self, trie: Trie, prompts: Prompts | None) -> Float[Tensor, "t D"]:
        states = self.token_embedding(trie.ids.clamp(min=0))
        is_slot = trie.ids < 0
        places = is_slot.nonzero()[:, 0]
        rows = ~trie.ids[places]
        layers = {} if prompts is None else {prompts.start + i: layer[rows] for i, layer in enumerate(prompts.layers)}
        if 0 in layers:
            states = slots.put(states, places, layers[0])
        states = states + self.positional_embedding[trie.positions]
        entered = prompts.start if prompts else 0
        for number, block in enumerate(self.transformer.resblocks):
            if number and number in layers:
                states = slots.put(states, places, layers[number])
            if number == self.depth - 1 and self.savings.last_row:
                look = partial(attend, look=trie.last, heads=self.heads)
                states = block(states, look, lambda x: F.embedding(trie.readouts, x))
            else:
                every = trie.every.without(is_slot) if number < entered else trie.every
                states = block(states, partial(attend, look=every, heads=self.heads))
        if not self.savings.last_row:
            states = F.embedding(trie.readouts, states)
        vectors = self.ln_final(states) @ self.text_projection
        return vectors if self.text_bias is None else vectors + self.text_bias


class Probe(nn.Module):
    """SigLIP's read-out: a learned query gathers from all tokens, then an MLP with a skip."""

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


class ImageTransformer(nn.Module):
    """A vision transformer: patches, positions, blocks, and one of three read-outs.

    Args:
        blocks: in order, from the input.
        preprocess: how pictures become pixels; its size fixes the grid.
        patch: height and width of a patch, in pixels.
        heads: attention heads per block.
        embedding: D, or None where the read-out is not mapped.
        readout: "class": the class token; "mean": the mean over all patches; or a `Probe`.
        class_token: whether there is one (in front of the patches).
        patch_bias: whether the patch embedding has a bias.
        pre_norm: whether token states are normalised before the first block.
        norm_first: normalise all tokens before reading out; off: normalise the read-out.
    """

    def __init__(
        self,
        blocks: list[Block],
        *,
        preprocess: Preprocess,
        patch: int,
        heads: int,
        embedding: int | None,
        readout: "str | Probe" = "class",
        class_token: bool = True,
        patch_bias: bool = False,
        pre_norm: bool = True,
        norm_first: bool = True,
        projection_bias: bool = False,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        width = blocks[0].ln_1.normalized_shape[0]
        self.width, self.depth, self.heads, self.norm_first = width, len(blocks), heads, norm_first
        self.preprocess, self.patch = preprocess, patch
        self.closed = ""
        self.last_row = True
        self.readout = readout if isinstance(readout, str) else "probe"
        self.tokens = (preprocess.size // patch) ** 2 + class_token
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=patch_bias)
        self.class_embedding = nn.Parameter(torch.empty(width)) if class_token else None
        self.positional_embedding = nn.Parameter(torch.empty(self.tokens, width))
        self.ln_pre = nn.LayerNorm(width, eps=eps) if pre_norm else nn.Identity()
        self.transformer = Stack(blocks)
        self.ln_post = nn.LayerNorm(width, eps=eps)
        self.pool = readout if isinstance(readout, Probe) else None
        self.proj = None if embedding is None else nn.Parameter(torch.empty(width, embedding))
        self.proj_bias = nn.Parameter(torch.empty(embedding)) if embedding and projection_bias else None

    @torch.no_grad()
    def until(self, pixels: Pixels, block: int | None) -> Float[Tensor, "b ..."]:
        """States at the input of `block`, without prompts; with None, the finished vectors."""
        states = self.conv1(pixels).flatten(2).transpose(1, 2)
        if self.class_embedding is not None:
            states = torch.cat([self.class_embedding.to(states.dtype).expand(len(states), 1, -1), states], dim=1)
        states = states + self.positional_embedding.to(states.dtype)
        if block == 0:
            return states
        states = self.ln_pre(states)
        for number, layer in enumerate(self.transformer.resblocks):
            if number == block:
                return states
            states = self._block(number, layer, states)
        return self._read(states)

    def finish(self, states: Float[Tensor, "b m d"], prompts: Prompts) -> Float[Tensor, "b D"]:
        """Vectors from `until(pixels, prompts.start)`, not normalised. Gradients reach the prompts."""
        states = slots.append(states, prompts.layers[0])
        if prompts.start == 0:
            states = self.ln_pre(states)
        for number in range(prompts.start, self.depth):
            if prompts.start < number < prompts.end:
                states = slots.replace_last(states, prompts.layers[number - prompts.start])
            states = self._block(number, self.transformer.resblocks[number], states)
        return self._read(states)

    def _block(self, number: int, block: nn.Module, states: Tensor) -> Tensor:
        look = partial(attend_all, heads=self.heads)
        alone = number == self.depth - 1 and self.last_row and self.readout == "class"
        return block(states, look, _first) if alone else block(states, look)

    def _read(self, states: Tensor) -> Tensor:
        if self.norm_first:
            states = self.ln_post(states)
        if self.pool is not None:
            states = self.pool(states)
        elif self.readout == "mean":  # over the patches: neither class token nor prompts
            states = states[:, int(self.class_embedding is not None) : self.tokens].mean(dim=1)
        else:
            states = states[:, 0]
        if not self.norm_first:
            states = self.ln_post(states)
        if self.proj is not None:
            states = states @ self.proj
        return states if self.proj_bias is None else states + self.proj_bias


def _first(states: Tensor) -> Tensor:
    return states[:, :1]


class CLIP(nn.Module):
    """A frozen dual encoder (`DualEncoder` in base.py)."""

    def __init__(self, image: nn.Module, text: nn.Module, logit_scale: Tensor, name: str) -> None:
        super().__init__()
        assert isinstance(image, ImageTower)
        assert isinstance(text, TextTower)
        self.image, self.text, self.name = image, text, name
        self.register_buffer("logit_scale", logit_scale.detach().float().reshape(()))
        self.logit_scale: Tensor
        self.requires_grad_(False)
        self.eval()

    @cached_property
    def fingerprint(self) -> str:
        """A hash of weights and structure, tokenizer and preprocessing (towers/fingerprint.py)."""
        return fingerprint(self)

    def encode_image(self, pixels: Pixels) -> Float[Tensor, "b D"]:
        """Image vectors without prompts, not normalised."""
        return self.image.until(pixels, None)

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "t D"]:
        """Text vectors without prompts, not normalised."""
        with torch.no_grad():
            return self.text.encode(self.text.prepare([self.text.words(text) for text in texts]))

    def saving(self, savings: Savings) -> None:
        """Turns the exact savings of both transformers on or off; texts prepared before keep their layout."""
        if isinstance(self.text, TextTransformer):
            self.text.savings = savings
        if isinstance(self.image, ImageTransformer):
            self.image.last_row = savings.last_row


PLAIN = replace(Savings(), share=False, cut=False, last_row=False, nodes=1 << 40)
"""No saving at all: every class at full length, every token through every block."""
