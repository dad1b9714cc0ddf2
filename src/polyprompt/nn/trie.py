"""Texts that begin alike, computed once: token rows merged into a tree whose nodes stand for shared beginnings.

Under a causal mask a token's state depends on what stands before it and on nothing else, so texts with a common
beginning have common states, at every depth. `pack` gives each distinct beginning one node; the layers of a transformer
then run on the nodes, side by side, and only attention looks along the paths. Start token, learned context and the
beginnings of class names are thereby computed once for all classes, and no row is longer than it has to be. The numbers
are those of the plain way (tests/nn/test_trie.py).

Rows are picked with `F.embedding`: its gradient is several times faster on processors than that of indexing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Trie:
    """`t` texts of at most `l` tokens as `n` nodes."""

    ids: Int[Tensor, "n"]
    """Token id of each node; negative ones are slots (nn/prompts.py)."""
    positions: Int[Tensor, "n"]
    """Place of each node in its texts."""
    paths: Int[Tensor, "t l"]
    """`paths[i, j]` is the node at place j of text i; behind a text's end its last node is repeated."""
    ends: Int[Tensor, "t"]
    """Place in each text whose state is read out."""
    seen: Int[Tensor, "n"]
    """Where a node stands first in `paths`, counted along its rows."""

    def to(self, device: torch.device) -> "Trie":
        """The same on another device."""
        return Trie(*(getattr(self, field.name).to(device) for field in fields(self)))

    @property
    def readouts(self) -> Int[Tensor, "t"]:
        """The node that is read out, per text."""
        return self.paths.gather(1, self.ends[:, None])[:, 0]


def pack(rows: Sequence[Sequence[int]], ends: Sequence[int], *, share: bool = True) -> Trie:
    """Merges equal beginnings of `rows`; with `share` off every token keeps a node of its own.

    Args:
        rows: token ids and slots, one row per text, none empty.
        ends: the place in each row that is read out.
    """
    ids: list[int] = []
    positions: list[int] = []
    seen: list[int] = []
    paths: list[list[int]] = []
    nodes: dict[tuple[int, int], int] = {}
    longest = max(map(len, rows))
    for text, row in enumerate(rows):
        node, path = -1, []
        for place, token in enumerate(row):
            key = (node, token) if share else (text, place)
            if key not in nodes:
                nodes[key] = len(ids)
                ids.append(token)
                positions.append(place)
                seen.append(text * longest + place)
            node = nodes[key]
            path.append(node)
        paths.append(path + [node] * (longest - len(path)))
    return Trie(*map(torch.tensor, (ids, positions, paths, ends, seen)))


def attend(
    queries: Float[Tensor, "n d"],
    both: Float[Tensor, "n dd"],
    trie: Trie,
    heads: int,
    *,
    causal: bool = True,
    hidden: Bool[Tensor, "n"] | None = None,
) -> Float[Tensor, "n d"]:
    """Attention of every node over the nodes before it in its text, and itself.

    Args:
        both: keys beside values; heads lie side by side in each.
        causal: off: over all tokens of its text; then all rows have one length and no node is shared.
        hidden: nodes that no other node looks at.
    """
    query = F.embedding(trie.paths, queries).unflatten(-1, (heads, -1)).transpose(1, 2)
    key, value = F.embedding(trie.paths, both).unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
    mask = None
    if hidden is not None:
        length = trie.paths.shape[1]
        sees = torch.ones(length, length, dtype=torch.bool, device=queries.device)
        sees = sees.tril() if causal else sees
        itself = torch.eye(length, dtype=torch.bool, device=queries.device)
        mask = ((sees & ~hidden[trie.paths][:, None, :]) | itself)[:, None]
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal and mask is None)
    return F.embedding(trie.seen, out.transpose(1, 2).reshape(-1, queries.shape[-1]))


def attend_readouts(
    queries: Float[Tensor, "t d"], both: Float[Tensor, "n dd"], trie: Trie, heads: int, *, causal: bool = True
) -> Float[Tensor, "t d"]:
    """As `attend`, for the node that is read out of each text."""
    query = queries.unflatten(-1, (heads, 1, -1))
    key, value = F.embedding(trie.paths, both).unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
    mask = None
    if causal:  # the last node is repeated behind a text's end; it counts once
        mask = (torch.arange(trie.paths.shape[1], device=queries.device) <= trie.ends[:, None])[:, None, None]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask).flatten(1)
