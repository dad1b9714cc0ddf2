"""What a user is told about a source: what was left out, merged or guessed, with its number and an example."""

from collections.abc import Sequence

from polyprompt.progress import say

_printed: set[tuple[str, str]] = set()


def say_once(place: str, line: str) -> None:
    """One line on stderr, once a source: train, dev and test are three readings of it."""
    if (place, line) not in _printed:
        _printed.add((place, line))
        say(line)


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few of many names, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def count(number: int, thing: str, things: str | None = None) -> str:
    """ "1 picture", "2,000 pictures"."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
