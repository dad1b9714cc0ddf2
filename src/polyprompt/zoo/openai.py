"""OpenAI's CLIP: state dicts in their layout, and their `.pt` files, read as tensors without executing anything.

A `.pt` file is either a TorchScript archive, whose pickles name code, or a plain state dict; foreign.py reads the
tensors of both. Sizes come from the weights: widths, depths, patch and picture size, context length, vocabulary; a head
is 64 wide, as in `build_model` of github.com/openai/CLIP.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from polyprompt.errors import ConfigError, TowerError
from polyprompt.media.pictures import Preprocess
from polyprompt.nn.finite import check_finite
from polyprompt.towers.clip import CLIP, ImageForm, ImageTransformer, TextForm, TextTransformer
from polyprompt.towers.opaque import OpaqueImage
from polyprompt.towers.pretrained import check_scale, reason
from polyprompt.towers.transformer import Block
from polyprompt.towers.words import openai_words

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
HEAD = 64
SIZES = ("input_resolution", "context_length", "vocab_size")
"""What a TorchScript archive keeps beside its weights."""
Fill = Callable[[nn.Module, Mapping[str, Tensor], str], None]
"""`fill`, or `check` alone."""


def from_openai(state: Mapping[str, Tensor], name: str, dtype: torch.dtype | None = torch.float32) -> CLIP:
    """The dual encoder of a state dict in OpenAI's layout; `dtype` as for `CLIP`.

    Raises:
        TowerError: a tensor is missing, unknown or of another size. FileError: one holds what is no number.
    """
    state = {key: value for key, value in state.items() if key not in SIZES}
    if "text_projection" not in state or "positional_embedding" not in state:
        raise TowerError(f"{name}: not a CLIP in OpenAI's layout (no text_projection)")
    if empty := [key for key, value in state.items() if not value.numel()]:
        raise TowerError(f"{name}: tensor {empty[0]} is empty")
    try:
        with torch.device("meta"):  # its shapes first: a few numbers could ask for gigabytes of others
            _filled(state, name, check, torch.float32)
        check_finite(state, name)
        return _filled(state, name, fill, dtype)
    except (ConfigError, KeyError, IndexError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        why = f"lacks {error.args[0]}" if isinstance(error, KeyError) else reason(error)
        raise TowerError(f"{name}: not a CLIP in OpenAI's layout ({why})") from None


def _filled(state: Mapping[str, Tensor], name: str, fill: Fill, dtype: torch.dtype | None) -> CLIP:
    check_scale(state["logit_scale"], name)
    image, text = _image(state, name, fill), _text(state, name)
    if isinstance(image, ImageTransformer):
        fill(
            image,
            {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")},
            f"{name} (image)",
        )
    fill(text, {k: v for k, v in state.items() if not k.startswith("visual.") and k != "logit_scale"}, f"{name} (text)")
    return CLIP(image, text, state["logit_scale"].float(), name, dtype)


def check(tower: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Refuses weights that do not fit to the last one.

    Raises:
        TowerError: names what is missing, unknown or of another shape.
    """
    expected = tower.state_dict()
    for what, keys in (("lacks", expected.keys() - state.keys()), ("has the unknown", state.keys() - expected.keys())):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise TowerError(f"{name}: {what} tensor {', '.join(sorted(keys)[:3])}{more}")
    for key, tensor in expected.items():
        if tensor.shape != state[key].shape:
            raise TowerError(f"{name}: {key} is {list(state[key].shape)}, not {list(tensor.shape)}")


def fill(tower: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Takes weights that must fit to the last one, as they lie, mapped from a file or not; raises as `check`."""
    check(tower, state, name)
    tower.load_state_dict({key: value.detach().contiguous() for key, value in state.items()}, assign=True)


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def count_blocks(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered blocks stand under `prefix`."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def _blocks(state: Mapping[str, Tensor], prefix: str, name: str) -> list[Block]:
    number = count_blocks(state, prefix)
    try:
        shapes = [state[f"{prefix}{i}.mlp.c_fc.weight"].shape for i in range(number)]
    except KeyError as error:
        raise TowerError(f"{name}: lacks tensor {error.args[0]}") from None
    return [Block(width, hidden, "quick_gelu", 1e-5) for hidden, width in shapes]


def _text(state: Mapping[str, Tensor], name: str) -> TextTransformer:
    blocks = _blocks(state, "transformer.resblocks.", name)
    vocabulary, width = state["token_embedding.weight"].shape
    return TextTransformer(
        blocks,
        openai_words(),
        TextForm(
            length=len(state["positional_embedding"]),
            heads=width // HEAD,
            vocabulary=vocabulary,
            embedding=state["text_projection"].shape[1],
        ),
    )


def _image(state: Mapping[str, Tensor], name: str, fill: Fill) -> ImageTransformer | OpaqueImage:
    if "visual.proj" not in state:
        return _resnet(state, name, fill)
    width, _, _, patch = state["visual.conv1.weight"].shape
    grid = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
    return ImageTransformer(
        _blocks(state, "visual.transformer.resblocks.", name),
        Preprocess(grid * patch, MEAN, STD),
        ImageForm(patch=patch, heads=width // HEAD, embedding=state["visual.proj"].shape[1]),
    )


def _resnet(state: Mapping[str, Tensor], name: str, fill: Fill) -> OpaqueImage:
    from open_clip.modified_resnet import ModifiedResNet

    visual = under(state, "visual.")
    if "attnpool.positional_embedding" not in visual:
        raise TowerError(f"{name}: the image tower is neither a vision transformer nor a ResNet of OpenAI's")
    size = 32 * round((len(visual["attnpool.positional_embedding"]) - 1) ** 0.5)
    width = visual["layer1.0.conv1.weight"].shape[0]
    model = ModifiedResNet(
        layers=[count_blocks(visual, f"layer{i}.") for i in (1, 2, 3, 4)],
        output_dim=visual["attnpool.c_proj.weight"].shape[0],
        heads=width * 32 // HEAD,
        image_size=size,
        width=width,
    )
    counters = {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
    fill(model, {**counters, **visual}, f"{name} (image)")
    return OpaqueImage(model, Preprocess(size, MEAN, STD), resnet_reason(name))


def resnet_reason(name: str) -> str:
    """Why a convolutional image tower takes no prompts."""
    return (
        f"the image tower of {name} is convolutional and has no tokens to set prompts among; use a method that prompts "
        f"the text alone or an encoder with a vision transformer"
    )
