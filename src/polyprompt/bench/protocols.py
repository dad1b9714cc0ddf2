"""The field's protocols as a table: what is trained and scored on what.

CoOp's (Zhou et al. 2022, arXiv:2109.01134), CoCoOp's (arXiv:2203.05557), DomainBed's (Gulrajani and Lopez-Paz 2021,
arXiv:2007.01434), image-text and video-text retrieval, semantic similarity of sentences. How figures are averaged is
in report/averages.py.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from polyprompt.adapt.published import Protocol as Trained
from polyprompt.data import catalog
from polyprompt.errors import ConfigError, UnknownNameError
from polyprompt.methods import BASELINES, ZERO_SHOT

Sets = Iterator[Mapping[str, object]]
"""Settings that say what is trained on and what is scored, one by one."""

ELEVEN = (
    "imagenet", "caltech101", "oxford-pets", "stanford-cars", "flowers102", "food101", "fgvc-aircraft", "sun397",
    "dtd", "eurosat", "ucf101",
)  # fmt: skip
SEVEN_STS = ("sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sickr")


def each(data: Sequence[str]) -> Sets:
    """Every set by itself: its training pictures, its test pictures."""
    yield from ({"data": one} for one in data)


def whole(data: Sequence[str]) -> Sets:
    """The same where nothing is trained on: of sets without splits all pictures are scored."""
    yield from ({"data": one, "test": one} for one in data)


def first_to_others(data: Sequence[str]) -> Sets:
    """Trained on the first, scored on it and on all others.

    Raises:
        ConfigError: there is no other, or the first is among them.
    """
    if len(data) < 2:
        raise ConfigError(f"data is {', '.join(data)}; name the set to train on and one or more others to score: A,B")
    if same := next((one for one in data[1:] if os.path.realpath(one) == os.path.realpath(data[0])), ""):
        raise ConfigError(f"data: {same} is the set to train on, which is scored anyway; name others behind it")
    yield {"data": data[0], "also": tuple(data[1:])}


def single_source(data: Sequence[str]) -> Sets:
    """Trained on each domain, scored on all of every other one."""
    for domains in families(data):
        for domain in domains:
            yield {"data": domain, "also": tuple(other for other in domains if other != domain)}


def leave_one_out(data: Sequence[str]) -> Sets:
    """Trained on all domains but one, k pictures a class of them together, scored on all of that one."""
    for domains in families(data):
        for target in domains:
            yield {"data": joined([domain for domain in domains if domain != target]), "test": target}


def as_domainbed(data: Sequence[str]) -> Sets:
    """The same with the parts of each domain that DomainBed takes; the sources' held-out pictures choose the epoch."""
    yield from ({**one, "domainbed": True, "select": "val"} for one in leave_one_out(data))


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A row of the table."""

    says: str
    """What it is, for the help page and above tables."""
    sets: Callable[[Sequence[str]], Sets] = each
    """The user's sets, as they are put together."""
    usual: tuple[str, ...]
    """The sets of published tables, taken where none are named."""
    task: Literal["classify", "retrieve", "compare"] = "classify"
    like: Trained = "few-shot"
    """Whose published settings methods take, and which classes are scored."""
    shots: tuple[int | None, ...] = (None,)
    anchors: tuple[str, ...] = ()
    """Methods that stand in every table of it."""
    seeded: bool = False
    """Whether the seed decides which pictures are scored."""
    trains: bool = True
    """Whether other methods can be asked for."""


RAISED, TUNED = f"{ZERO_SHOT}, first aspect 1.25", f"{ZERO_SHOT}, aspects tuned on val"
"""Rows of the protocol `aspects`: weights fixed beforehand, and weights chosen on validation pictures."""

