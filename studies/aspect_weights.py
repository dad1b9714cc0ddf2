"""Aspect weights in zero-shot classification: the first prompt at 1.25, the others at 0.95, against equal weights.

The paper's setting for ImageNet (w1 = 1.25, others "slightly reduced"), fixed beforehand and tuned on nothing, on the
pictures of Caltech101's test split and of PACS's four domains. The encoders are the K = 6 models of
studies/flickr8k.py; each leaves one JSON file in results/aspect-weights and is not scored again. About two minutes an
encoder, a guess:

    python studies/aspect_weights.py

Caltech101 and PACS are expected in data/, the encoders in runs/flickr8k/final/prompts-6.
"""

import sys
from pathlib import Path
from typing import Any

import torch

from polyprompt.bench.tasks import picture_vectors
from polyprompt.campe.encoder import CampeEncoder
from polyprompt.campe.model import CAMPE
from polyprompt.data.items import Labelled
from polyprompt.data.read import read_labelled
from polyprompt.disk.files import write_json
from polyprompt.runs.folder import read_results
from polyprompt.runs.load import load_aligned

RUNS = Path("runs/flickr8k/final/prompts-6")
RESULTS = Path(__file__).parent / "results" / "aspect-weights"
FIRST, OTHERS = 1.25, 0.95
TEMPLATE = "a photo of a {}."
SETS = {
    "caltech101": ("data/caltech101/split_zhou_Caltech101.json", "test"),
    **{f"pacs {name}": (f"data/pacs/{name}", None) for name in ("photo", "art_painting", "cartoon", "sketch")},
}


def weights_of(k: int) -> list[float]:
    """One weight a prompt."""
    return [FIRST, *[OTHERS] * (k - 1)]


def main() -> None:
    """Every encoder that there is, on every set."""
    for run in sorted(RUNS.glob("*/results.json")):
        kept = RESULTS / run.parent.name / "results.json"
        if kept.exists():
            continue
        model, results = load_aligned(str(run.parent)), read_results(run.parent)
        encoder = CampeEncoder(model, str(run.parent))
        found = {name: scores(model, encoder, read_labelled(*place)) for name, place in SETS.items()}
        kept.parent.mkdir(parents=True, exist_ok=True)
        said = {name: results[name] for name in ("seed", "machine", "config")}
        write_json(kept, said | {"command": f"python {sys.argv[0]}", "template": TEMPLATE, "sets": found})


@torch.no_grad()
def scores(model: CAMPE, encoder: CampeEncoder, data: Labelled) -> dict[str, Any]:
    """Accuracy with equal weights and with the chosen ones, and how many pictures each alone has right."""
    images = picture_vectors(encoder, data.pictures)
    classes = model.encode_text([TEMPLATE.format(name) for name in data.class_names])
    return compared(
        images @ classes.T,
        images @ model.weighted(classes, weights_of(model.text.num_segments)).T,
        torch.tensor(data.labels),
    )


def compared(equal: torch.Tensor, weighted: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    """Two matrices of scores, pictures by classes, against the labels."""
    right, also = equal.argmax(dim=1) == labels, weighted.argmax(dim=1) == labels
    return {
        "equal": right.float().mean().item(),
        "weighted": also.float().mean().item(),
        "gained": int((also & ~right).sum()),
        "lost": int((right & ~also).sum()),
        "pictures": len(labels),
    }


if __name__ == "__main__":
    main()
