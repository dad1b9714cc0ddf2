"""A decoder's weights as they lie in safetensors files: mapped into memory, and read part by part when first needed.

What nobody asks for is never read, and a shard in which nothing was asked for is never opened. The system keeps a
mapped page while there is room and takes it back when there is none, so frozen blocks in their file's own dtype cost no
memory that a program has to ask for.

The hash of all values, which a tower's fingerprint needs, is taken once, tensor by tensor. It is noted in the cache
under what the system says of the files: place, size, and the times of their last change, which no program can set back
(ctime). A file that was touched is read and hashed again.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from polyprompt.disk.files import cache_folder, digest, read_json, write_json
from polyprompt.errors import CacheError, FileError, TowerError
from polyprompt.nn.finite import check_finite
from polyprompt.progress import say
from polyprompt.towers.fingerprint import tensor_said
from polyprompt.towers.pretrained import check_whole
from polyprompt.types import Tokens
from polyprompt.values import Foreign

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"

_reading = threading.Lock()


class Checkpoint:
    """Where each tensor of a model lies.

    Args:
        places: file and name in it, by the model's name of a tensor.
        shapes: as the model has them.
    """

    def __init__(self, places: Mapping[str, tuple[Path, str]], shapes: Mapping[str, torch.Size]) -> None:
        self.places, self.shapes = places, shapes

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Tensors that share the memory of their mapped files.

        Raises:
            TowerError: a file is gone, damaged, or of another shape than the model.
        """
        tensors: dict[str, Tensor] = {}
        for path in dict.fromkeys(self.places[name][0] for name in names):
            try:
                with safe_open(path, "pt") as file:
                    tensors |= {
                        name: file.get_tensor(stored)
                        for name, (place, stored) in self.places.items()
                        if place == path and name in names
                    }
            except (OSError, SafetensorError) as error:
                raise TowerError(f"{path}: cannot be read ({error}); fetch the tower's files again.") from None
        for name, tensor in tensors.items():
            if tensor.shape != self.shapes[name]:
                raise TowerError(
                    f"{self.places[name][0]}: {name} has the shape {list(tensor.shape)}, config.json says "
                    f"{list(self.shapes[name])}; the files are of different models."
                )
        return tensors

    def within(self, prefix: str) -> list[str]:
        """The names that begin so."""
        return [name for name in self.places if name.startswith(prefix)]

    def read_all(self) -> dict[str, Tensor]:
        """All of them.

        Raises:
            TowerError: as `read`. FileError: one holds what is no number.
        """
        tensors = self.read(list(self.places))
        for name, (path, stored) in self.places.items():
            check_finite({stored: tensors[name]}, path)
        return tensors

    def facts(self) -> list[str]:
        """What a fingerprint says of every tensor, read one by one.

        Raises:
            TowerError, FileError: as `read_all`.
        """
        facts = []
        for name, (path, stored) in sorted(self.places.items()):
            tensor = self.read([name])[name]
            check_finite({stored: tensor}, path)
            facts.append(tensor_said(name, tensor))
        return facts

    def noted(self) -> list[str] | None:
        """The same from an earlier time, if the files are those of then and the note is whole."""
        try:
            note = read_json(self._note())
        except FileError:
            return None
        whole = isinstance(note, dict) and note.keys() == {"tensors", "sha256"} and isinstance(note["tensors"], list)
        return note["tensors"] if whole and note["sha256"] == digest(*map(str, note["tensors"])) else None

    def note(self, facts: Sequence[str]) -> None:
        """Notes it for the next time; a cache that cannot be written is told, and the next time takes as long."""
        try:
            write_json(self._note(), {"tensors": list(facts), "sha256": digest(*facts)})
        except CacheError as error:
            say(f"{error} Until then every weight of this tower is read whenever it is opened.")

    def _note(self) -> Path:
        from transformers import __version__

        # a note also says that the model could be cut, and that its weights are numbers
        known = [f"transformers {__version__}", "finite"]
        for path in sorted({path.resolve() for path, _ in self.places.values()}):
            now = path.stat()
            known.append(f"{path} {now.st_size} {now.st_ino} {now.st_mtime_ns} {now.st_ctime_ns}")
        known += [f"{name} {path.name} {stored}" for name, (path, stored) in sorted(self.places.items())]
        return cache_folder("towers") / f"{digest(*known)}.json"


def find_checkpoint(path: str, model: nn.Module) -> Checkpoint | None:
    """Where a model's tensors lie, in a folder or what the hub left in its cache; None where they are not one by one in
    safetensors files under the model's own names."""
    from transformers.utils.hub import cached_file

    def cached(name: str) -> Path | None:
        file = cached_file(path, name, _raise_exceptions_for_missing_entries=False)
        return Path(file) if isinstance(file, str) else None

    if whole := cached(WHOLE):
        with safe_open(whole, "pt") as file:
            files = dict.fromkeys(file.keys(), whole)
    elif index := cached(INDEX):
        by_name = read_json(index)["weight_map"]
        shards = {name: cached(name) for name in set(by_name.values())}
        if None in shards.values():
            return None
        files = {name: cast(Path, shards[shard]) for name, shard in by_name.items()}
    else:
        return None
    front = f"{getattr(model, 'base_model_prefix', '')}."
    places, shapes = {}, {}
    for name, tensor in model.state_dict().items():
        stored = name if name in files else front + name
        if stored not in files:
            return None
        places[name], shapes[name] = (files[stored], stored), tensor.shape
    return Checkpoint(places, shapes)


