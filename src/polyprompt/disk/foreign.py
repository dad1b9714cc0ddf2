"""Files that other programs pickled, read as plain tensors; nothing in them is ever executed.

torch's `.pt` and `.pth.tar` are zip archives: raw numbers, and a pickle that says how they hang together. A pickle may
call any function it names, so this reader knows a short list of names, each replaced by a harmless one of ours, and
refuses the file at the first other name. Objects that the original trainers and TorchScript left among the tensors
(learning-rate schedulers, optimisers, modules) become `Inert` placeholders, which hold their state and can do nothing.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polyprompt.errors import FileError
from polyprompt.values import Json

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
INERT = (
    "torch.optim.",
    "torch.jit._pickle.",
    "__torch__.",
    "dassl.optim.",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)
"""Beginnings of the names that become placeholders."""


class Inert:
    """Stands for an object of a foreign class, or the result of a foreign function: keeps the state it is given."""

    state: Any = None

    def __init__(self, *_: object) -> None:
        """Takes whatever the original took."""

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Storage(NamedTuple):
    dtype: torch.dtype
    numbers: Tensor


class _Mapping(OrderedDict):
    """For `OrderedDict`, `dict` and `defaultdict`, whose factory is dropped."""

    def __init__(self, *parts: object) -> None:
        super().__init__(*(part for part in parts if isinstance(part, list | dict)))

    def __setstate__(self, state: object) -> None:
        """State dicts carry version numbers here; nobody needs them."""


def _tensor(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without numbers")
    return torch.as_strided(storage.numbers, tuple(size), tuple(stride), offset)  # raises where it would leave them


def _parameter(tensor: Tensor, *_: object) -> Tensor:
    return tensor


KNOWN: Json = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "collections.OrderedDict": _Mapping,
    "collections.defaultdict": _Mapping,
    "builtins.dict": _Mapping,
    "__builtin__.dict": _Mapping,
    **{f"torch.{name}": dtype for name, dtype in DTYPES.items()},
    **{f"torch.storage.{name}": dtype for name, dtype in DTYPES.items()},
}


class _Reader(pickle.Unpickler):
    """Rebuilds tensors; every name that is not on the lists above is refused before anything is called."""

    def __init__(self, archive: zipfile.ZipFile, folder: str, pickled: io.BytesIO) -> None:
        super().__init__(pickled)
        self.archive, self.folder = archive, folder
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in KNOWN:
            return KNOWN[full]
        if full.startswith(INERT):
            return Inert
        raise _RefusedError(full)

    def persistent_load(self, pid: tuple[str, object, str, object, object]) -> Any:
        kind, dtype, key, _, _ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown storage {kind!r}")
        if key not in self.storages:
            raw = bytearray(self.archive.read(f"{self.folder}data/{key}"))
            self.storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        return _Storage(dtype, self.storages[key])


class _RefusedError(Exception):
    """A name that this reader does not know."""


def read_foreign(path: str | Path) -> Any:
    """What a torch file holds: mappings, lists, numbers, tensors and `Inert` placeholders.

    Raises:
        FileError: missing, damaged, of torch's format before 1.6, or naming anything that is not a plain tensor.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            folders = [name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(folders) != 1:
                raise FileError(f"{path}: not a file of torch's (no data.pkl in it)")
            return _Reader(archive, folders[0], io.BytesIO(archive.read(f"{folders[0]}data.pkl"))).load()
    except _RefusedError as error:
        raise FileError(
            f"{path}: refused, because its pickle calls {error}. Only plain tensors are read, and nothing is executed; "
            f"save the tensors again with safetensors or a state dict."
        ) from None
    except FileNotFoundError:
        raise FileError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise FileError(f"{path}: is a folder, not a file") from None
    except zipfile.BadZipFile:
        raise FileError(
            f"{path}: not a zip archive, as torch writes them since 1.6. If it is older, load and save it there again; "
            f"otherwise it is damaged or cut short."
        ) from None
    except FileError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise FileError(f"{path}: damaged ({type(error).__name__}: {error})") from None


def tensors_of(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a state dict, a checkpoint's `state_dict`, a TorchScript archive or a safetensors file, by name.

    Raises:
        FileError: as `read_foreign`, or there is no tensor in it.
    """
    if str(path).endswith(".safetensors"):
        return _safetensors(Path(path))
    content = read_foreign(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    found = dict(_walk(content, ""))
    if not found:
        raise FileError(f"{path}: holds no tensors")
    return {name.removeprefix("module."): tensor for name, tensor in found.items()}


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise FileError(f"{path}: cannot be read ({error})") from None


def _walk(content: object, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Inert):
        content = content.state
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, dict):
        for key, value in content.items():
            if isinstance(key, str):
                yield from _walk(value, f"{name}.{key}" if name else key)
