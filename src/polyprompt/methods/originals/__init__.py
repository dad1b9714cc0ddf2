"""Checkpoints of the authors' programs, read and written: CoOp, CoCoOp, VPT, IVLP, MaPLe, PromptSRC, and newer ones.

Their layout is `<folder>/<name>/model.pth.tar-<epoch>`, a pickle whose `state_dict` holds the learned tensors and, for
all but CoOp and CoCoOp, the frozen model (KaiyangZhou/Dassl.pytorch, `save_model`). Read here without executing
anything (disk/foreign.py). Where the authors' loader passes over misspelt, missing and misshapen keys, this one names
them. Class names are not in the files, but the vectors of their words are: they are looked up in the encoder's
vocabulary.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from polyprompt.adapt.engine import Adapted, build
from polyprompt.adapt.wording import begun, context_rows
from polyprompt.disk.files import write_text
from polyprompt.disk.foreign import read_foreign
from polyprompt.errors import ConfigError, FileError, UnknownNameError
from polyprompt.methods import bmip, cocoop, coop, ivlp, language, maple, method_name, promptsrc, vpt
from polyprompt.methods.originals import adapters
from polyprompt.towers.clip import CLIP, ImageTransformer, TextTransformer
from polyprompt.towers.encoder import Encoder
from polyprompt.values import Json, Values

FOLDERS = {
    "coop": "prompt_learner",
    "cocoop": "prompt_learner",
    "vpt": "prompt_learner",
    "language": "VLPromptLearner",
    "ivlp": "VLPromptLearner",
    "maple": "MultiModalPromptLearner",
    "promptsrc": "VLPromptLearner",
    "clip_adapter": "clip_adapter",
    "taskres": "prompt_learner",
    "vdt_adapter": "clip_adapter_gpt",
    "mma": "adapter_learner",
    "mmrl": "MultiModalRepresentationLearner",
    "kgcoop": "prompt_learner",
    "prograd": "prompt_learner",
    "tcp": "prompt_learner",
    "coprompt": "MultiModalPromptLearner",
    "bmip": "MultiModalPromptLearner",
    "lamm": "prompt_learner",
}
"""The name under which each trainer registers what it saves; LAMM beside MaPLe as MaPLe does."""

ALONE = {
    "coop": "prompt_learner.", "cocoop": "prompt_learner.", "clip_adapter": "adapter.", "taskres": "prompt_learner.",
    "mma": "adapter_learner.", "vdt_adapter": "adapter.", "kgcoop": "prompt_learner.", "prograd": "prompt_learner.",
    "tcp": "prompt_learner.",
}  # fmt: skip
"""Trainers that save a part of the model alone, and the prefix that its tensors have in the whole."""
FILES = {"clip_lora": (adapters.read_lora, adapters.write_lora), "tip_adapter": (adapters.read_tip, adapters.write_tip)}
"""Programs that write files of their own kind: how they are read and written."""
BASE = "prompt_learner.base_text_features"
"""TaskRes's frozen class vectors."""

TEACHER = "prompt_learner.ZS_image_encoder."
RESIDENT_WORDS = "a photo of a"
"""What MaPLe, IVLP and PromptSRC start contexts of up to 4 vectors from; longer ones start at random."""


# Names


def original_names(method: Adapted) -> dict[str, str]:
    """The authors' name of each learned tensor, as their `named_parameters` has it."""
    names = {}
    if named := THEIRS.get(method_name(method.config)):
        return {name: named(name) for name in method.learned()}
    for name in method.learned():
        kind, _, rest = name.partition(".")
        index = int(rest.split(".")[0]) if rest[:1].isdigit() else 0
        match kind:
            case "context":
                names[name] = "prompt_learner.ctx"
            case "text" if index == 0:
                names[name] = "prompt_learner.ctx"
            case "text" if isinstance(method.adapter, maple.MaPLe):
                names[name] = f"prompt_learner.compound_prompts_text.{index - 1}"
            case "text":
                names[name] = f"text_encoder.transformer.resblocks.{index}.VPT_shallow"
            case "image" if index == 0:
                names[name] = "image_encoder.VPT"
            case "image":
                names[name] = f"image_encoder.transformer.resblocks.{index}.VPT_shallow"
            case "adapter_text" | "adapter_image":
                names[name] = f"{kind}.fc.{rest}"
            case "couplings" if index == 0:
                names[name] = f"prompt_learner.proj.{rest.split('.')[1]}"
            case "couplings":
                names[name] = f"prompt_learner.compound_prompt_projections.{index - 1}.{rest.split('.')[1]}"
            case _:
                names[name] = f"prompt_learner.{name}"
    return names


