"""Few pictures a class: the family on the dual encoder in results/encoder (flickr8k.py), by recipes/grid-*.yaml.

All methods have the same budget: the same pictures, steps and blocks (prompts and updates enter the last block of the
LLM, whose other blocks' states are kept, and the two blocks of the image side). One factor on a method's published rate
(MaPLe's for DeFo and MmAP, which have none) is chosen, once, on training pictures of Caltech101's first 20 classes, 4 a
class to train on and the others to score; the recipes are written with it.

    python studies/grids.py tune [METHODS]  every method, or those named, at every rate; some take a quarter of an hour
    python studies/grids.py recipes         writes recipes/grid-*.yaml
    python studies/grids.py NAME            one of them: eurosat, caltech101, pacs, eurosat-shots, eurosat-slower,
                                            eurosat-closed

A grid goes on where it stopped. Results are kept in results/grids and results/grid-rates, for studies/page.py.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from tuning import write_pool

from polyprompt.bench.grid import planned, run
from polyprompt.bench.settings import GridSettings
from polyprompt.disk.files import make_folder, write_text
from polyprompt.disk.yaml import read_yaml
from polyprompt.runs.cells import CELLS, done_in, results_in
from polyprompt.runs.resolve import nearest
from polyprompt.settings import checked

HERE = Path(__file__).parent
RECIPES, RUNS = HERE.parent / "recipes", Path("runs")
RATES, TABLES = HERE / "results" / "grid-rates", HERE / "results" / "grids"
LAST = 29
"""Of the LLM's 30 blocks, counted from 0."""
DEEP = {"text_start": LAST, "text_depth": 1, "image_depth": 2}
METHODS: dict[str, dict[str, Any]] = {
    "coop": {"context": 4, "words": "a photo of a", "start": LAST},
    "kgcoop": {"start": LAST},
    "vpt": {"depth": 2},
    "language": {"depth": 1, "start": LAST},
    "ivlp": DEEP,
    "maple": {"depth": 2, "text_start": LAST},
    "promptsrc": {**DEEP, "consistency": {"mean": 4.0, "std": 1.0}},
    "clip_lora": {"towers": "image"},
    "clip_adapter": {},
    "taskres": {},
    "tip_adapter": {},
}
"""PromptSRC averages around an epoch; the published 15 of 20 lies beyond this budget."""
SLOWER: dict[str, dict[str, Any]] = {
    "cocoop": {"start": LAST},
    "clip_lora_both": {"name": "clip_lora"},
    "mma": {"start": 1, "end": 2},
    "mmrl": {"layers": [1, 2]},
    "tcp": {},
    "prograd": {},
    "lamm": {},
    "lamm_coop": {"name": "lamm", "beside": "coop"},
    "lamm_maple": {"name": "lamm", "beside": "maple", "depth": 2},
    "bmip": {"depth": 2},
    "fusion": {"depth": 2},
    "mmap": {"depth": 2},
    "coprompt": {"depth": 2},
    "vdt_adapter": {},
    "defo": {"queries": 16, "length": 4},
}
"""In grids of their own; MMA, MMRL, BMIP, fusion, CoPrompt, MmAP and MaPLe's prompts have as many levels as the image
side has blocks. DeFo has 16 sentences of 4 vectors, where its usual 256 of 16 would take minutes a step: this encoder
reads its own prompts behind each, and nothing of them can be kept."""
DESCRIBED = {"coprompt", "vdt_adapter"}
"""They learn from descriptions: studies/descriptions has some, which an LLM wrote for these tables."""
NOTE = (
    "grid-eurosat-slower has the methods that change the LLM near its input, so that none of its states can be kept "
    "and all of its 30 blocks run in each step, forward and back; CoCoOp, whose texts go through the last block once a "
    "picture; and what reads descriptions of the classes (studies/descriptions, written by an LLM): CoPrompt, "
    "VDT-Adapter, zero-shot with them, and zero-shot with as many sentences that end in random words. DeFo knows only "
    "the classes it was trained on and stands in grid-eurosat-closed, with 16 sentences of 4 vectors; MmAP has one "
    "task here."
)
"""Said on the page of results."""
CLOSED = {"taskres", "tip_adapter", "defo"}
"""They know the classes that they were trained on, and no others: not for base to novel."""
FACTORS: tuple[float, ...] = (5, 50, 500)
"""On the published rates, which were made for CLIP: its scale is seven times this encoder's."""
POOL = RUNS / "grid-rates.csv"
CALTECH = Path("data/caltech101/split_zhou_Caltech101.json")
DOMAINS = [f"data/pacs/{domain}" for domain in ("art_painting", "cartoon", "photo", "sketch")]
ENCODER, TEXTS = "studies/results/encoder", "studies/descriptions"
SHORT, LONG = {"epochs": 5, "batch": 16}, {"epochs": 20, "batch": 16}
HEADS = {
    "eurosat": "Base to novel on EuroSAT: three seeds.",
    "caltech101": "Base to novel on Caltech101: three seeds.",
    "pacs": "PACS, all twelve pairs of a source and a target: three seeds.",
    "eurosat-slower": "Base to novel on EuroSAT, methods that take longer: three seeds.",
    "eurosat-shots": "Few-shot curve on EuroSAT, 1, 4 and 16 pictures a class: three seeds.",
    "eurosat-closed": "EuroSAT, 4 pictures a class, one method that knows the classes it learned alone: three seeds.",
}
LAST_BLOCKS = ": prompts enter the last of 30 LLM blocks and the"
EARLY = ": changes from the LLM's first blocks on, and in the"
WHERE = {"eurosat-slower": EARLY, "eurosat-closed": EARLY}
"""What the head of a recipe says."""
GRIDS: dict[str, dict[str, Any]] = {
    "eurosat": {
        "protocol": "base-to-novel",
        "data": ["data/eurosat/split_zhou_EuroSAT.json"],
        "settings": SHORT,
    },
    "caltech101": {
        "protocol": "base-to-novel",
        "data": ["data/caltech101/split_zhou_Caltech101.json"],
        "settings": SHORT,
    },
    "eurosat-slower": {
        "protocol": "base-to-novel",
        "data": ["data/eurosat/split_zhou_EuroSAT.json"],
        "settings": SHORT,
        "methods": [name for name in SLOWER if name not in CLOSED],
        "untrained": [
            {"name": "zeroshot", "called": "zeroshot_described", "training": {"descriptions": f"{TEXTS}/eurosat.json"}},
            {"name": "zeroshot", "called": "zeroshot_random_words", "training": {"descriptions": "random:4"}},
        ],
    },
    "pacs": {
        "protocol": "single-source",
        "data": DOMAINS,
        "settings": LONG,
    },
    "eurosat-shots": {
        "protocol": "few-shot",
        "shots": [1, 4, 16],
        "data": ["data/eurosat/split_zhou_EuroSAT.json"],
        "settings": LONG,
    },
    "eurosat-closed": {
        "protocol": "few-shot",
        "shots": [4],
        "data": ["data/eurosat/split_zhou_EuroSAT.json"],
        "settings": LONG,
        "methods": ["defo"],
    },
}


