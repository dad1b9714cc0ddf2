"""A run folder: what every task leaves behind it, who may write to it, and whether it is new, resumed or finished.

config.json     what was asked for, everything said
inputs.json     what it was started with: task, command, and what must stay the same (fingerprints, the draw)
log.jsonl, checkpoints/     the loop's (train/loop.py)
model/          what was learned
results.json    the figures; written last: a run that has it is finished, and training touches nothing any more

inputs.json is sealed over config.json, results.json over config.json, inputs.json and log.jsonl (disk/sealed.py): what
was altered is refused wherever a run is read, and scores that are added come with a new seal in one piece.

One process at a time writes here; of several processes of one run (`accelerate launch`) the main one. It holds the
system's lock on `.lock`, which goes when the process does, however it ends; `.holder.json` says who that is.
"""

import datetime
import json
import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Literal

from filelock import BaseFileLock, FileLock, Timeout

from polyprompt.disk.files import make_folder, read_json, sweep, write_json, writing
from polyprompt.disk.places import nearby
from polyprompt.disk.sealed import is_sealed, read_sealed, write_sealed
from polyprompt.errors import ConfigError, FileError
from polyprompt.progress import say
from polyprompt.runs.machine import machine
from polyprompt.runs.processes import is_main_process, on_main_process
from polyprompt.settings import Settings, checked
from polyprompt.train import checkpoint, log
from polyprompt.train.log import LOG
from polyprompt.values import Json, Values

RESULTS, CONFIG, INPUTS = "results.json", "config.json", "inputs.json"
TRIALS = "trials"
"""Where `adapt --method auto` notes what it has tried (auto.py)."""
LOCK, HOLDER = ".lock", ".holder.json"
PACKAGES = ("polyprompt", "torch", "transformers", "timm", "open_clip_torch")
"""Whose versions are noted."""

Scores = Literal["retrieval", "classification", "sentences"]


# A run


@dataclass(frozen=True)
class RunFolder:
    """A run folder, open; see `open_run`."""

    kind: str
    """The task: align, adapt."""
    folder: Path
    settings: Settings
    finished: bool
    """Whether it was finished before: then there is nothing to do."""
    since: float
    """When it began, on `time.perf_counter`'s clock; what earlier stretches took is counted, pauses are not."""

    @property
    def model(self) -> Path:
        """Where the model is, or will be."""
        return self.folder / "model"

    @property
    def config(self) -> Json:
        """The settings as config.json has them."""
        return self.settings.model_dump(mode="json")

    def start(self, inputs: Values) -> None:
        """Writes down what the run is started with, once all is there that it needs; or compares it with the beginning.

        Raises:
            FileError: it goes on with other inputs than it was started with, or cannot be written.
        """
        on_main_process(lambda: self._start(inputs))

    def _start(self, inputs: Values) -> None:
        path, same = self.folder / INPUTS, json.loads(json.dumps(inputs))
        if path.exists():
            before = read_inputs(self.folder)
            other = [name for name in same if before.get(name) != same[name]]
            if other:
                raise FileError(
                    f"{path}: the run was started with other inputs ({', '.join(other)} differ). Give it the same "
                    "ones, or choose another folder."
                )
        else:
            if not (self.folder / CONFIG).exists():  # else it was compared, and the run was killed right here
                write_json(self.folder / CONFIG, self.config)
            started = {"kind": self.kind, "command": _command(), "folder": os.getcwd()}
            write_sealed(path, started | same, beside=[CONFIG])

    def head(self) -> Json:
        """What results.json says of every run, whatever its task."""
        seconds = time.perf_counter() - self.since
        return {
            "kind": self.kind,
            "name": self.config["name"],
            "command": read_inputs(self.folder)["command"],
            "config": self.config,  # with what a resume gave in place of what config.json has (Settings.FREE)
            "seed": self.config["seed"],
            "versions": {name: version(name) for name in PACKAGES},
            "machine": machine(),
            "date": datetime.date.today().isoformat(),
            "seconds": round(seconds, 1),
            "training_seconds": round(checkpoint.newest(self.folder / "checkpoints").step_seconds, 1),
        }

    def finish(self, results: Values, save: Callable[[Path], None]) -> None:
        """Saves the model, and then the results: the run is finished. For the main process alone, as `head`.

        Args:
            results: `head` and the figures.
            save: writes the model into a folder that is not there yet, whole or not at all.

        Raises:
            FileError: no room; a resume ends it.
        """
        if not self.model.exists():
            save(self.model)
        _write_results(self.folder, results)


