"""One self-contained HTML page about one or more runs: nothing is fetched, nothing runs, and it prints well."""

import base64
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image

from polyprompt.disk.files import write_text
from polyprompt.errors import ConfigError
from polyprompt.media.pictures import open_picture
from polyprompt.progress import duration
from polyprompt.report import plots
from polyprompt.report.explain import overlay, shares, warning_about
from polyprompt.report.runs import Group, Results, Run, group, read_run
from polyprompt.report.samples import Explained, Samples
from polyprompt.report.tables import ASPECTS, DIRECTIONS, Table, machine, tables
from polyprompt.report.words import printed
from polyprompt.values import Json, Plain, Values

TERMS = {
    "loss": "loss",
    "contrast": "contrast",
    "diversity": "diversity",
    "negation": "negation",
    "scale": "scale (1 / temperature)",
    "bias": "bias",
}
"""Terms that runs log, in the order in which they are shown; others follow."""
NO_TERMS = {"step", "epoch", "seconds", "pairs_per_second", "lr", "rates"}


def write_page(runs: Sequence[Path], out: Path) -> None:
    """Write the page about these runs, side by side, to `out`.

    Runs that differ by nothing but their seed make one experiment: its figures are means over them, its attention
    maps and searches those of its first run that has samples.

    Raises:
        ConfigError: no runs. FileError: a folder is no run or is damaged, or the page cannot be written.
    """
    if not runs:
        raise ConfigError("report: no runs given. Name at least one run folder.")
    groups = group([read_run(folder) for folder in dict.fromkeys(runs)])
    colours = {each.name: _colour(number) for number, each in enumerate(groups)}
    looks, count = _looks(groups), sum(len(each.runs) for each in groups)
    page = render(
        "page.html",
        experiments=[_experiment(number, each) for number, each in enumerate(groups)],
        colours=colours,
        counted=f"{count} run{'s' * (count > 1)}",
        tables=[(table, _dots(table, colours)) for table in tables(groups)],
        classes=list(_by_class(groups)),
        panels=list(_panels(groups)),
        aspects=list(_aspects(groups)),
        looks=looks,
        widest=max((len(one["maps"]) for picture in looks for one in picture["by"]), default=0),
        searches=_searches(groups),
        searched=_searched(groups),
    )
    write_text(out, page)


def render(template: str, **values: object) -> str:
    """A template of this folder, filled; it may say the version and the day."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    same = {"version": version("polyprompt"), "today": date.today().isoformat()}
    return environment.get_template(template).render(same | values)


def aspect_names(prompts: Sequence[str]) -> list[str]:
    """What tells the prompts apart: "the [scene] of the image means:" is "scene". One prompt alone is itself."""
    split = [prompt.split() for prompt in prompts]
    if len({*map(tuple, split)}) == 1:
        return list(prompts)
    shortest = min(map(len, split))
    before = next((i for i in range(shortest) if len({words[i] for words in split}) > 1), shortest)
    rest = shortest - before
    after = next((i for i in range(rest) if len({words[-1 - i] for words in split}) > 1), rest)
    return [" ".join(words[before : len(words) - after]).strip("[]") or " ".join(words) for words in split]


def _experiment(number: int, each: Group) -> dict[str, object]:
    """An experiment as the page shows it: its name, machine, commands and settings."""
    return {
        "colour": _colour(number),
        "name": each.name,
        "runs": [
            {
                "folder": str(run.folder),
                "seed": run.results.seed,
                "command": run.results.command,
                "machine": machine(run.results),
                "date": run.results.date,
                "took": _took(run.results),
                "versions": ", ".join(f"{name} {number}" for name, number in run.results.versions.items()),
                "finished": bool(run.results.retrieval or run.results.classification or run.results.sentences),
                "learned": run.results.learned,
                "cost": dict(_flat(run.results.cost)),
                "config": json.dumps(run.config, indent=2, ensure_ascii=False) if run.config else "",
            }
            for run in each.runs
        ],
    }


def _took(results: Results) -> str:
    """How long a run took, and its steps."""
    if results.seconds is None:
        return ""
    steps = results.training_seconds
    return duration(results.seconds) + (f", {duration(steps)} of them training" if steps is not None else "")


def _dots(table: Table, colours: Mapping[str, int]) -> list[dict[str, str]]:
    """Every run's first figure of each kind that has a best: recall@1 in both directions, accuracy on each set."""
    drawn = []
    for of in dict.fromkeys(column.of for column in table.columns if column.ranked):
        at, first = next((at, column) for at, column in enumerate(table.columns) if column.of == of)
        rows = [plots.Dots(name, cells[at].values, colours[name]) for name, cells in table.rows if cells[at].values]
        if len(rows) > 1:
            title = f"{of}, {first.name} in %"
            drawn.append({"title": title, "svg": plots.dots(rows, f"{title}, on {table.data}")})
    return drawn