PROTOCOLS: Mapping[str, Protocol] = {
    "zero-shot": Protocol(
        says="all classes by their names, whole test sets; nothing is trained",
        sets=whole,
        usual=ELEVEN,
        anchors=(ZERO_SHOT,),
        trains=False,
    ),
    "aspects": Protocol(
        says="zero-shot with weights of aspects, fixed beforehand or chosen on val once, against equal ones (CAMPE)",
        sets=whole,
        usual=ELEVEN,
        anchors=(ZERO_SHOT, RAISED, TUNED),
        trains=False,
    ),
    "few-shot": Protocol(
        says="all classes, 1 to 16 training pictures of each",
        usual=ELEVEN,
        shots=(1, 2, 4, 8, 16),
        anchors=BASELINES,
    ),
    "base-to-novel": Protocol(
        says="trained on the first half of the classes, scored on both halves apart",
        usual=ELEVEN,
        like="base-to-novel",
        shots=(16,),
        anchors=(ZERO_SHOT,),
    ),
    "cross-dataset": Protocol(
        says="trained on all classes of the first set, scored on the others",
        sets=first_to_others,
        usual=ELEVEN,
        like="cross-dataset",
        shots=(16,),
        anchors=(ZERO_SHOT,),
    ),
    "domain-generalization": Protocol(
        says="trained on ImageNet, scored on its four variants",
        sets=first_to_others,
        usual=("imagenet", "imagenet-v2", "imagenet-sketch", "imagenet-a", "imagenet-r"),
        like="cross-dataset",
        shots=(16,),
        anchors=(ZERO_SHOT,),
    ),
    "single-source": Protocol(
        says="trained on one domain, scored on all of each other one",
        sets=single_source,
        usual=("pacs",),
        shots=(16,),
        anchors=BASELINES,
    ),
    "leave-one-domain-out": Protocol(
        says="trained on all domains but one, so many pictures a class of them together, scored on all of that one",
        sets=leave_one_out,
        usual=("pacs",),
        shots=(16,),
        anchors=BASELINES,
    ),
    "domainbed": Protocol(
        says="leave one domain out as DomainBed does: trained on 80 % of the others, the epoch chosen on their other "
        "20 %, scored on 80 % of that one",
        sets=as_domainbed,
        usual=("pacs",),
        anchors=BASELINES,
        seeded=True,
    ),
    "retrieval": Protocol(
        says="pictures (videos) and their captions find each other; nothing is trained",
        usual=("flickr8k", "flickr30k", "coco"),
        task="retrieve",
        trains=False,
    ),
    "sts": Protocol(
        says="Spearman's correlation of cosines of sentences with people's scores; nothing is trained",
        usual=SEVEN_STS,
        task="compare",
        trains=False,
    ),
}  # fmt: skip


def protocol(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        UnknownNameError: there is none; near names are offered.
    """
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


# Domains


def families(data: Sequence[str]) -> list[list[str]]:
    """The domains of each set of the catalogue; sources of one's own are one family together.

    Raises:
        ConfigError: a set of the catalogue without domains, or fewer than two.
    """
    domains: list[list[str]] = []
    own: list[str] = []
    for source in data:
        head, at, folder = source.partition("@")
        known = catalog.known(head)
        parts = catalog.entry(known).parts if known else ()
        if known and parts:
            domains.append([f"{known}:{part}{at}{folder}" for part in parts])
        elif known and not os.path.exists(source):
            raise ConfigError(f"{source}: has no domains; give a set with domains, such as pacs, or leave it out")
        else:
            own.append(source)
    if own:
        domains.append(own)
    if not domains or min(map(len, domains)) < 2:
        raise ConfigError(f"data is {', '.join(data)}; give a set with domains, such as pacs, or two sources or more")
    return domains


def joined(domains: Sequence[str]) -> str:
    """Several domains of one set as one source: pacs:photo+sketch.

    Raises:
        ConfigError: they are no domains of one set of the catalogue.
    """
    heads = {(source.partition(":")[0], source.partition("@")[2]) for source in domains}
    if len(heads) > 1 or not all(":" in source.partition("@")[0] for source in domains):
        raise ConfigError(
            f"{', '.join(domains)}: are no domains of one published set, and cannot be trained on together; "
            "put them into one folder, or use single-source"
        )
    ((name, folder),) = heads
    parts = "+".join(source.partition("@")[0].partition(":")[2] for source in domains)
    return f"{name}:{parts}@{folder}" if folder else f"{name}:{parts}"
