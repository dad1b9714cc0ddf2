"""The tensors of a safetensors file, whatever its name."""

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor

from polyprompt.disk.files import check_regular
from polyprompt.errors import FileError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, by name.

    Raises:
        FileError: it cannot be read, or is damaged.
    """
    try:
        check_regular(path)
        return load_file(path) if is_utf8(path) else load(path.read_bytes())  # by its path it opens no other
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from None
    except SafetensorError as error:
        raise FileError(f"{path}: damaged, or no file of tensors ({error})") from None


def is_utf8(path: str | Path) -> bool:
    """Whether the bytes of a path are UTF-8; some libraries open no others."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True
