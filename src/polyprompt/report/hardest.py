"""The classes that a grid's methods get wrong most often, with pictures, and what they are taken for."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import NamedTuple

from PIL import Image

from polyprompt.data.items import Labelled
from polyprompt.data.read import open_labels, read_labelled, splits_of
from polyprompt.errors import PolypromptError
from polyprompt.report import plots
from polyprompt.report.averages import column_of, set_label
from polyprompt.report.page import jpeg
from polyprompt.report.words import printed
from polyprompt.runs.cells import Result
from polyprompt.values import Values

CLASSES, PICTURES, SIDE = 4, 5, 160
"""How many classes of a set are shown, pictures of each, and their longer side in pixels."""
MATRIX = 12
"""The most classes whose confusion is drawn as a matrix."""


class Hard(NamedTuple):
    """The hardest classes of a set."""

    data: str
    protocol: str
    classes: Sequence[tuple[str, str, str, Sequence[str]]]
    """Name, accuracy, what it is taken for most often, pictures."""
    method: str
    """Whose confusion is drawn: the best one's, with its first seed."""
    matrix: str


def hardest(results: Sequence[Result]) -> list[Hard]:
    """For each protocol and scored set."""
    scored: dict[tuple[str, str, str], list[tuple[Result, Values]]] = {}
    for one in results:
        parts = one.figures.get("classification", {})
        assert isinstance(parts, Mapping)
        for part, scores in parts.items():
            scored.setdefault((one.cell.protocol, one.cell.data, part), []).append((one, scores))
    return [_hard(key, some) for key, some in scored.items()]


def _hard(key: tuple[str, str, str], some: Sequence[tuple[Result, Values]]) -> Hard:
    protocol, data, part = key
    by_class: dict[str, list[float]] = {}
    taken: dict[str, dict[str, int]] = {}
    for _, scores in some:
        for name, accuracy in scores["class_accuracy"].items():
            if accuracy is not None:
                by_class.setdefault(name, []).append(accuracy)
        for name, others in scores.get("confused", {}).items():
            for other, count in others.items():
                taken.setdefault(name, {})[other] = taken.get(name, {}).get(other, 0) + count
    worst = sorted(by_class, key=lambda name: mean(by_class[name]))[:CLASSES]
    source = some[0][0].cell.settings.get("test") if part == "test" else part if part not in ("base", "novel") else None
    pictures = _pictures(str(source or data), worst)
    classes = [
        (
            name,
            f"{printed(100 * mean(by_class[name]), '.1f')} %",
            max(taken.get(name, {"": 0}), key=lambda other: taken.get(name, {"": 0})[other]),
            pictures.get(name, ()),
        )
        for name in worst
    ]
    best, scores = max(some, key=lambda pair: (pair[1]["accuracy"], -(pair[0].cell.seed or 0)))
    scored_on = column_of(best, set_label(data), part).of  # not what was trained on, where another set is scored
    title = scored_on if part == "test" else f"{set_label(data)} {set_label(part)}"
    return Hard(title, protocol, classes, best.cell.method, _matrix(scores, title))


def _pictures(source: str, names: Sequence[str]) -> dict[str, list[str]]:
    """The first pictures of these classes, small; none where the set is not there any more."""
    try:
        opened = open_labels(source)
        data = read_labelled(opened, "test" if splits_of(opened) else None)
        return {name: list(_small(data, data.class_names.index(name))) for name in names if name in data.class_names}
    except PolypromptError:
        return {}


def _small(data: Labelled, label: int) -> Iterator[str]:
    of_class = [i for i, number in enumerate(data.labels) if number == label]
    for i in of_class[:PICTURES]:
        picture: Image.Image = data.pictures[i].open()
        picture.thumbnail((SIDE, SIDE))
        yield jpeg(picture)


def _matrix(scores: Values, title: str) -> str:
    """The confusion of a set with few classes; how many pictures a class has follows from its errors."""
    accuracy, confused = scores["class_accuracy"], scores.get("confused", {})
    names = list(accuracy)
    if len(names) > MATRIX or None in accuracy.values():
        return ""
    rows = []
    for name in names:
        wrong = confused.get(name, {})
        whole = sum(wrong.values()) / (1 - accuracy[name]) if accuracy[name] < 1 else 1.0
        rows.append([accuracy[name] if other == name else wrong.get(other, 0) / whole for other in names])
    return plots.heat(rows, names, f"Confusion on {title}: a row a class, a column what it was taken for")
