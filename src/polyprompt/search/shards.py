"""A folder embedded by several workers: processes here, Ray tasks on their devices, Slurm jobs.

The collection holds `work/` for the time being: a plan, the files that are to be looked at in shards of some hundred,
claims on them (executors/claims.py), and a result for each shard. A worker opens the model once, claims a shard,
writes its rows, thumbnails and log into the collection's own stores, and claims the next one when that is done; nothing
but names goes from one process to another. What a lost worker had claimed, another one claims. All of them judge files
by the log as it stood in the beginning, so a shard that is done twice is counted once, and its rows are kept once.
"""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from polyprompt.data.files import readable
from polyprompt.data.items import Picture
from polyprompt.disk.files import make_folder, read_json, write_json
from polyprompt.errors import FileError
from polyprompt.executors import Executor, start
from polyprompt.executors.claims import take
from polyprompt.media.pictures import file_bytes
from polyprompt.nn.precision import Choosing
from polyprompt.progress import progress
from polyprompt.search.candidates import Candidate
from polyprompt.search.collection import Stores
from polyprompt.search.fill import Done, Work
from polyprompt.search.models import check_model, open_model

SHARD = 512
"""Files that are claimed at a time."""
WORK, PLAN, DONE = "work", "plan.json", "done"
EVERY = 0.5
"""Seconds until a worker without work looks again: another one may be lost."""


@dataclass(frozen=True)
class Opened:
    """What each worker opens, as `open_model` does."""

    model: str
    encoder: str | None
    towers: Mapping[str, str | None]
    precision: Choosing


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Workers that embed what is new in a collection."""

    executor: Executor
    workers: int
    opened: Opened

    def __call__(self, todo: Sequence[Candidate], gone: Sequence[str], fingerprint: str, stores: Stores) -> Done:
        """Embeds what is to be done; for who holds the collection's lock.

        Raises:
            FileError: shards were left; the same command goes on with them. ConfigError: no such executor here.
        """
        place = stores.folder / WORK
        shutil.rmtree(place, ignore_errors=True)  # of a run that was killed; what it embedded is known
        files = [(one.path, one.size, one.changed, str(one.file)) for one in todo]
        shards = [files[at : at + SHARD] for at in range(0, len(files), SHARD)]
        make_folder(place / DONE)
        for number, shard in enumerate(shards):
            write_json(place / f"{number}.json", shard)
        log = [piece.path.name for piece in stores.files.pieces()]
        plan = asdict(self.opened) | {"fingerprint": fingerprint, "log": log, "gone": list(gone), "shards": len(shards)}
        write_json(place / PLAN, plan)
        with progress("Shards", len(shards)) as advance:
            seen = 0

            def watch() -> None:
                nonlocal seen
                now = len(_done(place))
                advance(now - seen)
                seen = now

            start(self.executor, min(self.workers, max(len(shards), 1)), work, place / PLAN, watch)
        results = [read_json(path) for path in _done(place)]
        for store in (stores.rows, stores.thumbnails, stores.files):
            store.refresh()
        if len(results) < len(shards):
            left = len(shards) - len(results)
            raise FileError(f"{stores.folder}: {left} of {len(shards)} shards were left; the same again goes on.")
        shutil.rmtree(place, ignore_errors=True)
        counts, moved = (sum((Counter(one[key]) for one in results), Counter[str]()) for key in ("counts", "moved"))
        return Done(counts, [(path, why) for one in results for path, why in one["bad"]], moved)


def work(plan_file: Path) -> None:
    """Embeds shards until all have a result."""
    place, plan = plan_file.parent, read_json(plan_file)
    model = open_model(plan["model"], plan["encoder"], **plan["towers"])
    model.precision = plan["precision"]
    check_model(model, plan["model"], plan["fingerprint"], str(place.parent))
    before = Stores(place.parent).latest(plan["log"])
    here = before.keys() - set(plan["gone"])
    while left := [number for number in range(plan["shards"]) if not _result(place, number).exists()]:
        claims = ((number, take(place / "claims" / str(number))) for number in left)
        number, claim = next((pair for pair in claims if pair[1] is not None), (-1, None))
        if claim is None:
            time.sleep(EVERY)
            continue
        try:
            if not _result(place, number).exists():
                one = Work(model, Stores(place.parent), before)
                one.embed([_candidate(*file) for file in read_json(place / f"{number}.json")], here)
                one.keep()
                written = place / f"{number}.{os.getpid()}.result"
                written.write_text(json.dumps(vars(one.done)))
                claim.publish(written, _result(place, number))
        finally:
            claim.give_back()


def _candidate(path: str, size: int, changed: int, file: str) -> Candidate:
    return Candidate(path, size, changed, Picture(readable(file), partial(file_bytes, Path(file))), Path(file))


def _result(place: Path, number: int) -> Path:
    return place / DONE / f"{number}.json"


def _done(place: Path) -> list[Path]:
    return list((place / DONE).glob("*.json"))
