"""The card of a model on the hub: what it is, how to use it, its figures, what it was trained on, its licence.

It is made of what the run left, without opening a tower. Of local paths only the last name is said: a card is public.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from polyprompt.disk.files import read_json
from polyprompt.errors import FileError
from polyprompt.methods import module_of
from polyprompt.methods import names as methods
from polyprompt.runs.folder import RESULTS, read_results
from polyprompt.runs.load import model_folder
from polyprompt.runs.saved import CONFIG
from polyprompt.skins.peft import BASES
from polyprompt.values import Values

CLASSIFIED = {"accuracy": "accuracy", "macro_f1": "macro-F1", "auc": "AUC", "calibration_error": "calibration error"}
WAYS = {"text_to_image": "text to image", "image_to_text": "image to text"}
SAID = (
    *("protocol", "shots", "epochs", "steps", "batch", "rate", "optimizer", "schedule", "augment"),
    *("train_split", "dropped_words", "dropped_patches", "mirrored", "seed", "precision"),
)
"""Settings that the card tells, where a run has them."""
CARD = """---
{front}
---

# {title}

{what}

## How to use it

It stands on {base}, whose weights are not in here; with others it does not open.

```python
import polyprompt as pp

model = pp.from_pretrained("{repo}")
{code}
```

On the command line: `{command}`. No code comes with it, and no pickle.

## Figures

{figures}

## Training

{training}

## Licence

{licence}
"""
CLASSIFIER = """print(model.class_names, model(["picture.png"]))  # probabilities
print(model.for_classes(["a lynx", "a wolf"])(["picture.png"]))  # classes that it was not trained on"""
ALIGNED = """print(model.prompts, model.similarity(["a sad cat"], ["picture.png"]))"""


@dataclass(frozen=True)
class Figure:
    """A figure of a run."""

    task: str
    """As the hub calls it."""
    data: str
    metric: str
    value: float
    before: float | None = None
    """What the encoder had as it was."""


def card_of(run: str | Path, repo: str, licence: str | None = None) -> str:
    """The README of a run of `align` or `adapt`, or of a saved model, which has no figures.

    Args:
        repo: OWNER/NAME, where it will be.
        licence: as the hub calls it: apache-2.0, cc-by-4.0.

    Raises:
        FileError: there is no model, or a file is damaged or altered.
    """
    folder = model_folder(run)
    adapted = (folder / CONFIG).is_file()
    results: Values = read_results(Path(run)) if (Path(run) / RESULTS).is_file() else {}
    path = folder / (CONFIG if adapted else "config.json")
    config = read_json(path)
    if not isinstance(config, dict):
        raise FileError(f"{path}: damaged, it holds no names and values. Copy the model again from where it came.")
    bases = [public(base) for base in bases_of(config)]
    figures = list(figures_in(results))
    verb = f"predict hf:{repo} picture.png" if adapted else f'search hf:{repo} "a sad cat" --images FOLDER'
    return CARD.format(
        front=front(repo, bases, figures, results, licence, adapted),
        title=repo.partition("/")[2] or repo,
        what=_classifier(config) if adapted else _aligned(config),
        base=" and ".join(f"`{base}`" for base in bases),
        repo=repo,
        code=CLASSIFIER if adapted else ALIGNED,
        command=f"polyprompt {verb}",
        figures=table(figures) or "None were measured when it was made.",
        training=training(results) or "What it was trained on was not noted.",
        licence=f"`{licence}`, of what was learned. The towers keep theirs."
        if licence
        else "None was stated, so all rights are reserved. The towers keep theirs.",
    )


def public(name: str) -> str:
    """A name as the public may read it: of a local path the last part."""
    return os.path.basename(name) if os.path.isabs(name) else name


def hub_id(base: str) -> str:
    """What the hub calls an encoder or a tower; nothing where it has none."""
    import open_clip

    if base.startswith("hf-hub:"):
        return base.removeprefix("hf-hub:")
    of_the_zoo = "/" not in base or open_clip.get_model_config(base.partition("/")[0]) is not None
    return BASES.get(base, "" if of_the_zoo else base)


