"""Counts which small breakages the tests notice, for docs/reliability.md:

    .venv/bin/python benchmarks/mutants.py [AREA ...] [--count N] [--minutes M]

tests/fire/mutating.py draws and tries them: of losses, masks, the keys of caches, and writers.
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("tests", "tests/fire"))
os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

from measure import write

ESTIMATED = 10
"""Mutants after which it is said how long all should take."""


def main() -> None:
    from mutating import AREAS, Counted, count

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"all if none is given: {', '.join(AREAS)}")
    parser.add_argument("--count", type=int, default=200, help="how many of each area")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end then, and say how far it came")
    given = parser.parse_args()
    end, areas = time.monotonic() + 60 * given.minutes, given.areas or [*AREAS]
    for number, area in enumerate(areas):
        found = Counted(area)
        until = time.monotonic() + (end - time.monotonic()) / (len(areas) - number)
        began = time.monotonic()
        for found in count(area, given.count, until):
            print(area, found.mutants, found.noticed, found.survivors[-1:], flush=True)
            if found.mutants == ESTIMATED:
                minutes = given.count * (time.monotonic() - began) / 60 / ESTIMATED
                print(f"{area}: at this pace {given.count} mutants take {minutes:.0f} minutes", flush=True)
        notes = [f"Left: {one}." for one in found.survivors]
        if found.mutants < given.count:
            notes.append(f"{found.mutants} of {given.count} mutants, then its time or their number was over.")
        write(
            f"reliability-mutants-{area.replace(' ', '-')}",
            {
                "claim": "of a hundred small breakages of a file the tests nearest to it notice at least ninety",
                "found": {"mutants": found.mutants, "noticed": found.noticed, "left": len(found.survivors)},
                "notes": notes,
            },
        )


if __name__ == "__main__":
    main()
