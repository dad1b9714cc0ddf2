"""Same seed, same loss, to the last bit: what a change of structure has to show.

    python tests/bits.py write FILE     train every toy run; keep losses, and hashes of what is learned
    python tests/bits.py check FILE     train them again and say which differ, and by how much

Bits are those of one machine with one thread: write FILE on the commit before a change, check it on the one after.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (250, 250, 250)}
SOFT = {"templates": ["a {}.", "one {}."], "mean": 2.0, "std": 2.0}
SAID = {"{}": ["a {}.", "one {}."], "red": ["It glows."]}
"""Descriptions of the classes."""
ALIGN = {
    "softmax": {},
    "sigmoid": {"loss": {"contrast": "sigmoid"}},
    "words": {"text": {"adaptive": "words"}},
    "input": {"text": {"adaptive": "input"}},
    "own norm": {"text": {"norm": "own"}},
    "two blocks, diversity of readouts": {"text": {"last_n": 2}, "loss": {"diversity_of": "readouts"}},
}
ADAPT = {
    "coop": {"name": "coop", "context": 3},
    "coop, per class": {"name": "coop", "context": 2, "per_class": True},
    "cocoop": {"name": "cocoop", "context": 1, "reduction": 4, "words": "a"},
    "vpt": {"name": "vpt", "context": 2, "depth": 2},
    "language": {"name": "language", "context": 2, "depth": 2, "words": "a photo"},
    "ivlp": {"name": "ivlp", "text_depth": 2, "image_depth": 3, "words": "a photo"},
    "maple": {"name": "maple", "depth": 2, "words": "a photo"},
    "promptsrc": {
        "name": "promptsrc",
        "text_depth": 2,
        "image_depth": 2,
        "words": "a photo",
        "consistency": SOFT,
    },
    "kgcoop": {"name": "kgcoop", "context": 2, "words": "a photo"},
    "prograd": {"name": "prograd", "context": 2, "words": "a photo"},
    "tcp": {"name": "tcp", "block": 1, "tokens": 2},
    "lamm": {"name": "lamm", "words": "a photo", "shots": 3},
    "coprompt": {"name": "coprompt", "context": 2, "depth": 2, "words": "a photo", "descriptions": SAID},
    "bmip": {"name": "bmip", "depth": 3, "words": "a photo"},
    "fusion": {"name": "fusion", "depth": 2, "words": "a photo"},
    "mmap": {"name": "mmap", "depth": 2, "words": "a photo"},
    "defo": {"name": "defo", "queries": 8, "length": 3, "start": "classes"},
    "clip_lora": {"name": "clip_lora"},
    "mma": {"name": "mma", "start": 2, "end": 3, "width": 4, "scale": 0.1},
    "mmrl": {"name": "mmrl", "layers": [2, 3], "tokens": 2, "space": 8},
    "clip_adapter": {"name": "clip_adapter"},
    "vdt_adapter": {"name": "vdt_adapter", "descriptions": SAID},
    "taskres": {"name": "taskres"},
    "tip_adapter": {"name": "tip_adapter"},
}


def photos(folder: Path) -> Path:
    """Noisy squares of four colours: a folder a colour for `adapt`, a table of captions for `align`."""
    draw, rows = np.random.default_rng(0), ["file,caption,split"]
    for i in range(32):
        name = list(COLOURS)[i % 4]
        (folder / name).mkdir(parents=True, exist_ok=True)
        noisy = np.clip(np.array(COLOURS[name]) + draw.integers(-60, 60, (32, 32, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / name / f"{i}.png")
        rows.append(f"{name}/{i}.png,a {name} square,{['train', 'train', 'dev', 'test'][i // 4 % 4]}")
    (folder.parent / "captions").mkdir()
    for name in COLOURS:
        (folder / name).rename(folder.parent / "captions" / name)
        (folder / name).mkdir()
        for path in (folder.parent / "captions" / name).iterdir():
            (folder / name / path.name).write_bytes(path.read_bytes())
    (folder.parent / "captions" / "captions.csv").write_text("\n".join(rows))
    return folder


def towers(folder: Path) -> None:
    """The toy decoder and CNN that `align` opens."""
    import timm
    from timm.models import save_for_hf
    from toy_decoders import tokenizer, toy_decoder

    toy_decoder("llama").save_pretrained(folder / "llm")
    tokenizer().save_pretrained(folder / "llm")
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_efficientnet", pretrained=False), folder / "cnn", safe_serialization=True)


def runs(place: Path) -> Iterator[tuple[str, Path]]:
    """Every run, trained: its name and its folder."""
    from toy_encoders import toy_encoder

    from polyprompt.runs.adapt import adapt
    from polyprompt.runs.align import AlignSettings, align
    from polyprompt.runs.settings import AdaptSettings

    def merged(base, over):
        return {**base, **{k: base.get(k, {}) | v if isinstance(v, dict) else v for k, v in over.items()}}

    base = {
        "data": str(place / "captions"), "epochs": 2, "batch": 4, "precision": "fp32", "dim": 24,
        "text": {"tower": str(place / "llm"), "prompts": 3}, "image": {"tower": str(place / "cnn"), "width": 32},
    }  # fmt: skip
    for number, (name, over) in enumerate(ALIGN.items()):
        out = place / f"align-{number}"
        align(AlignSettings(**merged(base, over)), out)
        yield f"align, {name}", out
    for family in ("clip", "siglip", "campe"):
        encoder = toy_encoder(family)
        for number, (name, method) in enumerate(ADAPT.items()):
            out = place / f"{family}-{number}"
            settings = {"data": str(place / "photos"), "encoder": "toy", "method": dict(method)}
            quick = {"epochs": 3, "batch": 4, "rate": 0.01, "shots": 3, "precision": "fp32"}
            adapt(AdaptSettings(**settings, **quick), out, encoder=encoder)
            yield f"adapt, {family}, {name}", out


def bits(out: Path) -> dict[str, list[str]]:
    """The losses of a run, and the hashes of the values that it learned, whatever they are called."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    losses = [float(line["loss"]).hex() for line in lines if "loss" in line]
    (path,) = (out / "model").glob("*.safetensors")
    learned = (hashlib.sha256(t.contiguous().numpy().tobytes()).hexdigest()[:16] for t in load_file(path).values())
    return {"losses": losses, "learned": sorted(learned)}


def main(verb: str, file: str) -> int:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        os.environ["POLYPROMPT_CACHE"] = str(place / "cache")
        photos(place / "photos")
        towers(place)
        found = {name: bits(out) for name, out in runs(place)}
    if verb == "write":
        Path(file).write_text(json.dumps(found, indent=1))
        return 0
    before = json.loads(Path(file).read_text())
    different = 0
    for name, one in before.items():
        other = found.get(name, {"losses": [], "learned": []})
        if one == other:
            continue
        different += 1
        gaps = [abs(float.fromhex(a) - float.fromhex(b)) for a, b in zip(one["losses"], other["losses"], strict=False)]
        print(f"{name}: differs; losses by at most {max(gaps, default=float('nan')):.3g}")
    print(f"{len(before) - different} of {len(before)} runs are the same to the last bit.")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
