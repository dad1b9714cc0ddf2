"""What frozen towers make of pictures and of a teacher's sentences, once, kept on disk for all runs that need it.

A picture's states are found by the sha256 of its bytes, in a folder named after all else that determines them: encoder,
preprocessing, block. The folder grows by shards, files named after their own sha256, so that several runs can fill it
at a time, none sees half a shard, and a damaged one is known by its name, set aside and computed again.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from polyprompt.data.items import Picture
from polyprompt.disk.files import built_once, cache_folder, digest, set_aside, sha256, write_bytes
from polyprompt.progress import progress, say
from polyprompt.towers.base import DualEncoder

CHUNK = 64
"""Pictures computed together."""


class ImageStates:
    """States of pictures at the input of a block of the image tower, in fp32; with None as block, finished vectors.

    Args:
        encoder: its image tower makes them, on the device where it is.
        block: as in `Stages`.
        cap_gb: more than this is not kept but computed each time it is read; 0 keeps nothing.
    """

    def __init__(self, encoder: DualEncoder, pictures: Sequence[Picture], block: int | None, cap_gb: float) -> None:
        self.encoder, self.pictures, self.block = encoder, pictures, block
        self._places: dict[str, tuple[Any, int]] = {}
        self._digests: list[str] = []
        if cap_gb and pictures:
            self._digests = [picture.digest() for picture in pictures]
            what = [encoder.fingerprint, encoder.name, json.dumps(encoder.image.preprocess.to_json()), str(block)]
            self._fill(cache_folder("pictures", digest(*what)), cap_gb)

    def read(self, items: Sequence[int]) -> Float[Tensor, "b ..."]:
        """The states of some pictures, on the CPU.

        Raises:
            ImageError: a picture that is not kept, and cannot be read.
        """
        if not self._places:
            return self._compute([self.pictures[item] for item in items])
        places = [self._places[self._digests[item]] for item in items]
        return torch.stack([states[row] for states, row in places])

    def _compute(self, pictures: Sequence[Picture]) -> Float[Tensor, "b ..."]:
        preprocess, device = self.encoder.image.preprocess, self.encoder.logit_scale.device
        pixels = torch.stack([preprocess(picture.open()) for picture in pictures])
        return self.encoder.image.until(pixels.to(device), self.block).float().cpu().contiguous()

    def _fill(self, folder: Path, cap_gb: float) -> None:
        places = shards_with(folder, set(self._digests))
        missing = {own: i for i, own in enumerate(self._digests) if own not in places}
        if missing:
            first = self._compute([self.pictures[next(iter(missing.values()))]])
            gb = len(set(self._digests)) * first.numel() * 4 / 1e9
            if gb > cap_gb:
                say(f"The pictures' states would take {gb:.1f} GB, over the cap of {cap_gb:g}: computed when needed.")
                return
        todo = list(missing.items())
        with progress("Pictures", len(todo)) as advance:
            for at in range(0, len(todo), CHUNK):
                part = todo[at : at + CHUNK]
                states = self._compute([self.pictures[i] for _, i in part])
                data = to_bytes({"states": states}, metadata={"pictures": json.dumps([own for own, _ in part])})
                write_bytes(folder / f"{hashlib.sha256(data).hexdigest()}.safetensors", data)
                advance(len(part))
        self._places = places if not todo else shards_with(folder, set(self._digests))


def shards_with(folder: Path, wanted: set[str]) -> dict[str, tuple[Any, int]]:
    """Where the states of the wanted pictures lie: a slice of a sound shard, and the row in it."""
    places: dict[str, tuple[Any, int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            shard = safe_open(path, "pt")
            pictures = json.loads(shard.metadata()["pictures"])
            rows = {own: row for row, own in enumerate(pictures) if own in wanted and own not in places}
            if rows and sha256(path) != path.stem:
                raise ValueError("other bytes than its name says")
            states = shard.get_slice("states")
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            say(f"{path} is damaged ({error}): set aside as {set_aside(path).name}, and computed again.")
            continue
        places |= {own: (states, row) for own, row in rows.items()}
    return places


def keep_teacher(method: Any) -> None:
    """PromptSRC's teacher takes its class vectors from the cache, computed the first time: dozens of sentences a class.

    Raises:
        CacheError: no room.
    """
    if (teacher := getattr(method, "teacher", None)) is None:
        return
    encoder, templates = method.encoder, teacher.consistency.templates
    key = digest(encoder.fingerprint, encoder.name, str(len(templates)), *templates, *teacher.class_names)

    def compute(folder: Path) -> None:
        save_file({"classes": teacher.classes.cpu().contiguous()}, folder / "classes.safetensors")

    what = f"The teacher reads {len(templates)} sentences about each of {len(teacher.class_names)} classes"
    folder = built_once(cache_folder("teachers") / key, compute, what)
    teacher.classes = load_file(folder / "classes.safetensors")["classes"].clone()