def tune(names: Iterable[str]) -> None:
    """Every method at every rate, and at rates beyond, while the smallest or the largest is the best."""
    write_pool(POOL, CALTECH)
    waiting = dict.fromkeys(names, FACTORS)
    while waiting:
        settings = {"protocol": "few-shot", "data": [str(POOL)], "shots": [4], "seeds": [0], "settings": SHORT}
        done(settings | {"methods": [*rated(waiting)]}, RATES)
        known = tried()
        waiting = {name: more for name in waiting if name in known and (more := beyond(known[name]))}


def beyond(found: dict[float, float]) -> tuple[float, ...]:
    """The factor to try next, by the accuracies of those that were tried: none while the best lies between others."""
    best = max(found, key=found.__getitem__)
    equals = sum(accuracy == found[best] for accuracy in found.values())
    if equals > 1 or best not in (min(found), max(found)):
        return ()
    return (best / 10 if best == min(found) else best * 10,)


def rated(factors: dict[str, tuple[float, ...]]) -> Iterator[dict[str, Any]]:
    """Methods of a grid, called by name and factor."""
    for name, some in factors.items():
        for factor in some:
            yield method(name, factor, "caltech101") | {"called": f"{name} {factor:g}"}


def method(name: str, factor: float, data: str) -> dict[str, Any]:
    """A method as grids name it, with descriptions of a set where it reads some."""
    settings = {"name": name} | (METHODS | SLOWER)[name]
    authors = nearest(settings["name"], "few-shot") or nearest("maple", "few-shot")
    assert authors is not None
    rate = round(factor * authors.rate, 10)
    called = {} if settings["name"] == name else {"called": name}
    training = {"descriptions": f"{TEXTS}/{data}.json"} if name in DESCRIBED else {}
    return settings | called | {"training": {"rate": rate} | training}


