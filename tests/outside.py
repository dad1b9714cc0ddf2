"""Python's audit events as a net: what would run foreign code, or reach out, while a test reads foreign files; and one
by one, for a test that asks what is done on the disk (`heard`).

A hook cannot be taken away again, so there is one, which notes only while somebody watches. Events of other threads
count. What a library of ours starts for itself is told apart by its place in the stack.
"""

import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

EVENTS = {
    "pickle.find_class": "pickle",
    "socket.__new__": "socket",
    "socket.bind": "socket",
    "socket.connect": "socket",
    "socket.getaddrinfo": "socket",
    "socket.sendto": "socket",
    "subprocess.Popen": "process",
    "os.exec": "process",
    "os.fork": "process",
    "os.posix_spawn": "process",
    "os.spawn": "process",
    "os.system": "process",
    "builtins.input": "stdin",
    "exec": "import",
}
"""Each event and the word by which a test allows it."""
OURS = str(Path(__file__).parents[1]), sys.prefix
"""Where code may lie, even below the folder of temporary files."""


@dataclass(eq=False)  # one within another may have seen the same
class Watched:
    """What was seen."""

    allowed: set[str]
    events: list[str] = field(default_factory=list)


_watching: list[Watched] = []
_listening: list[tuple[str, Callable[..., object]]] = []


def _hook(event: str, given: tuple[object, ...]) -> None:
    for wanted, call in tuple(_listening):
        if event == wanted:
            call(*given)
    if _watching and event in EVENTS and (message := _message(event, given)):
        for seen in _watching:
            if EVENTS[event] not in seen.allowed:
                seen.events.append(message)


def _message(event: str, given: tuple[object, ...]) -> str:
    """What is noted of an event. Nothing of a module that does not lie in a data folder; of a socket that cannot leave
    this machine, as each event loop of asyncio has two (what connects one is noted); of joblib counting cores; and of
    matplotlib looking for fonts, the first time on a machine."""
    if event == "socket.__new__" and given[1] == getattr(socket, "AF_UNIX", None):
        return ""
    if event == "subprocess.Popen" and given[0] in ("lscpu", "fc-list"):
        return ""
    if event != "exec":
        return f"{event} {str(given)[:120]}"
    place = str(getattr(given[0], "co_filename", ""))
    if not place.startswith(tempfile.gettempdir()) or place.startswith(OURS):
        return ""
    return f"a module of a data folder was run ({place})"


sys.addaudithook(_hook)


@contextmanager
def watch(allowed: set[str]) -> Iterator[Watched]:
    """Notes events until the block ends."""
    seen = Watched(allowed)
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)


@contextmanager
def heard(event: str, call: Callable[..., object]) -> Iterator[None]:
    """`call` gets what each event says ("os.listdir": the folder), before it happens; if it raises, it does not."""
    listener = event, call
    _listening.append(listener)
    try:
        yield
    finally:
        _listening.remove(listener)
