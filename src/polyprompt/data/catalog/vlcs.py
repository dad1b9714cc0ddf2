"""VLCS: a domain is a part, as in `vlcs:sun`; all of a domain is scored."""

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import domains

PLACES = {
    "caltech": ("Caltech101", "CALTECH"),
    "labelme": ("LabelMe", "LABELME"),
    "sun": ("SUN09", "SUN"),
    "pascal": ("VOC2007", "PASCAL"),
}
CLASSES = ("bird", "car", "chair", "dog", "person")

ENTRY = Entry(
    title="VLCS (Fang et al. 2013), 5 classes in 4 domains",
    holds="labels",
    rows=domains(PLACES),
    folders=("VLCS", "vlcs"),
    parts=tuple(PLACES),
    counts={"caltech": 1415, "labelme": 2656, "pascal": 3376, "sun": 3282},
    classes=5,
    renamed=dict(zip("01234", CLASSES, strict=True)),
    template="a photo of a {}.",
    order="the folders', sorted",
    page="https://github.com/facebookresearch/DomainBed",
    licence="none stated",
    steps=(
        "DomainBed's download script fetches VLCS.tar.gz from Google Drive",
        "Unpack it as VLCS/{Caltech101,LabelMe,SUN09,VOC2007}/<class>",
    ),
    notes=(
        "Dassl's copy, VLCS/{CALTECH,...}/{train,crossval,test}/<number>, is read as one, its numbers as names",
        "uneven: 45 % of the pictures are of class person",
    ),
)