def _of_lora(name: str) -> str:
    tower, block, place, part = name.split(".")
    layer = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "proj"}[place]
    return f"{'visual.' if tower == 'image' else ''}transformer.resblocks.{block}.attn.{layer}.w_lora_{part}"


def _of_lamm(name: str) -> str:
    if name == "tokens":
        return "prompt_learner.token_classes"
    _, kind, *rest = name.split(".")
    if kind == "context" or [kind, *rest] == ["text", "0"]:
        return "prompt_learner.ctx"
    layer, *part = rest
    if kind == "text":
        return f"prompt_learner.compound_prompts_text.{int(layer) - 1}"
    where = "proj" if layer == "0" else f"compound_prompt_projections.{int(layer) - 1}"
    return f"prompt_learner.{where}.{part[0]}"


def _of_bmip(name: str) -> str:
    kind, _, rest = name.partition(".")
    index, _, part = rest.partition(".")
    match kind:
        case "text" if index == "0":
            return "prompt_learner.ctx_t"
        case "text":
            return f"prompt_learner.compound_prompts_text.{int(index) - 1}"
        case "image":
            return f"prompt_learner.compound_prompts_visual.{index}"
        case "image_gates":
            return f"image_encoder.transformer.resblocks.{int(index) + 1}.learnable_linear1.{part}"
        case "text_gates":
            return f"text_encoder.transformer.resblocks.{int(index) + 1}.learnable_linear2.bias"
        case _:
            theirs = {"first": "proj_t", "to_image": "single_layer_t", "to_text": "single_layer_v"}[kind]
            return f"prompt_learner.{theirs}.{rest}"


THEIRS: Mapping[str, Callable[[str], str]] = {
    "clip_lora": _of_lora,
    "mma": "adapter_learner.{}".format,
    "mmrl": lambda name: f"{'image_encoder' if name == 'proj_rep' else 'representation_learner'}.{name}",
    "tip_adapter": lambda name: "adapter.weight",
    "clip_adapter": "adapter.{}".format,
    "taskres": lambda name: "prompt_learner.text_feature_residuals",
    "vdt_adapter": "adapter.{}".format,
    "lamm": _of_lamm,
    "bmip": _of_bmip,
}
"""How the authors of newer methods call our parameters."""


# Reading


def import_original(
    name: str,
    path: str | Path,
    encoder: Encoder,
    class_names: Sequence[str] | None = None,
    *,
    epoch: int | None = None,
    words: str | None = None,
    position: str = "end",
    settings: Values | None = None,
) -> Adapted:
    """A method with the prompts of an authors' checkpoint.

    Args:
        name: the method, "maple" for example.
        path: the file, the folder it is in, or the run's output folder.
        encoder: the CLIP it was trained on; frozen weights in the file are compared with it.
        class_names: None: those that it was trained on, from the vectors in the file (lower case, as CLIP reads them).
        epoch: None: the last one.
        words: the trainer's CTX_INIT, if it was not "a photo of a" (random where it has more than 4 vectors).
        position: CoOp's CLASS_TOKEN_POSITION, which the file does not hold.
        settings: of newer methods, what the file does not hold: template, alpha, scale; else as published.

    Raises:
        FileError: missing, damaged, with more in it than plain tensors, or with tensors that do not fit.
    """
    if name not in (*FOLDERS, *FILES):
        raise UnknownNameError("method with published checkpoints", name, (*FOLDERS, *FILES))
    if settings and name not in (*adapters.KINDS, *FILES):
        raise ConfigError(f"{name}: takes no settings here; words and position say what its checkpoint does not")
    if not (isinstance(encoder, CLIP) and isinstance(encoder.text, TextTransformer)):
        raise ConfigError(
            f"{encoder.name}: published checkpoints prompt CLIP's own text tower, not one of another kind"
        )
    if class_names is None and name in (*adapters.KINDS, *FILES):
        raise FileError(f"{path}: does not say which classes it was trained on; give their names")
    if name in FILES:
        return FILES[name][0](Path(path), encoder, class_names or (), settings or {})
    file = find(Path(path), name, epoch)
    tensors = _state_of(file, name)
    if name == "lamm":
        settings = adapters.around_tokens(tensors, encoder, settings or {}, words)
        words = None
    if name in adapters.KINDS:
        given = dict(settings or {}) | ({} if words is None else {"words": words})
        config = adapters.config_in(name, tensors, encoder.image.depth, given, file)
    else:
        config = _config(name, tensors, words, position, file)
    if class_names is None:
        class_names = _class_names(tensors, encoder.text, config, file)
    method = build(config, encoder, class_names)
    if name == "taskres":
        adapters.check_base(method, tensors.pop(BASE, None), file)
    if name == "lamm":
        adapters.check_starts(method, tensors, file)
    _check_frozen(tensors, method, encoder, file)
    _fill(method, tensors, file)
    return method


