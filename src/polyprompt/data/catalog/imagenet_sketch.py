"""ImageNet-Sketch."""

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import wnid_folders

ENTRY = Entry(
    title="ImageNet-Sketch (Wang et al. 2019), 50,889 drawings",
    holds="labels",
    rows=wnid_folders({"test": ("images", "sketch", ".")}),
    folders=("imagenet-sketch", "sketch"),
    splits=("test",),
    counts={"test": 50_889},
    classes=1000,
    template="a photo of a {}.",
    twins=("missile", "sunglasses"),
    order="sorted WordNet ids",
    steps=("Fetch the zip from the Google Drive link of its page, unpack it as imagenet-sketch/images/<id>",),
    notes=("its paper says 50,000 pictures, everybody has 50,889",),
    page="https://github.com/HaohanWang/ImageNet-Sketch",
    licence="none stated",
)
