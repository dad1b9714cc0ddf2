"""Files spoilt at random, and a process that reads them while another watches it.

A file is known by its number: the same number, the same file. `fuzz` says of each how its reading ended (`OUTCOMES`).
Time is the reader's processor time, which others on the machine do not change; memory is what it holds at its peak
above what it held before the first file.
"""

import json
import os
import random
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from seeds import BINARY, SEEDS, read

OUTCOMES = ("read", "refused", "traceback", "reached out", "slow", "large", "hang", "crash")
GOOD = OUTCOMES[:2]
MOST_SECONDS, MOST_BYTES = 5.0, 500 * 2**20
NO_ANSWER = 120.0
"""Seconds without processor time after which a reader hangs."""
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
WORDS = (
    *(
        b"[",
        b"{",
        b'"',
        b"\\ud800",
        b"\xff",
        b"\xed\xa0\x80",
        b"\0",
        b"\r",
        b"\n\n",
        b",",
        b"\t",
        b"null",
        b"NaN",
        b"-1",
    ),
    *(b"-1", b"1e999", b"9" * 400, b"[" * 3000, b"&a [*a]", b"!!python/name:os.system ", b"../../", b"C:\\"),
    *(
        b"/dev/zero",
        b"true",
        b"''",
        b'""',
        b"{}",
        b"[]",
        b": ",
        b"- ",
        b"\xef\xbb\xbf",
        b"\xf0\x9f\x98\x80",
        b"e\xcc\x81" * 50,
    ),
)
ODD = (None, True, -1, 0, 1.5, 2**70, float("nan"), "", "\ud800", "../x.png", "x" * 5000, [], {}, [None], {"a": []})


