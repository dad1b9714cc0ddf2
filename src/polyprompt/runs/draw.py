"""The pictures of a run of `adapt`: a few of each class to train on, the sets to score, those to choose on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from random import Random

from polyprompt.data.domainbed import in_and_out
from polyprompt.data.fewshot import base_and_novel, few_shot, hold_out, without
from polyprompt.data.items import Labelled
from polyprompt.data.read import open_labels, read_labelled, splits_of
from polyprompt.data.source import Source
from polyprompt.errors import ConfigError, DataError, UnknownNameError
from polyprompt.methods import ZERO_SHOT
from polyprompt.runs.settings import AdaptSettings

Opened = Callable[[str], Source]
"""An open source of labelled pictures, by its name."""


def read_sets(settings: AdaptSettings, opened: Opened | None = None) -> tuple[Labelled, dict[str, Labelled]]:
    """The pictures to train on, and the sets to score: "test", or "base" and "novel"; and `also`, by their sources.

    Args:
        settings: name them.
        opened: `open_labels`, in a form that opens each source once for several calls.

    Raises:
        DataError: no or too few pictures, classes that do not fit. ConfigError: nothing would be left to score.
    """
    opened = opened or cache(open_labels)
    drawn, held = draw(settings, opened)
    also = {source: opened(source) for source in settings.also}
    read = partial(read_labelled, max_bad=settings.max_bad)
    tests = {source: _filled(read(one, _test_split(one, settings))) for source, one in also.items()}
    if settings.protocol != "base-to-novel":
        return drawn, {"test": held} | tests
    base, novel = base_and_novel(held)
    if len(novel.class_names) < 2:
        raise DataError(
            f"{settings.data}: of its {len(held.class_names)} classes {len(novel.class_names)} is novel; telling "
            "classes apart needs two in each half, so base-to-novel takes four or more"
        )
    trained = base_and_novel(drawn)[0]
    return _filled(trained) if drawn.pictures else trained, {"base": _filled(base), "novel": _filled(novel)} | tests


def read_tasks(settings: AdaptSettings) -> tuple[dict[str, Labelled], dict[str, Labelled]]:
    """The pictures to train on and those to score, by task; a task is called as the last part of its source.

    Raises:
        DataError, ConfigError: as `read_sets`.
    """
    sources = (settings.data, *settings.task)
    short = [Path(source).name for source in sources]
    names = short if len(set(short)) == len(short) else sources
    opened = cache(open_labels)
    each = zip(names, sources, strict=True)
    pairs = {name: draw(settings.model_copy(update={"data": one}), opened) for name, one in each}
    return {name: drawn for name, (drawn, _) in pairs.items()}, {name: held for name, (_, held) in pairs.items()}


def draw(settings: AdaptSettings, opened: Opened = open_labels) -> tuple[Labelled, Labelled]:
    """Few pictures of all classes, and the held-out ones; `opened` as in `read_sets`."""
    source = opened(settings.data)
    splits = splits_of(source)
    read = partial(read_labelled, max_bad=settings.max_bad)
    pool, held = read(source, settings.train_split if splits else None), None
    if settings.method.get("name") != ZERO_SHOT:  # which learns from none
        pool = _filled(pool)
    if settings.domainbed:
        if settings.test is None:
            raise ConfigError("domainbed: no domain is named that is left out; give it with --test pacs:sketch")
        pool, _ = in_and_out(pool, settings.data, settings.seed)
    if settings.test is not None:
        test = opened(settings.test)
        held = read(test, _test_split(test, settings), class_names=pool.class_names)
        held = _filled(in_and_out(held, settings.test, settings.seed)[0] if settings.domainbed else held)
    elif splits:
        try:
            held = _filled(read(source, settings.test_split, class_names=pool.class_names))
        except UnknownNameError as error:
            raise ConfigError(f"{error} Say which one is scored: --set test_split=NAME") from None
    elif settings.held_out is not None:
        pool, held = hold_out(pool, settings.held_out)
    drawn = pool
    if settings.shots is not None:
        drawn = few_shot(pool, settings.shots, Random(settings.seed), take_fewer=settings.take_fewer)
    held = without(pool, drawn) if held is None else held
    if not held.pictures:
        raise ConfigError(
            f"{settings.data}: nothing is left to score, all {len(pool.pictures)} pictures are trained on. Give "
            "fewer shots, --set held_out=0.2, or other pictures with --test."
        )
    return drawn, held


def _filled(data: Labelled) -> Labelled:
    """The same, if there are pictures in it.

    Raises:
        DataError: there are none.
    """
    if not data.pictures:
        raise DataError(f"{data.name}: no pictures in it, and there must be some; look at the list that names them")
    return data


def _test_split(source: Source, settings: AdaptSettings) -> str | None:
    return settings.test_split if splits_of(source) else None


def validation(settings: AdaptSettings, class_names: Sequence[str]) -> Labelled | None:
    """The validation pictures of the classes that are trained, where there are some, with the labels of training."""
    read = partial(read_labelled, max_bad=settings.max_bad)
    if settings.domainbed:
        return in_and_out(read(settings.data, class_names=class_names), settings.data, settings.seed)[1]
    source = open_labels(settings.data)
    if settings.val_split not in splits_of(source):
        return None
    data = read(source, settings.val_split)
    if data.class_names == tuple(class_names):
        return data
    names = [data.class_names[label] for label in data.labels]
    kept = [(one, name) for one, name in zip(data.pictures, names, strict=True) if name in class_names]
    labels = tuple(class_names.index(name) for _, name in kept)
    return replace(data, pictures=tuple(one for one, _ in kept), labels=labels, class_names=tuple(class_names))
