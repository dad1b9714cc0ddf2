"""Files that other programs pickled, read as plain tensors; nothing in them is ever executed.

torch's `.pt` and `.pth.tar` are zip archives: raw numbers, and a pickle that says how they hang together; before torch
1.6 they were five pickles with the numbers behind them. A pickle may call any function it names, so this reader knows a
short list of names, each replaced by a harmless one of ours, and refuses the file at the first other name. Objects that
the original trainers and TorchScript left among the tensors (learning-rate schedulers, optimisers, modules) become
`Inert` placeholders, which hold their state and can do nothing.
"""

import io
import math
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from polyprompt.disk.files import check_regular
from polyprompt.disk.tensors import read_tensors
from polyprompt.errors import FileError, in_one_line
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
BEFORE_1_6, VERSION = pickle.dumps(0x1950A86A20F9469CFC6C, 2), 1001
"""What the files of torch before 1.6 begin with, and what follows."""
LONGEST = 10_000
"""Letters of a name or number in a pickle."""
DEEPEST, MOST = 64, 200_000
"""Mappings in each other, and things in them, until a file is no checkpoint: one may hold itself."""


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
    if math.prod(size) > storage.numbers.numel():  # with strides of 0, two bytes could stand for gigabytes
        raise pickle.UnpicklingError(f"a tensor of {list(size)} over {storage.numbers.numel()} numbers")
    return torch.as_strided(storage.numbers, tuple(size), tuple(stride), offset)  # raises where it would leave them


def _parameter(tensor: Tensor, *_: object) -> Tensor:
    return tensor


class _Fixed:
    """A function that a pickle can call and not change: attributes of a plain one could be set by it."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Tensor]) -> None:
        object.__setattr__(self, "function", function)

    def __call__(self, *given: Any) -> Tensor:
        return self.function(*given)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("a function that is to be changed")

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a function that is to be changed")


KNOWN: Json = {
    "torch._utils._rebuild_tensor_v2": _Fixed(_tensor),
    "torch._utils._rebuild_tensor": _Fixed(_tensor),
    "torch._utils._rebuild_parameter": _Fixed(_parameter),
    "collections.OrderedDict": _Mapping,
    "collections.defaultdict": _Mapping,
    "builtins.dict": _Mapping,
    "__builtin__.dict": _Mapping,
    **{f"torch.{name}": dtype for name, dtype in DTYPES.items()},
    **{f"torch.storage.{name}": dtype for name, dtype in DTYPES.items()},
}


def _no_bytes(reader: object) -> None:
    raise pickle.UnpicklingError("bytes that can be changed")  # room for as many as are claimed would be made


def _build(reader: Any) -> None:
    if isinstance(reader.stack[-2], Tensor):  # its state could be a view of gigabytes on two bytes
        raise pickle.UnpicklingError("a tensor that is to be changed")
    reader.load_build()


class _Pickles:
    """Pickles in a file, of which no more is read than there is: for the length that one claims room would be made."""

    def __init__(self, file: io.BufferedIOBase, room: int) -> None:
        self.file, self.room = file, room

    def read(self, size: int) -> bytes:
        if size > self.room:
            raise EOFError("cut short")
        return self.file.read(size)

    def readline(self) -> bytes:
        return self.file.readline(LONGEST)


class _Reader(pickle._Unpickler):
    """Rebuilds tensors; every name that is not on the lists above is refused before anything is called.

    The numbers lie behind the pickles, as before torch 1.6, so tensors are made before they are known. pickle's reader
    in Python, as the one in C has no place to refuse that objects are changed.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = pickle._Unpickler.dispatch | {
        pickle.BUILD[0]: _build,
        pickle.BYTEARRAY8[0]: _no_bytes,
    }

    def __init__(self, pickled: io.BufferedIOBase, room: int) -> None:
        super().__init__(_Pickles(pickled, room))
        self.storages: dict[str, Tensor] = {}
        self.left = room
        """Bytes that the file has for numbers."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in KNOWN:
            return KNOWN[full]
        if full.startswith(INERT):
            return Inert
        raise _RefusedError(full)

    def persistent_load(self, pid: tuple[Any, ...]) -> Any:
        kind, dtype, key, _, count, *part = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or any(part):
            raise pickle.UnpicklingError(f"unknown storage {kind!r}")
        if key not in self.storages:
            self.storages[key] = self.numbers(key, dtype, count)
        return _Storage(dtype, self.storages[key])

    def numbers(self, key: str, dtype: torch.dtype, count: int) -> Tensor:
        """A storage."""
        self.take(count * dtype.itemsize)
        return torch.zeros(count, dtype=dtype)

    def take(self, size: int) -> None:
        """Counts bytes of a storage: several may claim the same."""
        self.left -= size
        if self.left < 0:
            raise pickle.UnpicklingError("more numbers than the file has room for")


class _ZipReader(_Reader):
    """The same of an archive, in which each storage is a file."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(_stored(archive, f"{folder}data.pkl")), _size(_file_of(archive)))
        self.archive, self.folder = archive, folder

    def numbers(self, key: str, dtype: torch.dtype, count: int) -> Tensor:
        """A storage; how many numbers it has its file decides."""
        raw = bytearray(_stored(self.archive, f"{self.folder}data/{key}"))
        self.take(len(raw))
        return torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)


