"""Pairs of processes on one cold cache, and into one folder: nothing lost, nothing done twice, nothing wrong."""

import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import flips
from forks import server, start
from toy_work import JOBS

from polyprompt.disk.rows import RowStore


@dataclass
class Raced:
    """How pairs of one kind ended."""

    pairs: int = 0
    lost: int = 0
    """Items, or results, that are not there though a process said that it had ended well; or nobody ended well."""
    doubled: int = 0
    """Items computed, or steps logged, twice."""
    wrong: int = 0
    """Other values than those of a single process, or an end that is not one line."""
    notes: list[str] = field(default_factory=list)


def fills(folder: Path, log: Path, wait: float) -> None:
    """Fills a cache of rows, noting each item that is computed."""
    keys = [f"{key} {number}" for key in flips.KEYS for number in range(5)]

    def compute(items: list[int]) -> list:
        with open(log, "a") as file:
            file.write("".join(f"{keys[i]}\n" for i in items))
        time.sleep(wait)
        return [flips._row(keys[i]) for i in items]

    rows = RowStore(folder).get(keys, compute, "Toys")
    assert all(row.equal(flips._row(key)) for key, row in zip(keys, rows, strict=True)), "other rows than computed"


def on_one_cache(count: int, work: Path, *, until: float = float("inf"), seed: int = 0) -> Raced:
    """Two processes fill the same cold cache, the second a moment later."""
    context, draw, raced, longest = server(warm=True), random.Random(seed), Raced(), 0.0
    while raced.pairs < count and (began := time.monotonic()) + 2 * longest < until:
        folder, log = work / f"rows-{raced.pairs}", work / f"rows-{raced.pairs}.txt"
        said = [work / f"said-{raced.pairs}-{i}.txt" for i in (0, 1)]
        pair = []
        for output in said:
            pair.append(start(context, fills, output, folder=folder, log=log, wait=draw.uniform(0, 0.02)))
            time.sleep(draw.uniform(0, 0.01))
        for process in pair:
            process.join(120)
        raced.pairs += 1
        done = log.read_text().splitlines() if log.exists() else []
        raced.lost += len(set(done)) < 5 * len(flips.KEYS)
        raced.doubled += len(done) > len(set(done))
        if any(process.exitcode for process in pair):
            raced.wrong += 1
            raced.notes += [output.read_text()[-300:] for output in said]
        shutil.rmtree(folder)
        longest = max(longest, time.monotonic() - began)
    return raced


def into_one_folder(
    name: str, count: int, place: Path, work: Path, *, until: float = float("inf"), seed: int = 0
) -> Raced:
    """Two processes do the same work in one folder: one does it, the other is refused in a line, or finds it done."""
    job, context, draw, raced, longest = JOBS[name], server(warm=True), random.Random(f"{name} {seed}"), Raced(), 0.0
    cache, whole = work / f"{name}-cache", work / f"{name}-whole"
    process = start(context, job.run, work / "whole.txt", place=place, out=whole, cache=cache)
    process.join()
    right = job.left(whole)
    while raced.pairs < count and (began := time.monotonic()) + 2 * longest < until:
        out = work / f"{name}-{raced.pairs}"
        said = [work / f"{name}-{raced.pairs}-{i}.txt" for i in (0, 1)]
        pair = []
        for output in said:
            pair.append(start(context, job.run, output, place=place, out=out, cache=cache))
            time.sleep(draw.uniform(0, 0.3))
        for process in pair:
            process.join(300)
        raced.pairs += 1
        codes = [process.exitcode for process in pair]
        for code, output in zip(codes, said, strict=True):
            if code and "in use by" not in output.read_text():
                raced.wrong += 1
                raced.notes.append(output.read_text()[-300:])
        try:
            left = job.left(out)
        except Exception as error:
            left = error
        raced.lost += all(codes) or isinstance(left, Exception)
        raced.wrong += not isinstance(left, Exception) and left != right
        shutil.rmtree(out, ignore_errors=True)
        longest = max(longest, time.monotonic() - began)
    return raced
