"""Flickr8k with Karpathy's split."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import karpathy_split

ENTRY = Entry(
    title="Flickr8k (Hodosh et al. 2013), Karpathy's split",
    holds="captions",
    rows=karpathy_split("dataset_flickr8k.json"),
    folders=("flickr8k", "Flickr8k"),
    splits=("train", "val", "test"),
    counts={"train": 6_000, "val": 1_000, "test": 1_000},
    captions={"train": 30_000, "val": 5_000, "test": 5_000},
    page="https://forms.illinois.edu/sec/1713398",
    licence="none stated; pictures of Flickr's users",
    form=True,
    downloads=(
        Download(
            url="https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
            folder="caption_datasets",
        ),
    ),
    steps=("The form is closed; Kaggle's adityajn105/flickr8k has the pictures. Put them into flickr8k/images/",),
    notes=("Flickr8k.token.txt has five captions of a picture that does not exist; Karpathy's file has not",),
)
