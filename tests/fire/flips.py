"""Bits flipped in every kind of file that is kept, each read again as the library reads it.

A flip is *refused* (an error that names a file), *mended* (said, and the right values come all the same), *harmless*
(the right values, nothing said: of notes of what was checked, which are made again), or *missed*: other values, or a
traceback.
"""

import hashlib
import io
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from toy_encoders import toy_encoder

from polyprompt.adapt.engine import build
from polyprompt.bench.plan import read_plan, write_plan
from polyprompt.campe.model import read_config
from polyprompt.disk.files import built_once, whole_folder, write_bytes, write_json
from polyprompt.disk.pieces import STAMPS
from polyprompt.disk.rows import RowStore
from polyprompt.errors import PolypromptError
from polyprompt.methods import config_of
from polyprompt.report import samples
from polyprompt.report.runs import read_run
from polyprompt.runs.cells import Cell, Result, read_result, write_result
from polyprompt.runs.folder import read_inputs
from polyprompt.runs.saved import load_adapter, save
from polyprompt.search.candidates import in_folder
from polyprompt.search.collection import Collection
from polyprompt.search.fill import index
from polyprompt.train import checkpoint

OUTCOMES = ("refused", "mended", "harmless", "missed")
KEYS = ["a", "bc", "def", "café"]


@dataclass(frozen=True)
class Kind:
    """One kind of what is kept, in a folder of its own."""

    name: str
    folder: Path
    read: Callable[[], object]
    """As the library reads it; what it gives can be compared."""
    only: str = ""
    """Which files are flipped, by a part of their paths; all but notes of what was checked."""


