"""Why do the K prompts of CAMPE say the same? How alike their states are before anything is trained.

    python studies/alike.py

The frozen SmolLM2-135M reads 400 captions of Flickr8k's dev set behind six prompts of several wordings. For each
wording: the mean pairwise cosine of the prompts' centred states (evaluate/aspects.py) at the adaptive word itself, and
where the prompt ends, before the last block and behind the final norm.
"""

import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polyprompt.campe.config import WORDS
from polyprompt.campe.text import prompt_tree
from polyprompt.data.read import read_pairs
from polyprompt.disk.files import write_json
from polyprompt.evaluate.aspects import centred_cosine
from polyprompt.nn.tree import sequences
from polyprompt.progress import track
from polyprompt.runs.machine import machine
from polyprompt.towers.llm import LLM, open_llm

DATA = "data/flickr8k"
RESULTS = Path(__file__).parent / "results" / "alike" / "results.json"
TEMPLATES = (
    "the {} of the image means:", "the {} in the image is a", "in one word, the {}:", "of the image, the {}:",
    "the {} is", "{}:",
)  # fmt: skip
CAPTIONS, BATCH = 400, 100


@torch.no_grad()
def likeness(llm: LLM, ids: list[list[int]], template: str) -> dict[str, Any]:
    """Centred cosines of the states of one wording."""
    tree = prompt_tree(llm, WORDS[:6], template, None)
    found: dict[str, list[Tensor]] = {"word": [], "end": [], "readout": []}
    for at in track(range(0, len(ids), BATCH), template):
        batch = sequences(ids[at : at + BATCH], tree)
        words, ends = ([batch.width + node for node in nodes] for nodes in (tree.adaptive, tree.readouts))
        start, flow = llm.embed(batch.ids, batch.positions, batch.mask)
        before = llm.run(start, flow, 0, llm.depth - 1)
        found["word"].append(before[:, words])
        found["end"].append(before[:, ends])
        found["readout"].append(llm.norm(llm.run(before, flow, llm.depth - 1, llm.depth)[:, ends]))
    cosines = {place: centred_cosine(torch.cat(states)) for place, states in found.items()}
    return {"template": template, "tokens": len(tree), "behind": behind(template, llm), **cosines}


def behind(template: str, llm: LLM) -> int:
    """Tokens between the adaptive word and the readout, the latter included."""
    return len(llm.behind(" " + template.format("scene"))[0]) - len(
        llm.behind(" " + template.split("{}")[0] + "scene")[0]
    )


if __name__ == "__main__":
    tower = open_llm("smollm2-135m")
    captions = read_pairs(DATA, "dev").captions[:: 5000 // CAPTIONS][:CAPTIONS]
    rows, _ = tower.tokens(captions, 64)
    results = {
        "command": "python studies/alike.py",
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "captions": len(rows),
        "found": [likeness(tower, rows, template) for template in TEMPLATES],
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    write_json(RESULTS, results)
