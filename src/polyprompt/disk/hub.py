"""Models on the Hugging Face hub that `push` put there, fetched into huggingface_hub's own cache.

`hf:me/pets`, or `hf:me/pets@v1` for a branch, a tag or a commit. Of a repository those files are fetched that its
manifest lists, and of these JSON, safetensors and the card: no pickle, no code, whatever else lies there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polyprompt.disk.files import MANIFEST, read_json
from polyprompt.errors import FileError
from polyprompt.progress import only_ours

PREFIX = "hf:"
SUFFIXES = (".json", ".safetensors", ".md")


def is_on_hub(name: str | Path) -> bool:
    """Whether a model's name says that it is on the hub."""
    return str(name).startswith(PREFIX)


def fetched(name: str | Path, token: str | None = None) -> Path:
    """The folder with a model from the hub; of the cache alone where HF_HUB_OFFLINE is set.

    Args:
        name: `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`.
        token: for a private one; None: the one that huggingface_hub knows.

    Raises:
        FileError: it is not there, is no model of ours, or cannot be reached.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repo, _, revision = str(name).removeprefix(PREFIX).partition("@")
    with reached(str(name)):
        try:
            manifest = Path(hf_hub_download(repo, MANIFEST, revision=revision or None, token=token))
        except LocalEntryNotFoundError:  # one of the next, but it says that nobody answered
            raise
        except EntryNotFoundError:
            raise FileError(f"{name}: no model of polyprompt is there, it has no {MANIFEST}.") from None
        listed = read_json(manifest)
        names = [one for one in listed if Path(one).suffix in SUFFIXES] if isinstance(listed, dict) else []
        commit = manifest.parent.name
        return Path(snapshot_download(repo, revision=commit, allow_patterns=[MANIFEST, *names], token=token))


@contextmanager
def reached(what: str) -> Iterator[None]:
    """What the hub and the way there raise, in one line.

    Raises:
        FileError: see above; our own errors pass through.
    """
    try:
        with only_ours():
            yield
    except FileError:
        raise
    except Exception as error:  # its own, and what its HTTP library and sockets raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = lines[1] if len(lines) > 1 and "Client Error" in lines[0] else lines[0]
        reason = reason.partition(" for url")[0].partition(" (Request ID")[0].rstrip(".")
        raise FileError(
            f"{what}: {unanswered(error) or f'the hub says: {reason}'}. Look at the name and the network; what is "
            "private needs HF_TOKEN."
        ) from None


def unanswered(error: Exception) -> str | None:
    """In a few words that the hub gave no answer, and why, where that is what an error comes from; else None."""
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import LocalEntryNotFoundError

    chain: list[BaseException] = [error]
    while follows := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(follows)
    if not any(isinstance(one, LocalEntryNotFoundError) for one in chain):
        return None
    why = "HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else f"the Hugging Face hub does not answer: {chain[-1]}"
    return f"{why}; and this machine has no copy of it"
