"""ImageNet-V2: folders called by the label's number."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import numbered_folders

ENTRY = Entry(
    title="ImageNet-V2, matched frequency (Recht et al. 2019), 10,000 pictures",
    holds="labels",
    rows=numbered_folders("test", "imagenetv2-matched-frequency-format-val", "."),
    folders=("imagenetv2", "imagenetv2-matched-frequency-format-val"),
    splits=("test",),
    counts={"test": 10_000},
    classes=1000,
    template="a photo of a {}.",
    twins=("missile", "sunglasses"),
    order="the folder's number; sorted as text (0, 1, 10, 100) nearly all would be mislabelled",
    page="https://github.com/modestyachts/ImageNetV2",
    licence="MIT",
    downloads=(
        Download(
            url="https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz",
            folder="imagenetv2",
        ),
    ),
)
