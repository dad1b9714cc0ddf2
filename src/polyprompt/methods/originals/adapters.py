"""Files of the authors of CLIP-LoRA and Tip-Adapter, and what files of other newer methods say about their settings.

CLIP-LoRA writes one `lora_weights.pt`: {weights: {layer_i: {q_proj, k_proj, v_proj, proj: {w_lora_A, w_lora_B}}},
metadata: {r, alpha, encoder, params, position}}, where i counts the chosen text blocks, then the chosen image blocks.
Tip-Adapter writes three tensors into its cache folder, `keys_16shots.pt` [D N], `values_16shots.pt` [N c] and, for -F,
`best_F_16shots.pt` [N D]; this layout is from memory of its program, no genuine file was at hand. Those of MMA, MMRL,
KgCoOp, ProGrad, TCP, CoPrompt, BMIP and LAMM are from reading their programs; unused layers of KgCoOp and BMIP and
CoPrompt's frozen copy are passed over, and not written.
"""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from polyprompt.adapt.engine import Adapted, MethodConfig, build
from polyprompt.disk.files import make_folder, write_bytes
from polyprompt.disk.foreign import read_foreign
from polyprompt.errors import ConfigError, FileError
from polyprompt.methods import (
    clip_adapter,
    clip_lora,
    coprompt,
    kgcoop,
    lamm,
    mma,
    mmrl,
    prograd,
    taskres,
    tcp,
    tip_adapter,
    vdt_adapter,
)
from polyprompt.settings import checked
from polyprompt.towers.base import DualEncoder

LAYERS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "proj"}
PARAMS = {"q": "query", "k": "key", "v": "value", "o": "out"}
TOWERS = {"both": "both", "text": "text", "vision": "image"}


