"""Recall@1, 5 and 10 in both directions, 25,000 captions of 5,000 images, against clip_benchmark's own.

Claim: at least 20 times faster, the same figures. Theirs is `zeroshot_retrieval.evaluate` as it stands, on a model
that hands out the embeddings it is given, with the batch size of its command line (64).

    pip install clip_benchmark
    python benchmarks/recall.py
"""

import argparse
import contextlib
import io

import torch
import torch.nn.functional as F
from clip_benchmark.metrics.zeroshot_retrieval import evaluate
from measure import in_turn, write

from polyprompt.evaluate.retrieval import KS, recall
from polyprompt.nn.memory import keep_memory

CAPTIONS_EACH = 5
NAMES = {"image_to_text": "text_retrieval", "text_to_image": "image_retrieval"}  # theirs are named by what is found


class Given:
    """A model whose pixels and tokens are embeddings already."""

    @staticmethod
    def encode_image(rows):
        return rows

    encode_text = encode_image


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=int, default=5000)
    options.add_argument("--width", type=int, default=512)
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()

    draw = torch.Generator().manual_seed(0)
    images = torch.randn(asked.images, asked.width, generator=draw)
    image_of = torch.arange(asked.images * CAPTIONS_EACH) // CAPTIONS_EACH
    captions = images[image_of] + 8 * torch.randn(len(image_of), asked.width, generator=draw)
    images, captions = F.normalize(images, dim=-1), F.normalize(captions, dim=-1)
    texts = [list(rows) for rows in captions.split(CAPTIONS_EACH)]
    batches = [(images[i : i + 64], texts[i : i + 64]) for i in range(0, asked.images, 64)]

    keep_memory()

    def ours():
        return recall(images, captions, image_of)

    def theirs():
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            return evaluate(Given, batches, torch.stack, "cpu", amp=False, recall_k_list=list(KS))

    found, expected = ours(), theirs()  # both warm up here
    expected = {way: {f"recall@{k}": expected[f"{name}_recall@{k}"] for k in KS} for way, name in NAMES.items()}
    for way, figures in found.items():
        for k, share in figures.items():
            assert abs(share - expected[way][k]) < 1e-6, (way, k, share, expected[way][k])

    write(
        "recall",
        {
            "claim": "recall@1, 5, 10 both ways against clip_benchmark: >= 20 times faster, same figures",
            "images": asked.images,
            "captions": len(captions),
            "width": asked.width,
            "figures": {"ours": found, "theirs": expected},
            "time": (time := in_turn(ours, theirs, asked.rounds)),
            "times_faster": time["ratio"],
        },
    )


if __name__ == "__main__":
    main()
