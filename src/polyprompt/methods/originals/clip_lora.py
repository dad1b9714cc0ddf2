"""CLIP-LoRA's checkpoints: one `lora_weights.pt`.

It holds {weights: {layer_i: {q_proj, k_proj, v_proj, proj: {w_lora_A, w_lora_B}}}, metadata: {r, alpha, encoder,
params, position}}, where i counts the chosen text blocks, then the chosen image blocks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from polyprompt.adapt.engine import Adapted
from polyprompt.disk.foreign import read_foreign
from polyprompt.errors import FileError
from polyprompt.methods import clip_lora
from polyprompt.methods.originals.layout import Files, fitted, put, written
from polyprompt.settings import checked
from polyprompt.towers.base import DualEncoder

LAYERS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "proj"}
PARAMS = {"q": "query", "k": "key", "v": "value", "o": "out"}
TOWERS = {"both": "both", "text": "text", "vision": "image"}


def read_lora(path: Path, encoder: DualEncoder, class_names: Sequence[str], given: Mapping[str, object]) -> Adapted:
    """CLIP-LoRA from its authors' file.

    Raises:
        FileError: damaged, or of another rank, other blocks or another encoder than it says.
    """
    file = path / "lora_weights.pt" if path.is_dir() else path
    content = read_foreign(file)
    try:
        facts, weights = content["metadata"], content["weights"]
        known = {
            "rank": int(facts["r"]),
            "alpha": float(facts["alpha"]),
            "towers": TOWERS[facts["encoder"]],
            "places": [PARAMS[one] for one in facts["params"]],
            "position": str(facts["position"]),
        }
    except (TypeError, KeyError, ValueError) as error:
        raise FileError(f"{file}: no file of CLIP-LoRA's: weights and metadata are expected ({error!r})") from None
    method = fitted(checked(clip_lora.Config, known | dict(given), str(file)), encoder, class_names, file)
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
        raise FileError(f"{file}: {which} {wrong}, with {encoder.name} and position {known['position']!r}")
    put(parameters, tensors, encoder.name, file)
    return method


def lora_names(method: Adapted) -> dict[tuple[int, str], nn.Parameter]:
    """Our updates by the authors' count of layers, text first, and their name within one."""
    adapter, parameters, number = method.adapter, dict[tuple[int, str], nn.Parameter](), 0
    for tower in (adapter.text, adapter.image):
        assert isinstance(tower, nn.ModuleDict)
        for places in tower.values():
            assert isinstance(places, nn.ModuleDict)
            for place, update in places.items():
                for part in ("A", "B"):
                    parameters[number, f"{LAYERS[place]}.w_lora_{part}"] = getattr(update, part)
            number += 1
    return parameters


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


def _theirs(name: str) -> str:
    tower, block, place, part = name.split(".")
    layer = LAYERS[place]
    return f"{'visual.' if tower == 'image' else ''}transformer.resblocks.{block}.attn.{layer}.w_lora_{part}"


LAYOUTS = {"clip_lora": Files(read=read_lora, write=write_lora, theirs=_theirs)}