def built(path: str, config: Foreign, name: str) -> tuple[nn.Module, Checkpoint | None]:
    """A model without its tensors, and where these lie; or whole, in fp32, where that is not known."""
    from accelerate import init_empty_weights
    from transformers import AutoModel

    if getattr(config, "quantization_config", None) is None:
        with init_empty_weights(include_buffers=False):
            model = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
        if checkpoint := find_checkpoint(path, model):
            return model, checkpoint
    whole, read = AutoModel.from_pretrained(
        path, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, output_loading_info=True
    )
    check_whole(read["missing_keys"], name)
    check_finite(whole.state_dict(), name)
    return whole, None


def put(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Sets parameters, frozen, and buffers by their names."""
    for name, tensor in tensors.items():
        above, _, leaf = name.rpartition(".")
        owner = module.get_submodule(above)
        if leaf in owner._buffers:
            owner._buffers[leaf] = tensor
        else:
            owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)


class Unread(nn.Module):
    """Stands where a block is that was not read; its tensors are nowhere, so nothing moves or counts them.

    Args:
        block: as built, its parameters on the meta device.
        checkpoint: where they lie.
        prefix: of their names.
    """

    def __init__(self, block: nn.Module, checkpoint: Checkpoint, prefix: str) -> None:
        super().__init__()
        self.block = (block,)  # in a tuple, torch does not see it
        self.checkpoint, self.prefix = checkpoint, prefix

    def tensors(self) -> dict[str, Tensor]:
        """As they lie, mapped."""
        tensors = self.checkpoint.read(self.checkpoint.within(self.prefix))
        return {name.removeprefix(self.prefix): tensor for name, tensor in tensors.items()}

    @property
    def dtype(self) -> torch.dtype:
        """Of its largest tensor."""
        return max(self.tensors().values(), key=Tensor.numel).dtype

    def read(self, dtype: torch.dtype, device: torch.device, *, copied: bool = False) -> nn.Module:
        """The block: matrices in `dtype`, all else, which is little, in fp32; `copied`: in memory of its own."""
        (block,) = self.block
        tensors = {
            name: tensor.to(device, dtype if tensor.ndim > 1 else torch.float32, copy=copied)
            for name, tensor in self.tensors().items()
        }
        put(block, tensors)
        return block

    def forget(self) -> None:
        """Leaves nothing of it in memory."""
        (block,) = self.block
        put(block, {name: torch.empty_like(tensor, device="meta") for name, tensor in block.state_dict().items()})


class Table(nn.Module):
    """The input table as it lies in its file; rows that are looked up become fp32, so it is never converted whole.

    Args:
        inner: the model's own, whose weight is on the meta device; it may do more than look up (Gemma 3 scales).
        checkpoint: where the weight lies.
        name: the weight's.
    """

    def __init__(self, inner: nn.Module, checkpoint: Checkpoint, name: str) -> None:
        super().__init__()
        self.inner = (inner,)  # in a tuple, torch does not see it
        self.checkpoint, self.name = checkpoint, name
        self.weight: nn.Parameter | None
        self.register_parameter("weight", None)

    @property
    def embedding_dim(self) -> int:
        """Numbers in a row."""
        return self.checkpoint.shapes[self.name][1]

    def forward(self, ids: Tokens) -> Float[Tensor, "b n d"]:
        """What the model's own makes of these ids, in fp32."""
        if self.weight is None:
            tensor = self.checkpoint.read([self.name])[self.name].to(ids.device)
            self.weight = nn.Parameter(tensor, requires_grad=False)
        distinct, places = ids.unique(return_inverse=True)
        inner = cast(nn.Module, object.__new__(type(self.inner[0])))
        rows = self.weight[distinct].float()
        inner.__dict__ = self.inner[0].__dict__ | {"_parameters": {"weight": rows}, "padding_idx": None}
        return inner(places)


def taken(blocks: nn.ModuleList, index: int, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """A block, read if it was not yet; threads may ask together."""
    block = blocks[index]
    if isinstance(block, Unread):
        with _reading:
            if blocks[index] is block:
                blocks[index] = block.read(dtype, device)
            block = blocks[index]
    return block


@contextmanager
def one_by_one(unread: Sequence[Unread]) -> Iterator[None]:
    """Within, each block may be called and is in memory, in fp32, only while it runs."""

    def before(one: Unread, *_: object) -> None:
        one.read(torch.float32, torch.device("cpu"))

    def behind(one: Unread, *_: object) -> None:
        one.forget()

    with ExitStack() as hooks:
        for one in unread:
            (block,) = one.block
            hooks.callback(block.register_forward_pre_hook(partial(before, one)).remove)
            hooks.callback(block.register_forward_hook(partial(behind, one)).remove)
        yield
