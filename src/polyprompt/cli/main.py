"""The `polyprompt` program: a user's mistake is one line and exit code 2, Ctrl-C is exit code 130.

Ctrl-C may come at once, so what takes a while to import is imported where Ctrl-C is looked after.
"""

import _thread
import errno
import os
import re
import signal
import sys
import threading
from types import FrameType
from typing import TextIO

from polyprompt.errors import ConfigError, PolypromptError

NO_MEMORY = re.compile("can't allocate memory|not enough memory|out of memory", re.IGNORECASE)
"""What torch's allocators say, in a plain RuntimeError."""

REFUSED = {
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
}
"""What no check of a name foresees."""


def main() -> None:
    """Runs a command, and says in one line why it ended if it did not finish."""
    open_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    line = ""
    try:
        code = run()
    except KeyboardInterrupt:  # before the command itself could look after it
        code = 130
    except PolypromptError as error:
        code, line = 2, str(error)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not NO_MEMORY.search(str(error)):
            raise
        code, line = 2, f"there is not enough memory for this ({error}). Take smaller batches, or a smaller model."
    except OSError as error:
        code, line = refused(error)
    if code == 130:
        line = stopped(sys.argv[1:])
    if line:
        try:
            print("polyprompt:", sentence(line), file=sys.stderr)
        except OSError:
            takes_lines(sys.stderr)
    sys.exit(code)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Ctrl-C; from within a finalizer, whose errors Python drops, it comes again a moment later."""
    if frame and frame.f_code.co_name == "__del__":
        threading.Timer(0.05, _thread.interrupt_main).start()
    else:
        raise KeyboardInterrupt


def sentence(line: str) -> str:
    """What is said at the end: one line, with the full stop that errors may leave to who shows them."""
    line = line.replace("\n", "\\n")
    return line if line.endswith((".", "?", "!", "…")) else f"{line}."


def open_streams() -> None:
    """Streams that were closed lead nowhere; else the next file that is opened has their number, and is written to."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


def run() -> int:
    """Runs a command: its exit code."""
    from polyprompt.cli.app import NoWordsError, UsageError, app
    from polyprompt.cli.options import by_set
    from polyprompt.nn.memory import keep_memory

    for stream in (sys.stdout, sys.stderr):  # a file's name may hold what cannot be written
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    keep_memory()
    try:
        code = app(standalone_mode=False) or 0
    except NoWordsError as error:  # its message is the help
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    except UsageError as error:
        hint = " --resume takes no folder: repeat the whole command that was stopped, and add --resume."
        message = error.format_message()
        if "--resume" in sys.argv and message.startswith("Missing"):
            message += hint
        elif message.startswith("No such option") and (
            setting := by_set(error.ctx.command.callback, error.option_name)
        ):
            message = f"No option is called {error.option_name}. {setting}"
        raise ConfigError(message) from None
    sys.stdout.flush()
    return code


def refused(error: OSError) -> tuple[int, str]:
    """Exit code and line where the system refuses something; other errors of it are mistakes of ours, and raised."""
    if not error.filename and not all(map(takes_lines, (sys.stdout, sys.stderr))):
        if isinstance(error, BrokenPipeError):  # as of `head`: whoever reads has read enough, and typer ends so, too
            return 1, ""
        return 2, f"what it has to say cannot be written ({error.strerror})."
    if error.errno in REFUSED and error.filename:
        return 2, f"{error.filename}: {error.strerror}."
    raise error


def takes_lines(stream: TextIO) -> bool:
    """Whether a stream takes an empty line; one that does not leads nowhere from now on, so that the end is quiet."""
    try:
        print(file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True


def stopped(words: list[str]) -> str:
    """What is said after Ctrl-C."""
    app = sys.modules.get("polyprompt.cli.app")
    if app and words and words[0] in app.RESUMABLE:
        return "stopped; what was finished is kept. To go on: the same again, with --resume."
    if words and words[0] == "run":
        return "stopped; the cells that were finished are kept. To go on: the same again."
    return "stopped."
