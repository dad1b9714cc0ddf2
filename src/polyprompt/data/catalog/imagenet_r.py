"""ImageNet-R: its 200 classes are the candidates, not all 1,000; 86 of them are ImageNet-A's."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import subset, wnid_folders

ENTRY = Entry(
    title="ImageNet-R (Hendrycks et al. 2021), 30,000 renditions of 200 classes",
    holds="labels",
    rows=wnid_folders({"test": ("imagenet-r", ".")}, subset("imagenet_r_synsets.txt")),
    folders=("imagenet-rendition", "imagenet-r"),
    splits=("test",),
    counts={"test": 30_000},
    classes=200,
    template="a photo of a {}.",
    order="place among the set's 200 sorted WordNet ids",
    page="https://github.com/hendrycks/imagenet-r",
    licence="MIT",
    downloads=(
        Download(
            url="https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar",
            folder="imagenet-rendition",
        ),
    ),
)
