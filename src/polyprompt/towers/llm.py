"""Any Hugging Face decoder as a text tower: embed -> blocks -> norm, each callable by itself.

The model is cut open without a line per family. Its own forward pass runs once with a listener in the place of each
block; that gives the states entering block 0 (scaled or with learned positions, as the model does it) and the arguments
each block expects (rotary angles, positions). Masks are replaced by ours, cut to the block's sliding window *by
position*, since in a tree the index of a token says nothing about its distance. tests/towers/test_llm.py holds it
against the uncut models of twelve families.
"""

import contextlib
import copy
import difflib
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polyprompt.disk.places import may_be_on_hub, nearby
from polyprompt.errors import DataError, TowerError
from polyprompt.nn.branches import NONE, Branches, both
from polyprompt.towers.decoder_places import layers_of, with_branches
from polyprompt.towers.fingerprint import fingerprint as encoder_fingerprint
from polyprompt.towers.pretrained import check_config, check_weights, one_line, said_by
from polyprompt.towers.vanilla import sizes_of, untrained
from polyprompt.towers.weights import Checkpoint, Table, Unread, built, one_by_one, put, taken
from polyprompt.types import Hidden, Mask, Tokens
from polyprompt.values import Foreign, Json, Values

PACKAGED = "smollm2-135m"
"""The name of the tower that pip fetches (disk/packaged.py)."""

_CACHES = ("cache", "past_key_values", "layer_past")
"""What blocks call their key-value cache: since transformers 5.24, before, and in some families."""
_OURS = ("hidden_states", *_CACHES, "use_cache", "attention_mask")
"""Arguments of a block that we give ourselves."""

Heads: TypeAlias = Float[Tensor, "b h _ e"]
"""Keys or values of a block's heads."""

Exchange = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Tap:
    """Stands where a block expects its key-value cache: is handed the keys and values the block made [b, h, n, e] and
    answers with those to attend to. `gradient`: whether those want one."""

    def __init__(self, exchange: Exchange, *, gradient: bool = False) -> None:
        self.gradient = gradient
        self.update = lambda keys, values, *_, **__: exchange(keys, values)


class _CaughtError(Exception):
    """Ends a block's forward pass where its keys and values are made; nothing after them is wanted."""


_calls: ContextVar[list[Json]] = ContextVar("_heard")
"""Where listeners note what they hear; each thread has a list of its own."""


class _Listener(nn.Module):
    """Takes a block's place while the model prepares its input, and notes the arguments the block would get."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.signature = inspect.signature(block.forward)
        self.attention_type = getattr(block, "attention_type", None)  # some models ask a block for its kind of mask

    def forward(self, *args: Foreign, **kwargs: Foreign) -> Tensor:
        call = self.signature.bind(*args, **kwargs).arguments
        call |= call.pop("kwargs", {})
        _calls.get().append({k: v for k, v in call.items() if k not in _OURS})
        return call["hidden_states"]


@dataclass(frozen=True, slots=True)
class Flow:
    """What runs through the blocks beside the states: each block's own arguments, and who may look at whom."""

    arguments: list[Json]
    mask: Bool[Tensor, "b q n"]
    positions: Int[Tensor, "b q"]
    key_positions: Tokens

    def rows(self, rows: Int[Tensor, "b k"]) -> "Flow":
        """The flow for some rows alone, which look at all others as before."""
        wide = rows[..., None].expand(-1, -1, self.mask.shape[-1])
        return Flow(
            [{name: _pick(value, rows) for name, value in block.items()} for block in self.arguments],
            self.mask.gather(1, wide),
            self.positions.gather(1, rows),
            self.key_positions,
        )


def _pick(value: Foreign, rows: Int[Tensor, "b k"]) -> Foreign:
    """The given rows of whatever has one row a token: angles (cos, sin) [b, n, e] and positions [b, n]."""
    if isinstance(value, tuple):
        return tuple(_pick(part, rows) for part in value)
    if not isinstance(value, Tensor):
        return value
    return value.gather(1, rows.reshape(*rows.shape, *[1] * (value.ndim - 2)).expand(-1, -1, *value.shape[2:]))