def _by_class(groups: Sequence[Group]) -> Iterator[dict[str, object]]:
    """Each class's accuracy in %, the mean over seeds, hardest first; a table for each set that was classified."""
    sets = dict.fromkeys(data for each in groups for run in each.runs for data in run.results.classification)
    for data in sets:
        accuracies: dict[str, dict[str, list[float]]] = {}
        for each in groups:
            for run in each.runs:
                if data in run.results.classification:
                    for name, share in run.results.classification[data].class_accuracy.items():
                        if share is not None:
                            accuracies.setdefault(name, {}).setdefault(each.name, []).append(100 * share)
        means = {name: {of: mean(shares) for of, shares in by.items()} for name, by in accuracies.items()}
        names = list(dict.fromkeys(of for by in means.values() for of in by))
        rows = [
            (name, [printed(by.get(of), ".0f") for of in names])
            for name, by in sorted(means.items(), key=lambda item: mean(item[1].values()))
        ]
        if rows:
            yield {"data": data, "names": names, "rows": rows}


def _panels(groups: Sequence[Group]) -> Iterator[dict[str, str]]:
    """Training curves, one panel for each thing that was logged."""
    numbered = [(number, run) for number, each in enumerate(groups) for run in each.runs]
    logged = dict.fromkeys(key for _, run in numbered for line in run.steps for key in line if key not in NO_TERMS)
    for key in sorted(logged, key=lambda key: list(TERMS).index(key) if key in TERMS else len(TERMS)):
        yield from _panel(
            TERMS.get(key, key.replace("_", " ")), [_curve(run.steps, (key,), number) for number, run in numbered]
        )
    recalls = [
        _curve(run.epochs, ("dev", way, "recall@1"), number, dashed=way == "image_to_text", times=100)
        for number, run in numbered
        for way in DIRECTIONS
    ]
    yield from _panel("recall@1 on dev, %", recalls, "solid: text → image; dashed: image → text")
    alike = [
        _curve(run.epochs, ("dev", "aspects", key), number, dashed=key == "centred_cosine")
        for number, run in numbered
        for key in ("redundancy", "centred_cosine")
    ]
    yield from _panel("likeness of aspects on dev", alike, "solid: redundancy; dashed: centred cosine")
    yield from _panel("learning rate", [_curve(run.steps, ("lr",), number) for number, run in numbered])


def _panel(title: str, curves: Sequence[plots.Curve], legend: str = "") -> Iterator[dict[str, str]]:
    curves = [curve for curve in curves if curve.x]
    if curves:
        yield {"title": title, "legend": legend, "svg": plots.curves(curves, f"{title} over training steps. {legend}")}


def _curve(
    lines: Sequence[Values], path: Sequence[str], colour: int, *, dashed: bool = False, times: int = 1
) -> plots.Curve:
    """What the lines hold at `path`, over their steps; what is no finite number is left out."""
    points = []
    for line in lines:
        value: Plain = line
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float) and math.isfinite(value):
            points.append((float(line["step"]), times * value))
    return plots.Curve([x for x, _ in points], [y for _, y in points], colour, dashed)


