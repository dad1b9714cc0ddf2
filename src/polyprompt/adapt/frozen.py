"""What a frozen image tower makes of pictures, once, kept on disk for all runs that need it.

A picture's states are found by the sha256 of its bytes, in a store of rows (disk/rows.py) whose folder is named after
all else that determines them: encoder with its preprocessing, and block.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.data.items import Picture
from polyprompt.disk.numbers import row_bytes
from polyprompt.disk.rows import Rows, RowStore, fill, kept_folder
from polyprompt.media.ahead import made_together
from polyprompt.progress import say
from polyprompt.towers.base import DualEncoder

TOGETHER = 16
"""Pictures that go through a tower at least, where states are kept. A processor adds up the numbers of smaller batches
in another order; what is kept would depend on which other pictures were missing."""


def kept_by(encoder: DualEncoder) -> list[str]:
    """What rows are kept under: the encoder, and the precision where it is not full."""
    return [encoder.fingerprint, *([] if encoder.dtype == torch.float32 else [str(encoder.dtype)])]


class ImageStates:
    """States of pictures at the input of a block of the image tower; with None as block, finished vectors.

    Args:
        encoder: its image tower makes them, on the device where it is.
        block: where a change starts (towers/base.py), or None.
        cap_gb: more than this is not kept but computed each time it is read; 0 keeps nothing.
    """

    def __init__(self, encoder: DualEncoder, pictures: Sequence[Picture], block: int | None, cap_gb: float) -> None:
        self.encoder, self.pictures, self.block = encoder, pictures, block
        self._kept: Rows | None = None
        if cap_gb and pictures:
            self._kept = self._fill(RowStore(kept_folder("pictures", *kept_by(encoder), str(block))), cap_gb)

    def read(self, items: Sequence[int]) -> Float[Tensor, "b ..."]:
        """The states of some pictures, on the CPU.

        Raises:
            ImageError: a picture that is not kept, and cannot be read.
        """
        if self._kept is None:
            return self._compute(items)
        states = torch.stack([self._kept.read(item) for item in items])
        return states[:, 0] if self.block is None else states

    def _compute(self, items: Sequence[int], least: int = 1) -> Float[Tensor, "b ..."]:
        """The states of some pictures; of fewer than `least` the last one runs several times."""
        preprocess, device = self.encoder.image.preprocess, self.encoder.logit_scale.device
        pixels = torch.stack(made_together(lambda item: preprocess(self.pictures[item].open()), items))
        pixels = torch.cat([pixels, pixels[-1:].repeat(max(least - len(items), 0), 1, 1, 1)])
        states = self.encoder.image.below(pixels.to(device), self.block)[: len(items)]
        return states.float().cpu().contiguous()

    def _rows(self, items: Sequence[int], least: int = 1) -> list[Float[Tensor, "m d"]]:
        states = self._compute(items, least)
        return list(states[:, None] if self.block is None else states)

    def _fill(self, store: RowStore, cap_gb: float) -> Rows | None:
        keys = [picture.digest() for picture in self.pictures]
        if missing := store.missing(keys):
            (one,) = self._rows(missing[:1])
            size = len(one) * row_bytes(one.shape[1], store.dtype)
            if (gb := len(set(keys)) * size / 1e9) > cap_gb:
                say(f"The pictures' states would take {gb:.1f} GB, over the cap of {cap_gb:g}: computed when needed.")
                return None
            fill([store], keys, lambda items: [self._rows(items, TOGETHER)], "Pictures", sizes=[size] * len(keys))
        return store.find(keys)
