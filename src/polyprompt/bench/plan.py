"""From what a user asks for to cells: each with all its settings, and the fingerprints of all that it reads."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from polyprompt.adapt.descriptions import fingerprints, is_random
from polyprompt.bench.inputs import Inputs, warn_of_same
from polyprompt.bench.protocols import RAISED, TUNED, Protocol, protocol
from polyprompt.bench.settings import GridSettings
from polyprompt.data.copies import warn_of_copies
from polyprompt.data.items import Labelled
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.read import splits_of
from polyprompt.data.source import prompt_of
from polyprompt.disk.files import digest, make_folder, read_bytes, read_json, write_text
from polyprompt.errors import ConfigError, FileError
from polyprompt.methods import ZERO_SHOT, check_own
from polyprompt.methods.zeroshot import raised_weights
from polyprompt.nn.precision import Precision, choose_precision
from polyprompt.progress import track
from polyprompt.runs.cells import Cell
from polyprompt.runs.draw import read_sets
from polyprompt.runs.folder import absolute
from polyprompt.runs.resolve import own_prompt, resolved
from polyprompt.runs.settings import AdaptSettings
from polyprompt.settings import check, checked, merged
from polyprompt.towers.encoder import Encoder
from polyprompt.values import Json, Values

OpenEncoder = Callable[[str], Encoder]
Cells = Callable[[str, Encoder], Iterator[Cell]]
"""The cells of an encoder, by its name."""


def measured() -> Precision:
    """What this machine multiplies fastest."""
    return choose_precision().precision


def cells_of(settings: GridSettings, encoder: OpenEncoder, precision: Callable[[], Precision] = measured) -> list[Cell]:
    """All cells of a grid, in the order in which they are best done: those of an encoder together.

    Names, settings and data are looked at before an encoder is opened.

    Args:
        settings: the grid.
        encoder: opens an encoder by its name, once.
        precision: what "auto" stands for; asked where it is needed.

    Raises:
        UnknownNameError: a protocol, method, set or encoder that there is not. ConfigError: settings that do not fit.
        DataError: a set that cannot be read.
    """
    rules = protocol(settings.protocol)
    _check(settings, rules)
    data = settings.data or rules.usual
    made = _classified(settings, rules, data, precision) if rules.task == "classify" else _scored(settings, rules, data)
    return [cell for name in settings.encoders for cell in made(name, encoder(name))]


def _check(settings: GridSettings, rules: Protocol) -> None:
    name = settings.protocol
    if not settings.encoders:
        raise ConfigError(f"{name}: no encoder is named; give --encoders, such as ViT-B-16/openai")
    if settings.methods and not rules.trains:
        raise ConfigError(f"{name}: {rules.says}; give no methods")
    if not settings.seeds:
        raise ConfigError(f"{name}: seeds is empty; give one or more")
    usable = {"max_bad"} if rules.task == "retrieve" else set()
    if rules.task != "classify" and (other := [key for key in settings.settings if key not in usable]):
        raise ConfigError(f"{name}: has no settings of adapt ({', '.join(other)}); it trains nothing")
    if settings.shots and not rules.trains:
        raise ConfigError(f"{name}: {rules.says}; give no shots")
    if "split" in settings.model_fields_set and rules.task == "classify":
        raise ConfigError(f"{name}: split is of captions and sentences; of pictures give --set test_split=NAME")
    _check_free(settings.settings, "settings")


DECIDED = {
    "data": "data", "encoder": "encoders", "shots": "shots", "seed": "seeds", "method": "methods",
    "protocol": "another protocol", "test": "another protocol", "also": "another protocol",
    "domainbed": "the protocol domainbed", "name": "called, beside the name of a method",
}  # fmt: skip
"""Settings of `adapt` that differ between the cells of a grid, and what decides them."""


def _check_free(settings: Values, where: str) -> None:
    """Refuses settings that every cell has of its own, which would be passed over or belie its name in the tables."""
    for key, instead in DECIDED.items():
        value = settings.get(key)
        if key not in settings or (key == "method" and isinstance(value, Mapping) and "name" not in value):
            continue  # settings of all methods are none of a grid's
        raise ConfigError(f"{where}: {key} is {value!r:.60}, and a grid gives each cell its own; give {instead}")


# Classification


def _classified(grid: GridSettings, rules: Protocol, data: Sequence[str], precision: Callable[[], Precision]) -> Cells:
    shots = grid.shots or rules.shots
    methods = [_named(one) for one in (*rules.anchors, *(one for one in grid.methods if one not in rules.anchors))]
    ways = [
        (called, per_class, asked, resolved(asked))
        for (called, method, training), per_class in itertools.product(methods, shots)
        for asked in [_asked(grid, rules, method, training, per_class)]
    ]
    sets = [{"data": "", "test": None, "also": ()} | dict(one) for one in rules.sets(data)]
    inputs, reads = Inputs(), max((asked for _, _, asked, _ in ways), key=lambda asked: asked.shots or 0)
    for one in sets:
        drawn, tests = read_sets(reads.model_copy(update=one | {"seed": grid.seeds[0]}), inputs.opened)
        _warn_of_fewer(str(one["data"]), drawn, reads.shots or 0)
        if rules.trains:  # of the first draw; what a cell itself says is in its log, and nobody reads that
            warn_of_copies(str(one["data"]), drawn.pictures, {name: data.pictures for name, data in tests.items()})
    prints = [inputs.of_pictures(one, reads.test_split, reads.max_bad) for one in track(sets, "Reading sets")]
    sources = [str(one["data"]) for one in sets]
    warn_of_same((source, [prompt_of(source), read]) for source, read in zip(sources, prints, strict=True))
    splits = {source: splits_of(inputs.opened(source)) for source in sources}

    def cells(name: str, encoder: Encoder) -> Iterator[Cell]:
        for called, per_class, asked, same in ways:
            untrained = same.method["name"] == ZERO_SHOT and not rules.seeded  # its pictures do not matter
            once = untrained and not is_random(same.descriptions)  # nor does its seed
            if untrained and per_class != shots[0]:
                continue
            words = fingerprints(same.descriptions)
            if same.precision == "auto":
                same = same.model_copy(update={"precision": precision()})
            if called == RAISED:
                same = same.model_copy(update={"method": same.method | {"aspect_weights": _weights(encoder)}})
            settings, prompts = same.model_dump(mode="json"), [_own_prompt(asked, one) for one in sets]
            for (one, read, prompt), seed in itertools.product(
                zip(sets, prints, prompts, strict=True), grid.seeds[: 1 if once else None]
            ):
                if called == TUNED and same.val_split not in splits[str(one["data"])]:
                    continue  # nothing to choose on
                varied = one | {"encoder": absolute(name), "name": called, "seed": seed}
                varied |= {"method": settings["method"] | prompt}
                yield Cell(
                    protocol=grid.protocol,
                    task="classify",
                    method=called,
                    encoder=name,
                    data=str(one["data"]),
                    shots=None if untrained else per_class,
                    seed=None if once else seed,
                    settings=settings | varied,
                    inputs={"encoder": encoder.fingerprint} | read | words,
                )

    return cells


def _warn_of_fewer(source: str, drawn: Labelled, shots: int) -> None:
    """Says which classes have fewer training pictures than are asked for; methods' programs take those, too."""
    numbers = Counter(drawn.labels)
    if few := [name for label, name in enumerate(drawn.class_names) if numbers[label] < shots]:
        have = count(len(few), "class has", "classes have")
        say_once(source, f"{source}: {have} fewer than {shots} training pictures, all of which are taken: {some(few)}.")