def _state_of(file: Path, name: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint."""
    content = read_foreign(file)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise FileError(f"{file}: no state_dict of tensors in it; a checkpoint of {name} has one")
    prefix = ALONE.get(name, "prompt_learner." if name == "lamm" and "token_classes" in state else "")
    return {prefix + key: value.float() for key, value in state.items()}


@torch.no_grad()
def _fill(method: Adapted, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Puts them where they belong."""
    for own, theirs in original_names(method).items():
        parameter = method.learned()[own]
        if parameter.shape != tensors[theirs].shape:
            raise FileError(
                f"{file}: {theirs} is {list(tensors[theirs].shape)}, {method.encoder.name} needs "
                f"{list(parameter.shape)}; the checkpoint was trained on another encoder"
            )
        parameter.copy_(tensors[theirs])


def find(path: Path, name: str, epoch: int | None) -> Path:
    """The checkpoint file in a run's output folder.

    Raises:
        FileError: there is none.
    """
    if path.is_file():
        return path
    registered = [FOLDERS[name], *([FOLDERS["maple"]] if name == "lamm" else [])]
    folder = next((path / one for one in registered if (path / one).is_dir()), path)
    files = {int(m[1]): file for file in folder.glob("model.pth.tar-*") if (m := re.search(r"-(\d+)$", file.name))}
    if not files or (epoch is not None and epoch not in files):
        wanted = f"model.pth.tar-{'N' if epoch is None else epoch}"
        have = f" (there are epochs {', '.join(map(str, sorted(files)))})" if files else ""
        raise FileError(f"{path}: no {FOLDERS[name]}/{wanted} in it{have}")
    return files[max(files) if epoch is None else epoch]


def _config(name: str, tensors: Mapping[str, Tensor], words: str | None, position: Any, file: Path) -> Any:
    """What the tensors say about the settings; keys that should be there are read, and named if they are not."""

    def shape(key: str) -> torch.Size:
        if key not in tensors:
            near = [k for k in tensors if k.split(".")[-1][:3] == key.split(".")[-1][:3] and "resblocks" not in k]
            hint = f"; it has {near[0]}" if near and near[0] != key else ""
            raise FileError(f"{file}: lacks {key}{hint}. Is it a checkpoint of {name}?")
        return tensors[key].shape

    def depth(pattern: str) -> int:
        return 1 + sum(bool(re.fullmatch(pattern, key)) for key in tensors)

    if name == "vpt":
        context = shape("image_encoder.VPT")[0]
        return vpt.Config(context=context, depth=depth(r"image_encoder\.transformer\.resblocks\.\d+\.VPT_shallow"))
    context = shape("prompt_learner.ctx_t" if name == "bmip" else "prompt_learner.ctx")[-2]
    if name == "coop":
        per_class = len(shape("prompt_learner.ctx")) == 3
        return coop.Config(context=context, words=words or "", position=position, per_class=per_class)
    if name == "cocoop":
        hidden, dim = shape("prompt_learner.meta_net.linear1.weight")
        return cocoop.Config(context=context, words=words or "", reduction=dim // hidden)
    words = words if words is not None else RESIDENT_WORDS if context <= 4 else ""
    if name in ("maple", "bmip"):
        deep = depth(r"prompt_learner\.compound_prompts_text\.\d+")
        return (bmip if name == "bmip" else maple).Config(context=context, depth=deep, words=words)
    text_depth = depth(r"text_encoder\.transformer\.resblocks\.\d+\.VPT_shallow")
    if name == "language":
        return language.Config(context=context, depth=text_depth, words=words)
    image: Json = {"image_depth": 0}
    if "image_encoder.VPT" in tensors or name == "promptsrc":
        image_depth = depth(r"image_encoder\.transformer\.resblocks\.\d+\.VPT_shallow")
        image = {"image_depth": image_depth, "image_context": shape("image_encoder.VPT")[0]}
    kind = promptsrc.Config if name == "promptsrc" else ivlp.Config
    return kind(text_context=context, text_depth=text_depth, words=words, **image)


def _class_names(tensors: Mapping[str, Tensor], text: TextTransformer, config: Any, file: Path) -> list[str]:
    """Class names from the word vectors behind the context."""
    suffix = tensors.get("prompt_learner.token_suffix")
    if suffix is None or text.tokenizer.decode is None:
        raise FileError(f"{file}: does not say which classes it was trained on; give their names")
    if suffix.shape[-1] != text.width:
        raise FileError(
            f"{file}: its words have {suffix.shape[-1]} numbers, this text tower's {text.width}; the checkpoint was "
            f"trained on another encoder"
        )
    words, end = getattr(config, "words", ""), text.tokenizer.end[0]
    rest = text.words(words)[config_context(config) :] if words else []
    table, names = text.token_embedding.weight, []
    for row in suffix:
        ids = torch.cdist(row[: text.max_tokens], table).argmin(dim=1).tolist()
        ids = ids[: ids.index(end)] if end in ids else ids
        if ids[: len(rest)] != rest:
            raise FileError(
                f"{file}: its prompts do not go on with {text.tokenizer.decode(rest)!r}, so its context did not start "
                f"from {words!r}; pass the words it was trained with"
            )
        names.append(text.tokenizer.decode(ids[len(rest) :]).strip().removesuffix(".").strip())
    return names


def config_context(config: Any) -> int:
    """The number of context vectors in the text."""
    return config.text_context if hasattr(config, "text_context") else config.context


def frozen_tensors(encoder: CLIP) -> dict[str, Tensor]:
    """An encoder's weights under the authors' names; they leave out the word vectors."""
    tensors = {"logit_scale": encoder.logit_scale}
    for prefix, tower in (("image_encoder.", encoder.image), ("text_encoder.", encoder.text)):
        assert isinstance(tower, nn.Module)
        tensors |= {prefix + key: value for key, value in tower.state_dict().items() if key != "token_embedding.weight"}
    return tensors


def _check_frozen(tensors: Mapping[str, Tensor], method: Adapted, encoder: CLIP, file: Path) -> None:
    """Every key of the file is known, none is missing, and the frozen ones are the encoder's.

    Raises:
        FileError: names the first key that is wrong.
    """
    learned = set(original_names(method).values())
    ours = frozen_tensors(encoder)
    theirs = {k: v for k, v in tensors.items() if k not in learned and not adapters.LEFT.match(k)}
    for key in ("prompt_learner.token_prefix", "prompt_learner.token_suffix"):
        theirs.pop(key, None)
    for key in [key for key in theirs if key.startswith(TEACHER)]:
        theirs["teacher:" + key.removeprefix(TEACHER)] = theirs.pop(key)
    ours |= {
        "teacher:" + k.removeprefix("image_encoder."): v for k, v in ours.items() if k.startswith("image_encoder.")
    }
    towers = {key.split(".")[0].split(":")[0] for key in theirs}
    expected = {key for key in ours if key.split(".")[0].split(":")[0] in towers}

    for key in sorted(learned - tensors.keys()) + sorted(expected - theirs.keys()):
        raise FileError(
            f"{file}: lacks {key.replace('teacher:', TEACHER)}; it is damaged, or not a checkpoint of this method"
        )
    for key, tensor in sorted(theirs.items()):
        if key not in ours:
            raise FileError(
                f"{file}: has the unknown key {key.replace('teacher:', TEACHER)}; misspelt, or a checkpoint of another "
                f"method or encoder"
            )
        if tensor.shape != ours[key].shape:
            raise FileError(
                f"{file}: {key} is {list(tensor.shape)}, in {encoder.name} {list(ours[key].shape)}; the checkpoint was "
                f"trained on another encoder"
            )
        apart = (tensor - ours[key].cpu()).abs().max()
        if apart > 0.02 * ours[key].abs().max():  # half precision and averaging move weights far less
            raise FileError(f"{file}: {key} has other values than in {encoder.name}; it was trained on another encoder")


# Writing


def export_original(method: Adapted, folder: str | Path, epoch: int) -> Path:
    """Writes a method's prompts as its authors' program would, for their loader; returns the file.

    Raises:
        ConfigError: a method, a setting or an encoder that their programs do not know.
        FileError: the file cannot be written.
    """
    name, encoder = method_name(method.config), method.encoder
    if name not in (*FOLDERS, *FILES):
        known = ", ".join((*FOLDERS, *FILES))
        raise ConfigError(f"method {name}: no checkpoint layout of its authors is known here; export one of {known}")
    if not isinstance(encoder, CLIP) or not _openai_like(encoder):
        raise ConfigError(f"{encoder.name}: the authors' programs know OpenAI's vision transformers only")
    if name in FILES:
        return FILES[name][1](method, Path(folder))
    if name != "mma":  # whose start is a level
        _check_start(method, name)
    names = original_names(method)
    learned = {names[own]: value.detach().float().cpu() for own, value in method.learned().items()}
    alone, registered = ALONE.get(name), FOLDERS[name]
    if name == "lamm":
        learned |= adapters.beside_tokens(method)
        whole = getattr(method.config, "beside", "") == "maple"
        alone, registered = (None, FOLDERS["maple"]) if whole else ("prompt_learner.", registered)
    if alone is not None:
        buffers = {} if name in adapters.KINDS else _token_buffers(method)
        buffers |= {BASE: adapters.base_vectors(method)} if name == "taskres" else {}
        state = {key.removeprefix(alone): value for key, value in {**learned, **buffers}.items()}
    else:
        frozen = frozen_tensors(encoder)
        if name == "vpt":
            frozen = {key: value for key, value in frozen.items() if not key.startswith("text_encoder.")}
        if name == "promptsrc":
            frozen |= {TEACHER + k.removeprefix("image_encoder."): v for k, v in frozen.items() if "image_encoder" in k}
        state = {key: _narrow(value) for key, value in frozen.items()} | learned
        state |= {} if name in ("vpt", *adapters.KINDS) else _token_buffers(method)
    file = Path(folder) / registered / f"model.pth.tar-{epoch}"
    content = {"state_dict": state, "epoch": epoch, "optimizer": None, "scheduler": None, "val_result": None}
    adapters.written(file, content)
    write_text(file.parent / "checkpoint", f"{file.name}\n")
    return file


def _openai_like(encoder: CLIP) -> bool:
    image, text = encoder.image, encoder.text
    return (
        isinstance(image, ImageTransformer)
        and isinstance(text, TextTransformer)
        and image.readout == "class"
        and text.causal
        and not any("ls_1" in key or key in ("conv1.bias", "proj_bias") for key in image.state_dict())
    )


def _check_start(method: Adapted, name: str) -> None:
    for field in ("start", "text_start", "image_start"):
        if getattr(method.config, field, 0):
            raise ConfigError(
                f"{name}: {field} is {getattr(method.config, field)}; the authors' prompts enter at block 0"
            )


def _token_buffers(method: Adapted) -> dict[str, Tensor]:
    """Vectors of the start token, and of what follows the context when the class name stands behind it."""
    text, config = method.encoder.text, method.config
    assert isinstance(text, TextTransformer)
    count = config_context(config)
    rows = context_rows(text, begun(text, count, getattr(config, "words", "")), method.class_names)
    prefix, suffix = [], []
    for row in rows:
        full = [*text.tokenizer.start, *row, *text.tokenizer.end]
        full += [text.tokenizer.pad] * (text.length - len(full))
        prefix.append(text.vectors(full[:1]))
        suffix.append(text.vectors(full[1 + count :]))
    return {
        "prompt_learner.token_prefix": _narrow(torch.stack(prefix)),
        "prompt_learner.token_suffix": _narrow(torch.stack(suffix)),
    }


def _narrow(tensor: Tensor) -> Tensor:
    """In half precision where that loses nothing, as the authors keep most of the frozen weights."""
    tensor = tensor.detach().float().cpu()
    half = tensor.half()
    return half if torch.equal(half.float(), tensor) else tensor
