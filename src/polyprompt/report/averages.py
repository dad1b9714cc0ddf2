"""A grid's results as rows and columns, and how each protocol averages them.

Means are taken over seeds within a set first, then over sets, plainly; where one figure is missing there is no mean.
Base-to-novel has two harmonic means, both named: of the averages (CoCoOp, MaPLe, most), and the average of the sets'
own (RPO, HPT), which is smaller.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import NamedTuple

from polyprompt.bench.protocols import PROTOCOLS
from polyprompt.data import catalog
from polyprompt.evaluate.classify import harmonic_mean
from polyprompt.methods import ZERO_SHOT
from polyprompt.report.domainbed import chosen
from polyprompt.runs.cells import Cell, Result
from polyprompt.values import Values

WAYS = {
    "text_to_image": "text → image",
    "image_to_text": "image → text",
    "image_to_text_grouped": "image → text, grouped",
}
RANKS = {"median_rank": "MdR", "mean_rank": "MnR"}
AVERAGE, HM = "average", "HM"
FIRST_TO_OTHERS = ("cross-dataset", "domain-generalization")
"""Protocols in which one set is trained on, which stands apart in averages."""


class Row(NamedTuple):
    """Who is measured."""

    method: str
    encoder: str


class Column(NamedTuple):
    """What is measured."""

    of: str
    """The set, or the average over sets."""
    name: str
    """The figure: accuracy, base, R@1."""


@dataclass
class Figure:
    """A figure over seeds; a share, a rank or a correlation."""

    by_seed: dict[int | None, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return mean(self.by_seed.values())

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds (n - 1); None for one."""
        return stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class Grid:
    """All results by one protocol with as many training pictures."""

    protocol: str
    shots: int | None
    figures: Mapping[tuple[Row, Column], Figure]
    results: Sequence[Result]
    source: str | None = None
    """The set that was trained on, where tables of one protocol have different ones."""

    @property
    def rows(self) -> list[Row]:
        """In the order in which they were done."""
        return list(dict.fromkeys(row for row, _ in self.figures))

    @property
    def columns(self) -> list[Column]:
        """Those of sets, without averages."""
        return list(dict.fromkeys(column for _, column in self.figures))

    @property
    def averaged(self) -> list[Column]:
        """Those that averages, ranks, the test and curves are over."""
        return averaged(self.protocol, self.columns)

    def means(self, row: Row) -> dict[Column, float]:
        """A row's figures and its averages, of the means over seeds."""
        return self.with_averages({column: figure.mean for column, figure in self._figures(row).items()})

    def spreads(self, row: Row) -> dict[Column, float]:
        """Their standard deviations over seeds (n - 1); of averages where all figures are of the same seeds."""
        own = self._figures(row)
        first, *others = [figure.by_seed.keys() for figure in own.values()]
        if len(first) < 2 or any(seeds != first for seeds in others):
            return {column: figure.spread for column, figure in own.items() if figure.spread is not None}
        by_seed = [self.with_averages({column: one.by_seed[seed] for column, one in own.items()}) for seed in first]
        return {column: stdev(figures[column] for figures in by_seed) for column in by_seed[0]}

    def with_averages(self, figures: Mapping[Column, float]) -> dict[Column, float]:
        """The same with the averages that all figures are there for, and HM, that of base and novel, of each set."""
        known = averages(self.protocol, self.columns, figures)
        return {**figures, **dict(_harmonic_means(figures)), **{Column(AVERAGE, name): one for name, one in known}}

    def _figures(self, row: Row) -> dict[Column, Figure]:
        return {column: figure for (who, column), figure in self.figures.items() if who == row}


def grids(results: Sequence[Result]) -> list[Grid]:
    """Results by protocol, source and shots; those that know no shots stand in each grid of their protocol."""
    kinds = dict.fromkeys((*_table(one.cell), one.cell.shots) for one in results if one.cell.shots is not None)
    alone = dict.fromkeys(_table(one.cell) for one in results)
    kinds |= dict.fromkeys((*table, None) for table in alone if table not in {kind[:2] for kind in kinds})
    return [_grid(*kind, results) for kind in sorted(kinds, key=lambda kind: (kind[0], kind[1] or "", kind[2] or 0))]


def _table(cell: Cell) -> tuple[str, str | None]:
    """Protocol and source: another source is another protocol, scored on sets that are called the same."""
    return cell.protocol, set_label(cell.data) if cell.protocol in FIRST_TO_OTHERS else None


def _grid(protocol: str, source: str | None, shots: int | None, results: Sequence[Result]) -> Grid:
    inside = [one for one in results if _table(one.cell) == (protocol, source) and one.cell.shots in (None, shots)]
    inside.sort(key=lambda one: _order(one.cell))
    if protocol == "domainbed":
        inside += chosen(inside)
    figures: dict[tuple[Row, Column], Figure] = {}
    for one in inside:
        for column, value in figures_of(one):
            row = Row(one.cell.method, label(one.cell.encoder))
            figures.setdefault((row, column), Figure()).by_seed[one.cell.seed] = value
    return Grid(protocol, shots, figures, inside, source)


