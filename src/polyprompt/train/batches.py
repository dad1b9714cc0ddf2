"""Which items meet in a batch: the same for any number of processes, and the same again after a resume."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from polyprompt.errors import ConfigError, DataError
from polyprompt.values import Foreign


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Shuffled batches of item numbers, decided by `seed` and the epoch alone.

    For captioned pictures an item is a caption, and an epoch visits every picture once, with one of its captions drawn
    at random: no picture meets itself in a batch, where it would count as its own wrong answer. For labelled pictures
    `image_of` is `range(n)`.

    All batches of an epoch are full; the few pictures left over (others in each epoch) wait for a later one. Fewer
    pictures than `size` make one batch of them all.

    Raises:
        ConfigError: `size` or `seed` is out of range. DataError: there are no items.
    """

    fetch: Callable[[list[int]], Foreign]
    """Item numbers to the batch that the task takes. It may draw from torch's, numpy's and Python's own generators."""
    image_of: Sequence[int]
    """`image_of[item]`: the picture that the item belongs to, one item per caption."""
    size: int
    """Pictures in a batch, all processes together."""
    seed: int = 0
    """Decides the order and the captions drawn."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"batch size is {self.size}; it counts items, so at least 1")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; it must be 0 or larger")
        if len(self.image_of) == 0:
            raise DataError("there are no items to train on; the split that was asked for is empty")

    def __len__(self) -> int:
        """Batches in an epoch."""
        return max(len(set(self.image_of)) // self.size, 1)

    def epoch(self, epoch: int) -> list[list[int]]:
        """The batches of one epoch, as item numbers."""
        draw = np.random.default_rng([self.seed, epoch])
        items = draw.permutation(len(self.image_of))
        # The first item of each picture in a random order of all items: a uniform draw of one caption per picture.
        _, first = np.unique(np.asarray(self.image_of)[items], return_index=True)
        chosen = draw.permutation(items[first]).tolist()
        if len(chosen) <= self.size:
            return [chosen]
        return [chosen[start : start + self.size] for start in range(0, len(self) * self.size, self.size)]


def share(batch: Sequence[int], process: int, processes: int) -> list[int]:
    """The part of a batch that one of several processes takes: all parts equally long, in order.

    Raises:
        ConfigError: the batch cannot be shared equally.
    """
    if len(batch) % processes:
        raise ConfigError(
            f"a batch of {len(batch)} cannot be shared equally by {processes} processes. "
            f"Make the batch size a multiple of {processes}, and no larger than the data."
        )
    part = len(batch) // processes
    return list(batch[process * part : (process + 1) * part])
