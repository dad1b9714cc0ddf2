"""DomainBed's two parts of a domain, drawn by a trial's seed (Gulrajani and Lopez-Paz 2021, arXiv:2007.01434).

A fifth of each domain is held out to choose by; the rest is trained on or, of the target, scored. Written from a
reading of facebookresearch/DomainBed (scripts/train.py, lib/misc.py); the test repeats it step by step.
What differs: of PACS the picture that Dassl calls broken is left out (catalog/pacs.py), so that the parts of sketch,
and they alone, are others.
"""

import hashlib

import numpy as np

from polyprompt.data import catalog
from polyprompt.data.items import Labelled
from polyprompt.errors import ConfigError

HELD_OUT = 0.2
"""Of each domain, rounded down."""


def in_and_out(data: Labelled, source: str, trial: int) -> tuple[Labelled, Labelled]:
    """What is trained on or scored, and what is held out, of each domain in `data`.

    Args:
        data: pictures of one or several domains, in the order of files, as ImageFolder has them.
        source: what `data` was read from, such as pacs:photo+sketch.
        trial: DomainBed's trial_seed.

    Raises:
        ConfigError: `source` is no domain of a published set.
    """
    name = source.partition("@")[0].partition(":")[0]
    parts = catalog.entry(name).parts if catalog.known(name) else ()
    kept: list[int] = []
    held: list[int] = []
    for number, part in enumerate(parts):  # in the order of DomainBed's folders
        members = [i for i, picture in enumerate(data.pictures) if picture.key.startswith(f"{part}/")]
        np.random.RandomState(seed_of(trial, number)).shuffle(members)
        count = int(len(members) * HELD_OUT)
        held += members[:count]
        kept += members[count:]
    if len(kept) + len(held) != len(data.pictures):
        raise ConfigError(f"domainbed: {source} is no domain of a published set, as pacs:photo is; leave it out")
    return data.keep(sorted(kept)), data.keep(sorted(held))


def seed_of(trial: int, number: int) -> int:
    """Of the shuffle of a trial's domain."""
    return int(hashlib.md5(str((trial, number)).encode(), usedforsecurity=False).hexdigest(), 16) % 2**31


def by_domain(data: Labelled) -> list[Labelled]:
    """A set of several domains as one set each."""
    domains = dict.fromkeys(picture.key.partition("/")[0] for picture in data.pictures)
    return [
        data.keep([i for i, picture in enumerate(data.pictures) if picture.key.partition("/")[0] == domain])
        for domain in domains
    ]
