"""`polyprompt run`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from polyprompt.bench.settings import GridSettings
from polyprompt.cli.arguments import Where, Workers, executor_of
from polyprompt.cli.options import Assignments, read
from polyprompt.errors import ConfigError, TrainingError
from polyprompt.settings import merged, nested, settings_of
from polyprompt.values import Json

RECIPES = (".yaml", ".yml")


def command(
    what: Annotated[str, typer.Argument(metavar="PROTOCOL", help="A protocol, or a recipe: FILE.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; may be shared by several machines.")],
    methods: Annotated[str | None, typer.Option(metavar="A,B", help="Names from `polyprompt methods`.")] = None,
    data: Annotated[str | None, typer.Option(metavar="A,B", help="Sets; the published tables' if not given.")] = None,
    encoders: Annotated[str | None, typer.Option(metavar="A,B", help="ViT-B-16/openai, a folder, a run.")] = None,
    seeds: Annotated[str | None, typer.Option(metavar="1,2", help="Of draw and training; 1,2,3.")] = None,
    shots: Annotated[str | None, typer.Option(metavar="1,2", help="Training pictures a class.")] = None,
    assignments: Assignments = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cells and how long they should take.")] = False,
    workers: Workers = 1,
    executor: Where = "local",
) -> None:
    """Compare methods on many sets: a grid of results by one of the field's protocols.

    Protocols: zero-shot, aspects, few-shot, base-to-novel, cross-dataset, domain-generalization, single-source,
    leave-one-domain-out, domainbed, retrieval, sts. What has a result is not done again; the same command goes on
    after any stop.

    Example: polyprompt run base-to-novel --methods coop,maple --data eurosat --encoders ViT-B-16/openai --out runs/grid
    """
    lists = {"methods": methods, "data": data, "encoders": encoders, "seeds": seeds, "shots": shots}
    given = {name: _items(text, name) for name, text in lists.items() if text is not None}
    settings = _settings(what, given, assignments or [])
    where = executor_of(executor)
    from polyprompt.executors import check, prepare

    if not dry_run:  # which may be asked far from where the work will be
        check(where)
        prepare(where, workers, "polyprompt.bench.worker")
    from polyprompt.bench.estimate import estimated
    from polyprompt.bench.grid import planned, run
    from polyprompt.bench.worker import title
    from polyprompt.progress import duration
    from polyprompt.runs.cells import results_in

    try:
        cells, left, seconds = planned(settings, out, keep=not dry_run)
    except ConfigError as error:
        if not what.lower().endswith(RECIPES) or given or assignments or str(error).startswith(what):
            raise
        raise ConfigError(f"{what}: {error}") from None  # where else could it come from
    if dry_run:
        for cell in left:
            typer.echo(title(cell))
    if cells and not left:
        results_in(out)  # a result that was damaged since is told, not counted
    if not left or dry_run:
        how_long = f": about {duration(estimated(left) if seconds is None else seconds)}" if left else ""
        typer.echo(f"{len(cells)} cell{'s' * (len(cells) != 1)}, {len(left)} to do{how_long}")
        return
    failed = run(cells, out, executor=where, workers=workers)
    typer.echo(f"{len(cells) - len(failed)} of {len(cells)} cells have results. See: polyprompt report {out}")
    for line in failed:
        typer.echo(f"failed: {line}", err=True)
    if failed:
        raise TrainingError(f"{len(failed)} of {len(cells)} cells failed, named above; the same again tries them.")


def _items(text: str, option: str) -> list[str]:
    """What an option lists, commas and blanks between; of places those that have commas in their names stay whole."""
    items, left = [], text.split(",")
    longest = len(left) if option in ("data", "encoders") else 1
    while left:
        names = (",".join(left[:end]).strip() for end in range(longest, 1, -1))
        items.append(next(filter(_is_there, names), left[0].strip()))
        left = left[items[-1].count(",") + 1 :]
    return items


def _is_there(name: str) -> bool:
    """Whether there is such a folder or file, or the folder behind the name of a set, which has no commas."""
    known, _, folder = name.partition("@")
    return os.path.exists(name) or ("," not in known and os.path.exists(folder))


def _settings(what: str, given: dict[str, list[str]], assignments: list[str]) -> GridSettings:
    """The grid's settings: a recipe's, options over it."""
    from polyprompt.disk.yaml import read_yaml
    from polyprompt.methods import OWN, check_own
    from polyprompt.runs.settings import AdaptSettings
    from polyprompt.settings import check, checked

    recipe = what.lower().endswith(RECIPES)
    values: Json = {"protocol": what}
    if recipe:
        values = check(GridSettings, read_yaml(Path(what)), what)
        values["settings"] = check(AdaptSettings, values.get("settings", {}), what, "settings.")
        for method in values.get("methods", ()):
            check_own(method, what)
    os.environ[OWN] = ",".join([os.environ.get(OWN, ""), *given.get("methods", [])])  # for workers, who read a plan
    for name, items in given.items():
        try:
            values[name] = [int(one) for one in items] if name in ("seeds", "shots") else items
        except ValueError:
            raise ConfigError(f"--{name} is {','.join(items)}; give whole numbers with commas between") from None
    known = {one.name: one for one in settings_of(AdaptSettings)}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r}: write key=value, as in --set epochs=20.")
        part = check(AdaptSettings, nested(key, read(value, known.get(key))), "--set")
        values["settings"] = merged(values.get("settings", {}), part)
    return checked(GridSettings, values, what if recipe else "")
