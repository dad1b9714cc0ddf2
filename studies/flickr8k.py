"""CAMPE on Flickr8k: K prompts against other readouts of the same LLM, and what each part of it is worth.

Every run is `polyprompt.runs.align` on the same data, steps and image side; a finished run leaves one JSON file in
results/flickr8k and is not run again. Learning rates are chosen on dev, each readout's from the same grid; test is
scored by the runs of `final` alone. Frozen hidden states of all prompts come from one pass, kept in the cache.

    python studies/flickr8k.py cache     one pass over all captions, for every prompt and depth
    python studies/flickr8k.py tune      learning rates, on dev
    python studies/flickr8k.py final     three seeds at the chosen rates, on test
    python studies/flickr8k.py baselines the rebuttals' other text towers, tuned on dev, three seeds on test
    python studies/flickr8k.py ablate    one seed and fewer epochs, on dev
    python studies/flickr8k.py norms     learning rates again, on dev, with the LLM's own final norm
    python studies/flickr8k.py rates     the rate of new norms, on dev, two seeds
    python studies/flickr8k.py modes     where the adaptive tokens live: one seed, 1,500 pictures, on dev
    python studies/flickr8k.py parts     longer training and what else may help, part by part: one seed, on dev
    python studies/flickr8k.py best      the same at the setting that dev prefers: rates on dev, three seeds on test
    python studies/flickr8k.py models    the models of `best` again where runs/ is not, for studies that start from them
    python studies/flickr8k.py encoder   keeps all that the first run of `best` learned, for studies/grids.py

Flickr8k is expected in data/flickr8k: images/ and captions.tsv with a split column; for one run of `parts` the subset
of MSR-VTT in data/msrvtt (studies/msrvtt.py).
"""

import re
import shutil
import sys
from functools import partial, reduce
from pathlib import Path
from typing import Any

from kept import keep
from tuning import best_settings, mean_recall, try_rates

from polyprompt.campe.cache import TextStates, fill_together
from polyprompt.campe.config import WORDS
from polyprompt.campe.text import prompt_tree, token_row
from polyprompt.data.read import read_pairs
from polyprompt.disk.files import make_folder, read_json, write_json, write_text
from polyprompt.nn.tree import spanning
from polyprompt.progress import say
from polyprompt.runs.align import AlignSettings, align
from polyprompt.runs.folder import read_results
from polyprompt.settings import checked
from polyprompt.towers.llm import open_llm

DATA = "data/flickr8k"
RUNS = Path("runs/flickr8k")
RESULTS = Path(__file__).parent / "results" / "flickr8k"
SPLITS = {"train": (11, 17, 23, 29, 30), "dev": (11, 17, 23, 29, 30), "test": (29,)}
"""Blocks before which states are kept, for each part of the data: the depths of `ablate`, less the trained block."""

COMMON: dict[str, Any] = {
    "data": DATA, "dev_split": None, "batch": 256, "precision": "bf16", "cache_gb": 40.0,
    "image": {"queries": 6, "new_blocks": 2, "width": 256},
}  # fmt: skip
READOUTS: dict[str, dict[str, Any]] = {
    "prompts-6": {"text": {"prompts": 6}},
    "prompts-1": {"text": {"prompts": 1}},
    "last": {"text": {"readout": "last"}},
    "mean": {"text": {"readout": "mean"}},
    "tokens-16": {"text": {"readout": "tokens"}},
}
BASELINES: dict[str, dict[str, Any]] = {
    "lora-mean": {"text": {"readout": "mean", "lora": 8, "last_n": 2}},
    "vanilla-mean": {"text": {"tower": "vanilla:384x6", "readout": "mean"}},
    "vanilla-end": {"text": {"tower": "vanilla:384x6", "readout": "end"}},
}
"""The LLM with LoRA in its last two blocks, and CLIP's own kind of text tower, which starts from nothing: both read the
same tokens. A fresh tower learns at the rate of what is new, so its grid moves both; nothing of it can be kept."""
RATES = (5e-4, 1e-3, 2e-3)
"""Of what is new; the pretrained block and norm learn at a tenth of it."""
TUNE_EPOCHS, FINAL_EPOCHS, ABLATE_EPOCHS, MODES_EPOCHS = 3, 6, 3, 6
SEEDS = (0, 1, 2)
STARTS = ("prompts-6", "last", "prompts-1")
"""The readouts whose models other studies start from."""
CHOSEN = "prompts-6"
"""The readout that `ablate` starts from."""

ABLATIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    **{f"K = {k}": {"text": {"prompts": k}} for k in (1, 2, 4, 8)},
    "adaptive: words": {"text": {"adaptive": "words"}},
    "no diversity loss": {"loss": {"diversity": 0.0}},
    "diversity loss times ten": {"loss": {"diversity": 1.0}},
    "diversity of the read-outs": {"loss": {"diversity_of": "readouts"}},
    "diversity of the read-outs times ten": {"loss": {"diversity_of": "readouts", "diversity": 1.0}},
    "no negation loss": {"loss": {"negation": 0.0}},
    "contrast alone": {"loss": {"diversity": 0.0, "negation": 0.0}},
    "sigmoid contrast": {"loss": {"contrast": "sigmoid"}},
    "one map for all prompts": {"text": {"shared_map": True}},
    "prompts of a word and a colon": {"text": {"template": "{}:", "negated_template": "not {}:"}},
    "text tower frozen up to the maps": {"text": {"last_n": 0, "adaptive": "words"}},
    "the LLM's own norm": {"text": {"norm": "own"}},
    **{f"text depth {depth}": {"text": {"depth": depth}} for depth in (12, 18, 24)},
}