@contextmanager
def open_run(
    kind: str, out: Path, settings: Settings, *, resume: bool, outside: Sequence[str | None] = ()
) -> Iterator[RunFolder]:
    """The run in `out`: new, to go on, or finished; held until the block ends.

    A new one that fails before it has trained a step is taken away again: what it was started with may be mended. One
    that is stopped, by Ctrl-C or a kill, stays and can be resumed.

    Args:
        kind: the task.
        out: the folder; made if it is not there, and gone again behind the block if nothing was written.
        settings: all of them said, with a `name` and a `seed`.
        resume: go on with the run in `out`, if there is one.
        outside: sources of pictures; a run does not lie in a folder of them, where it would be taken for more.

    Raises:
        FileError: another process holds it, it holds a run and `resume` is not set or the settings are others, or no
            run can be there. Nothing was written then.
    """
    with ExitStack() as stack:

        def inspect() -> tuple[bool, float]:
            check_place(out, outside)
            if os.path.exists(out / RESULTS):  # finished runs are looked at without a lock: nobody changes them
                _check_settings(out, settings, resume)
                if os.path.exists(out / LOCK):  # someone is at it, or was killed behind its last write
                    with suppress(FileError), held(out):
                        sweep(out)
                return True, 0.0
            stack.enter_context(held(out))
            if os.path.exists(out / CONFIG):
                _check_settings(out, settings, resume)
            sweep(out)
            return os.path.exists(out / RESULTS), checkpoint.newest(out / "checkpoints").elapsed

        finished, before = on_main_process(inspect)
        if finished and is_main_process():
            say(f"{out}: finished before; nothing is done again.")
        new = not _begun(out)
        try:
            yield RunFolder(kind, out, settings, finished, time.perf_counter() - before)
        except Exception:
            if new and is_main_process():
                _take_away(out)
            raise


def _begun(out: Path) -> bool:
    return any(os.path.exists(out / name) for name in (CONFIG, INPUTS))


def _take_away(out: Path) -> None:
    """Removes what a run has written that has trained and tried nothing yet."""
    made = (
        (out / "model").exists()
        or checkpoint.checkpoints_in(out / "checkpoints")
        or list((out / TRIALS).glob("*.json"))
    )
    if made or ((out / LOG).exists() and (out / LOG).stat().st_size):
        return
    for name in (LOG, INPUTS, CONFIG):
        (out / name).unlink(missing_ok=True)
    for name in ("checkpoints", TRIALS):
        shutil.rmtree(out / name, ignore_errors=True)


def check_place(out: Path, outside: Sequence[str | None]) -> None:
    """Refuses a place in a folder of pictures, for what would be taken for some of them the next time.

    Args:
        out: where something is to be written.
        outside: sources of pictures; those that are no folders do not matter.

    Raises:
        FileError: it lies in one of them.
    """
    place = os.path.realpath(out) + os.sep
    for source in outside:
        if source and os.path.isdir(source) and place.startswith(os.path.realpath(source) + os.sep):
            raise FileError(
                f"{out}: lies among the pictures of {source}, where it would be taken for some of them. "
                "Choose a folder outside."
            )


def check_apart(out: Path, run: str | Path) -> None:
    """Refuses a place in a folder of pictures that a run was made with; what is no run folder is passed over.

    Raises:
        FileError: as `check_place`; or the run's settings are damaged.
    """
    folder = Path(run)
    if not all(os.path.isfile(folder / name) for name in (CONFIG, INPUTS)):
        return
    started, config = read_inputs(folder).get("folder", ""), read_json(folder / CONFIG)
    facts = [config.get(name) for name in ("data", "test", "task", "also")] if isinstance(config, dict) else []
    given = [source for fact in facts for source in (fact if isinstance(fact, list) else [fact])]
    check_place(out, [os.path.join(started, source) for source in given if isinstance(source, str)])


def _check_settings(out: Path, settings: Settings, resume: bool) -> None:
    """Goes on only if asked to, and with the settings that the run was started with; a finished one, ended with."""
    if not resume:
        raise FileError(f"{out}: holds a run already. Resume it with --resume, or choose another folder.")
    check_truth(out)
    finished = os.path.exists(out / RESULTS)
    now, before = settings.model_dump(mode="json"), read_json(out / CONFIG)
    try:
        # What it says of a method is looked at only where it is what was asked for: others may be anyone's.
        if not isinstance(before, dict) or before.get("method") == now.get("method"):
            before = checked(type(settings), before, str(out / CONFIG)).model_dump(mode="json")
    except ConfigError as error:
        raise FileError(f"{error} The folder holds another kind of run, or one of another version.") from None
    if finished:
        before |= {name: read_results(out)["config"].get(name) for name in settings.FREE}
    other = [
        f"{name}: {before.get(name)!r:.60} there, {now[name]!r:.60} here"
        for name in now
        if not _same(before.get(name), now[name]) and (finished or name not in settings.FREE)
    ]
    if other:
        raise FileError(
            f"{out / CONFIG}: the run was started with other settings ({'; '.join(other)}). Resume it with the same "
            "ones, or choose another folder."
        )


def _same(before: object, now: object) -> bool:
    """Whether two values mean the same, a place's name being spelled in one way or another."""
    return before == now or (isinstance(before, str) and isinstance(now, str) and absolute(before) == absolute(now))


