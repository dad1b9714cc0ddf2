"""Who does what in a shared folder: claims with a lease and a number, so that nothing is lost and nothing kept twice.

A claim on a piece of work is the file `NAME/1`, `NAME/2`, ...: whoever makes the next number has it (making a file that
is not there yet is one step for every file system). Its holder touches it now and then. Where that stays away for
`lease` seconds, or the holder's process is gone from this machine, the next number may be taken. A holder that was
stopped and returns sees the higher number, and throws away what it has (a fencing token: Kleppmann 2017, Designing
Data-Intensive Applications, chapter 8). A result is linked to its place, which fails where one is already.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from polyprompt.disk.files import make_folder, read_json, writing
from polyprompt.errors import FileError

LEASE = 60.0
"""Seconds that a holder may stay silent."""


@dataclass(frozen=True)
class Claim:
    """A claim that this process holds; `number` fences off whoever had it before."""

    folder: Path
    number: int
    lease: float
    ended: threading.Event

    def beat(self) -> None:
        """Touches the claim until it is given back."""
        while not self.ended.wait(self.lease / 4):
            with suppress(OSError):
                os.utime(self.folder / str(self.number))

    def still_held(self) -> bool:
        """Whether nobody has taken it over."""
        return not (self.folder / str(self.number + 1)).exists()

    def publish(self, written: Path, place: Path) -> bool:
        """Puts a result, written whole on the same disk, where it belongs; False: somebody else's stands, or will.

        Raises:
            FileError: it cannot be put there.
        """
        try:
            with writing(place):
                if not self.still_held():
                    return False
                try:
                    os.link(written, place)
                except FileExistsError:
                    return False
                return True
        finally:
            written.unlink(missing_ok=True)

    def drop(self) -> None:
        """Takes the claim away as if it had not been made: the work was done a moment before."""
        self.ended.set()
        with suppress(OSError):
            (self.folder / str(self.number)).unlink()

    def give_back(self) -> None:
        """Ends the claim; what has no result may be claimed again at once."""
        self.ended.set()
        with suppress(OSError):
            (self.folder / str(self.number)).write_text("{}")


def take(folder: Path, lease: float = LEASE) -> Claim | None:
    """A claim on the work that `folder` stands for, unless another worker is at it.

    Raises:
        FileError: the folder cannot be written.
    """
    make_folder(folder)
    with writing(folder):
        number = max((int(name) for name in os.listdir(folder) if name.isdecimal()), default=0)
        if number and _alive(folder / str(number), lease):
            return None
        claim, holder = Claim(folder, number + 1, lease, threading.Event()), json.dumps(_me())
        try:
            with open(folder / str(claim.number), "x") as file:
                file.write(holder)  # at once: of whoever is killed before, nobody knows that he is gone
        except FileExistsError:  # another worker was quicker
            return None
    threading.Thread(target=claim.beat, daemon=True).start()
    return claim


def _alive(path: Path, lease: float) -> bool:
    """Whether a claim's holder is at work, as far as can be seen from here."""
    try:
        holder = read_json(path)
    except FileError:  # it is being written, or damaged: then its time alone counts
        holder = None
    if holder == {} or _is_gone(holder):
        return False
    clock = path.parent / f".clock-{os.getpid()}-{threading.get_ident()}"  # the file system's own
    clock.touch()
    now = clock.stat().st_mtime
    clock.unlink(missing_ok=True)
    try:
        return abs(now - path.stat().st_mtime) < lease  # ahead: a clock was put back since, and nobody touches it
    except FileNotFoundError:  # dropped a moment ago
        return False


def _is_gone(holder: object) -> bool:
    """Whether what a claim says is whole, and its holder was a process of this machine that has ended."""
    if not isinstance(holder, dict) or holder.get("host") != socket.gethostname():
        return False
    pid, began = holder.get("pid"), holder.get("began")
    return isinstance(pid, int) and isinstance(began, str) and _began(pid) != began


def _me() -> dict[str, str | int | float]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "began": _began(os.getpid()), "since": time.time()}


def _began(pid: int) -> str:
    """When a process of this machine began, in the system's own count: numbers of processes are used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "" if not Path("/proc/self/stat").exists() else "gone"