STEPS: dict[str, dict[str, Any]] = {
    "the recipe": {"epochs": FINAL_EPOCHS},
    "twice the epochs": {"epochs": 12},
    "the scale starts at 20": {"loss": {"scale": 20.0}},
    "diversity 1.0": {"loss": {"diversity": 1.0}},
    "no negation loss": {"loss": {"negation": 0.0}},
}
"""Each on top of those above it; all of them are the setting of `best`."""
FLICKR_AND_CLIPS = "data/flickr8k-and-msrvtt.tsv"
BESIDE: dict[str, dict[str, Any]] = {
    "and mirrored pictures": {"mirrored": True},
    "and dropped words": {"dropped_words": 0.1},
    "and dropped patches": {"dropped_patches": 0.25},
    "and MSR-VTT's training clips": {"data": FLICKR_AND_CLIPS, "image": {"frames": 6}},
}
"""Each by itself on top of all of STEPS. One that dev prefers by more than chance belongs among them."""


def cache() -> None:
    """One pass over the captions of each part, for the prompts of all runs below but those of a word and a colon."""
    llm, settings = open_llm("smollm2-135m"), checked(AlignSettings, COMMON).text
    for split, blocks in SPLITS.items():
        negated = settings.negated_template if split == "train" else None
        prompts = prompt_tree(llm, WORDS[:8], settings.template, negated)
        tree = spanning(prompts.paths + token_row(llm, WORDS).paths)
        ids, _ = llm.tokens(read_pairs(DATA, split).captions, settings.max_tokens)
        fill_together([TextStates(llm, block, ids, tree, "bf16", bf16=True) for block in blocks], COMMON["cache_gb"])


def tune() -> None:
    """Every readout at every rate, on dev."""
    for name, part in READOUTS.items():
        tried(f"tune/{name}", part)


def norms() -> None:
    """The same with the LLM's own final norm in place of the one fitted to the readouts."""
    for name, part in READOUTS.items():
        tried(f"norms/{name}", merged(part, {"text": {"norm": "own"}}))


def rates() -> None:
    """New norms at the rate of pretrained weights and at that of new ones, for the readouts that the pages compare."""
    for name in (CHOSEN, "last"):
        best = best_rates(f"tune/{name}")
        for seed in SEEDS[:2]:
            for words, rate in (("tower", best["tower_rate"]), ("new", best["rate"])):
                once(f"rates/{name}/{words}-{seed}", READOUTS[name], seed=seed, norm_rate=rate, **best)


def tried(folder: str, part: dict[str, Any]) -> None:
    """The runs of a part at every rate."""
    try_rates(partial(at_rate, folder, part), lambda: best_rates(folder)["rate"], RATES, step=2)


def at_rate(folder: str, part: dict[str, Any], rate: float) -> None:
    """One of them."""
    once(f"{folder}/{rate:g}", part, rate=rate, tower_rate=rate / 10)


def final() -> None:
    """Every readout at its own best rates, three seeds, scored on test."""
    for seed in SEEDS:
        for name in READOUTS:
            scored_on_test(name, seed)


def baselines() -> None:
    """Each of the other text towers at every rate, then at its own best one on test, as the readouts.

    A guess for two idle cores: with LoRA 10 minutes for the states below the last two blocks and 3 a run, 40 in all; a
    fresh tower trains 30 M numbers, 19 M of them its word vectors: 5 a run of 3 epochs, 10 of 6, an hour for each.
    """
    for name, part in BASELINES.items():
        tried(f"tune/{name}", part)
        for seed in SEEDS:
            scored_on_test(name, seed)


def scored_on_test(name: str, seed: int) -> None:
    """One run of `final`."""
    rates = best_rates(f"tune/{name}")
    once(
        f"final/{name}/{seed}",
        (READOUTS | BASELINES)[name],
        seed=seed,
        epochs=FINAL_EPOCHS,
        test_split="test",
        **rates,
    )


def ablate() -> None:
    """One part changed at a time."""
    for name, part in ABLATIONS.items():
        once(f"ablate/{name}", merged(READOUTS[CHOSEN], part), epochs=ABLATE_EPOCHS, **best_rates(f"tune/{CHOSEN}"))


