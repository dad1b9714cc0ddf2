"""OxfordPets with CoOp's split: the official test; a fifth of the official trainval is val."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import coop_split

ENTRY = Entry(
    title="OxfordPets (Parkhi et al. 2012), 37 breeds",
    holds="labels",
    rows=coop_split("split_zhou_OxfordPets.json", "images"),
    folders=(
        "oxford_pets",
        "oxford-iiit-pet",
    ),
    splits=("train", "val", "test"),
    counts={"train": 2_944, "val": 736, "test": 3_669},
    classes=37,
    template="a photo of a {}, a type of pet.",
    page="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    licence="CC BY-SA 4.0",
    order="alphabetical, without upper case",
    downloads=(
        Download(
            url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
            folder="oxford_pets",
            md5="5c4f3ee8e5d25df40f4fd59a7f44e54c",
        ),
    ),
    notes=(
        "ten .jpg files are PNG or GIF inside; two JPEGs are damaged, which Pillow reads and other libraries refuse",
        "three .mat files lie among the pictures",
    ),
)
