"""What a pair costs: parameters, multiply-adds, training memory; with and without caching, before anything is loaded.

Everything runs once on the meta device, where tensors have shapes and no numbers: torch's own counter counts the
operations, and the bytes alive are added up as they come and go. Kim and Angelova 2025 (arXiv:2508.02762) give 23.5
GFLOPs for CLIP with a ViT-B/16, and for CAMPE with Gemma-2B 144.2, or 24.8 with the frozen layers' states cached. Their
"FLOPs" are multiply-adds, and these are the assumptions that give the figures: one forward pass for one pair, 64 text
tokens in all, the trained blocks run over all of them, a 224 px picture through the whole ViT.

Counted: matrix products and convolutions, those of attention, pooling and maps among them. Not counted: norms,
activations, softmax, embedding look-ups, the backward pass, and the loss, whose cost depends on the batch. Training is
cheaper here than the count: the last block runs for the readouts alone.
"""

import copy
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from polyprompt.campe.config import ModelSettings, TextSettings
from polyprompt.campe.image import ImageSide
from polyprompt.campe.model import held_in
from polyprompt.campe.text import branches_of, low_rank
from polyprompt.disk.places import may_be_on_hub, nearby
from polyprompt.errors import ConfigError, TowerError
from polyprompt.towers.decoder_places import layers_of, with_branches
from polyprompt.towers.llm import PACKAGED
from polyprompt.towers.pretrained import check_config, one_line, said_by
from polyprompt.towers.timm import TimmTower, timm_name
from polyprompt.towers.vanilla import config_of, sizes_of
from polyprompt.types import Pixels, Tokens
from polyprompt.values import Foreign

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from transformers import PretrainedConfig

CACHED_BYTES = 2
"""Bytes of a cached number, in half precision."""
PAIRS = 32
"""Pairs over which memory is averaged: what a batch needs once, such as the weights' gradients, falls away."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the model."""

    parameters: int
    multiply_adds: int
    """For one caption or one picture, forward."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one caption-picture pair costs, part by part."""

    text_frozen: Part
    text_trained: Part
    image_frozen: Part
    image_trained: Part
    text_cache: int
    """Bytes of the states cached for a caption, in half precision; 0 if nothing is frozen."""
    image_cache: int
    """Bytes of the tokens cached for a picture, likewise."""
    weights: tuple[int, int, int]
    """Bytes of the weights that a training step needs in memory: nothing cached, captions cached, captions and pictures
    cached. Frozen blocks of the text tower are held in `tower_dtype`, all else in fp32."""
    text_beside: int
    """Frozen parameters of the blocks that updates stand beside (`text.lora`): a step runs them, whatever is cached."""
    memory: tuple[int, int, int]
    """Bytes a further pair in the batch adds to the peak of a training step, in single precision, attention matrices
    written out: nothing cached, captions cached, captions and pictures cached."""

    @property
    def gflops(self) -> tuple[float, float, float]:
        """Multiply-adds in 10^9: nothing cached, captions cached, captions and pictures cached."""
        trained = self.text_trained.multiply_adds + self.image_trained.multiply_adds
        frozen = (self.text_frozen.multiply_adds + self.image_frozen.multiply_adds, self.image_frozen.multiply_adds, 0)
        return cast(tuple[float, float, float], tuple((trained + part) / 1e9 for part in frozen))

    def as_rows(self) -> list[dict[str, str | float]]:
        """A table: a row for nothing cached, captions cached, captions and pictures cached.

        GFLOPs forward. Parameters in 10^6: those a training step needs in memory, and those trained. In MB (10^6 bytes)
        the weights in memory, and what a pair adds to a training step's; to the cache on disk in KB (10^3 bytes).
        """
        trained = self.text_trained.parameters + self.image_trained.parameters
        pictures = self.image_frozen.parameters + self.text_beside
        needed = (self.text_frozen.parameters + self.image_frozen.parameters, pictures, self.text_beside)
        kept = (0, self.text_cache, self.text_cache + self.image_cache)
        return [
            {
                "cached": name,
                "GFLOPs": self.gflops[i],
                "parameters needed (M)": (trained + needed[i]) / 1e6,
                "parameters trained (M)": trained / 1e6,
                "weights in memory (MB)": self.weights[i] / 1e6,
                "memory a pair (MB)": self.memory[i] / 1e6,
                "cache a pair (KB)": kept[i] / 1e3,
            }
            for i, name in enumerate(("nothing", "captions", "captions and pictures"))
        ]


