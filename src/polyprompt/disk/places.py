"""Names of nothing: what lies near where they point, and whether one can be a model of the Hugging Face hub instead."""

import difflib
import os
from pathlib import Path

MOST = 5
"""Names of a folder that are told where none comes near."""
MANY = 5_000
"""Names that are looked through; of more it would be waited for."""


def nearby(name: str | Path) -> str:
    """A sentence, with a space before it, on what lies where `name` should; none where that helps nobody."""
    if os.path.exists(name):
        return ""
    folder = Path(name).parent
    try:
        there = sorted(one for one in os.listdir(folder) if not one.startswith("."))
    except OSError:  # no such folder, or none of ours
        return ""
    if near := difflib.get_close_matches(Path(name).name, there[:MANY], n=2, cutoff=0.5):
        return f" Did you mean {' or '.join(repr(str(folder / one)) for one in near)}?"
    if folder == Path() or not there:
        return ""
    more = f" and {len(there) - MOST:,} more" if len(there) > MOST else ""
    return f" {folder} holds {', '.join(there[:MOST])}{more}."


def may_be_on_hub(name: str) -> bool:
    """Whether to ask the hub for a name: it is one that a model there can have, and would not lie in a folder here.

    What was fetched under such a name is still found.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    owner, slash, _ = name.partition("/")
    return not (slash and os.path.isdir(owner)) or isinstance(try_to_load_from_cache(name, "config.json"), str)
