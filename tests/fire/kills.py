"""Runs killed at random moments, and what they leave once they were ended."""

import json
import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from forks import server, start
from toy_work import JOBS

MOST = 5
"""Kills of one run, before it is let to its end."""


@dataclass
class Counted:
    """How kills of one kind of work ended."""

    kills: int = 0
    runs: int = 0
    """Runs that were killed and then ended."""
    lost: int = 0
    """Runs that did not end, or left something else than an undisturbed one."""
    notes: list[str] = field(default_factory=list)


def count_kills(
    name: str, count: int, place: Path, work: Path, *, until: float = float("inf"), seed: int = 0
) -> Counted:
    """Kills work of one kind `count` times, at random moments of its whole time; caches begin cold.

    Args:
        name: of JOBS.
        count: kills.
        place: what `make_place` made.
        work: a folder for all that is written.
        until: on `time.monotonic`'s clock; no run is begun that might last longer.
        seed: of the moments.
    """
    job, context, draw, counted = JOBS[name], server(warm=True), random.Random(f"{name} {seed}"), Counted()
    for number in range(2):  # the first one also waits for the server
        began, whole = time.monotonic(), work / f"{name}-whole-{number}"
        process = start(context, job.run, work / "whole.txt", place=place, out=whole, cache=whole.with_suffix(".cache"))
        process.join()
        assert process.exitcode == 0, (work / "whole.txt").read_text()
    right, longest = job.left(whole), time.monotonic() - began
    while counted.kills < count and time.monotonic() + (MOST + 1) * longest < until:
        out, cache, said = (work / f"{name}-{counted.runs}{end}" for end in ("", ".cache", ".txt"))
        arguments = {"place": place, "out": out, "cache": cache}
        for _ in range(min(MOST, count - counted.kills)):
            process = start(context, job.run, said, **arguments)
            process.join(draw.uniform(0, longest))
            if not process.is_alive():
                break
            process.kill()
            process.join()
            counted.kills += 1
        process = start(context, job.run, said, **arguments)
        process.join(300)
        counted.runs += 1
        wrong = _wrong(job, process, out, right)
        if wrong:
            counted.lost += 1
            counted.notes.append(f"{name} {counted.runs}: {wrong}; {said.read_text()[-300:]}")
        for folder in (out, cache):
            shutil.rmtree(folder, ignore_errors=True)
    return counted


def _wrong(job, process, out: Path, right: object) -> str:
    if process.is_alive():
        process.kill()
        return "did not end within five minutes"
    if process.exitcode:
        return f"ended with {process.exitcode}"
    try:
        left = job.left(out)
        return "" if left == right else f"left {json.dumps(left)[:3000]} in place of {json.dumps(right)[:3000]}"
    except Exception as error:
        return f"cannot be read: {error}"