def settings_in(name: str, tensors: Mapping[str, Tensor], depth: int, file: Path) -> dict[str, object]:
    """The settings that a checkpoint's shapes tell; `depth` is the image tower's.

    Raises:
        FileError: lacks a key.
    """

    def shape(key: str, also: int = 2) -> tuple[int, ...]:
        if key not in tensors or tensors[key].ndim not in (2, also):
            raise FileError(f"{file}: lacks {key}. Is it a checkpoint of {name}?")
        return tuple(tensors[key].shape)

    def counted(pattern: str) -> list[int]:
        return sorted({int(found[1]) for key in tensors if (found := re.match(pattern, key))})

    match name:
        case "clip_adapter":
            middle, dim = shape("adapter.fc.0.weight")
            return {"reduction": max(dim // max(middle, 1), 1)}
        case "vdt_adapter":
            kind = "self_attn" if "adapter.attn.w_qs.weight" in tensors else "linear_residual"
            middle, dim = shape("adapter.attn.w_qs.weight" if kind == "self_attn" else "adapter.fc.0.weight")
            return {"kind": kind, "reduction": max(dim // max(middle, 1), 1)}
        case "taskres":
            shape("prompt_learner.text_feature_residuals")
            return {}
        case "mma":
            levels = counted(r"adapter_learner\.text_adapter\.(\d+)\.") or [0]
            first = f"adapter_learner.text_adapter.{levels[0]}.down.0.weight"
            return {"start": levels[0], "end": levels[-1], "width": shape(first)[0]}
        case "kgcoop" | "prograd":
            *own, context, _ = shape("prompt_learner.ctx", also=3)
            random = own or (name == "kgcoop" and context != 4)
            words: dict[str, object] = {"words": ""} if random else {}
            return words | {"context": context, "per_class": bool(own)}
        case "tcp":
            context, width = shape("prompt_learner.ctx")
            middle, dim = shape("prompt_learner.meta_net.linear1.weight")
            made, _ = shape("prompt_learner.meta_net.linear2.weight")
            return {"context": context, "tokens": made // max(width, 1), "reduction": max(dim // max(middle, 1), 1)}
        case "coprompt":
            context, _ = shape("prompt_learner.ctx")
            middle, dim = shape("adapter_image.fc.0.weight")
            deep = len(counted(r"prompt_learner\.compound_prompts_text\.(\d+)"))
            told: dict[str, object] = {
                "context": context,
                "depth": 1 + deep,
                "reduction": max(dim // max(middle, 1), 1),
            }
            return told | ({"words": ""} if context > 4 else {})
        case "lamm":
            context, _ = shape("prompt_learner.ctx")
            deep = len(counted(r"prompt_learner\.compound_prompts_text\.(\d+)"))
            return {"context": context, "depth": 1 + deep}
        case _:
            tokens, space = shape("representation_learner.compound_rep_tokens")
            count = len(counted(r"representation_learner\.compound_rep_tokens_r2vproj\.(\d+)\."))
            layers = list(range(depth - count + 1, depth + 1))  # the upper ones: 6 to 12 of twelve
            return {"tokens": tokens, "space": space, "layers": layers}


KINDS = {
    "clip_adapter": clip_adapter, "taskres": taskres, "vdt_adapter": vdt_adapter, "mma": mma, "mmrl": mmrl,
    "kgcoop": kgcoop, "prograd": prograd, "tcp": tcp, "coprompt": coprompt,
    "lamm": lamm,
}  # fmt: skip
LEFT = re.compile(
    r"model_distill\.|prompt_learner\.(bias_vectors$|meta_net\.linear1\.|ctx_v$|fix_token$|token_suffix_test$|proj_v\.|exchange_layer_[tv]\.)"
    r"|(image|text)_encoder\.transformer\.resblocks\.\d+\.learnable_linear[12]\."
)
"""What files hold beside what learns and the encoder: CoPrompt's frozen copy, and what KgCoOp and BMIP never use."""


def config_in(
    name: str, tensors: Mapping[str, Tensor], depth: int, given: Mapping[str, object], file: Path
) -> MethodConfig:
    """A config from a checkpoint and from what it does not hold."""
    return checked(KINDS[name].Config, settings_in(name, tensors, depth, file) | dict(given), str(file))


def around_tokens(
    tensors: Mapping[str, Tensor], encoder: DualEncoder, given: Mapping[str, object], words: str | None
) -> dict[str, object]:
    """What stands around LAMM's tokens: in a whole model MaPLe's prompts, else words, or a context that left them."""
    said = str(given.get("words", words or lamm.Config().words))
    if "prompt_learner.proj.weight" in tensors:
        return {"beside": "maple", "words": said} | dict(given)
    context, vectors = tensors.get("prompt_learner.ctx"), encoder.text.vectors(encoder.text.words(said)).float().cpu()
    plain = context is not None and context.shape == vectors.shape and bool((context - vectors).abs().max() < 1e-3)
    return {"beside": "words" if plain else "coop", "words": said} | dict(given)


def check_starts(method: Adapted, tensors: dict[str, Tensor], file: Path) -> None:
    """Compares what LAMM's tokens started from with the class names' own.

    Raises:
        FileError: other names, or another count of tokens.
    """
    assert isinstance(method.adapter, lamm.LAMM)
    start, theirs = method.adapter.start, tensors.get("prompt_learner.fix_token")
    if theirs is not None and (theirs.shape != start.shape or (theirs - start.cpu()).abs().max() > 1e-3):
        raise FileError(
            f"{file}: its tokens did not start as those of {', '.join(method.class_names[:3])}; other classes"
        )
    if method.adapter.config.beside == "words":
        tensors.pop("prompt_learner.ctx", None)


@torch.no_grad()
def beside_tokens(method: Adapted) -> dict[str, Tensor]:
    """What LAMM's program saves beside what learns: where the tokens began, the words of a context that stays."""
    adapter, text = method.adapter, method.encoder.text
    assert isinstance(adapter, lamm.LAMM)
    found = {"prompt_learner.fix_token": adapter.start.detach().float().cpu()}
    if adapter.config.beside == "words":
        found["prompt_learner.ctx"] = text.vectors(text.words(adapter.config.words)).float().cpu()
    return found


def check_base(method: Adapted, base: Tensor | None, file: Path) -> None:
    """Compares the frozen class vectors in a file of TaskRes with those that the templates give.

    Raises:
        FileError: they are missing, or others.
    """
    ours, config = base_vectors(method), method.config
    assert isinstance(config, taskres.Config)
    if base is None or base.shape != ours.shape or (base - ours).abs().max() > 0.02 * ours.abs().max():
        raise FileError(
            f"{file}: its base_text_features are not what {', '.join(map(repr, config.templates))} "
            f"gives for {len(method.class_names)} classes; other class names, templates or another encoder"
        )


@torch.no_grad()
def base_vectors(method: Adapted) -> Tensor:
    """TaskRes's frozen class vectors."""
    text = method.encoder.text
    rows = method.adapter.rows(text, method.class_names)
    vectors = torch.cat(list(text.below(text.prepare(rows), None)))
    return vectors.unflatten(0, (len(method.class_names), -1)).mean(dim=1).float().cpu()


# CLIP-LoRA


def read_lora(path: Path, encoder: DualEncoder, class_names: Sequence[str], given: Mapping[str, object]) -> Adapted:
    """CLIP-LoRA from its authors' file.

    Raises:
        FileError: damaged, or of another rank, other blocks or another encoder than it says.
    """
    file = path / "lora_weights.pt" if path.is_dir() else path
    content = read_foreign(file)
    try:
        facts, weights = content["metadata"], content["weights"]
        told = {
            "rank": int(facts["r"]),
            "alpha": float(facts["alpha"]),
            "towers": TOWERS[facts["encoder"]],
            "places": [PARAMS[one] for one in facts["params"]],
            "position": str(facts["position"]),
        }
    except (TypeError, KeyError, ValueError) as error:
        raise FileError(f"{file}: no file of CLIP-LoRA's: weights and metadata are expected ({error!r})") from None
    method = build(checked(clip_lora.Config, told | dict(given), str(file)), encoder, class_names)
    parameters = {f"layer_{i}.{name}": one for (i, name), one in lora_names(method).items()}
    tensors = {
        f"{layer}.{place}.{part}": tensor
        for layer, places in weights.items()
        for place, parts in places.items()
        for part, tensor in parts.items()
    }
    if tensors.keys() != parameters.keys():
        wrong = sorted(tensors.keys() ^ parameters.keys())[0]
        which = "lacks" if wrong in parameters else "has the unknown key"
        raise FileError(f"{file}: {which} {wrong}, with {encoder.name} and position {told['position']!r}")
    put(parameters, tensors, encoder.name, file)
    return method


def lora_names(method: Adapted) -> dict[tuple[int, str], nn.Parameter]:
    """Our updates by the authors' count of layers, text first, and their name within one."""
    adapter, found, number = method.adapter, dict[tuple[int, str], nn.Parameter](), 0
    for tower in (adapter.text, adapter.image):
        assert isinstance(tower, nn.ModuleDict)
        for places in tower.values():
            assert isinstance(places, nn.ModuleDict)
            for place, update in places.items():
                for part in ("A", "B"):
                    found[number, f"{LAYERS[place]}.w_lora_{part}"] = getattr(update, part)
            number += 1
    return found


def write_lora(method: Adapted, folder: Path) -> Path:
    """CLIP-LoRA as its authors' program writes it."""
    config, weights = method.config, dict[str, dict[str, dict[str, Tensor]]]()
    assert isinstance(config, clip_lora.Config)
    for (number, name), tensor in lora_names(method).items():
        place, _, part = name.partition(".")
        weights.setdefault(f"layer_{number}", {}).setdefault(place, {})[part] = tensor.detach().cpu().clone()
    metadata = {
        "r": config.rank,
        "alpha": config.alpha,
        "encoder": next(theirs for theirs, ours in TOWERS.items() if ours == config.towers),
        "params": [theirs for theirs, ours in PARAMS.items() if ours in config.places],
        "position": config.position,
    }
    return written(folder / "lora_weights.pt", {"weights": weights, "metadata": metadata})


# Tip-Adapter


def read_tip(path: Path, encoder: DualEncoder, class_names: Sequence[str], given: Mapping[str, object]) -> Adapted:
    """Tip-Adapter from its authors' cache folder; with keys that learned, -F.

    Raises:
        FileError: a file is missing or damaged, or sizes do not fit.
    """
    keys, values = (only(path, f"{what}_*shots.pt") for what in ("keys", "values"))
    best = next(iter(sorted(path.glob("best_F_*shots.pt"))), None)
    stored = {file: read_foreign(file) for file in (keys, values, *([best] if best else []))}
    for file, tensor in stored.items():
        if not isinstance(tensor, Tensor) or tensor.ndim != 2:
            raise FileError(f"{file}: no matrix in it; Tip-Adapter's files hold one each")
    cache = stored[best] if best else stored[keys].T
    told = {"learn": best is not None} | dict(given)
    method = build(checked(tip_adapter.Config, told, str(path)), encoder, class_names)
    expected = {"keys": [len(cache), encoder.dim], "values": [len(cache), len(class_names)]}
    found = {"keys": list(cache.shape), "values": list(stored[values].shape)}
    for what, size in expected.items():
        if found[what] != size:
            raise FileError(
                f"{path}: {what} are {found[what]}, for {encoder.name} and {len(class_names)} classes {size} are needed"
            )
    method.adapter.take_shapes(expected)
    state = method.adapter.state_dict(keep_vars=True)
    with torch.no_grad():
        state["keys"].copy_(cache)
        state["values"].copy_(stored[values])
    return method


def only(folder: Path, pattern: str) -> Path:
    """The one file of a pattern.

    Raises:
        FileError: there is none, or several.
    """
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        have = f"; there are {', '.join(file.name for file in found)}" if found else ""
        raise FileError(f"{folder}: needs one {pattern} in it{have}")
    return found[0]


def write_tip(method: Adapted, folder: Path) -> Path:
    """Tip-Adapter's cache folder; the shots are the pictures of the first class."""
    state = {name: tensor.detach().float().cpu() for name, tensor in method.adapter.state_dict().items()}
    if not len(state["values"]):
        raise ConfigError("tip_adapter: its cache is empty; train it first")
    shots = int(state["values"][:, 0].sum())
    written(folder / f"keys_{shots}shots.pt", state["keys"].T.contiguous())
    file = written(folder / f"values_{shots}shots.pt", state["values"])
    config = method.config
    assert isinstance(config, tip_adapter.Config)
    return written(folder / f"best_F_{shots}shots.pt", state["keys"]) if config.learn else file


# Both


def put(parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, object], encoder: str, file: Path) -> None:
    """Copies tensors into the parameters of the same names.

    Raises:
        FileError: of another size.
    """
    for name, parameter in parameters.items():
        tensor = tensors[name]
        if not isinstance(tensor, Tensor) or tensor.shape != parameter.shape:
            has = list(tensor.shape) if isinstance(tensor, Tensor) else "no tensor"
            raise FileError(f"{file}: {name} is {has}, {encoder} and its settings need {list(parameter.shape)}")
        with torch.no_grad():
            parameter.copy_(tensor)


def written(file: Path, content: object) -> Path:
    """A torch file, whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    data = io.BytesIO()  # torch's own writer has another error for a full disk
    torch.save(content, data)
    write_bytes(make_folder(file.parent) / file.name, data.getvalue())
    return file
