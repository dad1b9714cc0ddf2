"""What `precision: auto` means in a grid: decided once, and kept in its folder.

A measurement of another moment, or on another machine, may come out differently, and every cell would be another one.
"""

import json
import os
from pathlib import Path
from typing import get_args

from polyprompt.disk.files import make_folder, read_bytes, write_json, writing
from polyprompt.errors import FileError
from polyprompt.nn.precision import Precision, choose_precision
from polyprompt.runs.cells import CELLS, results_in

KEPT = "precision.json"


def decided(folder: Path, *, keep: bool) -> Precision:
    """The precision of a grid whose settings leave it open: as kept, as its results have it, or as measured now.

    Args:
        folder: the grid's.
        keep: write it down; of several that do so at once, all take what the first one wrote.

    Raises:
        FileError: what is kept, or a result, is damaged; or it cannot be written.
    """
    path = folder / KEPT
    if not path.exists():
        precision = _of_results(folder) or choose_precision().precision
        if not keep:
            return precision
        temporary = make_folder(folder) / f".{KEPT}.{os.urandom(6).hex()}"
        write_json(temporary, {"precision": precision})
        with writing(path):
            try:
                os.link(temporary, path)
            except FileExistsError:  # another one was quicker, and may have measured another way
                pass
            finally:
                temporary.unlink()
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError):
        content = None
    for precision in get_args(Precision):
        if content == {"precision": precision}:
            return precision
    raise FileError(f"{path}: damaged, it names no precision. Remove it; results that are there decide, if they agree.")


def _of_results(folder: Path) -> Precision | None:
    """That of all results which train; None where there are none, or several."""
    results = results_in(folder) if (folder / CELLS).is_dir() else []
    precisions = {one.cell.settings.get("precision") for one in results if one.cell.task == "classify"}
    return next((precision for precision in get_args(Precision) if precisions == {precision}), None)
