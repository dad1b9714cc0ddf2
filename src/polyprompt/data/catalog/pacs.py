"""PACS: a domain is a part, as in `pacs:photo`; all of a domain is scored."""

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import domains

PLACES = {
    "art_painting": ("art_painting", "images/art_painting"),
    "cartoon": ("cartoon", "images/cartoon"),
    "photo": ("photo", "images/photo"),
    "sketch": ("sketch", "images/sketch"),
}

ENTRY = Entry(
    title="PACS (Li et al. 2017), 7 classes in 4 domains",
    holds="labels",
    rows=domains(PLACES, broken=("sketch/dog/n02103406_4068-1.png",)),
    folders=("pacs", "PACS"),
    parts=tuple(PLACES),
    counts={"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3928},
    classes=7,
    template="a photo of a {}.",
    order="the folders', sorted",
    page="https://github.com/facebookresearch/DomainBed",
    licence="none stated",
    steps=(
        "DomainBed's download script fetches PACS.zip from Google Drive; Dassl links pacs.zip there",
        "Unpack it as PACS/<domain>/<class> (DomainBed) or pacs/images/<domain>/<class> (Dassl)",
    ),
    notes=("sketch/dog/n02103406_4068-1.png is broken and left out, as in Dassl: 3,928 of the published 3,929 remain",),
)
