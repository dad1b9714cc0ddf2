"""Every command where nothing can be written, there is little room, names are odd, or nobody sits in front of it.

    python tests/fire/conditions.py PLACE [CONDITION...]     a line of JSON for each condition and command

As in calls.py a process is forked for each. Disks are small ones in memory, which only root can mount.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import failing_work
from calls import content, in_fork, what_is_wrong

NOBODY = 54_321
"""A user without a name and a home folder."""
ROOM, FILLING = 64 << 20, "filling"


@dataclass(frozen=True)
class Condition:
    """What is odd while a command runs."""

    ready: Callable[[Path], None] = lambda trial: None
    """After the trial's folder was filled, as root."""
    inside: Callable[[], None] = lambda: None
    """In the process of the command, before it begins."""
    named: str = ""
    """Stands in the place of every new name that is written."""
    room: int = 0
    """Bytes of a disk of its own; none if 0."""
    may_fail: bool = True


class Ended(NamedTuple):
    """How one command ended."""

    condition: str
    command: str
    code: int
    said: str
    """The last line."""
    wrong: str


def _read_only(trial: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(trial)], check=True)


def _full(left: int) -> Callable[[Path], None]:
    def fill(trial: Path) -> None:
        with open(trial / FILLING, "wb") as file:
            file.write(bytes(ROOM - left - _used(trial)))

    return fill


def _used(trial: Path) -> int:
    found = os.statvfs(trial)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _nobody() -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME"):
        os.environ.pop(name, None)
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def _nobody_without_cache() -> None:
    failing_work.CACHE = False
    os.environ.pop("POLYPROMPT_CACHE", None)
    _nobody()


def _no_streams() -> None:
    for number in (0, 1, 2):
        os.close(number)
    sys.stdin = sys.stdout = sys.stderr = None


def _open_to_all(trial: Path) -> None:
    for path in (trial.parent, *trial.parent.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)


CONDITIONS: Mapping[str, Condition] = {
    "a read-only disk": Condition(ready=_read_only, room=ROOM),
    "no room at all": Condition(ready=_full(0), room=ROOM),
    "room for 16 kB": Condition(ready=_full(16 << 10), room=ROOM),
    "room for 200 kB": Condition(ready=_full(200 << 10), room=ROOM),
    "names of 300 letters": Condition(named="n" * 300),
    "names of 250 letters": Condition(named="n" * 250),
    "names not in UTF-8": Condition(named="caf\udce9", may_fail=False),
    "no home folder": Condition(ready=_open_to_all, inside=_nobody, may_fail=False),
    "no home folder, no cache": Condition(ready=_open_to_all, inside=_nobody_without_cache),
    "umask 077": Condition(inside=lambda: os.umask(0o077) and None, may_fail=False),
    "umask 000": Condition(inside=lambda: os.umask(0) and None, may_fail=False),
    "no terminal, no streams": Condition(inside=_no_streams, may_fail=False),
}


def every(condition: str, place: Path, commands: Mapping[str, tuple]) -> Iterator[Ended]:
    """Each command under one condition."""
    odd, trial = CONDITIONS[condition], place / "trial"
    for command, (prepare, act) in commands.items():
        shutil.rmtree(trial, ignore_errors=True)
        trial.mkdir()
        with _disk(trial, odd.room) if odd.room else nullcontext():
            prepare(trial)
            odd.ready(trial)
            before = content(trial)
            before.pop(trial / FILLING, None)

            def inside(trial: Path, act=act) -> int:
                odd.inside()
                os.chdir(trial)
                return act(trial)

            failing_work.NAMED = odd.named
            code, said = in_fork(inside, trial)
            failing_work.NAMED = ""
            if (trial / FILLING).exists():  # what is whole may need room to be opened
                (trial / FILLING).unlink()
            wrong = what_is_wrong(code, said, trial, before) or _modes(condition, trial, before)
            if code and not odd.may_fail and command not in failing_work.COLD:
                # LanceDB knows UTF-8 names only, and nobody may import it where root's files are
                wrong = wrong or f"it should work: {said[-300:]}"
            if (trial / "~").exists():
                wrong = "a folder called ~ was made"
        yield Ended(condition, command, code, said.strip().rpartition("\n")[2][-200:], wrong)


@contextmanager
def _disk(place: Path, size: int) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _modes(condition: str, trial: Path, before: Mapping[Path, bytes]) -> str:
    """New files have the mode that the umask gives."""
    if not condition.startswith("umask"):
        return ""
    mask = int(condition.split()[1], 8)
    for path in trial.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_file() and path not in before and mode & 0o666 != 0o666 & ~mask:
            return f"{path.relative_to(trial)} has mode {mode:o}"
    return ""


def main(place: Path, names: list[str]) -> None:
    """Prints a line for each."""
    commands = failing_work.every(place, [name for name in names if name not in CONDITIONS] or [*failing_work.COMMANDS])
    for name, (prepare, act) in commands.items():  # what it imports is there in all forks then
        if name not in failing_work.COLD:
            (place / "trial").mkdir()
            prepare(place / "trial")
            act(place / "trial")
            shutil.rmtree(place / "trial")
    for condition in [name for name in names if name in CONDITIONS] or CONDITIONS:
        for ended in every(condition, place, commands):
            print(json.dumps(ended._asdict()), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