def _asked(grid: GridSettings, rules: Protocol, method: Json, training: Json, count: int | None) -> AdaptSettings:
    """What is said of all cells of a method and a number of shots; each has data and an encoder of its own."""
    given = {"name": "", "data": "each", "encoder": "each", "method": method, "protocol": rules.like, "shots": count}
    settings = checked(AdaptSettings, merged(given | {"take_fewer": True}, merged(grid.settings, training)))
    if settings.task:
        raise ConfigError(f"task is {settings.task[0]!r}; a cell of a grid has one set; `adapt` takes several")
    return settings


def _own_prompt(asked: AdaptSettings, one: Values) -> Json:
    """The published prompt of a set, as a setting of the method, unless its sentences were asked for."""
    if asked.descriptions:
        return {}
    own = own_prompt(asked.method["name"], one["data"], one["test"], *one["also"])
    return {key: prompt for key, prompt in own.items() if key not in asked.method}


class Wanted(NamedTuple):
    """A method of a grid."""

    called: str
    """In tables."""
    method: Json
    """Its settings, its name among them."""
    training: Json
    """Settings of `adapt` for it alone."""


def _named(method: str | Values) -> Wanted:
    """A method as a grid names it."""
    if isinstance(method, str):
        if method in (RAISED, TUNED):
            return Wanted(method, {"name": ZERO_SHOT, "tune_aspects": method == TUNED}, {})
        return Wanted(method, {"name": method}, {})
    settings = dict(method)
    called, training = settings.pop("called", settings.get("name")), settings.pop("training", {})
    name = settings.get("name")
    if not isinstance(name, str):
        raise ConfigError(f"methods: {dict(method)!r:.80} has no name; write {{name: NAME, setting: value}}")
    if not isinstance(called, str) or not called.strip() or not called.isprintable():
        raise ConfigError(f"methods: {name} has called: {called!r:.60}; it should be a text of one line")
    if called == ZERO_SHOT and (settings != {"name": ZERO_SHOT} or training):
        raise ConfigError(
            f"methods: {dict(method)!r:.80} would be called {ZERO_SHOT} in tables, as what all others are compared "
            "with; give it a name of its own, called: NAME"
        )
    training = check(AdaptSettings, training, f"methods: training of {called}")
    _check_free(training, f"methods: training of {called}")
    return Wanted(called, settings, training)


