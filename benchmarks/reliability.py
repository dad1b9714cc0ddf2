"""Counts what is survived, for docs/reliability.md: .venv/bin/python benchmarks/reliability.py NAME [--count N]

    flips     bits flipped in every kind of file that is kept
    kills     align, adapt, a grid and an index killed at random moments and started again
    leases    workers of one grid killed, or stopped beyond their leases and let go on late
    races     two processes on one cold cache, and into one folder
    calls     every call of the system that writes fails once, in every writer and command
    hostile   checkpoints, models, videos, settings and adapters made to run code or to reach out
    others    the same flips in a table of numbers as we and other libraries keep it

Everything runs on toy towers. What is counted lies in tests/fire/, where slow tests count less of it.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path

sys.path.extend(
    str(Path(__file__).parents[1] / folder) for folder in ("tests", "tests/runs", "tests/fire", "tests/hostile")
)
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from measure import write


def flips(count: int, place: Path, until: float) -> dict:
    import bits
    import toy_runs
    from flips import OUTCOMES, flip, kinds

    bits.photos(place / "photos")
    bits.towers(place)
    toy_runs.run(place / "run", place)
    found, notes = [], []
    made = kinds(place / "kinds", place / "run")
    for number, kind in enumerate(made):
        share = count // len(made) + (number < count % len(made))
        counted, missed = flip(kind, share)
        found.append({"kept": kind.name, "flips": share, **{name: counted[name] for name in OUTCOMES}})
        notes += [f"Missed in {kind.name}: {one}." for one in missed[:3]]
        print(found[-1], missed[:3], flush=True)
    total = {name: sum(row[name] for row in found) for name in ("flips", *OUTCOMES)}
    return {
        "claim": "every bit that is flipped in a file that is kept is refused, mended, or without effect",
        "found": [*found, {"kept": "all", **total}],
        "notes": notes,
    }


def others(count: int, place: Path, until: float) -> dict:
    from others import LIBRARIES, OUTCOMES, count_flips

    found = []
    for name in LIBRARIES:
        counted = count_flips(name, count, place)
        found.append({"kept by": name, "flips": count, **{ended: counted[ended] for ended in OUTCOMES}})
        print(found[-1], flush=True)
    return {
        "claim": "what others do with flipped bits in the same 256 rows of 32 numbers, each as it reads by default",
        "found": found,
        "notes": [
            "`wrong`: other numbers without a word. `harmless`: the right numbers, nothing said, of flips in what is "
            "not read. `mended`: said, set aside and computed again. `crashed`: the reading process died, or did not "
            "answer within a minute."
        ],
    }


def kills(count: int, place: Path, until: float) -> dict:
    from forks import wait_for_server
    from kills import count_kills
    from toy_work import JOBS, make_place

    make_place(place)
    wait_for_server()
    found, notes = [], []
    for number, name in enumerate(JOBS):
        share = count // len(JOBS) + (number < count % len(JOBS))
        end = time.monotonic() + (until - time.monotonic()) / (len(JOBS) - number)
        counted = count_kills(name, share, place, place, until=end)
        found.append({"killed": name, "kills": counted.kills, "runs": counted.runs, "lost or wrong": counted.lost})
        notes += counted.notes[:3]
        if counted.kills < share:
            notes.append(f"{name}: {counted.kills:,} of {share:,} kills, then its time was over.")
        print(found[-1], counted.notes, flush=True)
    total = {name: sum(row[name] for row in found) for name in ("kills", "runs", "lost or wrong")}
    return {
        "claim": "killed at any moment, work that is started again ends with the same bytes and figures, and leaves "
        "nothing behind",
        "found": [*found, {"killed": "all", **total}],
        "notes": notes,
    }


def leases(count: int, place: Path, until: float) -> dict:
    from leases import CELLS_A_GRID, WORKERS, count_leases

    counted = count_leases(count, place, until=until)
    notes = [
        f"{WORKERS} workers at once on each of {counted.grids} grids of {CELLS_A_GRID} cells; every fourth worker was "
        "stopped instead of killed, and let go on when others had done all. `twice`: results that were others when "
        "they were looked at again. `other report`: grids whose tables or figures are not those of an undisturbed "
        "one, times and machines aside."
    ]
    if counted.kills < count:
        notes.append(f"{counted.kills} of {count} kills, then its time was over.")
    return {
        "claim": "of a grid whose workers are killed or return late nothing is lost, nothing is done twice and kept",
        "found": {
            "killed": counted.kills - counted.stopped, "stopped, then late": counted.stopped,
            "results": counted.results, "lost": counted.lost, "twice": counted.twice, "other report": counted.other,
        },
        "notes": notes + counted.notes[:3],
    }  # fmt: skip


def races(count: int, place: Path, until: float) -> dict:
    from forks import wait_for_server
    from races import into_one_folder, on_one_cache
    from toy_work import make_place

    make_place(place)
    wait_for_server()
    third = (until - time.monotonic()) / 3
    found = {"one cold cache of rows": on_one_cache(count, place, until=time.monotonic() + third)}
    for name in ("adapt", "align"):
        raced = into_one_folder(name, count, place, place, until=time.monotonic() + third)
        found[f"{name} into one folder"] = raced
    rows = [
        {"two on": name, "pairs": one.pairs, "lost": one.lost, "doubled": one.doubled, "wrong": one.wrong}
        for name, one in found.items()
    ]
    notes = [f"{name}: {note}" for name, one in found.items() for note in one.notes[:3]]
    notes += [
        f"{row['two on']}: {row['pairs']} of {count} pairs, then its time was over."
        for row in rows
        if row["pairs"] < count
    ]
    return {"claim": "of two processes at once nothing is lost, done twice or wrong", "found": rows, "notes": notes}


COUNTED = ("calls", "told", "done", "wrong")


def calls(count: int, place: Path, until: float) -> dict:
    from calls import run_preloaded
    from failing_work import COMMANDS, HEAVY, WRITERS

    names = [*WRITERS, *HEAVY, *COMMANDS][:count]
    rows = run_preloaded(place, names, None if until == math.inf else until - time.monotonic())
    late = [f"{len(rows)} of {len(names)} writers and commands, then its time was over."] * (len(rows) < len(names))
    return {
        "claim": "whichever call of the system fails, old files stay, one line says it, and nothing is left behind",
        "found": [
            {"writes": row["name"], "calls, each failed once": row["calls"]} | {k: row[k] for k in COUNTED[1:]}
            for row in [*rows, {"name": "all"} | {k: sum(row[k] for row in rows) for k in COUNTED}]
        ],
        "notes": late
        + [note for row in rows for note in row["notes"][:3]]
        + ["`told`: one line and exit code 2. `done`: it ended well without that call, as notes may be left out."],
    }


def hostile(count: int, place: Path, until: float) -> dict:
    from harmful import count_harmful, harmful

    found = {kind: asdict(row) for kind, row in count_harmful(islice(harmful(place), count), place).items()}
    total = {name: sum(row[name] for row in found.values()) for name in next(iter(found.values()))}
    return {
        "claim": "no file or folder that is made to run code, or to reach out, does so; it is read or refused in one "
        "line",
        "found": [{"made to harm": kind, **row} for kind, row in (found | {"all": total}).items()],
        "notes": [
            "`ran`: called a function, imported a module, started a process, or opened a socket. `otherwise`: ended in "
            "anything but one line. `read`: with classes of the libraries' own, and nothing of the file's."
        ],
    }


COUNTS: dict[str, tuple[Callable[[int, Path, float], dict], int]] = {
    "flips": (flips, 100_000),
    "kills": (kills, 2_000),
    "leases": (leases, 200),
    "races": (races, 200),
    "calls": (calls, 100),
    "hostile": (hostile, 10_000),
    "others": (others, 1_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=COUNTS)
    parser.add_argument("--count", type=int, help="how many; as many as the page promises if not given")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="calls, kills, leases, races: end then, and say how far"
    )
    given = parser.parse_args()
    count, usual = COUNTS[given.name]
    torch.set_num_threads(1)
    memory = Path("/dev/shm")  # no disk is worn out
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        os.environ["POLYPROMPT_CACHE"] = str(Path(place) / "cache")
        until = time.monotonic() + 60 * given.minutes
        write(f"reliability-{given.name}", count(usual if given.count is None else given.count, Path(place), until))


if __name__ == "__main__":
    main()
