"""Texts that begin alike, computed once: token rows merged into a tree whose nodes stand for shared beginnings.

Under a causal mask a token's state depends on what stands before it and on nothing else, so texts with a common
beginning have common states, at every depth. `pack` gives each distinct beginning one node; the layers of a transformer
then run on the nodes, side by side, and only attention looks along the branches. Start token, learned context and the
beginnings of class names are thereby computed once for all classes, and nothing is padded. The numbers are those of the
plain way (tests/nn/test_trie.py).

Nodes are numbered so that a node's descendants follow it without a gap. Any run of consecutive nodes then looks at
itself and at the ancestors of its first node, at nothing else: attention goes run by run, over few keys more than
there are nodes.

Rows are picked with `F.embedding`: its gradient is several times faster on processors than that of indexing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from polyprompt.nn.attention import attention

RUN = 64
"""Nodes whose attention is computed together: many enough for fast products, few enough to see little in vain."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which nodes look at which, in `g` groups of `q` queries and `k` keys."""

    queries: Int[Tensor, "g q"]
    """Rows of queries; a group that has fewer repeats its last."""
    keys: Int[Tensor, "g k"]
    """Nodes; behind the last of a group anything, and nobody sees it."""
    sees: Bool[Tensor, "g q k"]
    """Whether a query looks at a key."""
    places: Int[Tensor, "r"]
    """Where each row of queries stands in the groups, counted through."""

    def without(self, hidden: Bool[Tensor, "n"]) -> "Pattern":
        """The same for queries that are nodes, but each `hidden` node is seen by itself alone."""
        itself = self.queries[:, :, None] == self.keys[:, None, :]
        return Pattern(self.queries, self.keys, self.sees & (itself | ~hidden[self.keys][:, None, :]), self.places)

    def to(self, device: torch.device) -> "Pattern":
        """The same on another device."""
        return Pattern(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Trie:
    """`t` texts as `n` nodes."""

    ids: Int[Tensor, "n"]
    """Token id of each node; negative ones are slots (nn/prompts.py)."""
    positions: Int[Tensor, "n"]
    """Place of each node in its texts, counting what has places."""
    readouts: Int[Tensor, "t"]
    """The node that is read out, per text."""
    every: Pattern
    """Attention of all nodes; its queries are nodes."""
    last: Pattern
    """Attention of the readouts; its queries are texts."""

    def to(self, device: torch.device) -> "Trie":
        """The same on another device."""
        return Trie(*(getattr(self, field.name).to(device) for field in fields(self)))


def pack(
    rows: Sequence[Sequence[int]],
    ends: Sequence[int],
    *,
    share: bool = True,
    causal: bool = True,
    placed: bool = True,
    run: int = RUN,
) -> tuple[Trie, list[list[int]]]:
    """Merges equal beginnings of `rows`; with `share` off every token keeps a node of its own.

    Args:
        rows: token ids and slots, one row per text, none empty.
        ends: the place in each row that is read out.
        causal: a token sees those before it and itself; off: its whole text, so that nothing can be shared.
        placed: slots have places; off: the tokens around them have those that they would have without.
        run: nodes whose attention is computed together.

    Returns:
        the trie, and for each row its nodes, token by token.
    """
    ids: list[int] = []
    places: list[int] = []
    stops: list[int] = []  # the node behind each node's last descendant
    paths: list[list[int]] = [[] for _ in rows]
    path: list[int] = []
    for text in sorted(range(len(rows)), key=lambda text: list(rows[text])):  # equal beginnings become neighbours
        row = list(rows[text])
        kept = _agree([ids[node] for node in path], row) if share and causal else 0
        for node in path[kept:]:
            stops[node] = len(ids)
        path = [*path[:kept], *range(len(ids), len(ids) + len(row) - kept)]
        ids += row[kept:]
        places += range(kept, len(row))
        stops += [0] * (len(row) - kept)
        paths[text] = path
    for node in path:
        stops[node] = len(ids)
    readouts = [path[end] for path, end in zip(paths, ends, strict=True)]
    nodes, place, stop, last = (torch.tensor(numbers) for numbers in (range(len(ids)), places, stops, readouts))
    first = nodes if causal else nodes - place
    positions = place if placed else _positions(ids, paths)
    every, of_readouts = _pattern(nodes, first, stop, run), _pattern(last, first, stop, run)
    return Trie(torch.tensor(ids), positions, last, every, of_readouts), paths


def _positions(ids: Sequence[int], paths: Sequence[Sequence[int]]) -> Int[Tensor, "n"]:
    """Each node's place among the tokens of its text that are no slots; a slot's is that of the token behind it."""
    positions = [0] * len(ids)
    for path in paths:
        before = 0
        for node in path:
            positions[node] = before
            before += ids[node] >= 0
    return torch.tensor(positions)


def _agree(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two rows begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _pattern(nodes: Int[Tensor, "r"], first: Int[Tensor, "n"], stop: Int[Tensor, "n"], run: int) -> Pattern:
    """Queries that stand at `nodes`, grouped; node m is seen by the nodes from `first[m]` to before `stop[m]`."""
    order = nodes.argsort(stable=True)
    counts = torch.unique_consecutive(nodes[order] // run, return_counts=True)[1]
    behind = counts.cumsum(0)
    widest = int(counts.max())
    places = behind[:, None] - counts[:, None] + torch.arange(widest)
    queries = order[places.minimum(behind[:, None] - 1)]
    at = nodes[queries][:, :, None]
    keys = pad_sequence(
        [((first <= group.max()) & (stop > group.min())).nonzero()[:, 0] for group in at], True, padding_value=-1
    )
    sees = (first[keys][:, None] <= at) & (at < stop[keys][:, None]) & (keys >= 0)[:, None]
    group = torch.arange(len(counts)).repeat_interleave(counts)
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order)) + group * widest - (behind - counts)[group]
    return Pattern(queries, keys.clamp(min=0), sees, back)


def attend(
    queries: Float[Tensor, "r *b d"], both: Float[Tensor, "n *b e"], pattern: Pattern, heads: int
) -> Float[Tensor, "r *b d"]:
    """Attention of the queries over the nodes they look at; with b, for each picture by itself.

    Args:
        both: keys beside values, of all nodes; heads lie side by side in each.
    """
    pictures = queries.shape[1:-1]
    query = pick(pattern.queries, queries).unflatten(-1, (heads, -1)).movedim((0, 1, -2), (0, -2, -3))
    key, value = pick(pattern.keys, both).unflatten(-1, (2, heads, -1)).movedim((-3, 0, 1, -2), (0, 1, -2, -3))
    sees = pattern.sees.reshape(len(pattern.sees), *[1] * (1 + len(pictures)), *pattern.sees.shape[1:])
    out = attention(query, key, value, sees)
    return pick(pattern.places, out.movedim((-2, -3), (1, -2)).flatten(0, 1).flatten(-2))


def pick(index: Int[Tensor, "*q"], states: Float[Tensor, "n *b d"]) -> Float[Tensor, "..."]:
    """Rows of `states`: [*q *b d]."""
    return F.embedding(index, states.flatten(1)).unflatten(-1, states.shape[1:])
