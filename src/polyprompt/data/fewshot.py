"""Few pictures per class, drawn as the published results drew them, and the halves of base-to-novel.

The draw follows Dassl's `generate_fewshot_dataset` (KaiyangZhou/Dassl.pytorch, dassl/data/datasets/base_dataset.py),
the halves CoCoOp's `subsample_classes` (KaiyangZhou/CoOp, datasets/oxford_pets.py; Zhou et al. 2022, arXiv:2203.05557).
The authors draw from all classes and halve afterwards.
"""

import math
import random
from dataclasses import replace

from polyprompt.data.items import Labelled
from polyprompt.errors import ConfigError, DataError, ShotsError


def few_shot(data: Labelled, shots: int, draw: random.Random, *, take_fewer: bool = False) -> Labelled:
    """`shots` pictures of each class: `random.Random(seed)` gives the published draw of that seed.

    The authors seed once, draw the training pictures, and then, from the same stream, `min(shots, 4)` validation
    pictures a class with `take_fewer`.

    Pictures that cannot be read are drawn as all others, so that the draw of these stays; where one was drawn, the
    first of its class that was not takes its place.

    Args:
        data: the pictures in the order of the split file; classes are visited in order of first appearance.
        shots: pictures per class.
        draw: is moved on by the draw.
        take_fewer: take all pictures of a class that has fewer, as the authors do, instead of raising.

    Raises:
        ConfigError: `shots` is below 1.
        ShotsError: a class has fewer than `shots` pictures.
    """
    if shots < 1:
        raise ConfigError(f"shots is {shots}; it counts pictures per class, so at least 1")
    of_class: dict[int, list[int | None]] = {}
    for i, label in data.listed():
        of_class.setdefault(label, []).append(i)
    if not take_fewer:
        for label, name in enumerate(data.class_names):
            if (have := sum(i is not None for i in of_class.get(label, []))) < shots:
                raise ShotsError(data.name, name, have, shots)
    chosen: list[int] = []
    for members in of_class.values():
        drawn = draw.sample(members, shots) if len(members) >= shots else members
        others = (i for i in members if i is not None and i not in drawn)
        replaced = (next(others, None) if i is None else i for i in drawn)
        chosen += [i for i in replaced if i is not None]
    return data.keep(chosen)


def without(data: Labelled, drawn: Labelled) -> Labelled:
    """What a draw has left: the pictures of `data` whose keys are not in `drawn`."""
    taken = {picture.key for picture in drawn.pictures}
    return data.keep([i for i, picture in enumerate(data.pictures) if picture.key not in taken])


def hold_out(data: Labelled, share: float) -> tuple[Labelled, Labelled]:
    """Pictures to draw from, and a share of each class held out for testing, the same ones in every run.

    Raises:
        ConfigError: `share` is not between 0 and 1. DataError: a class has one picture only.
    """
    if not 0 < share < 1:
        raise ConfigError(f"held_out is {share}; it is a share of each class, between 0 and 1")
    held: list[int] = []
    for label, name in enumerate(data.class_names):
        members = [i for i, picture_label in enumerate(data.labels) if picture_label == label]
        if len(members) < 2:
            raise DataError(f"{data.name}: class {name!r} has {len(members)} picture; to hold out some takes two")
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        held += random.Random(0).sample(members, count)
    return data.keep(sorted(set(range(len(data.labels))) - set(held))), data.keep(sorted(held))


def base_and_novel(data: Labelled) -> tuple[Labelled, Labelled]:
    """The first `ceil(n / 2)` of n classes and the rest, with labels counted from 0 in each half.

    Raises:
        DataError: fewer than two classes.
    """
    if len(data.class_names) < 2:
        raise DataError(f"{data.name}: {len(data.class_names)} class cannot be halved; two are needed")
    middle = math.ceil(len(data.class_names) / 2)
    return _classes(data, "base", 0, middle), _classes(data, "novel", middle, len(data.class_names))


def _classes(data: Labelled, half: str, start: int, end: int) -> Labelled:
    inside = [i for i, label in enumerate(data.labels) if start <= label < end]
    return replace(
        data,
        name=f"{data.name}:{half}",
        pictures=tuple(data.pictures[i] for i in inside),
        labels=tuple(data.labels[i] - start for i in inside),
        class_names=data.class_names[start:end],
    )