def _weights(encoder: Encoder) -> list[float]:
    if encoder.aspects < 2:
        raise ConfigError(f"aspects: the vectors of {encoder.name} have one aspect; give a run of align with prompts")
    return raised_weights(encoder.aspects)


# Captions and sentences


def _scored(grid: GridSettings, rules: Protocol, data: Sequence[str]) -> Cells:
    inputs = Inputs()
    max_bad = check(AdaptSettings, grid.settings, grid.protocol).get("max_bad", 0)
    prints = {
        source: inputs.of_texts(rules.task, source, grid.split, max_bad) for source in track(data, "Reading sets")
    }
    warn_of_same(prints.items())

    def cells(name: str, encoder: Encoder) -> Iterator[Cell]:
        for source, read in prints.items():
            yield Cell(
                protocol=grid.protocol,
                task=rules.task,
                method="as it is",
                encoder=name,
                data=source,
                settings={"split": grid.split, "encoder": absolute(name), "max_bad": max_bad},
                inputs={"encoder": encoder.fingerprint, "data": read},
            )

    return cells


# On disk


def write_plan(folder: Path, cells: Sequence[Cell]) -> Path:
    """Writes cells down for workers; a plan is called by its hash.

    Raises:
        FileError: it cannot be written.
    """
    text = json.dumps([vars(cell) for cell in cells], ensure_ascii=False)
    path = make_folder(folder / "plans") / f"{digest(text)[:32]}.json"
    write_text(path, text)
    return path


def read_plan(path: Path) -> list[Cell]:
    """The cells that `write_plan` wrote to this file.

    Raises:
        FileError: the file was changed since.
    """
    cells = read_json(path)
    if path.stem != digest(read_bytes(path))[:32]:
        raise FileError(f"{path}: damaged or altered, it is not what its name says. Run the same again.")
    for one in cells:
        check_own(one["settings"].get("method"), str(path))
    return [Cell(**one) for one in cells]
