"""Writers and commands for calls.py: what was there before, and what writes."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from polyprompt.errors import PolypromptError

Prepare, Act = Callable[[Path], None], Callable[[Path], int]
OLD, NEW = b"old" * 1000, b"new" * 1000


def every(place: Path, names: list[str]) -> dict[str, tuple[Prepare, Act]]:
    """Those that are named; all, if none is."""
    wanted = names or [*WRITERS, *HEAVY, *COMMANDS]
    found: dict[str, tuple[Prepare, Act]] = {}
    ready = False
    for name in wanted:
        if name in WRITERS:
            found[name] = (_old_file, _said(WRITERS[name]))
            continue
        if not ready:
            _make(place)
            ready = True
        found[name] = (
            _heavy if name in HEAVY else _before(place, name),
            _said(HEAVY[name]) if name in HEAVY else _command(place, name),
        )
    return found


def _said(write: Callable[[Path], None]) -> Act:
    """As the program does: one line and exit code 2."""

    def act(trial: Path) -> int:
        try:
            write(trial)
        except PolypromptError as error:
            print(f"polyprompt: {error}", file=sys.stderr)
            return 2
        return 0

    return act


# Writers that need no torch


def _old_file(trial: Path) -> None:
    (trial / "file").write_bytes(OLD)
    (trial / "damaged").mkdir()
    (trial / "damaged" / "file").write_bytes(OLD)
    (trial / "damaged" / "manifest.json").write_text('{"file": "0"}')


def _bytes(trial: Path) -> None:
    from polyprompt.disk.files import write_bytes

    write_bytes(trial / "file", NEW)


def _folder(trial: Path) -> None:
    from polyprompt.disk.files import whole_folder

    with whole_folder(trial / "made" / "new") as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "file").write_bytes(NEW)


def _built(trial: Path) -> None:
    from polyprompt.disk.files import built_once

    os.environ["POLYPROMPT_CACHE"] = str(trial)
    built_once(trial / "built", lambda temporary: (temporary / "file").write_bytes(NEW), "Building")


def _damaged(trial: Path) -> None:
    """A cache that is damaged is set aside and made again."""
    from polyprompt.disk.files import built_once

    os.environ["POLYPROMPT_CACHE"] = str(trial)
    built_once(trial / "damaged", lambda temporary: (temporary / "file").write_bytes(NEW), "Building")


def _sealed(trial: Path) -> None:
    from polyprompt.disk.sealed import write_sealed

    write_sealed(trial / "sealed.json", {"a": 1}, ["file"])


def _manifest(trial: Path) -> None:
    from polyprompt.disk.files import make_folder, write_json, write_manifest

    write_json(make_folder(trial / "m") / "a.json", {"a": 1})
    write_manifest(trial / "m")


WRITERS = {
    "a file": _bytes,
    "a folder": _folder,
    "a sealed file": _sealed,
    "a manifest": _manifest,
    "what is built once": _built,
    "what is built again": _damaged,
}


# Writers that do


def _heavy(trial: Path) -> None:
    _old_file(trial)


def _cache_rows(trial: Path) -> None:
    import flips

    from polyprompt.disk.rows import RowStore

    RowStore(trial / "rows", "fp32").get(flips.KEYS, lambda items: [flips._row(flips.KEYS[i]) for i in items], "Toys")


def _true_rows(trial: Path) -> None:
    import flips

    from polyprompt.disk.rows import RowStore

    store = RowStore(trial / "rows", "fp32", truth=True)
    for key in flips.KEYS[:2]:
        store.append([key], [flips._row(key)])


def _checkpoint(trial: Path) -> None:
    import torch

    from polyprompt.train import checkpoint

    task = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(task.parameters())
    for step in range(1, 4):
        at = checkpoint.Cursor(step, 0, step)
        checkpoint.save(trial / "checkpoints", at, task, optimizer, checkpoint.random_state(), {})


def _log(trial: Path) -> None:
    from polyprompt.train.log import Log

    log = Log(trial / "log.jsonl")
    log.open(0, "")
    log.add({"step": 1})
    log.length()


def _adapter(trial: Path) -> None:
    from toy_encoders import toy_encoder

    from polyprompt.adapt.engine import build
    from polyprompt.methods import config_of
    from polyprompt.runs.saved import save

    save(build(config_of("coop")(context=2), toy_encoder("clip"), ["cat", "dog"]), trial / "adapter")


def _run(trial: Path) -> None:
    """A run's folder from its start to its end, and scores added."""
    from toy_runs import ToySettings

    from polyprompt.disk.files import make_folder
    from polyprompt.runs.folder import add_scores, open_run

    with open_run("toy", trial / "run", ToySettings(), resume=False) as run:
        run.start({})
        run.finish(run.head(), make_folder)
    add_scores(trial / "run", "retrieval", "a", {})


