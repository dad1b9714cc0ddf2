"""Folders and hub names as other libraries open them, with all shut that runs code from there or asks for leave to.

Every call says `trust_remote_code=False` (tests/hostile/test_no_foreign_code.py looks): where nothing is said,
transformers asks on stdin. What such a call raises depends on what lies in the folder, so whoever calls turns all of it
into one line.
"""

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from polyprompt.disk.hub import unanswered
from polyprompt.errors import PolypromptError, TowerError
from polyprompt.progress import only_ours
from polyprompt.values import Foreign, Plain

DEEPEST = 1000
"""Blocks in a row that a config may ask for; a billion would be built one by one before any weight is looked at."""
DEPTHS = re.compile(r"(^|_)(layers|depths?|blocks|num_stages|repeats)$")
PICKLED = "its weights are pickled, and no pickle is loaded; have them as safetensors"


@contextmanager
def one_line(what: str, hint: str = "") -> Iterator[None]:
    """Whatever is raised within, by another library on what it was given, as a `TowerError` that begins with `what`.

    What the library logs meanwhile is held back.

    Raises:
        TowerError: see above; our own errors and a lack of memory pass through.
    """
    try:
        with only_ours():
            yield
    except (PolypromptError, MemoryError):
        raise
    except Exception as error:
        raise TowerError(f"{what} cannot be opened ({reason(error)}).{hint and f' {hint}'}") from None


def reason(error: Exception) -> str:
    """What an error of another library says, in one line."""
    if silence := unanswered(error):
        return f"{silence}; connect once, or have its files in a folder and give that"
    message = str(error)
    if "trust_remote_code" in message or "custom code" in message:
        return "it brings code of its own, which is never run here"
    if missing := re.search(r"SentencePiece|sentencepiece|protobuf|tiktoken", message):
        package = {"SentencePiece": "sentencepiece"}.get(missing[0], missing[0])
        return f"it has no tokenizer.json, and reading its tokenizer otherwise needs {package}: pip install {package}"
    lines = [line for line in message.splitlines() if line.strip()]
    return " ".join(lines[0].split()).rstrip(".") if lines else type(error).__name__


def check_config(config: Plain, what: str) -> None:
    """Refuses what a foreign config may not ask for, wherever in it that stands: kernels from a hub, endless towers.

    Raises:
        TowerError: names the field.
    """
    for key, value in _fields(config):
        if key.strip("_").startswith("attn_implementation") and isinstance(value, str) and "/" in value:
            raise TowerError(f"{what}: {key} is {value!r:.60}, code from elsewhere, which is never run here.")
        if DEPTHS.search(key):
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, int | float) and not number <= DEEPEST:
                    raise TowerError(f"{what}: {key} is {number!r:.20}; at most {DEEPEST:,} blocks are built.")


def check_weights(folder: str | Path, what: str) -> None:
    """Refuses a local folder whose only weights are pickles.

    Raises:
        TowerError: there are such, and no safetensors.
    """
    names = [path.name for path in Path(folder).iterdir()] if Path(folder).is_dir() else []
    if any(name.endswith((".bin", ".pth", ".pt", ".ckpt")) for name in names) and not any(
        name.endswith(".safetensors") for name in names
    ):
        raise TowerError(f"{what}: {PICKLED}.")


def check_whole(missing: Iterable[str], what: str) -> None:
    """Refuses weights that lack a tensor; other libraries put random numbers in its place and go on.

    Raises:
        TowerError: names the first few.
    """
    if names := sorted(missing):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise TowerError(f"{what}: its weights lack {', '.join(names[:3])}{more}; have the whole file.")


def check_scale(logarithm: Tensor, what: str) -> None:
    """Refuses a `logit_scale` without a factor on cosines in it.

    Raises:
        TowerError: several numbers, or one whose exponential is 0 or not finite.
    """
    if logarithm.numel() != 1:
        raise TowerError(f"{what}: logit_scale is {list(logarithm.shape)}, not one number")
    factor = logarithm.float().exp().item()
    if not 0 < factor < math.inf:
        raise TowerError(
            f"{what}: logit_scale is {logarithm.item():g}, and cosines would be multiplied by its exponential, "
            f"{factor:g}; CLIP's is below 4.61. Damaged, or saved from a training that failed; have the file again."
        )


def said_by(config: Foreign) -> Plain:
    """A transformers config as plain values; what it was told of attention, too, which its JSON leaves out."""
    parts = [config, *(part for part in vars(config).values() if hasattr(part, "to_dict"))]
    return [config.to_dict(), *({"attn_implementation": getattr(part, "_attn_implementation", None)} for part in parts)]


def _fields(value: Plain) -> Iterator[tuple[str, Plain]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key), inner
            yield from _fields(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner)
