"""Caltech101 with CoOp's split: BACKGROUND_Google and Faces_easy are left out, four names are changed."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import coop_split

ENTRY = Entry(
    title="Caltech101 (Fei-Fei et al. 2004), 100 classes",
    holds="labels",
    rows=coop_split("split_zhou_Caltech101.json", "101_ObjectCategories", "caltech-101/101_ObjectCategories", "images"),
    folders=(
        "caltech-101",
        "caltech101",
    ),
    splits=("train", "val", "test"),
    counts={"train": 4_128, "val": 1_649, "test": 2_465},
    classes=100,
    template="a photo of a {}.",
    page="https://data.caltech.edu/records/mzrjq-6wc02",
    licence="CC BY 4.0",
    renamed={"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"},
    order="the split file's, which sorts the folders' names, upper case first: face, leopard, motorbike, accordion",
    downloads=(
        Download(
            url="https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
            md5="3138e1922a9193bfa496528edbbc45d0",
            inner=("caltech-101/101_ObjectCategories.tar.gz",),
        ),
    ),
    notes=(
        "very uneven: 240 of the 2,465 test pictures are of one class",
        "CoOp's test is not that of torchvision, clip_benchmark (102 classes) or mteb (6,084 pictures)",
        "file names repeat in all classes",
    ),
)
