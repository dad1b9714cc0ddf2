"""What stands on stderr: how far a long step is and how long it takes; a bar on a terminal, else a line now and then.

    for caption in track(captions, "Encoding captions"):
        ...

    with step("Writing text.onnx, a minute or more"):  # of which nothing can be counted
        ...

Steps that end within a few seconds print no lines. Of several training processes only the first one speaks.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from rich.progress import Task

Item = TypeVar("Item")

FIRST_LINE = 3.0
"""Seconds before the first plain line."""
LINE_EVERY = 10.0
"""Seconds between plain lines."""
OTHERS = ("root", "huggingface_hub", "open_clip", "timm", "transformers")
"""Where libraries that open weights log; open_clip at the root, too."""


@runtime_checkable
class Advance(Protocol):
    """Say that `count` more units are done; `note` (a loss, say) is shown beside them."""

    def __call__(self, count: int = 1, note: str = "") -> None: ...  # noqa: D102


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """`items`, one by one, while progress is shown; `total` is asked of `items` if not given."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # pyright: ignore[reportArgumentType]
    with progress(what, total) as advance:
        for item in items:
            yield item
            advance()


def progress(
    what: str, total: int | None, done: int = 0, seconds: float | None = None
) -> AbstractContextManager[Advance]:
    """Progress of a step that is not a plain loop: `with progress("Training", steps) as advance: ... advance()`.

    Args:
        what: names the step.
        total: how many units it has; without it no time left can be told.
        done: units that an earlier run has done already; they do not count towards the speed.
        seconds: the step ends when they are over, however many units are left then.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        return nullcontext(lambda count=1, note="": None)
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    return _bar(what, total, done, seconds) if on_terminal else _lines(what, total, done, time.monotonic, seconds)


@contextmanager
def _bar(what: str, total: int | None, done: int, seconds: float | None) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Left(TextColumn):
        def render(self, task: "Task") -> Text:
            left = _least(task.time_remaining, None if seconds is None else seconds - (task.elapsed or 0.0))
            return Text("" if left is None else f"{duration(left)} left", style="progress.remaining")

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        Left(""),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task(what, total=total, completed=done, note="")
        yield lambda count=1, note="": bar.update(task, advance=count, note=note)


@contextmanager
def _lines(
    what: str, total: int | None, done: int, clock: Callable[[], float], seconds: float | None = None
) -> Iterator[Advance]:
    start = clock()
    due = start + FIRST_LINE
    here, last = 0, ""

    def advance(count: int = 1, note: str = "") -> None:
        nonlocal here, due, last
        here += count
        now = clock()
        if now < due:
            return
        due = now + LINE_EVERY
        line = f"{what}: {done + here:,}"
        if total is not None:
            line += f" of {total:,} ({100 * (done + here) // max(total, 1)} %)"
        at_this_speed = (now - start) / here * (total - done - here) if total is not None and here else None
        left = _least(at_this_speed, None if seconds is None else start + seconds - now)
        if left is not None:
            line += f", {duration(left)} left"
        if line != last:
            say(f"{line}, {note}" if note else line)
        last = line

    yield advance
    if (took := clock() - start) >= FIRST_LINE:
        say(f"{what}: {done + here:,} done in {duration(took)}")


def _least(*times: float | None) -> float | None:
    """The smallest of those that are known."""
    return min((one for one in times if one is not None), default=None)


@contextmanager
def step(what: str) -> Iterator[None]:
    """A step that has no units: said once it has lasted some seconds; when it is done, what stands before a comma."""
    if int(os.environ.get("RANK", "0")) > 0:
        yield
        return
    start = time.monotonic()
    timer = threading.Timer(FIRST_LINE, say, [f"{what} ..."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # so that its line stands before what comes now
    if (took := time.monotonic() - start) >= FIRST_LINE:
        say(f"{what.partition(', ')[0]}: done in {duration(took)}")


def say(line: str) -> None:
    """One line on stderr: what takes a while, and what was left out, cut or put right."""
    if sys.stderr is not None:  # as in a program without a terminal; print would take stdout instead
        print(f"polyprompt: {line}", file=sys.stderr, flush=True)


@contextmanager
def only_ours() -> Iterator[None]:
    """Holds back what libraries that open weights log within: each retry, and what they raise as well."""
    silent = logging.NullHandler()
    logging.root.addHandler(silent)  # else a line at the root makes a handler there, which says all later lines twice
    handlers = {handler for name in OTHERS for handler in logging.getLogger(name).handlers}

    def ours(record: logging.LogRecord) -> bool:
        return record.name.partition(".")[0] not in OTHERS

    for handler in handlers:
        handler.addFilter(ours)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(ours)
        logging.root.removeHandler(silent)


def duration(seconds: float) -> str:
    """Seconds as people say them: "8 s", "3 min 20 s", "2 h 05 min"."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
