"""What a pretrained encoder is, as one hash: equal fingerprints mean equal numbers from equal inputs.

Weights alone do not say it. The same tensors give other vectors with another activation, number of heads, epsilon,
mask, readout, tokenizer or preprocessing; so all of these are hashed: of our own modules every plain setting, that a
new one cannot be forgotten, and of other libraries' modules their classes, torch's own constants and the settings in
`MEANT`, since what else lies on them changes from release to release.

What is left out on purpose: names and paths (an encoder may move), the exact savings (they change no number), precision
and device (bf16 weights read as fp32 are the same weights), and the versions of libraries (a cache's key has them).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType

import torch
from torch import Tensor, nn

from polyprompt.disk.files import digest
from polyprompt.towers.words import Words

EXACT = frozenset({*vars(nn.Module()), "name", "dtype", "reason", "savings", "last_row", "_dim", "_fingerprint"})
"""Attributes of our modules that change no number."""
MEANT = frozenset((
    "act", "act_fn", "activation", "approximate", "attn_logit_softcapping", "batch_first", "causal", "eps",
    "global_pool", "head_dim", "is_causal", "n_head", "no_embed_class", "num_attention_heads", "num_heads",
    "num_key_value_groups", "num_key_value_heads", "num_prefix_tokens", "output_fmt", "pool_size", "pool_type",
    "pre_norm", "scale", "scaling", "shift_size", "sliding_window", "variance_epsilon", "window_size",
))  # fmt: skip
"""Attributes of other libraries' modules that change what they compute."""
PROBE = "".join(map(chr, range(256))) + (
    " A photo of a cat. two dogs play on the beach, 1984; HTML &amp; naïve café's snow-white (co-operation)! "
    "Ein größeres Haus. Быстрая лиса. 一只猫在雪地里 日本語 😀👩‍🚀 \t\n"
)
"""Every byte, and words of several kinds, whose token ids say which tokenizer it is."""


def fingerprint(module: nn.Module, *said: object, tensors: Sequence[str] | None = None) -> str:
    """A hash of a module's tensors by name, shape and value, of its structure, and of what else is said about it;
    `tensors` is what `tensors_of` says, if it is known."""
    known = tensors_of(module) if tensors is None else tensors
    return digest(*known, *structure_of(module), *(_said(value) or "" for value in said))


def tensors_of(module: nn.Module) -> Iterator[str]:
    """Name, shape and hash of each tensor; floating-point values count as float32."""
    for name, tensor in sorted(module.state_dict().items()):
        yield tensor_said(name, tensor)


def tensor_said(name: str, tensor: Tensor) -> str:
    """Name, shape and hash of one tensor."""
    values = tensor.detach().cpu()
    values = values.float() if values.is_floating_point() else values
    data = values.contiguous().flatten().view(torch.uint8).numpy().data
    return f"{name} {list(tensor.shape)} {hashlib.sha256(data).hexdigest()}"


def structure_of(module: nn.Module) -> Iterator[str]:
    """Class and settings of a module and of all in it."""
    for name, part in module.named_modules():
        yield f"{name}: {type(part).__name__} {_settings(part)}"


def words_said(words: Words) -> str:
    """The ids that a tokenizer gives to `PROBE`, and what stands around every text."""
    return repr([words.encode(PROBE), list(words.start), list(words.end), words.pad, words.vocabulary])


def _settings(part: nn.Module) -> str:
    """The plain settings of one module, in the order of their names."""
    ours = type(part).__module__.startswith("polyprompt.")
    names = vars(part).keys() - EXACT if ours else MEANT | set(getattr(part, "__constants__", ()))
    values = {name: _said(vars(part).get(name)) for name in names}
    return ", ".join(f"{name}={value}" for name, value in sorted(values.items()) if value is not None)


def _said(value: object) -> str | None:
    """A value in words that are the same in every process; None for what is none, or is no plain value."""
    match value:
        case bool() | int() | float() | str() | torch.dtype():
            return repr(value)
        case tuple() | list():
            return f"[{', '.join(str(_said(item)) for item in value)}]"
        case dict():
            return f"{{{', '.join(f'{key!r}: {_said(item)}' for key, item in sorted(value.items()))}}}"
        case Words():
            return words_said(value)
        case partial():
            return f"{_said(value.func)}{_said(value.args)}{_said(value.keywords)}"
        case type() | FunctionType() | BuiltinFunctionType() | MethodType():
            return value.__qualname__
        case _ if is_dataclass(value):
            said = [one for field in fields(value) if (one := getattr(value, field.name)) is not None]
            return f"{type(value).__name__}{_said(said)}"
    return None
