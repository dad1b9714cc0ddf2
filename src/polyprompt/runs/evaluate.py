"""A finished run scored on another set, of captions, labels or sentences; the scores are kept with the run's own."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

from polyprompt.adapt.classifier import Classifier
from polyprompt.campe.model import CAMPE
from polyprompt.data.copies import by_bytes, copies
from polyprompt.data.items import Labelled, Picture
from polyprompt.data.read import open_labels, read_labelled, read_pairs, read_scored
from polyprompt.data.rows import Row
from polyprompt.data.source import kinds_of, rows_of_kind
from polyprompt.disk.files import read_json
from polyprompt.errors import ConfigError, DataError
from polyprompt.evaluate.classify import distinct_names
from polyprompt.progress import say
from polyprompt.runs import align, training
from polyprompt.runs.folder import CONFIG, Scores, absolute, add_scores, held, read_inputs, read_results
from polyprompt.runs.load import load, zero_shot
from polyprompt.runs.processes import device
from polyprompt.runs.settings import AlignSettings
from polyprompt.settings import checked
from polyprompt.values import Json


class Scored(NamedTuple):
    """The scores of one set, and where results.json has them."""

    kind: Scores
    name: str
    scores: Json


def evaluate(
    run: str | Path,
    data: str,
    split: str | None = None,
    *,
    class_names: Sequence[str] | None = None,
    templates: Sequence[str] = (),
    max_bad: int = 0,
    model: CAMPE | Classifier | None = None,
) -> Scored:
    """Scores a run on a set and adds the scores to its results.json; nothing else in it changes.

    A run of `align` scores captions; or labels, zero-shot, where there are no captions, or classes or templates are
    given; or pairs of sentences. A run of `adapt` scores labels, among the classes that it was trained on if the set
    has no others; how many of the pictures it was trained on is told, and kept as `trained_on`.

    Args:
        run: the folder of a finished run.
        data: what is scored, by its name.
        split: one split, or several with + between; all there is if not given.
        class_names: the classes to tell apart, in place of the run's or the set's own.
        templates: sentences with {} for the class name, for zero-shot.
        max_bad: missing or unreadable pictures to leave out.
        model: the run's, if it is open already (`load` says where towers have moved to).

    Raises:
        FileError: the run is not finished, its files are damaged, or they cannot be written.
        ConfigError: templates or sentences for a run of `adapt`. DataError: nothing to score.
    """
    folder = Path(run)
    read_results(folder)
    with held(folder, wait=60.0):
        pass  # that results cannot be written is said before the work
    model = model or load(folder)
    kinds = kinds_of(data)
    if "scores" in kinds:
        kind, scores = "sentences", _sentences(model, folder, data, split)
    elif isinstance(model, CAMPE) and not class_names and not templates and "captions" in kinds:
        kind, scores = "retrieval", _captions(model, folder, data, split, max_bad)
    else:
        labelled = read_labelled(data, split, class_names=class_names, max_bad=max_bad)
        kind, scores = "classification", _labels(model, folder, labelled, class_names, templates)
    name = f"{data} {split or 'all'}" + (f", {len(class_names)} classes given" if class_names else "")
    how: Json = {"data": absolute(data)}
    how |= {name: list(given) for name, given in (("classes", class_names), ("templates", templates)) if given}
    return Scored(kind, add_scores(folder, kind, name, scores, how), scores)


def _sentences(model: CAMPE | Classifier, folder: Path, data: str, split: str | None) -> Json:
    if not isinstance(model, CAMPE):
        raise ConfigError(f"{folder}: was made by adapt, which compares no sentences; give a run of align.")
    return align.evaluate(model.to(device()), read_scored(data, split), _settings(folder))


def _settings(folder: Path) -> AlignSettings:
    return checked(AlignSettings, read_json(folder / CONFIG), str(folder / CONFIG))


def _captions(model: CAMPE, folder: Path, data: str, split: str | None, max_bad: int) -> Json:
    return align.evaluate(model.to(device()), read_pairs(data, split, max_bad=max_bad), _settings(folder))


def _labels(
    model: CAMPE | Classifier,
    folder: Path,
    data: Labelled,
    class_names: Sequence[str] | None,
    templates: Sequence[str],
) -> Json:
    if isinstance(model, CAMPE):
        model = zero_shot(model, str(folder), data.class_names, templates, twins=data.twins)
    elif templates:
        raise ConfigError(
            f"{folder}: was made by adapt, which learned what stands around class names; give no templates."
        )
    elif class_names is None and set(data.class_names) <= set(model.class_names):
        data = _among(data, model.class_names)
    else:
        if class_names is None:
            say(f"{data.name}: has classes that {folder} was not trained on; told apart among the set's own.")
        model = Classifier(model.method.for_classes(data.class_names, twins=data.twins))
    method = model.method
    method.to(device())
    scores = training.evaluate(method, data, read_results(folder)["config"].get("cache_gb", 0.0))
    drawn, lost = _trained_on(folder)
    if lost:
        say(
            f"{data.name}: {lost} of {lost + len(drawn)} pictures that {folder} was trained on lie no longer where "
            "they did, so whether they are among those that are scored is not known."
        )
    if known := len(copies(by_bytes(drawn), data.pictures)):
        say(
            f"{data.name}: {known} of {len(data.pictures)} pictures are those that {folder} was trained on, and "
            "flatter it. Give a split or a folder without them; adapt itself scored what it had not drawn."
        )
        scores["trained_on"] = known
    return scores


def _trained_on(folder: Path) -> tuple[list[Picture], int]:
    """The training pictures of a run of `adapt` that lie where they did, and the number of others; of `align` none."""
    inputs, config = read_inputs(folder), read_results(folder)["config"]
    if inputs["kind"] != "adapt":
        return [], 0
    sources, drawn = (config["data"], *config.get("task", ())), inputs["drawn"]
    by_task = drawn.values() if config.get("task") else [drawn]
    pictures: list[Picture] = []
    lost = 0
    for source, of_class in zip(sources, by_task, strict=True):
        found, keys = {}, {key for keys in of_class.values() for key in keys}
        there = os.path.join(inputs.get("folder", ""), source)
        with suppress(DataError):  # it has moved
            opened = open_labels(there if os.path.exists(there) else source)
            rows = cast(list[Row], rows_of_kind(opened, "labels", config["train_split"] if opened.splits else None))
            found = {row.key: row.picture for row in rows if row.picture and row.key in keys}
        pictures += found.values()
        lost += len(keys - found.keys())
    return pictures, lost


def _among(data: Labelled, class_names: Sequence[str]) -> Labelled:
    """The same pictures, their labels counted among other classes that have all of theirs."""
    places = distinct_names(class_names)  # of two classes of one name the second is the second there, too
    number = [places.index(name) for name in distinct_names(data.class_names)]
    return replace(data, class_names=tuple(class_names), labels=tuple(number[label] for label in data.labels))
