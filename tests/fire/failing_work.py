"""Writers and commands for calls.py: what was there before, and what writes."""

import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import golden_cases as golden
import pytest

from polyprompt.errors import PolypromptError

Prepare, Act = Callable[[Path], None], Callable[[Path], int]
OLD, NEW = b"old" * 1000, b"new" * 1000
NAMED = ""
"""Under which name all that is new is written, if not under the command's own."""
CACHE = True
"""Whether commands are told where to keep caches."""
BATCHES = ("--set", "batch=4", "--set", "precision=fp32")
QUICK, LONGER = ("--set", "epochs=1", *BATCHES), ("--set", "epochs=2", *BATCHES)


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
    add_scores(trial / "run", "retrieval", "a", {}, {})


def _cell(trial: Path) -> None:
    from polyprompt.bench.plan import write_plan
    from polyprompt.disk.files import make_folder
    from polyprompt.executors.claims import take
    from polyprompt.runs.cells import Cell, Result, write_result

    cell = Cell(protocol="p", task="classify", method="coop", encoder="toy", data="pets")
    write_plan(trial, [cell])
    claim = take(trial / "claims" / cell.name)
    assert claim is not None
    make_folder(trial / "cells")
    written = claim.folder / "result-1"
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


class Command(NamedTuple):
    """One command, or one way to use it."""

    words: tuple[object, ...]
    """What is typed; {} stands for the folder in which calls fail."""
    before: tuple[str, ...] = ()
    """What was there before, of what `_make` made."""