class _RefusedError(Exception):
    """A name that this reader does not know."""


def read_foreign(path: str | Path) -> Any:
    """What a torch file holds: mappings, lists, numbers, tensors and `Inert` placeholders.

    Raises:
        FileError: missing, damaged, or naming anything that is not a plain tensor.
    """
    path = Path(path)
    try:
        check_regular(path)
        with path.open("rb") as file:
            if file.peek(len(BEFORE_1_6)).startswith(BEFORE_1_6):
                return _read_before_1_6(file)
        with zipfile.ZipFile(path) as archive:
            folders = [name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(folders) != 1:
                raise FileError(f"{path}: not a file of torch's (no data.pkl in it)")
            return _ZipReader(archive, folders[0]).load()
    except _RefusedError as error:
        raise FileError(
            f"{path}: refused, because its pickle calls {in_one_line(error)}. Only plain tensors are read, and nothing "
            "is executed; save the tensors again with safetensors or a state dict."
        ) from None
    except FileNotFoundError:
        raise FileError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise FileError(f"{path}: is a folder, not a file") from None
    except zipfile.BadZipFile:
        raise FileError(f"{path}: not a file of torch's, or damaged or cut short (no zip archive)") from None
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise FileError(f"{path}: damaged ({type(error).__name__}: {in_one_line(error)})") from None


def _read_before_1_6(file: io.BufferedReader) -> Any:
    room = _size(file)
    _, version, system = (_Reader(file, room).load() for _ in range(3))
    reader = _Reader(file, room)
    content, keys = reader.load(), _Reader(file, room).load()
    if version != VERSION or not system["little_endian"] or sorted(keys) != sorted(reader.storages):
        raise pickle.UnpicklingError("another version, order of bytes or list of storages")
    for key in keys:
        storage = reader.storages[key]
        count, size = int.from_bytes(file.read(8), "little"), storage.numel() * storage.itemsize
        raw = bytearray(file.read(size))
        if count != storage.numel() or len(raw) != size:
            raise pickle.UnpicklingError("cut short")
        if raw:
            storage.copy_(torch.frombuffer(raw, dtype=storage.dtype))
    return content


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _file_of(archive: zipfile.ZipFile) -> IO[bytes]:
    if archive.fp is None:
        raise zipfile.BadZipFile("closed")
    return archive.fp


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's bytes, which torch never packs: 2 MB could be unpacked to 2 GB."""
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > member.compress_size:
        raise pickle.UnpicklingError(f"{name} is packed, which torch's files are not")
    return archive.read(member)


def tensors_of(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a state dict, a checkpoint's `state_dict`, a TorchScript archive or a safetensors file, by name.

    Raises:
        FileError: as `read_foreign`, or there is no tensor in it.
    """
    if str(path).endswith(".safetensors"):
        return read_tensors(Path(path))
    content = read_foreign(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    tensors = _named(content, str(path))
    if not tensors:
        raise FileError(f"{path}: holds no tensors")
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _named(content: object, path: str) -> dict[str, Tensor]:
    """All tensors in mappings and placeholders, by the keys that lead to them, in order."""
    tensors: dict[str, Tensor] = {}
    waiting: list[tuple[str, int, object]] = [("", 0, content)]
    seen = 0
    while waiting:
        name, depth, value = waiting.pop()
        value = value.state if isinstance(value, Inert) else value
        seen += 1
        if depth > DEEPEST or seen > MOST:
            raise FileError(f"{path}: damaged, its parts are nested beyond all measure")
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, dict):
            inner = [
                (f"{name}.{key}" if name else key, depth + 1, one) for key, one in value.items() if type(key) is str
            ]
            waiting.extend(reversed(inner))
    return tensors
