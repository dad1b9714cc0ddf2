"""Flowers102 with CoOp's own split over all pictures; the official one has 1,020, 1,020 and 6,149."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import coop_split

ENTRY = Entry(
    title="Flowers102 (Nilsback and Zisserman 2008), 102 flowers",
    holds="labels",
    rows=coop_split("split_zhou_OxfordFlowers.json", "jpg"),
    folders=(
        "oxford_flowers",
        "flowers-102",
    ),
    splits=("train", "val", "test"),
    counts={"train": 4_093, "val": 1_633, "test": 2_463},
    classes=102,
    template="a photo of a {}, a type of flower.",
    page="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    licence="none stated",
    order="imagelabels.mat minus 1; the train list begins with label 76, so first appearance is another order",
    downloads=(
        Download(
            url="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz",
            folder="oxford_flowers",
            md5="52808999861908f626f3c1f4e79d11fa",
        ),
    ),
    notes=("CoOp's test is not torchvision's or clip_benchmark's (6,149 pictures)",),
)
