"""Counts how spoilt files of every kind end when they are read, for docs/reliability.md:

    .venv/bin/python benchmarks/fuzz.py [--count N] [--minutes M]

tests/hostile/fuzzing.py makes and reads them; a slow test there reads twenty thousand others.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("tests", "tests/hostile"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from measure import write


def main() -> None:
    from fuzzing import GOOD, OUTCOMES, Outcomes, fuzz

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="how many files")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end then, and say how far it came")
    given = parser.parse_args()
    torch.set_num_threads(1)
    memory, found = Path("/dev/shm"), Outcomes()  # no disk is worn out
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        for found in fuzz(range(given.count), Path(place), time.monotonic() + 60 * given.minutes):
            print(sum(count.total() for count in found.counts.values()), found.bad[-3:], flush=True)
    rows = [
        {"kind": kind, "files": count.total(), **{ended: count[ended] for ended in OUTCOMES}}
        for kind, count in sorted(found.counts.items())
    ]
    total = {name: sum(int(row[name]) for row in rows) for name in ("files", *OUTCOMES)}
    notes = [
        f"Of those that were read or refused, the one that took longest took {found.seconds:.2f} s of processor time, "
        f"and the largest {found.memory / 2**20:.0f} MiB above the idle process.",
        *([] if total["files"] == given.count else [f"{total['files']:,} of {given.count:,}, then its time was over."]),
        *(f"{one}." for one in found.bad[:20]),
    ]
    write(
        "reliability-fuzz",
        {
            "claim": "a spoilt file is read or refused in one line, within 5 s and 500 MiB above the idle process; "
            f"never {', '.join(ended for ended in OUTCOMES if ended not in GOOD)}",
            "found": [*rows, {"kind": "all", **total}],
            "notes": notes,
        },
    )


if __name__ == "__main__":
    main()