def _cell(trial: Path) -> None:
    from polyprompt.bench.plan import write_plan
    from polyprompt.disk.files import make_folder
    from polyprompt.executors.claims import take
    from polyprompt.runs.cells import Cell, Result, write_result

    cell = Cell(protocol="p", task="classify", method="coop", encoder="toy", data="pets")
    write_plan(trial, [cell])
    claim = take(trial / "claims" / cell.name)
    assert claim is not None
    written = make_folder(trial / "cells") / f".{cell.name}.1"
    try:
        write_result(written, Result(cell, {}, 1.0, "", ""))
        claim.publish(written, trial / "cells" / f"{cell.name}.json")
    finally:
        claim.give_back()


HEAVY = {
    "rows of a cache": _cache_rows,
    "rows of truth": _true_rows,
    "checkpoints": _checkpoint,
    "a log": _log,
    "an adapter": _adapter,
    "a run's folder": _run,
    "a result of a grid": _cell,
}


# Commands


def _make(place: Path) -> None:
    """Toy towers and finished runs, made while nothing fails; all libraries are imported, and forks have them."""
    if not (place / "adapted").exists():
        import toy_work

        toy_work.make_place(place)
        os.environ["POLYPROMPT_CACHE"] = str(place / "cache")
        import toy_runs

        toy_runs.run(place / "aligned", place)
        assert _call(["adapt", *_words(place)["adapt"][:-1], place / "adapted"]) == 0


def _words(place: Path) -> dict[str, list]:
    """The words of each command; {} stands for the folder in which calls fail."""
    photos, captions, clip = place / "photos", place / "captions", place / "toy.safetensors"
    towers = ["--text-tower", place / "llm", "--image-tower", place / "cnn", "--text-prompts", 3, "--dim", 24]
    quick = ["--epochs", 1, "--batch", 4, "--precision", "fp32"]
    few = ["--method", "coop", "--set", "method.context=2", "--shots", 2]
    picture = photos / "red" / "0.png"
    return {
        "report": ["{}/run", "--out", "{}/page.html"],
        "explain": ["{}/run", picture, "a red square", "--out", "{}/why.png"],
        "search": ["{}/run", "a red square", "--images", photos, "--grid", "{}/grid.png"],
        "export": ["{}/adapted", "{}/model.onnx"],
        "export-original": ["{}/adapted", "{}/original"],
        "evaluate": ["{}/run", captions, "--split", "test"],
        "index": [clip, photos, "--out", "{}/collection", "--precision", "fp32"],
        "adapt": [photos, "--encoder", clip, *few, *quick, "--out", "{}/new"],
        "align": [captions, *towers, *quick, "--set", "image.width=32", "--out", "{}/new"],
    }


COMMANDS = tuple(_words(Path()))


def _before(place: Path, name: str) -> Prepare:
    """Copies of the runs that a command works on, and an empty cache."""

    def prepare(trial: Path) -> None:
        if name in ("report", "explain", "search", "evaluate"):
            shutil.copytree(place / "aligned", trial / "run", ignore=shutil.ignore_patterns("checkpoints"))
        if name in ("export", "export-original"):
            shutil.copytree(place / "adapted", trial / "adapted", ignore=shutil.ignore_patterns("checkpoints"))

    return prepare


def _command(place: Path, name: str) -> Act:
    def act(trial: Path) -> int:
        os.environ["POLYPROMPT_CACHE"] = str(trial / "cache")
        return _call([name, *(str(word).replace("{}", str(trial)) for word in _words(place)[name])])

    return act


def _call(words: list) -> int:
    """A command, as the shell would call it; its exit code."""
    from polyprompt.cli.main import main

    sys.argv = ["polyprompt", *map(str, words)]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0