def modes() -> None:
    """The three adaptive modes; `input` goes through all blocks in each step, so the pictures are fewer for all."""
    small = Path(DATA) / "first-1500.tsv"
    head, *lines = (Path(DATA) / "captions.tsv").read_text().splitlines()
    train = [line for line in lines if line.endswith("\ttrain")]
    first = set(list(dict.fromkeys(line.split("\t")[0] for line in train))[:1500])
    kept = [line for line in train if line.split("\t")[0] in first and line.split("\t")[1] in "01"]
    write_text(small, "\n".join([head, *kept, *(line for line in lines if line.endswith("\tdev"))]) + "\n")
    for mode in ("words", "late", "input"):
        part = merged(READOUTS[CHOSEN], {"text": {"adaptive": mode}})
        once(f"modes/{mode}", part, data=str(small), batch=128, epochs=MODES_EPOCHS, **best_rates(f"tune/{CHOSEN}"))


def parts() -> None:
    """What each part of the setting gives, and what others would.

    A guess for two idle cores: eight runs of 2 to 6 minutes, twice as long with clips; and once half an hour for the
    states of the clips' captions, their frames' tokens and the mirrored pictures'.
    """
    with_clips()
    rates, setting = best_rates(f"tune/{CHOSEN}"), READOUTS[CHOSEN]
    for name, part in STEPS.items():
        setting = merged(setting, part)
        once(f"parts/{name}", setting, **rates)
    for name, part in BESIDE.items():
        once(f"parts/{name}", merged(setting, part), **rates)


def with_clips() -> None:
    """Flickr8k with the training clips of MSR-VTT among its training pictures, as one table; dev is Flickr8k's."""
    lines = ["file\tcaption_index\tcaption\tsplit"]
    for folder, splits in (("flickr8k/images", ("train", "dev")), ("msrvtt", ("train",))):
        rows = (Path("data") / folder.partition("/")[0] / "captions.tsv").read_text(encoding="utf-8").splitlines()[1:]
        lines += [f"{folder}/{row}" for row in rows if row.rpartition("\t")[2] in splits]
    write_text(Path(FLICKR_AND_CLIPS), "\n".join(lines) + "\n")


def best() -> None:
    """Every readout at that setting: its rates on dev, in half the epochs, then three seeds at its own on test.

    A guess for one core that multiplies bf16 at 200 GFLOP a second: 80 minutes for the states, 30 for each readout.
    """
    for name, part in READOUTS.items():
        setting = at_best(part)
        tried(f"best/tune/{name}", setting | {"epochs": FINAL_EPOCHS})
        for seed in SEEDS:
            once(f"best/final/{name}/{seed}", **best_run(name, seed))


def models() -> None:
    """The runs of `best` that other studies start from, trained here; results that are kept stay as they are."""
    for seed in SEEDS:
        for name in STARTS:
            trained(f"best/final/{name}/{seed}", **best_run(name, seed))


def best_run(name: str, seed: int) -> dict[str, Any]:
    """The settings of one run of `best`, at its readout's own rates."""
    rates = best_rates(f"best/tune/{name}")
    return {"part": at_best(READOUTS[name]) | {"name": name}, "seed": seed, "test_split": "test", **rates}


def encoder() -> None:
    """The first K = 6 run of `best` with all that it learned (24 MB), so that cells of grids can be made again."""
    run, kept = Path("best/final") / CHOSEN / str(SEEDS[0]), RESULTS.parent / "encoder"
    keep(kept / "results.json", read_results(RUNS / run))
    shutil.copytree(RUNS / run / "model", kept / "model", dirs_exist_ok=True)


def at_best(part: dict[str, Any]) -> dict[str, Any]:
    """A readout's settings with all of STEPS."""
    return reduce(merged, STEPS.values(), part)


def once(name: str, part: dict[str, Any], **values: Any) -> dict[str, Any]:
    """The results of a run, computed now or earlier."""
    kept = RESULTS / spelled(name) / "results.json"
    if kept.exists():
        return read_json(kept)
    results = trained(name, part, **values)
    write_json(make_folder(kept.parent) / "config.json", results["config"])
    keep(kept, results)
    return results


def trained(name: str, part: dict[str, Any], **values: Any) -> dict[str, Any]:
    """The results of a run that is computed now, or goes on where it stopped."""
    say(f"Run {name}")
    usual = COMMON | {"epochs": TUNE_EPOCHS, "test_split": "dev", "name": name.split("/")[1]}
    run = RUNS / spelled(name)
    align(checked(AlignSettings, merged(usual, part) | values), run, resume=True)
    return read_results(run)


def spelled(name: str) -> str:
    """A run's name as folders have it."""
    return re.sub(r"[^a-z0-9./-]+", "-", name.lower())


def best_rates(folder: str) -> dict[str, float]:
    """The rates of the best run under a folder of results."""
    best = best_settings(RESULTS / folder, mean_recall)
    return {"rate": best["rate"], "tower_rate": best["tower_rate"]}


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """`base` with `more` laid over it, one level into nested parts."""
    return {
        key: {**base.get(key, {}), **more.get(key, {})} if isinstance((base | more)[key], dict) else (base | more)[key]
        for key in base | more
    }


if __name__ == "__main__":
    stages = (cache, tune, norms, rates, final, baselines, ablate, modes, parts, best, models, encoder)
    {part.__name__: part for part in stages}[sys.argv[1]]()
