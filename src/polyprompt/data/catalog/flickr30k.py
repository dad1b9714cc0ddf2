"""Flickr30k with Karpathy's split."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import karpathy_split

ENTRY = Entry(
    title="Flickr30k (Young et al. 2014), Karpathy's split",
    holds="captions",
    rows=karpathy_split("dataset_flickr30k.json"),
    folders=("flickr30k", "Flickr30k"),
    splits=("train", "val", "test"),
    counts={"train": 29_000, "val": 1_014, "test": 1_000},
    captions={"train": 145_000, "val": 5_070, "test": 5_000},
    page="https://shannon.cs.illinois.edu/DenotationGraph/",
    licence="non-commercial research; pictures of Flickr's users",
    form=True,
    downloads=(
        Download(
            url="https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
            folder="caption_datasets",
        ),
    ),
    steps=(
        "Fill in the form, or take Kaggle's hsankesara/flickr-image-dataset. Put the pictures into flickr30k/images/",
    ),
)
