"""COCO's captions with Karpathy's split: train is his train and restval."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import karpathy_split

ENTRY = Entry(
    title="COCO captions (Lin et al. 2014), Karpathy's split",
    holds="captions",
    rows=karpathy_split("dataset_coco.json", also=("images",), train=("train", "restval")),
    folders=("coco", "COCO", "mscoco"),
    splits=("train", "val", "test"),
    counts={"train": 113_287, "val": 5_000, "test": 5_000},
    captions={"test": 25_010},
    page="https://cocodataset.org/#download",
    licence="captions CC BY 4.0; pictures of Flickr's users",
    form=False,
    downloads=(
        Download(
            url="https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
            folder="caption_datasets",
        ),
        Download(url="http://images.cocodataset.org/zips/val2014.zip", folder="coco"),
        Download(url="http://images.cocodataset.org/zips/train2014.zip", folder="coco"),
    ),
    notes=(
        "ten of the 5,000 test pictures have more than five captions; some code takes the first five (25,000)",
        "some pictures are grey",
    ),
)