def _make(place: Path) -> None:
    """Toy towers, finished runs, a grid and a collection, made while nothing fails; all libraries are imported then."""
    import torch
    import toy_work

    torch.set_num_threads(1)
    torch.backends.nnpack.set_flags(False)  # its threads are not there in a fork, and it ends with that
    os.environ |= {"POLYPROMPT_CACHE": str(place / "cache"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    toy_work.make_place(place)
    _few(place)
    _stand_ins(place)
    made = _commands(place)
    words = {folder: made[name].words[:-1] for name, folder in FINISHED.items()}
    words["grown"] = ("index", place / "toy.safetensors", place / "growing", "--precision", "fp32", "--out")
    for folder, said in words.items():
        assert _call([*said, place / folder]) == 0, folder
    shutil.copytree(place / "few" / "blue", place / "growing" / "blue")
    for name in ("align", "adapt"):
        _begin(made[f"{name} --resume"].words[:-2], place / f"begun-{name}")
    lora = ("adapt", place / "few", "--encoder", place / "toy.safetensors", "--method", "clip_lora", "--shots", 1)
    assert _call([*lora, *QUICK, "--out", place / "lora"]) == 0


def _begin(words: Sequence[object], out: Path) -> None:
    """A run as it is left by a kill behind its first epoch: a checkpoint, and a log that goes beyond it."""
    from polyprompt.runs import align, training
    from polyprompt.train.checkpoint import checkpoints_in

    seconds = align.EPOCH_SECONDS
    align.EPOCH_SECONDS = training.EPOCH_SECONDS = 0.0
    assert _call([*words, out]) == 0, out
    align.EPOCH_SECONDS = training.EPOCH_SECONDS = seconds
    last, _ = checkpoints_in(out / "checkpoints")
    shutil.rmtree(last)
    shutil.rmtree(out / "model")
    (out / "results.json").unlink()


def _few(place: Path) -> None:
    """Two classes of three of the pictures, and a caption for each."""
    rows = ["file,caption,split"]
    for name in ("red", "blue"):
        (place / "few" / name).mkdir(parents=True)
        for path, split in zip(sorted((place / "photos" / name).iterdir()), ("train", "train", "test"), strict=False):
            shutil.copy(path, place / "few" / name)
            rows.append(f"{name}/{path.name},{len(rows)} a {name} square,{split}")
    shutil.copytree(place / "few" / "red", place / "growing" / "red")
    shutil.copytree(place / "few", place / "told")
    (place / "told" / "captions.csv").write_text("\n".join([*rows, *(f"{row[:-5]} again,dev" for row in rows[3::3])]))


def _stand_ins(place: Path) -> None:
    """For what is too large, elsewhere, or in another process: the demo's towers, a published set, workers."""
    from polyprompt.bench import grid
    from polyprompt.data import catalog, read
    from polyprompt.data.entry import Download
    from polyprompt.runs import align
    from polyprompt.skins import onnx, onnx_towers

    toys = {
        "text": {"tower": str(place / "llm"), "prompts": 2}, "image": {"tower": str(place / "cnn"), "width": 32},
        "data": str(place / "told"), "dim": 24, "batch": 4, "precision": "fp32", "epochs": 1,
    }  # fmt: skip
    settings, pairs, entry = align.AlignSettings, read.read_pairs, catalog.entry
    align.AlignSettings = lambda name, data, epochs, text: settings(**toys, name=name)
    read.read_pairs = lambda name, *parts, **more: pairs(
        str(place / "told") if name.startswith("openmoji") else name, *parts, **more
    )
    archive = shutil.make_archive(str(place / "toys"), "zip", place / "few")
    fetched = (Download(url=Path(archive).as_uri(), folder="eurosat"),)
    catalog.entry = lambda name: replace(entry(name), downloads=fetched)
    grid.start = lambda executor, workers, job, plan, watch: job(plan)
    translated = onnx.translated
    known: dict[object, object] = {}

    def once(module, *inputs, **more):
        """Nothing is written while torch translates, for minutes."""
        if type(module) not in known:
            known[type(module)] = translated(module, *inputs, **more)
        return known[type(module)]

    onnx.translated = onnx_towers.translated = once


@contextmanager
def _hub(trial: Path) -> Iterator[None]:
    """A stand-in of the Hugging Face hub, and what is laid out for it below `trial`."""
    from huggingface_hub import constants
    from toy_hub import TOKEN, Hub

    with Hub() as hub, pytest.MonkeyPatch.context() as patch:
        served = multiprocessing.get_context("fork").Process(target=hub.serve_forever, daemon=True)
        served.start()
        for name, value in {"ENDPOINT": hub.address, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}.items():
            patch.setattr(constants, name, value)
        patch.setenv("HF_TOKEN", TOKEN)
        patch.setattr(tempfile, "tempdir", str(trial))
        try:
            yield
        finally:
            served.kill()
            served.join()


def _commands(place: Path) -> dict[str, Command]:
    few, told, clip = place / "few", place / "told", place / "toy.safetensors"
    towers = ("--text-tower", place / "llm", "--image-tower", place / "cnn", "--text-prompts", 2, "--dim", 24)
    coop = ("--method", "coop", "--set", "method.context=2", "--shots", 1)
    cell = ("--methods", "coop", "--data", few, "--encoders", clip, "--shots", 1, "--seeds", 1)
    picture = next((few / "red").iterdir()) if few.exists() else few
    original, names = golden.FOLDER / "checkpoints" / "coop_end", ",".join(golden.Case("coop_end").class_names)
    return {
        "report": Command(("report", "{}/aligned", "--out", "{}/page.html"), ("aligned",)),
        "report of a grid": Command(("report", "{}/grid", "--out", "{}/page.html"), ("grid",)),
        "explain": Command(("explain", "{}/aligned", picture, "a red square", "--out", "{}/why.png"), ("aligned",)),
        "search": Command(
            ("search", "{}/aligned", "a red square", "--images", few, "--grid", "{}/grid.png"), ("aligned",)
        ),
        "search of a collection": Command(("search", "{}/collection", "red", "--grid", "{}/grid.png"), ("collection",)),
        "export": Command(("export", "{}/adapted", "{}/model.onnx"), ("adapted",)),
        "export of two towers": Command(("export", "{}/aligned", "{}/towers"), ("aligned",)),
        "export-original": Command(("export-original", "{}/adapted", "{}/original"), ("adapted",)),
        "export-peft": Command(("export-peft", "{}/lora", "{}/peft"), ("lora",)),
        "export-lance": Command(("export-lance", "{}/collection", "{}/tables"), ("collection",)),
        "import": Command(("import", "coop", original, "--classes", names, "--encoder", clip, "--out", "{}/taken")),
        "push": Command(("push", "{}/adapted", "me/pets"), ("adapted",)),
        "evaluate": Command(("evaluate", "{}/aligned", told, "--split", "test"), ("aligned",)),
        "data fetch": Command(("data", "fetch", "eurosat", "{}/sets")),
        "index": Command(("index", clip, few, "--precision", "fp32", "--out", "{}/new")),
        "index of what has grown": Command(
            ("index", clip, place / "growing", "--precision", "fp32", "--out", "{}/grown"), ("grown",)
        ),
        "run": Command(("run", "few-shot", *cell, *QUICK, "--out", "{}/new")),
        "adapt": Command(("adapt", few, "--encoder", clip, *coop, *QUICK, "--out", "{}/new")),
        "align": Command(("align", told, *towers, *QUICK, "--set", "image.width=32", "--out", "{}/new")),
        "adapt --resume": Command(
            ("adapt", few, "--encoder", clip, *coop, *LONGER, "--out", "{}/begun-adapt", "--resume"), ("begun-adapt",)
        ),
        "align --resume": Command(
            ("align", told, *towers, *LONGER, "--set", "image.width=32", "--out", "{}/begun-align", "--resume"),
            ("begun-align",),
        ),
        "adapt --method auto": Command(
            (
                "adapt",
                few,
                "--encoder",
                clip,
                "--method",
                "auto",
                "--budget",
                "60",
                "--shots",
                2,
                *QUICK,
                "--out",
                "{}/new",
            )
        ),
        "demo": Command(("demo", "--epochs", 1, "--out", "{}/demo")),
        "align from another": Command(
            ("align", told, *towers, *QUICK, "--set", "image.width=32", "--from", "{}/aligned", "--out", "{}/new"),
            ("aligned",),
        ),
        "predict by a run of align": Command(("predict", "{}/aligned", few, "--classes", "red,blue"), ("aligned",)),
    }


FINISHED = {"align": "aligned", "adapt": "adapted", "index": "collection", "run": "grid"}
"""What commands made before others begin."""
COMMANDS = tuple(_commands(Path("/nowhere")))
"""All that write, if only to a cache; what `check`, `cost`, `data check` and `methods` do is to read.

`serve` opens a collection as `search` does, and writes no more."""
COLD = ("export-lance",)
"""What starts threads when it is imported is not called before there are forks."""


def _before(place: Path, name: str) -> Prepare:
    """Copies of what a command works on, and an empty cache."""

    def prepare(trial: Path) -> None:
        for folder in _commands(place)[name].before:
            unused = () if folder.startswith("begun") else ("checkpoints",)
            shutil.copytree(place / folder, trial / folder, ignore=shutil.ignore_patterns(*unused))

    return prepare


def _command(place: Path, name: str) -> Act:
    command = _commands(place)[name]

    def act(trial: Path) -> int:
        if CACHE:
            os.environ["POLYPROMPT_CACHE"] = str(trial / "cache")
        with _hub(trial) if name == "push" else nullcontext():
            return _call([_filled(word, trial, command.before) for word in command.words])

    return act


def _filled(word: object, trial: Path, before: Sequence[str]) -> str:
    """A word with its folder; `NAMED` takes the place of the name of what is new."""
    said = str(word)
    if NAMED and said.startswith("{}/") and said[3:] not in before:
        said = "{}/" + NAMED + Path(said).suffix
    return said.replace("{}", str(trial))


def _call(words: Sequence[object]) -> int:
    """A command, as the shell would call it; its exit code."""
    from polyprompt.cli.main import main

    sys.argv = ["polyprompt", *map(str, words)]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0
