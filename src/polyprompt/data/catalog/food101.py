"""Food101 with CoOp's own split, which mixes the official train (noisy) and test (clean)."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import coop_split

ENTRY = Entry(
    title="Food101 (Bossard et al. 2014), 101 dishes",
    holds="labels",
    rows=coop_split("split_zhou_Food101.json", "images"),
    folders=("food-101",),
    splits=("train", "val", "test"),
    counts={"train": 50_500, "val": 20_200, "test": 30_300},
    classes=101,
    template="a photo of {}, a type of food.",
    page="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    licence="pictures of Foodspotting, for research",
    order="alphabetical",
    downloads=(
        Download(
            url="http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
            md5="85eeb15f3717b99a5da872d97d918f87",
        ),
    ),
    steps=(
        "split_zhou_Food101.json does not come with polyprompt: take it from CoOp's DATASETS.md, or from "
        "https://huggingface.co/zhengli97/prompt_learning_dataset, and put it into food-101/",
    ),
    notes=(
        "CoOp's test is not the official one (25,250 pictures)",
        "bread_pudding/1375816, lasagna/3787908 and steak/1340977 are grey and show no food",
    ),
)
