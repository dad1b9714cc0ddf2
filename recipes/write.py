"""Writes a recipe for each method and protocol whose settings its authors published: python recipes/write.py"""

import json
from pathlib import Path
from typing import Any

import yaml

from polyprompt import methods
from polyprompt.adapt.published import Protocol, Published
from polyprompt.runs.resolve import resolved
from polyprompt.runs.settings import AdaptSettings

HERE = Path(__file__).parent
CALTECH, IMAGENET = "data/caltech101/split_zhou_Caltech101.json", "data/imagenet/imagenet.csv"
OTHERS = (
    CALTECH, "data/oxford_pets/split_zhou_OxfordPets.json", "data/stanford_cars/split_zhou_StanfordCars.json",
    "data/oxford_flowers/split_zhou_OxfordFlowers.json", "data/food-101/split_zhou_Food101.json",
    "data/fgvc_aircraft/labels.csv", "data/sun397/split_zhou_SUN397.json",
    "data/dtd/split_zhou_DescribableTextures.json", "data/eurosat/split_zhou_EuroSAT.json",
    "data/ucf101/split_zhou_UCF101.json",
)  # fmt: skip
WHAT: dict[Protocol, str] = {
    "few-shot": "Few-shot classification, all classes.",
    "base-to-novel": "Trained on the first half of the classes, scored on both halves.",
    "cross-dataset": "Trained on ImageNet, scored on the ten other data sets.",
}
DATA: dict[Protocol, str] = {
    "few-shot": "Then with seeds 2 and 3, and with other DATA (CoOp's split files).",
    "base-to-novel": "Then with seeds 2 and 3, and with other DATA (CoOp's split files).",
    "cross-dataset": "imagenet.csv is a table of path, label, class_name and split (train, test); the others are "
    "CoOp's split files.",
}
KEPT = ("epochs", "steps", "batch", "rate", "optimizer", "weight_decay", "eps", "schedule", "crop", "views")


def recipes() -> dict[str, str]:
    """Every recipe, by the name of its file."""
    return {
        f"{name}-{protocol}.yaml": recipe(name, protocol, published)
        for name in methods.names()
        for protocol, published in methods.module_of(name).PUBLISHED.items()
    }


def recipe(name: str, protocol: Protocol, published: Published) -> str:
    """Its text: what it is, how to run it, what to expect, the settings."""
    file = f"{name}-{protocol}"
    title = (methods.module_of(name).__doc__ or "").split("\n\n")[0]
    lines = [*wrapped(" ".join(title.split())), WHAT[protocol], ""]
    lines += [f"    polyprompt adapt --config recipes/{file}.yaml --seed 1 --out runs/{file}-1", ""]
    lines += [*wrapped(DATA[protocol]), *wrapped(figures(published)), *wrapped(published.note), "Not run by us."]
    head = "\n".join(f"# {line}".rstrip() for line in lines)
    return f"{head}\n\n{body(name, protocol)}"


def figures(published: Published) -> str:
    """What the authors report."""
    if not published.figures:
        return "Published: - (no source was read)"
    listed = ", ".join(f"{name} {value:.2f}" for name, value in published.figures.items())
    return f"Published, mean of seeds 1 to 3, over the 11 data sets where none is named: {listed}."


def body(name: str, protocol: Protocol) -> str:
    """The settings, all of them said."""
    data = IMAGENET if protocol == "cross-dataset" else CALTECH
    asked = AdaptSettings(data=data, encoder="ViT-B-16/openai", method={"name": name}, protocol=protocol)
    found: dict[str, Any] = resolved(asked).model_dump(mode="json")
    said = {"data": data, "encoder": asked.encoder, "method": found["method"], "protocol": protocol, "shots": 16}
    said |= {"take_fewer": True} | ({"also": list(OTHERS)} if protocol == "cross-dataset" else {})
    said |= {field: found[field] for field in KEPT if found[field] is not None} | {"augment": True}
    templates = said["method"].get("consistency", {})
    templates.pop("templates", None)  # sixty, the default
    if said["method"].pop("descriptions", None) is not None:
        said["descriptions"] = "data/caltech101/descriptions.json"
    return yaml.safe_dump(json.loads(json.dumps(said)), sort_keys=False, allow_unicode=True, width=118)


def wrapped(text: str, width: int = 116) -> list[str]:
    """Lines of at most `width` characters."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


if __name__ == "__main__":
    for file, text in recipes().items():
        (HERE / file).write_text(text, encoding="utf-8")