def flip(kind: Kind, count: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """Flips `count` bits, one at a time, in files drawn by their size; how they ended, and those that were missed."""
    whole = {path: path.read_bytes() for path in kind.folder.rglob("*") if path.is_file()}
    right, draw = kind.read(), random.Random(f"{kind.name} {seed}")
    found, missed = Counter[str](), list[str]()
    whole |= {path: path.read_bytes() for path in kind.folder.rglob("*") if path.is_file()}  # and what reading noted
    paths = sorted(path for path in whole if whole[path] and _wanted(kind, path))
    for _ in range(count):
        path = draw.choice(paths)  # small files are read as often as large ones
        place, bit = draw.randrange(len(whole[path])), draw.randrange(8)
        data = bytearray(whole[path])
        data[place] ^= 1 << bit
        path.write_bytes(data)
        ended = _ended(kind, right)
        found[ended] += 1
        if ended == "missed":
            missed.append(f"{path.relative_to(kind.folder)}, byte {place}, bit {bit}")
        _put_back(kind.folder, whole, path)
    return found, missed


def _wanted(kind: Kind, path: Path) -> bool:
    return kind.only in str(path.relative_to(kind.folder)) and (path.name != STAMPS or kind.only == STAMPS)


def _ended(kind: Kind, right: object) -> str:
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            got = kind.read()
    except PolypromptError as error:
        return "refused" if str(kind.folder) in str(error) else "missed"
    except Exception:
        return "missed"
    if got != right:
        return "missed"
    return "mended" if said.getvalue().strip() else "harmless"


def _put_back(folder: Path, whole: dict[Path, bytes], flipped: Path) -> None:
    for path in list(folder.rglob("*")):
        if path.is_file() and path not in whole:
            path.unlink()
        elif path.is_dir() and path.suffix == ".damaged":
            shutil.rmtree(path)
    for path, data in whole.items():
        if path == flipped or not path.exists() or path.stat().st_size != len(data) or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


# The kinds


def kinds(place: Path, aligned: Path) -> list[Kind]:
    """Every kind that is kept, below `place`; `aligned` is the folder of a finished run of `align`."""
    made = [
        *(_of_runs(place, aligned)),
        *(_of_models(place, aligned)),
        *(_of_rows(place)),
        *(_of_grids(place)),
        _collection(place / "collection"),
        _built(place / "built"),
    ]
    assert len({kind.folder for kind in made}) == len(made)
    return made


def _of_runs(place: Path, aligned: Path) -> list[Kind]:
    finished, unfinished = place / "finished", place / "begun"
    truth = ("config.json", "inputs.json", "log.jsonl", "results.json")
    for folder, names in ((finished, truth), (unfinished, truth[:2])):
        folder.mkdir(parents=True)
        for name in names:
            shutil.copy(aligned / name, folder / name)
    return [
        Kind("results, settings, inputs and log of a run", finished, lambda: asdict(read_run(finished))),
        Kind("settings and inputs of a run under way", unfinished, lambda: read_inputs(unfinished)),
        _checkpoints(place / "checkpoints"),
        _samples(place / "samples"),
    ]


def _checkpoints(folder: Path) -> Kind:
    torch.manual_seed(0)
    task = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(task.parameters())
    for step in (1, 2):  # alike in all but where they stand, so that the one before is right too
        task(torch.ones(1, 3)).sum().backward() if step == 1 else None
        optimizer.step() if step == 1 else None
        checkpoint.save(folder, checkpoint.Cursor(step, 0, step), task, optimizer, checkpoint.random_state(), {"n": 1})
    expected = _digest(*checkpoint.learned_state(task).values())

    def read() -> object:
        fresh = torch.nn.Linear(3, 2)
        restored = checkpoint.restore(folder, fresh, torch.optim.AdamW(fresh.parameters()), {"n": 1})
        assert restored is not None
        assert restored[0].step in (1, 2)
        assert _digest(*checkpoint.learned_state(fresh).values()) == expected
        return _digest(*checkpoint.learned_state(fresh).values())

    return Kind("checkpoints, the newest of two", folder, read, only=checkpoint.checkpoints_in(folder)[0].name)


def _samples(folder: Path) -> Kind:
    some = samples.Samples(
        data="toy", images=3, captions=3, prompts=("a",), correlation=((1.0,),), looks=(), searches=()
    )
    with whole_folder(folder) as temporary:
        write_bytes(temporary / "0123456789abcdef.jpg", _png(0).getvalue())
        write_json(temporary / "samples.json", some.model_dump(mode="json"))
    return Kind("samples for pages", folder, lambda: samples.read(folder).model_dump())


def _of_models(place: Path, aligned: Path) -> list[Kind]:
    model, adapter = place / "model", place / "adapter"
    shutil.copytree(aligned / "model", model)
    encoder = toy_encoder("clip")
    save(build(config_of("coop")(context=2), encoder, ["cat", "dog"]), adapter)

    def read_model() -> object:
        from safetensors.torch import load_file

        return [repr(read_config(model)), _digest(*load_file(model / "model.safetensors").values())]

    def read_adapter() -> object:
        adapted = load_adapter(adapter, encoder)
        return [adapted.class_names, repr(adapted.config), _digest(*adapted.adapter.state_dict().values())]

    return [Kind("models of align", model, read_model), Kind("adapters", adapter, read_adapter)]


def _of_rows(place: Path) -> list[Kind]:
    cache, truth, noted = place / "cache", place / "truth", place / "noted"

    def read(folder: Path, *, truth: bool) -> object:
        store = RowStore(folder, "fp32", truth=truth)
        if truth:
            store.check()
        return [_digest(row) for row in store.get(KEYS, lambda items: [_row(KEYS[i]) for i in items], "Toys")]

    for folder in (cache, truth, noted):
        read(folder, truth=folder == truth)
    time.sleep(2.1)  # from then on it is noted that they were checked
    return [
        Kind("rows of a cache (states, tokens, pictures, sentences)", cache, lambda: read(cache, truth=False)),
        Kind("rows of truth", truth, lambda: read(truth, truth=True)),
        Kind("notes that rows were checked", noted, lambda: read(noted, truth=False), only=STAMPS),
    ]


def _of_grids(place: Path) -> list[Kind]:
    cells, plans = place / "cells", place / "plans"
    figures = {"classification": {"test": {"accuracy": 0.5, "calibration_error": 1e-05}}}
    cell = Cell(protocol="few-shot", task="classify", method="coop", encoder="toy", data="pets", settings={"rate": 0.1})
    path = cells / f"{cell.name}.json"
    cells.mkdir()
    write_result(path, Result(cell, figures, 1.5, "two cores", "2026-01-02"))
    plan = write_plan(place, [cell])
    return [
        Kind("results of a grid", cells, lambda: asdict(read_result(path))),
        Kind("plans of a grid", plans, lambda: [asdict(one) for one in read_plan(plan)]),
    ]


class Toy:
    """Embeds pictures by their pixels."""

    name, prompts, frames, precision, fingerprint = "toy", ("colour", "form"), 2, "fp32", "toy"

    def __init__(self) -> None:
        from polyprompt.media.pictures import Preprocess

        self.preprocess = Preprocess(4, (0.5,) * 3, (0.5,) * 3)

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(pixels.flatten(1)[:, :8] + 0.01, dim=-1)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.ones(len(texts), 8), dim=-1)


def _collection(folder: Path) -> Kind:
    pictures = folder.with_name("pictures")
    pictures.mkdir()
    for i in range(4):
        (pictures / f"{i}.png").write_bytes(_png(i).getvalue())
    index(Toy(), in_folder(pictures), str(pictures), folder)

    def read() -> object:
        found = Collection(folder)
        found.check()
        rows = found.vectors.take(np.arange(len(found)))
        lines = sorted(map(repr, found.stores.lines()))
        return [asdict(found.about), _digest(rows), lines, [found.thumbnail(row) for row in range(len(found))]]

    return Kind("collections, their index", folder, read)


def _built(folder: Path) -> Kind:
    def build(temporary: Path) -> None:
        (temporary / "weights.bin").write_bytes(bytes(range(200)))

    def read() -> object:
        return (built_once(folder / "toy", build, "Unpacking") / "weights.bin").read_bytes()

    read()
    return Kind("unpacked weights and drawings", folder, read)


def _png(seed: int) -> io.BytesIO:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    file.seek(0)
    return file


def _row(key: str) -> torch.Tensor:
    draw = torch.Generator().manual_seed(sum(key.encode()))
    return torch.randn(1 + len(key) % 3, 5, generator=draw)


def _digest(*tensors: torch.Tensor) -> str:
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().contiguous().numpy().tobytes())
    return total.hexdigest()