def chosen(name: str) -> float:
    """The factor with the best accuracy in `tune`; of equals the smallest."""
    found = tried()[name]
    return max(found, key=lambda factor: (found[factor], -factor))


def tried() -> dict[str, dict[float, float]]:
    """The accuracy that each method had in `tune`, by factor."""
    found: dict[str, dict[float, float]] = {}
    for one in results_in(RATES):
        name, _, factor = one.cell.method.partition(" ")
        if factor:
            figures: Any = one.figures
            found.setdefault(name, {})[float(factor)] = figures["classification"]["test"]["accuracy"]
    return found


def recipes() -> None:
    """Writes the recipes of all methods whose rates were chosen."""
    known = tried()
    for name, grid in GRIDS.items():
        left_out = CLOSED if grid["protocol"] == "base-to-novel" else ()
        names = [one for one in grid.get("methods", METHODS) if one not in left_out]
        if not known.keys() >= set(names):
            print(f"{name}: tune comes first", file=sys.stderr)
            continue
        lines = [
            HEADS[name], "", f"    polyprompt run recipes/grid-{name}.yaml --out runs/grid-{name}",
            f"    polyprompt report runs/grid-{name}", "",
            "The encoder was made on Flickr8k (recipes/flickr8k.yaml)" + WHERE.get(name, LAST_BLOCKS),
            "two blocks of the image side. Written by studies/grids.py.",
        ]  # fmt: skip
        head = "\n".join(f"# {line}".rstrip() for line in lines)
        whole = {
            "encoders": ENCODER,
            "seeds": [1, 2, 3],
            **grid,
            "methods": [method(one, chosen(one), name.partition("-")[0]) for one in names],
        }
        whole["methods"] += whole.pop("untrained", [])
        write_text(RECIPES / f"grid-{name}.yaml", f"{head}\n\n{yaml.safe_dump(whole, sort_keys=False, width=120)}")


def done(settings: dict[str, Any], kept: Path) -> None:
    """What a grid lacks is done, and its results are kept."""
    grid, folder = checked(GridSettings, {"encoders": ENCODER, **settings}), RUNS / kept.name
    if (kept / CELLS).exists():
        shutil.copytree(kept / CELLS, folder / CELLS, dirs_exist_ok=True)
    cells = planned(grid, folder).cells
    for failure in run(cells, folder):
        print(failure, file=sys.stderr)
    place = make_folder(kept / CELLS)
    for name in {cell.name for cell in cells} & done_in(folder):
        shutil.copy(folder / CELLS / f"{name}.json", place)


def main(what: str, *names: str) -> None:
    """One of the stages above."""
    if what in GRIDS:
        done(read_yaml(RECIPES / f"grid-{what}.yaml"), TABLES / f"grid-{what}")
    elif what == "recipes":
        recipes()
    elif what == "tune":
        tune(names or METHODS | SLOWER)
    else:
        sys.exit(f"{what!r}: choose from tune, recipes, {', '.join(GRIDS)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