@dataclass
class Outcomes:
    """How the readings ended, by kind of file; what was not good, and the costliest of all."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: int = 0

    def note(self, number: int, kind: str, ended: str, message: str = "") -> None:
        self.counts.setdefault(kind, Counter())[ended] += 1
        if ended not in GOOD:
            self.bad.append(f"{number} ({kind}): {ended} {message}".rstrip())


def spoilt(number: int) -> tuple[str, bytes]:
    """The kind and the bytes of one file."""
    draw = random.Random(number)
    kind = draw.choice(sorted(SEEDS))
    data = draw.choice(SEEDS[kind])
    if kind.startswith("json") and draw.random() < 0.5:
        return kind, json.dumps(_other(json.loads(data), draw)).encode()
    for _ in range(draw.choice((1, 1, 2, 3, 6, 12))):
        data = _changed(data, draw, SEEDS[kind], kind in BINARY)
    return kind, data


def _changed(data: bytes, draw: random.Random, seeds: list[bytes], binary: bool) -> bytes:
    at = draw.randrange(len(data) + 1)
    end = min(len(data), at + int(draw.expovariate(1 / 20)) + 1)
    match draw.choice(["bits", "number", "cut", "drop", "twice", "noise", "word", "splice", "end"]):
        case "bits":
            return data[:at] + bytes(one ^ 1 << draw.randrange(8) for one in data[at : at + 1]) + data[at + 1 :]
        case "number" if binary:
            size = draw.choice((1, 2, 4, 8))
            value = (draw.choice(NUMBERS) % 256**size).to_bytes(size, draw.choice(("big", "little")))
            return data[:at] + value + data[at + size :]
        case "cut":
            return data[:at]
        case "drop":
            return data[:at] + data[end:]
        case "twice":
            return data[:end] + data[at:end] * draw.choice((1, 2, 50)) + data[end:]
        case "noise":
            return data[:at] + draw.randbytes(end - at) + data[end:]
        case "splice":
            other = draw.choice(seeds)
            return data[:at] + other[draw.randrange(len(other)) :]
        case "end":
            return data + draw.randbytes(draw.randrange(40))
        case _:
            return data[:at] + draw.choice(WORDS) + data[at:]


def _other(value: object, draw: random.Random) -> object:
    """The same JSON with something else in one place of it."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(sorted(value))
        if draw.random() < 0.15:
            return {name: inner for name, inner in value.items() if name != key}
        return value | {key: _other(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.85:
        at = draw.randrange(len(value))
        return [*value[:at], _other(value[at], draw), *value[at + 1 :]]
    return draw.choice(ODD)


def fuzz(
    numbers: range, place: Path, until: float = float("inf"), reads: Callable[[str, bytes, Path], None] = read
) -> Iterator[Outcomes]:
    """What became of the files so far, now and then and at the end; `until` as in `time.monotonic`."""
    found, left = Outcomes(), list(reversed(numbers))
    while left and time.monotonic() < until:
        here, there = get_context("spawn").Pipe()
        reader = get_context("spawn").Process(target=_read_all, args=(there, place, reads))
        reader.start()
        there.close()
        try:
            here.recv()
            while left and time.monotonic() < until:
                number = left.pop()
                here.send(number)
                ended = _answer(here, reader.pid)
                if isinstance(ended, str):
                    found.note(number, spoilt(number)[0], ended)
                    break
                kind, outcome, message, seconds, memory = ended
                found.note(number, kind, outcome, message)
                found.seconds, found.memory = max(found.seconds, seconds), max(found.memory, memory)
                if number % 1000 == 0:
                    yield found
        finally:
            reader.kill()
            reader.join()
            here.close()
    yield found


def _answer(here: Connection, pid: int | None) -> tuple[str, str, str, float, int] | str:
    """What the reader says of a file; "hang" or "crash" where it says nothing."""
    start, waited = _busy(pid), 0.0
    while True:
        try:
            if here.poll(1.0):
                return here.recv()
            waited += 1.0
            if (now := _busy(pid)) > start + 4 * MOST_SECONDS:
                return "hang"
            if now > start:
                start, waited = min(start, now), 0.0 if waited < NO_ANSWER / 2 else waited
            if waited > NO_ANSWER:
                return "hang"
        except (EOFError, OSError):
            return "crash"


def _busy(pid: int | None) -> float:
    """Seconds of processor time."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read_all(there: Connection, place: Path, reads: Callable[[str, bytes, Path], None]) -> None:
    """Reads files, by their numbers, as they are asked for."""
    from outside import watch

    from polyprompt.errors import PolypromptError

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    for kind in SEEDS:  # what is imported at first is no file's
        for seed in SEEDS[kind]:
            read(kind, seed, place)
    idle = _held("VmRSS")
    most = _held("VmSize") + 4 * MOST_BYTES  # what asks for more is told so, and the machine goes on
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    there.send("ready")
    while True:
        number = there.recv()
        kind, data = spoilt(number)
        Path("/proc/self/clear_refs").write_text("5")
        start, message, ended = time.process_time(), "", "read"
        with watch(set()) as seen:
            try:
                reads(kind, data, place)
            except PolypromptError as error:
                ended = "refused" if str(error) and "\n" not in str(error) else "traceback"
                message = "" if ended == "refused" else f"several lines: {error}"[:200]
            except Exception as error:
                place_of = traceback.extract_tb(error.__traceback__)[-1]
                ended = "large" if isinstance(error, MemoryError) else "traceback"
                message = f"{type(error).__name__}: {error}"[:200] + f" ({place_of.filename}:{place_of.lineno})"
        seconds, memory = time.process_time() - start, _held("VmHWM") - idle
        if seen.events:
            ended, message = "reached out", seen.events[0]
        elif ended in GOOD and seconds > MOST_SECONDS:
            ended, message = "slow", f"{seconds:.1f} s"
        elif ended in GOOD and memory > MOST_BYTES:
            ended, message = "large", f"{memory / 2**20:.0f} MiB"
        there.send((kind, ended, message, seconds, memory))


def _held(name: str) -> int:
    """Bytes of memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024
