"""DomainBed's parts of domains, against its program repeated step by step."""

import hashlib

import numpy as np
import pytest
from miniatures import Root, picture

from polyprompt.data import catalog
from polyprompt.data.domainbed import by_domain, in_and_out
from polyprompt.data.read import read_labelled
from polyprompt.errors import ConfigError

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
COUNTS = (13, 14, 16, 22)


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    root = Root(tmp_path_factory.mktemp("root"))
    for domain, count in zip(DOMAINS, COUNTS, strict=True):
        for i in range(count):
            root.file(f"PACS/{domain}/{('dog', 'horse')[i % 2]}/{i:02}.jpg", picture())
    return root.path


@pytest.mark.parametrize("trial", range(3))
def test_the_parts_are_domainbeds(pacs, trial):
    """Folders in order; ImageFolder sorts classes, then files; a shuffled list is cut at a fifth."""
    for number, domain in enumerate(sorted(path.name for path in (pacs / "PACS").iterdir())):
        files = [
            f"{domain}/{folder.name}/{file.name}"
            for folder in sorted((pacs / "PACS" / domain).iterdir())
            for file in sorted(folder.iterdir())
        ]
        seed = int(hashlib.md5(str((trial, number)).encode("utf-8")).hexdigest(), 16) % (2**31)
        places = np.random.RandomState(seed).permutation(len(files))  # of an array of numbers, as of a list
        cut = len(files) // 5
        inside, outside = in_and_out(read_labelled(f"pacs:{domain}@{pacs}"), f"pacs:{domain}@{pacs}", trial)
        assert {one.key for one in outside.pictures} == {files[i] for i in places[:cut]}
        assert {one.key for one in inside.pictures} == {files[i] for i in places[cut:]}


def test_several_domains_are_parted_one_by_one(pacs):
    source = f"pacs:photo+sketch@{pacs}"
    together = in_and_out(read_labelled(source), source, 0)
    apart = [in_and_out(read_labelled(f"pacs:{one}@{pacs}"), f"pacs:{one}@{pacs}", 0) for one in ("photo", "sketch")]
    for both, ones in zip(together, zip(*apart, strict=True), strict=True):
        assert [one.key for one in both.pictures] == [one.key for part in ones for one in part.pictures]
        assert [len(one.pictures) for one in by_domain(both)] == [len(one.pictures) for one in ones]


def test_domains_stand_in_the_order_of_their_folders():
    for name, folders in (("vlcs", "CLSV"), ("pacs", "ACPS"), ("office-home", "ACPR"), ("domainnet", "CIPQRS")):
        parts = catalog.entry(name).parts
        first = "".join({"pascal": "V"}.get(part, part[0].upper()) for part in parts)
        assert first == folders == "".join(sorted(folders))


def test_pictures_that_are_no_domain(pacs):
    with pytest.raises(ConfigError, match="no domain of a published set"):
        in_and_out(read_labelled(str(pacs / "PACS" / "photo")), str(pacs / "PACS" / "photo"), 0)
