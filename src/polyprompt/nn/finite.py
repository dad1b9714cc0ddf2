"""Whether weights are numbers at all: one NaN among them makes every score NaN, and nothing fails."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from polyprompt.errors import FileError


def check_finite(tensors: Mapping[str, Tensor], what: str | Path) -> None:
    """Refuses weights that hold NaN or an infinite number.

    Each tensor is read once and nothing is made beside it, so this takes far less than hashing them.

    Raises:
        FileError: names the first such tensor.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel() and not _ends(tensor).isfinite().all():
            wrong = int((~tensor.float().isfinite()).sum())
            raise FileError(
                f"{what}: {name} has {wrong:,} of {tensor.numel():,} numbers that are NaN or infinite; damaged, or "
                f"saved from a training that failed. Have the file again."
            )


def _ends(tensor: Tensor) -> Tensor:
    """The smallest and the largest number; NaN if one is."""
    tensor = tensor.detach() if tensor.dtype.itemsize > 1 else tensor.detach().float()  # 8 bits have no order
    return torch.stack(tensor.aminmax())
