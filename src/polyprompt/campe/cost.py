"""What a pair costs: parameters, multiply-adds, training memory; with and without caching, before anything is loaded.

Everything runs once on the meta device, where tensors have shapes and no numbers: torch's own counter counts the
operations, and the bytes alive are added up as they come and go. Kim and Angelova 2025 (arXiv:2508.02762) give 23.5
GFLOPs for CLIP with a ViT-B/16, and for CAMPE with Gemma-2B 144.2, or 24.8 with the frozen layers' states cached. Their
"FLOPs" are multiply-adds, and these are the assumptions that give the figures: one forward pass for one pair, 64 text
tokens in all, the trained blocks run over all of them, a 224 px picture through the whole ViT.

Counted: matrix products and convolutions, those of attention, pooling and maps among them. Not counted: norms,
activations, softmax, embedding look-ups, the backward pass, and the loss, whose cost depends on the batch. Training is
cheaper here than the count: the last block runs for the read-outs alone.
"""

import copy
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from polyprompt.campe.image import ImageSide
from polyprompt.errors import ConfigError, TowerError
from polyprompt.towers.timm import TimmTower, timm_name
from polyprompt.types import Pixels, Tokens

if TYPE_CHECKING:
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

        GFLOPs forward. Parameters in 10^6: those a training step needs in memory, and those trained. What a pair adds
        to a training step's memory in MB (10^6 bytes), and to the cache on disk in KB (10^3 bytes).
        """
        trained = self.text_trained.parameters + self.image_trained.parameters
        needed = (self.text_frozen.parameters + self.image_frozen.parameters, self.image_frozen.parameters, 0)
        kept = (0, self.text_cache, self.text_cache + self.image_cache)
        return [
            {
                "cached": name,
                "GFLOPs": self.gflops[i],
                "parameters needed (M)": (trained + needed[i]) / 1e6,
                "parameters trained (M)": trained / 1e6,
                "memory a pair (MB)": self.memory[i] / 1e6,
                "cache a pair (KB)": kept[i] / 1e3,
            }
            for i, name in enumerate(("nothing", "captions", "captions and pictures"))
        ]


def cost(
    text_config: "PretrainedConfig",
    image_model_name: str,
    *,
    tokens: int,
    prompts: int,
    dim: int,
    trained_blocks: int = 1,
    text_depth: int | None = None,
    image_trained_blocks: int | Literal["all"] = 0,
    new_blocks: int | None = None,
    image_width: int = 384,
) -> Cost:
    """Counts a CAMPE model without loading or computing anything.

    Args:
        text_config: of any Hugging Face decoder (`open_text_config`).
        image_model_name: a timm name, or "efficientnet-lite0".
        tokens: text tokens that run through the blocks: the caption's and the prompts'.
        prompts: K.
        dim: D, the width of the joint space.
        trained_blocks: the LLM's last blocks that are trained; all before them are frozen and can be cached.
        text_depth: blocks of the LLM in use; all if None.
        image_trained_blocks: the ViT's own, as in `open_image_tower`.
        new_blocks: see `ImageSide`.
        image_width: width of the new blocks.

    Raises:
        ConfigError: a number that does not fit the models, or a name that does not exist.
        TowerError: the config is no decoder's, or the timm model cannot be a tower.
    """
    if tokens < prompts or prompts < 1:
        raise ConfigError(f"tokens is {tokens} for {prompts} prompts; at least one prompt, and a token for each")
    import timm

    with torch.device("meta"):
        text = _Text(text_config, prompts, dim, trained_blocks, text_depth)
        model = timm.create_model(timm_name(image_model_name), pretrained=False, num_classes=0)
        tower = TimmTower(model, name=image_model_name, fingerprint="", trained_blocks=image_trained_blocks)
        image = ImageSide(tower, queries=prompts, dim=dim, new_blocks=new_blocks, width=image_width)
    size = tower.preprocess.size

    def ids(pairs: int) -> Tokens:
        return torch.zeros(pairs, tokens, dtype=torch.long, device="meta")

    def pixels(pairs: int) -> Pixels:
        return torch.zeros(pairs, 3, size, size, device="meta")

    with torch.no_grad():
        below: list[int] = []
        with FlopCounterMode(display=False) as counter:
            text.at_split = lambda: below.append(counter.get_total_flops())
            text(ids(1))
        whole_text, frozen_text = counter.get_total_flops(), below[0]
        with FlopCounterMode(display=False) as counter:
            trunk_tokens = image.tower.trunk_tokens(pixels(1))
            frozen_image = 0 if tower.trunk_trained else counter.get_total_flops()
            image.segments(trunk_tokens)
        whole_image = counter.get_total_flops()

    def peaks(pairs: int) -> tuple[int, int, int]:
        with Alive(text, image) as alive:
            states = image.tower.trunk_tokens(pixels(pairs))
            trunk = alive.take_peak()
            blocks: list[int] = []
            text.at_split = lambda: blocks.append(alive.take_peak())
            embedded = text(ids(pairs))
            segments, _ = image.segments(states)
            (embedded * segments.flatten(1)).sum().backward()
            rest = alive.take_peak()
        for parameter in (*text.parameters(), *image.parameters()):
            parameter.grad = None
        pictures = max(trunk, rest)
        return max(pictures, *blocks), pictures, pictures if tower.trunk_trained else rest

    return Cost(
        text_frozen=Part(_count(text, trained=False), frozen_text // 2),  # the counter counts a multiply-add as two
        text_trained=Part(_count(text, trained=True), (whole_text - frozen_text) // 2),
        image_frozen=Part(_count(image, trained=False), frozen_image // 2),
        image_trained=Part(_count(image, trained=True), (whole_image - frozen_image) // 2),
        text_cache=tokens * text.width * CACHED_BYTES if frozen_text else 0,
        image_cache=0 if tower.trunk_trained else trunk_tokens[0].numel() * CACHED_BYTES,
        memory=cast(
            tuple[int, int, int], tuple((b - a) // PAIRS for a, b in zip(peaks(PAIRS), peaks(2 * PAIRS), strict=True))
        ),
    )


def open_text_config(name: str) -> "PretrainedConfig":
    """The config of an LLM, without its weights.

    Args:
        name: "gemma-2b" and "smollm2-135m" (known here), "clip-text" (CLIP's 12 blocks of width 768, the paper's
            comparison), a folder with a `config.json`, or a hub id.

    Raises:
        TowerError: no such config here or on the hub.
    """
    from transformers import AutoConfig, CLIPTextConfig, GemmaConfig, LlamaConfig

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
    try:
        return AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TowerError(
            f"text tower {name!r}: its config cannot be had ({reason}). Give gemma-2b, smollm2-135m, clip-text, a "
            "folder with config.json, or a hub id that can be reached."
        ) from None


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

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
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


class _Text(nn.Module):
    """A decoder from its config, and the maps of the K read-outs. `at_split` is called where the frozen part ends."""

    def __init__(
        self, config: "PretrainedConfig", prompts: int, dim: int, trained_blocks: int, depth: int | None
    ) -> None:
        from transformers import AutoModel

        super().__init__()
        config = _cut(config.get_text_config(), depth)
        count: int = config.num_hidden_layers
        if not 0 <= trained_blocks <= count:
            raise ConfigError(
                f"trained blocks is {trained_blocks}; the text tower uses {count} blocks, so 0 to {count}"
            )
        try:
            self.decoder = AutoModel.from_config(config, dtype=torch.float32).eval().requires_grad_(False)
        except ValueError:
            raise TowerError(f"{type(config).__name__} is not the config of a model transformers can build") from None
        lists = [part for part in self.decoder.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
        if not lists:
            raise TowerError(f"{type(config).__name__} is not a decoder's: it has no list of {count} blocks")
        blocks = lists[0]
        blocks[count - trained_blocks :].requires_grad_(True)
        for name, part in self.decoder.named_modules():
            if name.rpartition(".")[2] in ("norm", "ln_f", "final_layer_norm") and part not in set(blocks.modules()):
                part.requires_grad_(True)  # the final norm
        self.width: int = config.hidden_size
        self.maps = nn.Parameter(torch.zeros(prompts, self.width, dim // prompts))
        self.at_split: Callable[[], None] = lambda: None
        if trained_blocks == count:
            blocks[0].register_forward_pre_hook(lambda *_: self.at_split())
        else:
            blocks[count - trained_blocks - 1].register_forward_hook(lambda *_: self.at_split())

    def forward(self, ids: Tokens) -> Float[Tensor, "b D"]:
        """K read-outs, here the last K tokens, mapped and joined."""
        states = self.decoder(input_ids=ids).last_hidden_state
        return torch.einsum("bkd,kde->bke", states[:, -len(self.maps) :], self.maps).flatten(1)


def _cut(config: "PretrainedConfig", depth: int | None) -> "PretrainedConfig":
    if depth is None:
        return config
    if not 1 <= depth <= config.num_hidden_layers:
        raise ConfigError(f"text depth is {depth}; the text tower has {config.num_hidden_layers} blocks")
    config = copy.deepcopy(config)
    config.num_hidden_layers = depth
    return config


def _count(module: nn.Module, *, trained: bool) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad == trained)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