class LLM(nn.Module):
    """A pretrained decoder cut open.

    Args:
        decoder: a transformers model without its language-model head, such as `LlamaModel`.
        tokenizer: its fast tokenizer.
        name: what the user called it.
        depth: blocks kept, counted from the input; the rest is dropped.
        checkpoint: where its tensors lie, if its own are on the meta device; they are read when they are needed.
        fresh: whether nothing in it is pretrained: all of it learns, the input table, too, and its tensors say nothing
            of what it is.
        dtype: of frozen blocks that are read: fp32, bf16, or as they lie where that is one of the two. In bf16 only
            matrices are held and multiplied; states between blocks, norms and embeddings stay fp32, so it gives what
            autocast makes of fp32 weights, to the bit.
    """

    def __init__(
        self,
        decoder: nn.Module,
        tokenizer: Foreign,
        name: str,
        depth: int | None = None,
        checkpoint: Checkpoint | None = None,
        dtype: torch.dtype | None = torch.float32,
        *,
        fresh: bool = False,
    ) -> None:
        super().__init__()
        blocks_name, blocks = _only_blocks(decoder, name)
        norm_name = _final_norm(decoder, name)
        if not blocks:
            raise TowerError(f"{name}: its config says that it has no blocks; a decoder has at least one.")
        if depth is not None and not 1 <= depth <= len(blocks):
            raise TowerError(
                f"{name}: text depth is {depth}; the model has {len(blocks)} blocks, so 1 to {len(blocks)}."
            )
        config = cast(Foreign, decoder.eval()).config
        self.name, self.tokenizer, self.fresh = name, tokenizer, fresh
        self.width: int = config.hidden_size
        self.dtype = torch.float32
        self._windows = [_window(block, config) for block in blocks]
        self._caches = [_cache_of(block) for block in blocks]
        self.layers = layers_of(blocks[0], config)
        self.first_learning = len(blocks)  # blocks from here on are trained
        self.beside: Mapping[int, Branches] = {}
        """What stands beside the layers of a block in every pass, whoever else hands it more."""
        self.blocks = nn.ModuleList(blocks)
        self._unread = (
            [Unread(b, checkpoint, f"{blocks_name}.{i}.") for i, b in enumerate(blocks)] if checkpoint else []
        )
        noted = checkpoint.noted() if checkpoint else None
        facts = noted or (checkpoint.facts() if checkpoint else None)
        self.fingerprint = fingerprint(decoder, tokenizer, () if fresh else facts)
        if checkpoint:
            _read_rest(decoder, blocks_name, checkpoint)
        self.norm = getattr(decoder, norm_name) or nn.Identity()
        self.entrance = decoder
        self.requires_grad_(False)
        with one_by_one(self._unread):
            self._cut(blocks_name, norm_name, prove=noted is None)
        if checkpoint and facts and noted is None:
            checkpoint.note(facts)
        if self._unread:
            self.blocks = nn.ModuleList(self._unread)
            self.dtype = dtype or _held(self._unread[(depth or len(blocks)) - 1].dtype)
        if depth is not None:
            self.blocks = self.blocks[:depth]
        self.eval()

    @property
    def depth(self) -> int:
        """How many blocks are in use, of those that the model has."""
        return len(self.blocks)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> "LLM":
        """Stays in evaluation mode: no dropout, so cached states stay true."""
        return super().train(False)

    def unfreeze(self, start: int) -> None:
        """Lets the blocks from `start` on learn, in fp32."""
        for index in range(start, len(self.blocks)):
            if self._unread:
                self.blocks[index] = self._unread[index].read(torch.float32, self.device, copied=True)
            self.blocks[index].requires_grad_(True)
        if self.fresh:
            self.entrance.requires_grad_(True)
        self.first_learning = min(self.first_learning, start)

    @torch.no_grad()
    def _cut(self, blocks_name: str, norm_name: str, *, prove: bool) -> None:
        """Leaves listeners in the places of the blocks. The parts must give what the whole gave; a family that hides
        something from them is refused here."""
        decoder = cast(Foreign, self.entrance)
        ids = torch.arange(3, 9).remainder(decoder.config.vocab_size)[None]
        expected = decoder(input_ids=ids, use_cache=False).last_hidden_state if prove else None
        setattr(decoder, blocks_name, nn.ModuleList(_Listener(block) for block in self.blocks))
        setattr(decoder, norm_name, nn.Identity())
        if expected is None:
            return
        try:
            proven = self._gives(expected, ids)
        except (RuntimeError, TypeError, ValueError, AttributeError, KeyError):  # whatever other arguments come to
            proven = False
        if not proven:
            raise TowerError(
                f"{self.name}: this model cannot be cut into blocks; its parts do not give what the whole gives."
            )

    def _gives(self, expected: Hidden, ids: Tokens) -> bool:
        """Whether the parts give what the whole gave, and the last block the same for one row alone."""
        n, last = ids.shape[1], len(self.blocks) - 1
        hidden, flow = self.embed(ids, torch.arange(n)[None], torch.ones(1, n, n).tril().bool())
        hidden = self.run(hidden, flow, 0, last)
        whole, row = self.run(hidden, flow, last, last + 1), self.run_rows(hidden, flow, last, torch.tensor([[n - 1]]))
        near = partial(torch.allclose, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
        return near(self.norm(whole), expected) and near(self.norm(row), expected[:, -1:])

    def token_embeddings(self, ids: Tokens) -> Hidden:
        """The rows of the input table, before anything the model adds to them."""
        return cast(Foreign, self.entrance).get_input_embeddings()(ids)

    def embed(
        self, ids: Tokens, positions: Tokens, mask: Mask, embeddings: Hidden | None = None
    ) -> tuple[Hidden, Flow]:
        """States entering block 0, and what the blocks need beside them.

        `embeddings` replaces the rows of the input table, for prompts that are learned there.
        """
        given = {"input_ids": ids} if embeddings is None else {"inputs_embeds": embeddings}
        arguments: list[Json] = []
        before = _calls.set(arguments)
        try:
            hidden = cast(Foreign, self.entrance)(position_ids=positions, use_cache=False, **given).last_hidden_state
        finally:
            _calls.reset(before)
        return hidden, Flow(arguments, mask, positions, positions)

    def flow(self, positions: Tokens, mask: Mask) -> Flow:
        """What the blocks need beside states that are at hand; the input table is not read for it."""
        width = cast(Foreign, self.entrance).get_input_embeddings().embedding_dim
        blank = torch.zeros(*positions.shape, width, device=positions.device)
        return self.embed(positions, positions, mask, blank)[1]

    def run(self, hidden: Hidden, flow: Flow, start: int, stop: int, branches: Branches = NONE) -> Hidden:
        """Blocks `start` to `stop - 1`; `branches` stand beside the layers of each."""
        for index in range(start, stop):
            hidden = self._block(index, hidden, flow, branches=branches)
        return hidden

    def run_rows(
        self, hidden: Hidden, flow: Flow, index: int, rows: Int[Tensor, "b k"], branches: Branches = NONE
    ) -> Float[Tensor, "b k d"]:
        """Block `index` for some rows alone: keys and values of all, everything else of `rows`. Exact."""
        picked = hidden.gather(1, rows[..., None].expand(-1, -1, hidden.shape[-1]))
        both = self.keys_values_of(index, hidden, flow, branches)
        tap = Tap(lambda *_: both, gradient=both[0].requires_grad)
        return self._block(index, picked, flow.rows(rows), tap, branches=branches)

    def attend_with(self, index: int, hidden: Hidden, flow: Flow, keys: Tensor, values: Tensor) -> Hidden:
        """Block `index` for states that attend to keys and values [b, h, n, e] at hand."""
        return self._block(index, hidden, flow, Tap(lambda *_: (keys, values), gradient=keys.requires_grad))

    def keys_values_of(
        self, index: int, hidden: Hidden, flow: Flow, branches: Branches = NONE
    ) -> tuple[Tensor, Tensor]:
        """The keys and values [b, h, n, e] that block `index` makes of the states entering it, and nothing else."""
        caught: list[Tensor] = []

        def catch(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            caught.extend((keys, values))
            raise _CaughtError

        with contextlib.suppress(_CaughtError):
            self._block(index, hidden, flow, Tap(catch), _without_queries, branches)
        if not caught:
            raise TowerError(f"{self.name}: its blocks show nobody their keys and values, which prompts need.")
        keys, values = caught
        return keys, values

    def run_behind(
        self, hidden: Hidden, flow: Flow, start: int, stop: int, width: int, before: Sequence[tuple[Heads, Heads]]
    ) -> Hidden:
        """Blocks `start` to `stop - 1` for the rows from `width` on; `before`: keys and values of the others.

        For gradients the state entering each block is kept and the rest computed again: 30 blocks of it do not fit.
        """
        rows = torch.arange(width, flow.positions.shape[1], device=hidden.device)
        flow = flow.rows(rows.expand(len(hidden), -1))
        for index, (keys, values) in zip(range(start, stop), before, strict=True):
            block = partial(self._block, index, flow=flow, tap=Tap(_join(keys, values)))
            hidden = checkpoint(block, hidden, use_reentrant=False) if hidden.requires_grad else block(hidden)
        return hidden

    def keys_values(
        self, hidden: Hidden, flow: Flow, start: int, stop: int
    ) -> tuple[list[tuple[Heads, Heads]], Hidden]:
        """As `run`, with the keys and values that each block made on the way."""
        kept: list[tuple[Tensor, Tensor]] = []

        def keep(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            kept.append((keys, values))
            return keys, values

        for index in range(start, stop):
            hidden = self._block(index, hidden, flow, Tap(keep))
        return kept, hidden

    def _block(
        self,
        index: int,
        hidden: Hidden,
        flow: Flow,
        tap: Tap | None = None,
        change: "_Change | None" = None,
        branches: Branches = NONE,
    ) -> Hidden:
        """Block `index`, with branches beside its layers and then `change` made to a copy of it."""
        block = original = taken(self.blocks, index, self.dtype, hidden.device)
        branches = both(self.beside.get(index, NONE), branches)
        low = self.dtype == torch.bfloat16 and index < self.first_learning
        if branches:
            assert self.layers is not None
            block = _changed(block, with_branches(block, self.layers, branches))
        gradient = hidden.requires_grad or (tap is not None and tap.gradient) or bool(branches)
        if hidden.device.type == "cpu" and (index >= self.first_learning or (gradient and torch.is_grad_enabled())):
            block = _changed(block, _written_out)
        if change is not None:
            block = _changed(block, change)
        mask, window = flow.mask, self._windows[index]
        if window is not None:
            mask = mask & (flow.positions[:, :, None] - flow.key_positions[:, None, :] < window)
        least = torch.finfo(hidden.dtype).min
        added = torch.zeros_like(mask, dtype=hidden.dtype).masked_fill(~mask, least)[:, None]
        with torch.autocast(hidden.device.type, torch.bfloat16) if low else contextlib.nullcontext():
            out = block(hidden, **flow.arguments[index], **{self._caches[index]: tap, "attention_mask": added})
        out = out[0] if isinstance(out, tuple) else out
        if "block" in branches and self.layers is not None:
            out = out + branches["block"](getattr(original, self.layers.norm)(hidden))
        return out

    def tokens(self, captions: Sequence[str], most: int) -> tuple[list[list[int]], int]:
        """Token ids of captions, each cut to `most`; and how many had to be cut.

        A caption is text and never control: "<s>" in it becomes the characters "<", "s", ">". What the tokenizer puts
        in front of every text (Llama's and Gemma's first token) is put in front; what it puts behind is left out.
        """
        front = self.front()
        rows = self.tokenizer(list(captions), add_special_tokens=False, split_special_tokens=True).input_ids
        for caption, row in zip(captions, rows, strict=True):
            if not row:
                raise DataError(f"caption {caption!r} is empty; give each text at least one word.")
        whole = [front + row for row in rows]
        return [row[:most] for row in whole], sum(len(row) > most for row in whole)

    def behind(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of `text` as they stand behind other text, with each token's start and end in it."""
        anchor = "a"  # a neighbour, since some tokenizers treat the beginning of a text differently
        coded = self.tokenizer(
            anchor + text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True
        )
        pairs = [
            (token, (start - len(anchor), end - len(anchor)))
            for token, (start, end) in zip(coded.input_ids, coded.offset_mapping, strict=True)
            if start >= len(anchor)
        ]
        return [token for token, _ in pairs], [place for _, place in pairs]

    def front(self) -> list[int]:
        """Ids that stand in front of every text."""
        first = self.tokenizer.bos_token_id
        return [first] if first is not None and self.tokenizer("a").input_ids[0] == first else []


_Change = Callable[[nn.Module], Values]
"""What is to be other in a part of a block: its attributes' new values, by name."""


def _changed(part: nn.Module, change: _Change) -> nn.Module:
    """A shallow copy of a block in which some of its parts have other attributes; tensors are shared.

    The block itself stays as it is, for the other threads that are running it. Made anew for each call, in less than a
    tenth of a millisecond, it never grows stale.
    """
    new = dict(change(part))
    for name, child in part.named_children():
        if (other := _changed(child, change)) is not child:
            new.setdefault(name, other)
    if not new:
        return part
    copied = cast(nn.Module, object.__new__(type(part)))
    copied.__dict__ = part.__dict__ | {"_modules": dict(part.__dict__["_modules"])}
    for name, value in new.items():
        setattr(copied, name, value)
    return copied


def _written_out(part: nn.Module) -> Values:
    """Attention as products and a softmax: torch's fused one is four times slower backwards on a CPU."""
    config = part.__dict__.get("config")
    if config is None:
        return {}
    eager = copy.copy(config)
    eager._attn_implementation = "eager"
    return {"config": eager}


def _without_queries(part: nn.Module) -> Values:
    """One head of zeros in the place of queries that have a layer for themselves: a tenth of a block's work less.

    Where queries, keys and values come out of one layer, the number of heads is fixed, or queries are normed together
    (OLMo 2), nothing is saved.
    """
    norm = cast(Foreign, getattr(part, "q_norm", None))
    together = norm is not None and norm.weight.numel() != part.head_dim
    if hasattr(part, "q_proj") and hasattr(part, "num_key_value_groups") and not together:
        return {"q_proj": _Zeros(cast(int, part.head_dim))}
    return {}


class _Zeros(nn.Module):
    """Zeros of a width, whatever comes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(()).expand(*x.shape[:-1], self.width)


def open_llm(source: str, depth: int | None = None, dtype: torch.dtype | None = torch.float32) -> LLM:
    """The packaged "smollm2-135m", a folder in Hugging Face layout, or a hub id; or one that starts from nothing.

    "vanilla:384x6" is a fresh causal transformer of width 384 with 6 blocks and the packaged tower's tokenizer,
    "vanilla:384x6@OTHER" one with another tower's (towers/vanilla.py).

    Args:
        source: which.
        depth, dtype: as for `LLM`.

    Raises:
        TowerError: no such model here or on the hub, no fast tokenizer, or a depth beyond its blocks.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()

    fresh = sizes_of(source)
    tower = fresh.tokenizer or PACKAGED if fresh else source
    if tower == PACKAGED:
        from polyprompt.disk.packaged import smollm2

        path = str(smollm2())
    else:
        path = tower
    near = difflib.get_close_matches(source, [PACKAGED], cutoff=0.5)
    hint = f"Did you mean {PACKAGED!r}?" if near else f"Give {PACKAGED!r}, a folder with config.json, "
    hint += "" if near else "model.safetensors and tokenizer.json, or a hub id that can be reached."
    if not os.path.exists(path) and not may_be_on_hub(path):
        raise TowerError(f"text tower {source!r}: no such folder.{nearby(path)} {hint}")
    check_weights(path, f"text tower {source!r}")
    with one_line(f"text tower {source!r}", hint):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        decoder, checkpoint = (untrained(fresh, tokenizer), None) if fresh else _built(path)
    if not tokenizer.is_fast:
        raise TowerError(
            f"text tower {source!r} has no tokenizer.json; token places are needed to find the adaptive word."
        )
    return LLM(decoder, tokenizer, source, depth, checkpoint, dtype, fresh=fresh is not None)


def _built(path: str) -> tuple[nn.Module, Checkpoint | None]:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    check_config(said_by(config), path)
    return built(path, config, path)


def _read_rest(decoder: nn.Module, blocks_name: str, checkpoint: Checkpoint) -> None:
    """Reads, in fp32, what is neither a block nor the input table; that one waits until a row is wanted."""
    model = cast(Foreign, decoder)
    table = model.get_input_embeddings()
    (name,) = (f"{key}.weight" for key, part in decoder.named_modules() if part is table)
    rest = [key for key in checkpoint.places if key != name and not key.startswith(f"{blocks_name}.")]
    put(decoder, {key: tensor.float() for key, tensor in checkpoint.read(rest).items()})
    model.set_input_embeddings(Table(table, checkpoint, name))


def _held(dtype: torch.dtype) -> torch.dtype:
    """Of weights that lie in this one."""
    return torch.bfloat16 if dtype == torch.bfloat16 else torch.float32


UNSAID = frozenset((
    "_name_or_path", "architectures", "auto_map", "dtype", "initializer_range", "output_attentions",
    "output_hidden_states", "return_dict", "torch_dtype", "transformers_version", "use_cache",
))  # fmt: skip
"""Of a model's config: what changes no state."""


def fingerprint(model: nn.Module, tokenizer: Foreign, tensors: Sequence[str] | None = None) -> str:
    """A hash of a model's config, tensors, structure and tokenizer: equal towers give equal states."""
    config = json.loads(cast(Foreign, model).config.to_json_string())
    words = json.loads(tokenizer.backend_tokenizer.to_str())
    for key in ("padding", "truncation"):  # how it was called last
        words.pop(key, None)
    facts = {key: value for key, value in config.items() if key not in UNSAID}
    ids = [tokenizer.bos_token_id, tokenizer("a").input_ids]
    texts = (json.dumps(value, sort_keys=True) for value in (facts, words, ids))
    return encoder_fingerprint(model, *texts, tensors=tensors)


def _only_blocks(decoder: nn.Module, name: str) -> tuple[str, list[nn.Module]]:
    lists = [(key, list(part)) for key, part in decoder.named_children() if isinstance(part, nn.ModuleList)]
    if len(lists) != 1:
        raise TowerError(f"{name}: not a plain decoder (it has {len(lists)} lists of blocks, one is needed).")
    return lists[0]


def _final_norm(decoder: nn.Module, name: str) -> str:
    for norm in ("norm", "ln_f", "final_layer_norm"):
        if hasattr(decoder, norm):
            return norm
    raise TowerError(
        f"{name}: no final norm found (norm, ln_f or final_layer_norm); not a decoder this library can cut."
    )


def _cache_of(block: nn.Module) -> str:
    """What a block calls its key-value cache."""
    names = inspect.signature(block.forward).parameters
    return next((name for name in _CACHES if name in names), _CACHES[0])


def _window(block: nn.Module, config: Foreign) -> int | None:
    """How many positions back a block looks, its own included; None: all of them."""
    for part in block.children():
        if hasattr(part, "sliding_window"):
            return cast(int | None, part.sliding_window)
    return getattr(config, "sliding_window", None)


def _join(keys: Tensor, values: Tensor) -> Exchange:
    return lambda more_keys, more_values: (torch.cat([keys, more_keys], dim=2), torch.cat([values, more_values], dim=2))