def _order(cell: Cell) -> tuple[str, bool, str, int, str, int]:
    """Encoder by encoder, zero-shot first, then by names; sets as the published tables have them, others behind.

    A set stands where it is scored: by the domain that was left out, not by those that were trained on.
    """
    usual = PROTOCOLS[cell.protocol].usual if cell.protocol in PROTOCOLS else ()  # another version may know others
    scored = str(cell.settings.get("test") or cell.data)
    name = catalog.known(scored.partition("@")[0])
    place = usual.index(name) if name in usual else len(usual)
    return cell.encoder, cell.method != ZERO_SHOT, cell.method, place, scored, cell.seed or 0


def figures_of(result: Result) -> Iterator[tuple[Column, float]]:
    """What a cell measured."""
    data, measured = set_label(result.cell.data), result.figures
    match result.cell.task:
        case "retrieve":
            for way, figures in _mapping(measured["retrieval"]).items():
                for key, value in figures.items():
                    yield retrieval_column(data, way, key), value
        case "compare":
            yield Column(data, "Spearman"), float(str(measured["spearman"]))
        case _:
            for part, scores in _mapping(measured["classification"]).items():
                yield column_of(result, data, part), scores["accuracy"]


def retrieval_column(data: str, way: str, key: str) -> Column:
    """Where a recall or a rank stands."""
    return Column(f"{data}, {WAYS[way]}", RANKS.get(key, key.replace("recall@", "R@")))


def column_of(result: Result, data: str, part: str) -> Column:
    """Where an accuracy stands: base and novel beside each other, other sets under their own names."""
    if part in ("base", "novel"):
        return Column(data, part)
    target = result.cell.settings.get("test") if part == "test" else part
    if result.cell.protocol == "single-source":
        return Column(data, f"→ {_within(data, data if part == 'test' else _target_label(result, part))}")
    return Column(_target_label(result, str(target)) if target else data, "accuracy")


def _target_label(result: Result, target: str) -> str:
    """A set that is scored, with its folder where another one of the cell is called the same."""
    sources = {result.cell.data, *_mapping(result.figures["classification"])} - {target}
    if set_label(target) in map(set_label, sources):
        return "/".join(target.partition("@")[0].rstrip("/").split("/")[-2:])
    return set_label(target)


def averaged(protocol: str, columns: Sequence[Column]) -> list[Column]:
    """What a protocol is about: of one that trains on a source and scores targets, the targets."""
    if protocol in FIRST_TO_OTHERS:
        return list(columns[1:])
    if protocol == "single-source":
        return [column for column in columns if column.name != f"→ {_within(column.of, column.of)}"]
    return list(columns)


def averages(protocol: str, columns: Sequence[Column], figures: Mapping[Column, float]) -> Iterator[tuple[str, float]]:
    """The averages of a protocol over its sets."""
    if protocol == "retrieval" or not columns:
        return
    if protocol == "base-to-novel":
        halves = {
            name: [figures.get(column) for column in columns if column.name == name] for name in ("base", "novel")
        }
        base, novel = halves["base"], halves["novel"]
        known = [value for value in (*base, *novel) if value is not None]
        if known and len(known) == len(base + novel):
            yield "base", mean(known[: len(base)])
            yield "novel", mean(known[len(base) :])
            yield "hm of averages", harmonic_mean(mean(known[: len(base)]), mean(known[len(base) :]))
            pairs = zip(known[: len(base)], known[len(base) :], strict=True)
            yield "average of hms", mean(harmonic_mean(*pair) for pair in pairs)
        return
    over = averaged(protocol, columns)
    if over and all(column in figures for column in over):
        yield "targets" if over != list(columns) else "mean", mean(figures[column] for column in over)


def _harmonic_means(figures: Mapping[Column, float]) -> Iterator[tuple[Column, float]]:
    for column, novel in figures.items():
        if column.name == "novel" and (base := figures.get(Column(column.of, "base"))) is not None:
            yield Column(column.of, HM), harmonic_mean(base, novel)


def label(source: str) -> str:
    """A set or encoder as tables call it: a name of the catalogue, that in a split file's name, the end of a path."""
    head = source.partition("@")[0]
    if split_file := re.fullmatch(r"(?:.*/)?split_zhou_(.+)\.json", head):
        return split_file[1]
    return head.rstrip("/").rpartition("/")[2] if head.startswith(("/", ".", "~")) else head


def set_label(source: str) -> str:
    """A set as tables call it: a folder or file of one's own by the end of its path, wherever it lies."""
    short = label(source)
    return short if ":" in short else short.rstrip("/").rpartition("/")[2]


def _within(source: str, target: str) -> str:
    """A target as it is called beside its source: a domain of the same set without the set's name."""
    name, colon, domain = target.partition(":")
    return domain if colon and source.partition(":")[0] == name else target


def _mapping(value: object) -> Mapping[str, Values]:
    assert isinstance(value, Mapping)
    return value
