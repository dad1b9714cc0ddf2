"""Aspect weights in zero-shot classification: the first prompt at 1.25, the others at 0.95, against equal weights.

The paper's setting for ImageNet (w1 = 1.25, others "slightly reduced"), fixed beforehand; and weights tuned once, on
Caltech101's training pictures, which zero-shot does not train on (the subset has no val). Both are scored on
Caltech101's test split and on PACS's four domains. The encoders are the K = 6 models of studies/flickr8k.py; each
leaves one JSON file in results/aspect-weights and is not scored again. About three minutes an encoder, a guess:

    python studies/aspect_weights.py

Caltech101 and PACS are expected in data/, the encoders in runs/flickr8k/best/final/prompts-6.
"""

import sys
from pathlib import Path
from typing import Any

import torch

from polyprompt.bench.tasks import picture_vectors
from polyprompt.campe.encoder import CampeEncoder
from polyprompt.campe.model import CAMPE
from polyprompt.data.read import read_labelled
from polyprompt.disk.files import write_json
from polyprompt.methods.zeroshot import best_weights, raised_weights, weighted
from polyprompt.runs.folder import read_results
from polyprompt.runs.load import load_aligned

RUNS = Path("runs/flickr8k/best/final/prompts-6")
RESULTS = Path(__file__).parent / "results" / "aspect-weights"
TEMPLATE = "a photo of a {}."
TUNED_ON = ("data/caltech101/split_zhou_Caltech101.json", "train")
SETS = {
    "caltech101": ("data/caltech101/split_zhou_Caltech101.json", "test"),
    **{f"pacs {name}": (f"data/pacs/{name}", None) for name in ("photo", "art_painting", "cartoon", "sketch")},
}


def main() -> None:
    """Every encoder that there is, on every set."""
    for run in sorted(RUNS.glob("*/results.json")):
        kept = RESULTS / run.parent.name / "results.json"
        if kept.exists():
            continue
        model, results = load_aligned(str(run.parent)), read_results(run.parent)
        encoder = CampeEncoder(model, str(run.parent))
        k = model.text.num_segments
        weights = {"fixed": raised_weights(k), "tuned": best_weights(*vectors(model, encoder, TUNED_ON), k)}
        found = {name: scores(vectors(model, encoder, place), weights) for name, place in SETS.items()}
        kept.parent.mkdir(parents=True, exist_ok=True)
        facts = {name: results[name] for name in ("seed", "machine", "config")}
        facts |= {"command": f"python {sys.argv[0]}", "template": TEMPLATE, "weights": weights}
        write_json(kept, facts | {"sets": found})


Vectors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Of pictures, their labels, vectors of classes."""


@torch.no_grad()
def vectors(model: CAMPE, encoder: CampeEncoder, place: tuple[str, str | None]) -> Vectors:
    """What a set is scored from."""
    data = read_labelled(*place)
    classes = model.encode_text([TEMPLATE.format(name) for name in data.class_names])
    return picture_vectors(encoder, data.pictures), torch.tensor(data.labels), classes


def scores(found: Vectors, weights: dict[str, list[float]]) -> dict[str, Any]:
    """Each choice of weights against equal ones."""
    images, labels, classes = found
    equal = images @ classes.T
    return {name: compared(equal, images @ weighted(classes, one).T, labels) for name, one in weights.items()}


def compared(equal: torch.Tensor, unequal: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    """Two matrices of scores, pictures by classes, against the labels: accuracies, and what only one has right."""
    right, also = equal.argmax(dim=1) == labels, unequal.argmax(dim=1) == labels
    return {
        "equal": right.float().mean().item(),
        "weighted": also.float().mean().item(),
        "gained": int((also & ~right).sum()),
        "lost": int((right & ~also).sum()),
        "pictures": len(labels),
    }


if __name__ == "__main__":
    main()