def bases_of(config: Values) -> list[str]:
    """The encoder, or both towers."""
    if "base_model_name_or_path" in config:
        return [config["base_model_name_or_path"]]
    return [config["settings"][side]["tower"] for side in ("text", "image")]


def figures_in(results: Values) -> Iterator[Figure]:
    """All figures of a run, on each of its sets."""
    data = public(results.get("config", {}).get("data", ""))
    for name, scores in results.get("classification", {}).items():
        zero = results.get("zero_shot", {}).get(name, {})
        of = f"{data}, {name}" if name in ("test", "base", "novel") else public(name)
        for key, metric in CLASSIFIED.items():
            if scores.get(key) is not None:
                yield Figure("image-classification", of, metric, scores[key], zero.get(key))
    if "harmonic_mean" in results:
        yield Figure("image-classification", f"{data}, base and novel", "harmonic mean", results["harmonic_mean"])
    for name, scores in results.get("retrieval", {}).items():
        for way, label in WAYS.items():
            for metric, value in scores[way].items():
                yield Figure("image-text-retrieval", public(name), f"{label}, {metric}", value)
    for name, scores in results.get("sentences", {}).items():
        yield Figure("sentence-similarity", public(name), "Spearman's correlation", scores["spearman"])


def table(figures: list[Figure]) -> str:
    """The figures as a table; nothing where there are none."""
    if not figures:
        return ""
    lines = ["| set | figure | this model | its encoder, zero-shot |", "| --- | --- | ---: | ---: |"]
    for one in figures:
        before = "" if one.before is None else f"{one.before:.3f}"
        lines.append(f"| {one.data} | {one.metric} | {one.value:.3f} | {before} |")
    return "\n".join(lines)


def front(
    repo: str, bases: list[str], figures: list[Figure], results: Values, licence: str | None, adapted: bool
) -> str:
    """What the hub reads: YAML."""
    data = results.get("config", {}).get("data", "")
    entries = [
        EvalResult(
            one.task, dataset_type=one.data, dataset_name=one.data, metric_type=one.metric, metric_value=one.value
        )
        for one in figures
    ]
    card_data = ModelCardData(
        base_model=[known for base in bases if (known := hub_id(base))] or None,
        datasets=[data.removeprefix("hf:").partition(":")[0]] if data.startswith("hf:") else None,
        eval_results=entries or None,
        model_name=repo.partition("/")[2] or repo,
        library_name="polyprompt",
        license=licence,
        pipeline_tag="zero-shot-image-classification" if adapted else "feature-extraction",
        tags=["prompt-learning", "vision-language", "clip" if adapted else "campe"],
    )
    return card_data.to_yaml().strip()


def training(results: Values) -> str:
    """What a run was trained on and how; nothing where there is no run."""
    if not results:
        return ""
    config: Values = results["config"]
    names = [name for name in SAID if config.get(name) is not None and (config[name] or name == "seed")]
    settings = ", ".join(f"{name.replace('_', ' ')} {config[name]}" for name in names)
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"Data: `{public(config['data'])}`. {settings}.",
        f"On {results['date']}, {results['seconds']:.0f} seconds ({results['machine']}; {versions}).",
    ]
    return "\n".join(lines)


def _classifier(config: Values) -> str:
    names, method = config["class_names"], config["method"]
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    about = (module_of(method).__doc__ or method).splitlines()[0] if method in methods() else method
    return f"A classifier of pictures into {len(names)} classes: {shown}.\n\nMethod `{method}`: {about}"


def _aligned(config: Values) -> str:
    settings = config["settings"]
    parts = settings["text"]["prompts"] if settings["text"]["readout"] == "prompts" else 1
    return (
        "A CAMPE model (arXiv:2508.02762): a language model and an image tower in one space, "
        f"{settings['dim']} numbers in {parts} segments."
    )