def add_scores(folder: Path, kind: Scores, name: str, scores: Values, how: Values) -> str:
    """Puts the scores of one set into the results of a finished run; all else stays.

    Args:
        name: of the set.
        how: what tells these scores from others under this name; those get a number behind it.

    Returns:
        The name that they stand under.

    Raises:
        FileError: the run is not finished, its results are damaged, or they cannot be written.
    """
    with held(folder, wait=60.0):
        results = read_results(folder)
        there, scored = results.setdefault(kind, {}), results.setdefault("scored", {})
        names = (name if number == 1 else f"{name} ({number})" for number in count(1))
        name = next(one for one in names if one not in there or scored.get(one, how) == how)
        if there.get(name, scores) != scores:
            say(f"{folder}: the scores of {name} that it had are replaced.")
        there[name], scored[name] = scores, how
        _write_results(folder, results)
    return name


def _write_results(folder: Path, results: Values) -> None:
    write_sealed(folder / RESULTS, results, beside=[CONFIG, INPUTS, LOG])


def read_results(folder: Path) -> Json:
    """The results of a finished run, whose settings, inputs and log are those that it ended with.

    Raises:
        FileError: there are none, or one of these files is damaged or was altered.
    """
    if not os.path.isfile(folder / RESULTS):
        raise FileError(
            f"{folder}: not a finished run, it has no {RESULTS}.{nearby(folder)} Give the folder that --out named."
        )
    sealed = is_sealed(folder / INPUTS) or log.is_sealed(folder / LOG)
    return read_sealed(folder / RESULTS, "Put it back as it was, or remove it and go on with --resume.", sealed=sealed)


def read_inputs(folder: Path) -> Json:
    """What a run was started with; its settings are still those.

    Raises:
        FileError: inputs.json or config.json is missing, damaged or was altered.
    """
    sealed = log.is_sealed(folder / LOG)
    return read_sealed(folder / INPUTS, "Put it back as it was, or start again in another folder.", sealed=sealed)


def check_truth(folder: Path) -> None:
    """Refuses a run, finished or begun, of which something was altered.

    Raises:
        FileError: a file is damaged or was altered; the message names it.
    """
    if os.path.exists(folder / RESULTS):
        read_results(folder)
    elif os.path.exists(folder / INPUTS):
        read_inputs(folder)


def check_has_model(folder: Path) -> None:
    """Refuses a run folder without a model, and one of which something was altered.

    Raises:
        FileError: training has not ended yet; or as `check_truth`, and the model alone can still be opened.
    """
    if not os.path.exists(folder / INPUTS) and not os.path.exists(folder / LOG):  # a model's own folder
        return
    if not os.path.isdir(folder / "model"):
        kind = read_inputs(folder).get("kind", "adapt") if os.path.exists(folder / INPUTS) else "align"
        raise FileError(f"{folder}: this run has no model yet; finish it with `polyprompt {kind} ... --resume`.")
    try:
        check_truth(folder)
    except FileError as error:
        raise FileError(f"{error} The model alone still opens: {folder / 'model'}.") from None


def _command() -> str:
    """What was typed to start this program; of a notebook or a prompt, that it was Python."""
    program, *words = sys.argv or [""]
    stem, suffix = os.path.splitext(os.path.basename(program))
    if stem in ("polyprompt", "__main__"):  # `python -m polyprompt` is the same
        return shlex.join(["polyprompt", *words])
    script = suffix == ".py" and stem != "ipykernel_launcher"
    return shlex.join(["python", program, *words]) if script else "python"


def absolute(name: str) -> str:
    """A local file's or folder's whole path, so that a run opens from anywhere; any other name as it is."""
    if name.startswith("local-dir:"):  # open_clip's way to say that a folder is meant
        return f"local-dir:{os.path.abspath(name.removeprefix('local-dir:'))}"
    return os.path.abspath(name) if os.path.exists(name) else name


# Who writes


@contextmanager
def held(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Holds a run folder, made if it is not there, against all other processes.

    Args:
        wait: seconds until another process that holds it is given up.

    Raises:
        FileError: another process holds it, who is said; or it cannot be written.
    """
    made = not os.path.exists(folder)
    lock = _locked(folder, wait)
    try:
        with writing(folder):
            since = datetime.datetime.now().isoformat(sep=" ", timespec="seconds")
            holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
            (folder / HOLDER).write_text(json.dumps(holder))
        yield
    finally:
        for name in (HOLDER, LOCK):
            with suppress(OSError):
                (folder / name).unlink()
        lock.release()
        if made:
            with suppress(OSError):  # something was written
                folder.rmdir()


def _locked(folder: Path, wait: float) -> BaseFileLock:
    for last in (False, False, True):
        lock = FileLock(make_folder(folder) / LOCK)
        with writing(folder):
            try:
                lock.acquire(timeout=wait)
                break
            except Timeout:
                raise FileError(f"{folder}: {_holder(folder)}. Wait for it, or choose another folder.") from None
            except FileNotFoundError:  # whoever had made the folder was refused, and took it away again
                if last:
                    raise
    return lock


def _holder(folder: Path) -> str:
    try:
        holder = read_json(folder / HOLDER)
        return f"in use by process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (FileError, KeyError, TypeError):  # it has not said yet
        return "in use by another process"
