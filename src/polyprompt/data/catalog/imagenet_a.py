"""ImageNet-A: its 200 classes are the candidates, not all 1,000."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import subset, wnid_folders

ENTRY = Entry(
    title="ImageNet-A (Hendrycks et al. 2021), 7,500 pictures of 200 classes",
    holds="labels",
    rows=wnid_folders({"test": ("imagenet-a", ".")}, subset("imagenet_a_synsets.txt")),
    folders=("imagenet-adversarial", "imagenet-a"),
    splits=("test",),
    counts={"test": 7_500},
    classes=200,
    template="a photo of a {}.",
    order="place among the set's 200 sorted WordNet ids",
    page="https://github.com/hendrycks/natural-adv-examples",
    licence="MIT",
    downloads=(
        Download(
            url="https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar",
            folder="imagenet-adversarial",
        ),
    ),
)