def _aspects(groups: Sequence[Group]) -> Iterator[dict[str, object]]:
    """How alike the aspects of each experiment are, where it has several."""
    for tag, run, samples in _sampled(groups):
        names = aspect_names(samples.prompts)
        if len(names) > 1:
            label = f"{tag['name']}: correlation of the segment scores of {', '.join(names)}"
            yield tag | {
                "prompts": samples.prompts,
                "pairs": f"map: {samples.captions:,} captions by {samples.images:,} pictures of {samples.data}",
                "figures": _likeness(run),
                "svg": plots.heat(samples.correlation, names, label),
            }


def _likeness(run: Run) -> list[str]:
    """The two figures that say how alike the aspects are, for each set that the run was evaluated on."""
    return [
        f"{data}: "
        + ", ".join(f"{says} {printed(scores.aspects[key], '.2f')}" for key, says in ASPECTS.items() if key in known)
        for data, scores in run.results.retrieval.items()
        if (known := {key for key in ASPECTS if scores.aspects.get(key) is not None})
    ]


def _looks(groups: Sequence[Group]) -> list[Json]:
    """The pictures that were looked at, with the maps of every experiment."""
    pictures: dict[tuple[str, str], list[dict[str, object]]] = {}
    for tag, run, samples in _sampled(groups):
        for explained in samples.looks:
            maps = _maps(run, explained, aspect_names(samples.prompts))
            pictures.setdefault((explained.key, explained.caption), []).append(tag | maps)
    return [{"key": key, "caption": caption, "by": by} for (key, caption), by in pictures.items()]


def _maps(run: Run, explained: Explained, names: Sequence[str]) -> dict[str, object]:
    data = (run.folder / "samples" / explained.file).read_bytes()
    seen, parts = open_picture(data), explained.contributions
    furthest = max(map(abs, parts)) or 1
    maps = [
        {
            "name": name,
            "src": jpeg(overlay(seen, np.array(map_))),
            "part": printed(part, "+.3f"),
            "share": "" if share is None else f"{printed(100 * share, '.0f')} %",
            "bar": round(50 * abs(part) / furthest, 1),
            "against": part < 0,
        }
        for name, map_, part, share in zip(names, explained.maps, parts, shares(parts), strict=True)
    ]
    return {"src": _uri(data), "score": printed(sum(parts), "+.3f"), "maps": maps, "warning": warning_about(parts)}


def _searches(groups: Sequence[Group]) -> list[dict[str, object]]:
    """The queries, with what every experiment found."""
    queries: dict[str, list[dict[str, object]]] = {}
    for tag, run, samples in _sampled(groups):
        for search in samples.searches:
            hits = [
                {
                    "src": _uri((run.folder / "samples" / match.file).read_bytes()),
                    "key": match.key,
                    "score": printed(match.score, ".3f"),
                }
                for match in search.results
            ]
            queries.setdefault(search.query, []).append(tag | {"hits": hits})
    return [{"query": query, "by": by} for query, by in queries.items()]


def _searched(groups: Sequence[Group]) -> str:
    """What the searches went through, where it is the same for all."""
    sets = {f"{samples.images:,} pictures of {samples.data}" for _, _, samples in _sampled(groups)}
    return sets.pop() if len(sets) == 1 else ""


def _sampled(groups: Sequence[Group]) -> Iterator[tuple[dict[str, object], Run, Samples]]:
    """The first run of each experiment that has samples, behind the experiment's name and colour."""
    for number, each in enumerate(groups):
        sampled = [(run, run.samples) for run in each.runs if run.samples]
        for run, samples in sampled[:1]:
            yield {"colour": _colour(number), "name": each.name}, run, samples


def _flat(values: Values, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested figures as "outer inner": "12,345"."""
    for key, value in values.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
        else:
            yield name, str(value)


def _colour(number: int) -> int:
    return number % plots.SERIES


def jpeg(picture: Image.Image) -> str:
    """A picture as the source of an <img>."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=78, optimize=True)
    return _uri(file.getvalue())


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
