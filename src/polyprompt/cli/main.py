"""The `polyprompt` program: a user's mistake is one line and exit code 2, Ctrl-C is exit code 130.

Ctrl-C may come at once, so what takes a while to import is imported where Ctrl-C is looked after.
"""

import os
import re
import sys

from polyprompt.errors import ConfigError, PolypromptError

NO_MEMORY = re.compile("can't allocate memory|not enough memory|out of memory", re.IGNORECASE)
"""What torch's allocators say, in a plain RuntimeError."""


def main() -> None:
    """Runs a command, and says in one line why it ended if it did not finish."""
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
    if code == 130:
        line = stopped(sys.argv[1:])
    if line:
        print("polyprompt:", line.replace("\n", "\\n"), file=sys.stderr)
    sys.exit(code)


def run() -> int:
    """Runs a command: its exit code."""
    from polyprompt.cli.app import UsageError, app
    from polyprompt.nn.memory import keep_memory

    for stream in (sys.stdout, sys.stderr):  # a file's name may hold what cannot be written
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    keep_memory()
    try:
        return app(standalone_mode=False) or 0
    except UsageError as error:
        raise ConfigError(error.format_message()) from None


def stopped(words: list[str]) -> str:
    """What is said after Ctrl-C."""
    app = sys.modules.get("polyprompt.cli.app")
    if app and words and words[0] in app.RESUMABLE:
        return "stopped; what was finished is kept. To go on: the same again, with --resume."
    return "stopped."
