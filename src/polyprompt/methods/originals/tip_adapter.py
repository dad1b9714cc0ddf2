"""Tip-Adapter's cache folder.

It has `keys_16shots.pt` [D N], `values_16shots.pt` [N c] and, for -F, `best_F_16shots.pt` [N D]. This is from memory of
its program, no genuine file was at hand.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from polyprompt.adapt.engine import Adapted, build
from polyprompt.disk.foreign import read_foreign
from polyprompt.errors import ConfigError, FileError
from polyprompt.methods import tip_adapter
from polyprompt.methods.originals.layout import Files, written
from polyprompt.nn.finite import check_finite
from polyprompt.settings import checked
from polyprompt.towers.base import DualEncoder


def read_tip(path: Path, encoder: DualEncoder, class_names: Sequence[str], given: Mapping[str, object]) -> Adapted:
    """Tip-Adapter from its authors' cache folder; with keys that learned, -F.

    Raises:
        FileError: a file is missing or damaged, or sizes do not fit.
    """
    keys, values = (only(path, f"{what}_*shots.pt") for what in ("keys", "values"))
    best = next(iter(sorted(path.glob("best_F_*shots.pt"))), None)
    stored = {file: read_foreign(file) for file in (keys, values, *([best] if best else []))}
    for file, tensor in stored.items():
        if not isinstance(tensor, Tensor) or tensor.ndim != 2:
            raise FileError(f"{file}: no matrix in it; Tip-Adapter's files hold one each")
        check_finite({"its matrix": tensor}, file)
    cache = stored[best] if best else stored[keys].T
    known = {"learn": best is not None} | dict(given)
    method = build(checked(tip_adapter.Config, known, str(path)), encoder, class_names)
    expected = {"keys": [len(cache), encoder.dim], "values": [len(cache), len(class_names)]}
    sizes = {"keys": list(cache.shape), "values": list(stored[values].shape)}
    for what, size in expected.items():
        if sizes[what] != size:
            raise FileError(
                f"{path}: {what} are {sizes[what]}, for {encoder.name} and {len(class_names)} classes {size} are needed"
            )
    method.adapter.take_shapes(expected)
    state = method.adapter.state_dict(keep_vars=True)
    with torch.no_grad():
        state["keys"].copy_(cache)
        state["values"].copy_(stored[values])
    return method


def only(folder: Path, pattern: str) -> Path:
    """The one file of a pattern.

    Raises:
        FileError: there is none, or several.
    """
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        have = f"; there are {', '.join(file.name for file in files)}" if files else ""
        raise FileError(f"{folder}: needs one {pattern} in it{have}")
    return files[0]


def write_tip(method: Adapted, folder: Path) -> Path:
    """Tip-Adapter's cache folder; the shots are the pictures of the first class."""
    state = {name: tensor.detach().float().cpu() for name, tensor in method.adapter.state_dict().items()}
    if not len(state["values"]):
        raise ConfigError("tip_adapter: its cache is empty; train it first")
    shots = int(state["values"][:, 0].sum())
    written(folder / f"keys_{shots}shots.pt", state["keys"].T.contiguous())
    file = written(folder / f"values_{shots}shots.pt", state["values"])
    config = method.config
    assert isinstance(config, tip_adapter.Config)
    return written(folder / f"best_F_{shots}shots.pt", state["keys"]) if config.learn else file


LAYOUTS = {"tip_adapter": Files(read=read_tip, write=write_tip, theirs=lambda name: "adapter.weight")}
