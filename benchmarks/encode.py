"""A folder of 2,000 JPEGs and a caption each, encoded: against open_clip's own loop, and sentence-transformers.

    python benchmarks/encode.py open-clip              the folder and its captions, fp32 and bf16
    python benchmarks/encode.py sentence-transformers  the same with transformers' CLIP

ViT-B/32 at 224 pixels, random weights: no time depends on them. open_clip's loop reads pictures by two workers of a
DataLoader; sentence-transformers by its own `encode`. Both hand their towers whole contexts of 77 tokens, or what the
longest caption of a batch has. In fp32 both sides give the same vectors to 5e-4 of the largest number (transformers
rounds pixels otherwise); in bf16 ours has a cosine above 0.999 to fp32's, and is timed against theirs in fp32, which is
their default, and under autocast. `limit by matrix products` is the ratio if nothing else took any time: these products
at the speed of a large one, reading and activations for nothing.
"""

import argparse
import contextlib
import logging
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from measure import in_turn, write
from PIL import Image
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode

from polyprompt.nn.memory import keep_memory
from polyprompt.nn.precision import matmul_peak
from polyprompt.runs.load import load_encoder

BATCH = 64
SIZES = ((500, 375), (375, 500), (500, 333), (640, 480))
WORDS = [
    "a",
    "two",
    "brown",
    "black",
    "white",
    "dog",
    "dogs",
    "man",
    "woman",
    "child",
    "boys",
    "runs",
    "jumps",
    "over",
    "in",
    "on",
    "through",
    "the",
    "grass",
    "water",
]


def folder(place: Path, count: int) -> list[Path]:
    """Pictures of photographs' sizes and bytes: coarse noise made smooth, and a little of it fine."""
    draw = np.random.default_rng(0)
    paths = [place / f"{number:04d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        size = SIZES[number % len(SIZES)]
        coarse = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))
        fine = draw.integers(-12, 13, (size[1], size[0], 1))
        Image.fromarray((smooth + fine).clip(0, 255).astype(np.uint8)).save(path, quality=88)
    return paths


def captions(count: int) -> list[str]:
    """As long as Flickr8k's: 6 to 16 words."""
    draw = np.random.default_rng(1)
    return [" ".join(draw.choice(WORDS, draw.integers(6, 17))) for _ in range(count)]


class Opened(torch.utils.data.Dataset):
    """What open_clip's loops read pictures with."""

    def __init__(self, paths: list[Path], transform: Callable) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[index]))


def with_open_clip(place: Path) -> tuple[Callable, Callable]:
    """Ours and theirs on one checkpoint."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms("ViT-B-32-quickgelu")
    tokenizer, file = open_clip.get_tokenizer("ViT-B-32-quickgelu"), place / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, file)
    model.eval()

    @torch.no_grad()
    def theirs(paths: list[Path], texts: list[str]) -> torch.Tensor:
        loader = torch.utils.data.DataLoader(Opened(paths, transform), BATCH, num_workers=2)
        rows = [model.encode_image(pixels, normalize=True) for pixels in loader]
        parts = [texts[at : at + BATCH] for at in range(0, len(texts), BATCH)]
        return torch.cat(rows + [model.encode_text(tokenizer(part), normalize=True) for part in parts])

    return ours_with(str(file)), theirs


def with_sentence_transformers(place: Path) -> tuple[Callable, Callable]:
    """Ours and theirs on one folder of transformers."""
    from open_clip.tokenizer import SimpleTokenizer  # the vocabulary that CLIP's tokenizer in transformers has, too
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import CLIPModel
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPProcessor, CLIPTokenizer
    from transformers import CLIPModel as Towers

    torch.manual_seed(0)
    words = SimpleTokenizer()
    ends = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {ends.get(word, word): number for word, number in words.encoder.items()}
    merges = sorted(words.bpe_ranks, key=words.bpe_ranks.__getitem__)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    where = place / "clip"
    Towers(CLIPConfig(projection_dim=512)).save_pretrained(where)
    CLIPProcessor(CLIPImageProcessorPil(), tokenizer).save_pretrained(where)
    model = SentenceTransformer(modules=[CLIPModel(str(where))], device="cpu")

    def theirs(paths: list[Path], texts: list[str]) -> torch.Tensor:
        encode = partial(model.encode, batch_size=BATCH, convert_to_tensor=True, normalize_embeddings=True)
        return torch.cat([encode([Image.open(path) for path in paths]), encode(texts)])

    return ours_with(str(where)), theirs


def ours_with(name: str) -> Callable:
    """What a user of polyprompt writes."""
    encoder = load_encoder(name)

    def ours(paths: list[Path], texts: list[str], precision: str = "fp32") -> torch.Tensor:
        rows = encoder.encode_image(paths, precision=precision)
        return torch.cat([rows, encoder.encode_text(texts, precision=precision)])

    return ours


def compare(name: str, opened: Callable[[Path], tuple[Callable, Callable]], rounds: int, count: int) -> None:
    """All pictures and captions, in fp32 and in bf16."""
    with tempfile.TemporaryDirectory() as place:
        paths, texts = folder(Path(place), count), captions(count)
        ours, theirs = opened(Path(place))
        mine, other = ours(paths[:128], texts[:128]), theirs(paths[:128], texts[:128])
        off = float((mine - other).abs().max() / other.abs().max())
        assert off < 5e-4, f"the two sides differ by {off:.1e} of the largest number"
        low = ours(paths[:128], texts[:128], "bf16")
        cosine = float((normalize(low, dim=-1) * mine).sum(-1).min())
        assert cosine > 0.999, f"bf16 is {cosine:.5f} to fp32"
        result = {"claim": CLAIM, "pictures": count, "captions": count}
        with FlopCounterMode(display=False) as counter:
            ours(paths, texts)
        result |= {"differ": off, "least_cosine_of_bf16": cosine, "gflop": counter.get_total_flops() / 1e9}
        for label, precision, low in CASES:

            def plain(low: bool = low) -> torch.Tensor:
                with torch.autocast("cpu", torch.bfloat16) if low else contextlib.nullcontext():
                    return theirs(paths, texts)

            result[label] = in_turn(lambda precision=precision: ours(paths, texts, precision), plain, rounds)
            bare = result["gflop"] / matmul_peak(torch.bfloat16 if precision == "bf16" else torch.float32)
            result[label]["limit_by_matrix_products"] = median(result[label]["seconds"]["theirs"]) / bare
        write(f"encode-{name}", result)


CLAIM = "a folder of pictures and their captions at least 1.5 times as fast in fp32, 2 times in bf16"
CASES = (("fp32", "fp32", False), ("bf16 against fp32", "bf16", False), ("bf16", "bf16", True))
"""What is said; our precision; whether theirs runs under autocast."""
CLAIMS = {"open-clip": with_open_clip, "sentence-transformers": with_sentence_transformers}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("claim", nargs="?", choices=CLAIMS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=2000)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    keep_memory()
    for name in [given.claim] if given.claim else CLAIMS:
        compare(name, CLAIMS[name], given.rounds, given.pictures)
