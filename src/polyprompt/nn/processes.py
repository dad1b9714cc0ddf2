"""Rows of one batch held by several processes: where torch.distributed is initialised, else there is one process."""

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from polyprompt.errors import TrainingError


def place() -> tuple[int, int]:
    """This process's number, and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def first_row(mine: Tensor) -> int:
    """How many rows the processes before this one hold."""
    return place()[0] * len(mine)


def gathered(mine: Tensor) -> Tensor:
    """The rows of all processes, in their order; no gradient."""
    _, processes = place()
    if processes == 1:
        return mine
    rows = mine.new_empty((processes * len(mine), *mine.shape[1:]))
    distributed.all_gather(list(rows.chunk(processes)), mine.contiguous())
    return rows


def summed(mine: Tensor) -> Tensor:
    """The sum over all processes, written over `mine`; no gradient."""
    if place()[1] > 1:
        distributed.all_reduce(mine)
    return mine


def total(mine: Tensor) -> Tensor:
    """The sum over all processes; each of them gets the gradient of what all make of it."""
    return _Total.apply(mine)


def check_shares(mine: Tensor) -> None:
    """Every process has to hold as many rows as the others.

    Raises:
        TrainingError: they do not.
    """
    _, processes = place()
    if processes == 1:
        return
    counts = gathered(torch.tensor([len(mine)], device=mine.device)).tolist()
    if min(counts) < max(counts):
        raise TrainingError(
            f"the processes hold {', '.join(map(str, counts))} rows of one batch; the losses need equally many "
            f"in each. Take a batch size that {processes} divides, and leave out the last, shorter batch."
        )


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mine: Tensor) -> Tensor:
        return summed(mine.clone())

    @staticmethod
    @once_differentiable
    def backward(ctx, d_sum: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return summed(d_sum.clone())