def cost(text_config: "PretrainedConfig", settings: ModelSettings, *, tokens: int) -> Cost:
    """Counts a CAMPE model without loading or computing anything.

    Args:
        text_config: of any Hugging Face decoder (`open_text_config`); `settings.text.tower` is not opened.
        settings: the model; its image tower is a timm name, or "efficientnet-lite0".
        tokens: text tokens that run through the blocks: the caption's and the prompts'.

    Raises:
        ConfigError: a number that does not fit the models, or a name that does not exist.
        TowerError: the config is no decoder's, or the timm model cannot be a tower.
    """
    prompts = settings.text.prompts
    if tokens < prompts:
        raise ConfigError(f"tokens is {tokens} for {prompts} prompts; a token for each at least")
    width = _bytes(text_config, settings)  # asked first: a model built from a config writes its own dtype into it
    pair = _Pair(text_config, settings, tokens)
    text, image = pair.text, pair.image
    text_frozen, text_whole = pair.text_operations()
    image_frozen, image_whole = pair.image_operations()
    held = (_count(text, trained=False) * width, 4 * _count(image, trained=False))
    trained = 4 * (_count(text, trained=True) + _count(image, trained=True))
    beside = _count(nn.ModuleList(text.blocks[text.split :]), trained=False)
    once, twice = pair.peaks(PAIRS), pair.peaks(2 * PAIRS)
    return Cost(
        text_frozen=Part(_count(text, trained=False), text_frozen),
        text_trained=Part(_count(text, trained=True), text_whole - text_frozen),
        image_frozen=Part(_count(image, trained=False), image_frozen),
        image_trained=Part(_count(image, trained=True), image_whole - image_frozen),
        text_cache=tokens * text.width * CACHED_BYTES if text_frozen else 0,
        image_cache=pair.cached_numbers() * CACHED_BYTES,
        weights=(trained + sum(held), trained + held[1] + beside * width, trained + beside * width),
        text_beside=beside,
        memory=cast(tuple[int, int, int], tuple((b - a) // PAIRS for a, b in zip(once, twice, strict=True))),
    )


def open_text_config(name: str) -> "PretrainedConfig":
    """The config of an LLM, without its weights.

    Args:
        name: "gemma-2b" and "smollm2-135m" (known here), "clip-text" (CLIP's 12 blocks of width 768, the paper's
            comparison), "vanilla:384x6" (a fresh tower), a folder with a `config.json`, or a hub id.

    Raises:
        TowerError: no such config here or on the hub.
    """
    from transformers import AutoConfig, CLIPTextConfig, GemmaConfig, LlamaConfig

    if sizes := sizes_of(name):
        return config_of(sizes, open_text_config(sizes.tokenizer or PACKAGED).vocab_size)
    match name:
        case "gemma-2b":  # GemmaConfig's own numbers are Gemma-7B's
            return GemmaConfig(
                vocab_size=256000,
                hidden_size=2048,
                intermediate_size=16384,
                num_hidden_layers=18,
                num_attention_heads=8,
                num_key_value_heads=1,
                head_dim=256,
                dtype="bfloat16",
            )
        case "smollm2-135m":
            return LlamaConfig(
                vocab_size=49152,
                hidden_size=576,
                intermediate_size=1536,
                num_hidden_layers=30,
                num_attention_heads=9,
                num_key_value_heads=3,
                tie_word_embeddings=True,
            )
        case "clip-text":
            return CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    hint = "Give gemma-2b, smollm2-135m, clip-text, a folder with config.json, or a hub id that can be reached."
    if not os.path.exists(name) and not may_be_on_hub(name):
        raise TowerError(f"text tower {name!r}: no such folder.{nearby(name)} {hint}")
    with one_line(f"text tower {name!r}", hint):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        check_config(said_by(config), f"text tower {name!r}")
        return config


class Alive(TorchDispatchMode):
    """Adds up the bytes of all tensors made under it for as long as they live, those kept for the backward pass too.

    Works with any device; on the meta device nothing is computed. The parameters of `modules` are not counted.
    """

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen = {_storage(t) for module in modules for t in (*module.parameters(), *module.buffers())}

    def take_peak(self) -> int:
        """The peak so far; from here on it is counted afresh, with what is alive now."""
        peak, self.peak = self.peak, self.now
        return peak

    def __torch_dispatch__(self, func: Foreign, types: Foreign, args: Foreign = (), kwargs: Foreign = None) -> Foreign:
        """Runs the operation, then looks at what it made."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and _storage(tensor) not in self._seen:
                self._seen.add(_storage(tensor))
                self.now += tensor.untyped_storage().nbytes()
                weakref.finalize(
                    tensor.untyped_storage(), self._gone, _storage(tensor), tensor.untyped_storage().nbytes()
                )
        self.peak = max(self.peak, self.now)
        return made

    def _gone(self, storage: int, size: int) -> None:
        self._seen.discard(storage)
        self.now -= size


class _Pair:
    """Both sides on the meta device, and what captions and pictures cost on their way through them."""

    def __init__(self, text_config: "PretrainedConfig", settings: ModelSettings, tokens: int) -> None:
        import timm

        image, prompts = settings.image, settings.text.prompts
        with torch.device("meta"):
            self.text = _Text(text_config, prompts, settings.dim, settings.text)
            model = timm.create_model(timm_name(image.tower), pretrained=False, num_classes=0)
            tower = TimmTower(model, name=image.tower, fingerprint="", trained_blocks=image.trained_blocks)
            queries = image.queries or prompts
            self.image = ImageSide(
                tower, queries=queries, dim=settings.dim, new_blocks=image.new_blocks, width=image.width
            )
        self.tokens, self.tower = tokens, tower

    def ids(self, pairs: int) -> Tokens:
        return torch.zeros(pairs, self.tokens, dtype=torch.long, device="meta")

    def pixels(self, pairs: int) -> Pixels:
        size = self.tower.preprocess.size
        return torch.zeros(pairs, 3, size, size, device="meta")

    @torch.no_grad()
    def text_operations(self) -> tuple[int, int]:
        """Multiply-adds of a caption: in the frozen part, in all."""
        frozen: list[int] = []
        with FlopCounterMode(display=False) as counter:
            self.text(self.ids(1), at_split=lambda: frozen.append(_multiply_adds(counter)))
        return frozen[0], _multiply_adds(counter)

    @torch.no_grad()
    def image_operations(self) -> tuple[int, int]:
        """Multiply-adds of a picture: in the frozen part, in all."""
        with FlopCounterMode(display=False) as counter:
            tokens = self.tower.trunk_tokens(self.pixels(1))
            frozen = 0 if self.tower.trunk_trained else _multiply_adds(counter)
            self.image.segments(tokens)
        return frozen, _multiply_adds(counter)

    @torch.no_grad()
    def cached_numbers(self) -> int:
        """Numbers that a cache keeps of a picture."""
        return 0 if self.tower.trunk_trained else self.tower.trunk_tokens(self.pixels(1)).numel()

    def peaks(self, pairs: int) -> tuple[int, int, int]:
        """Most bytes alive in a training step: nothing cached, captions cached, captions and pictures cached.

        Pictures go first, so the trunk's peak, that of the frozen blocks and that of the rest are seen apart: a cache
        takes the first two away.
        """
        frozen_blocks: list[int] = []
        with Alive(self.text, self.image) as alive:
            states = self.tower.trunk_tokens(self.pixels(pairs))
            trunk = alive.take_peak()
            embedded = self.text(self.ids(pairs), at_split=lambda: frozen_blocks.append(alive.take_peak()))
            segments, _ = self.image.segments(states)
            (embedded * segments.flatten(1)).sum().backward()
            rest = alive.take_peak()
        for parameter in (*self.text.parameters(), *self.image.parameters()):
            parameter.grad = None
        pictures = max(trunk, rest)
        return max(pictures, *frozen_blocks), pictures, pictures if self.tower.trunk_trained else rest


class _Text(nn.Module):
    """A decoder from its config, and the maps of the K readouts."""

    def __init__(self, config: "PretrainedConfig", prompts: int, dim: int, settings: TextSettings) -> None:
        from transformers import AutoModel

        super().__init__()
        config = _cut(config.get_text_config(), settings.depth)
        count: int = config.num_hidden_layers
        fresh = sizes_of(settings.tower) is not None
        trained_blocks = count if fresh else settings.last_n
        if not 0 <= trained_blocks <= count:
            raise ConfigError(
                f"trained blocks is {trained_blocks}; the text tower uses {count} blocks, so 0 to {count}"
            )
        try:
            self.decoder = (
                AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False).eval().requires_grad_(False)
            )
        except ValueError:
            raise TowerError(f"{type(config).__name__} is not the config of a model transformers can build") from None
        lists = [part for part in self.decoder.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
        if not lists:
            raise TowerError(f"{type(config).__name__} is not a decoder's: it has no list of {count} blocks")
        if fresh:
            self.decoder.requires_grad_(True)
        # Not a child of its own: the blocks' parameters would be counted twice.
        self.blocks, self.split = tuple(lists[0]), count - trained_blocks
        if settings.lora:
            for block in self.blocks[self.split :]:
                _put_beside(block, config, settings.lora)
        else:
            lists[0][self.split :].requires_grad_(True)
        inside = set(lists[0].modules())
        for name, part in self.decoder.named_modules():
            if name.rpartition(".")[2] in ("norm", "ln_f", "final_layer_norm") and part not in inside:
                part.requires_grad_(True)  # the final norm
        self.width: int = config.hidden_size
        self.maps = nn.Parameter(torch.zeros(prompts, self.width, dim // prompts))

    def forward(self, ids: Tokens, at_split: Callable[[], None]) -> Float[Tensor, "b D"]:
        """K readouts, here the last K tokens, mapped and joined; `at_split` is called where the frozen part ends."""
        with self._on_split(at_split):
            states = self.decoder(input_ids=ids).last_hidden_state
        return torch.einsum("bkd,kde->bke", states[:, -len(self.maps) :], self.maps).flatten(1)

    def _on_split(self, call: Callable[[], None]) -> "RemovableHandle":
        """Behind the last frozen block, or before the first where none is: embedding a caption costs no products."""
        if self.split:
            return self.blocks[self.split - 1].register_forward_hook(lambda *_: call())
        return self.blocks[0].register_forward_pre_hook(lambda *_: call())


def _put_beside(block: nn.Module, config: "PretrainedConfig", rank: int) -> None:
    """Puts LoRA's updates beside the layers of a block's attention."""
    if (layers := layers_of(block, config)) is None:
        raise TowerError(f"{type(config).__name__}: where its attention's layers are is not known; use text.lora=0")
    updates = low_rank(layers.widths, rank)
    attention = getattr(block, layers.attention)
    for name, new in with_branches(block, layers, branches_of(updates))(attention).items():
        setattr(attention, name, new)
    block.add_module("updates", updates)


def _multiply_adds(counter: FlopCounterMode) -> int:
    """So far; torch counts a multiply-add as two operations."""
    return counter.get_total_flops() // 2


def _cut(config: "PretrainedConfig", depth: int | None) -> "PretrainedConfig":
    if depth is None:
        return config
    if not 1 <= depth <= config.num_hidden_layers:
        raise ConfigError(f"text depth is {depth}; the text tower has {config.num_hidden_layers} blocks")
    config = copy.deepcopy(config)
    config.num_hidden_layers = depth
    return config


def _bytes(config: "PretrainedConfig", settings: ModelSettings) -> int:
    """Of a number in the text tower's frozen blocks."""
    held = held_in(settings.tower_dtype)
    return 2 if torch.bfloat16 in (held, config.dtype if held is None else None) else 4


def _count(module: nn.Module, *, trained: bool) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad == trained)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
