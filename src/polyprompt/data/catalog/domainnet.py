"""DomainNet: a domain is a part, as in `domainnet:real`; all of a domain is scored."""

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import domains

PLACES = {
    "clipart": ("clipart",),
    "infograph": ("infograph",),
    "painting": ("painting",),
    "quickdraw": ("quickdraw",),
    "real": ("real",),
    "sketch": ("sketch",),
}

ENTRY = Entry(
    title="DomainNet, cleaned (Peng et al. 2019), 345 classes in 6 domains",
    holds="labels",
    rows=domains(PLACES),
    folders=("domain_net", "domainnet", "DomainNet"),
    parts=tuple(PLACES),
    counts={
        "clipart": 48129,
        "infograph": 51605,
        "painting": 72266,
        "quickdraw": 172500,
        "real": 172947,
        "sketch": 69128,
    },
    classes=345,
    template="a photo of a {}.",
    order="the folders', sorted",
    page="http://ai.bu.edu/M3SDA/",
    licence="fair use, as its page says",
    steps=(
        "Fetch the cleaned version of the six zips from its page",
        "Unpack them as domain_net/<domain>/<class>; take out DomainBed's 9,431 duplicates (domain_net_duplicates.txt)",
    ),
)
