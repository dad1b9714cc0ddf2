"""SUN397 with CoOp's split: partition 01, 50 and 50 pictures a class, ten of the train ones are val."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import coop_split

ENTRY = Entry(
    title="SUN397 (Xiao et al. 2010), 397 scenes",
    holds="labels",
    rows=coop_split("split_zhou_SUN397.json", "SUN397", "."),
    folders=("sun397", "SUN397"),
    splits=("train", "val", "test"),
    counts={"train": 15_880, "val": 3_970, "test": 19_850},
    classes=397,
    template="a photo of a {}.",
    page="https://vision.princeton.edu/projects/2010/SUN/",
    licence="research only",
    order="ClassName.txt",
    downloads=(
        Download(
            url="http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
            folder="sun397",
            md5="8ca2778205c41d23104230ba66911c7a",
        ),
    ),
    steps=(
        "split_zhou_SUN397.json does not come with polyprompt: take it from CoOp's DATASETS.md, or, with the pictures "
        "if Princeton's link is dead, from https://huggingface.co/zhengli97/prompt_learning_dataset; put it there",
    ),
    notes=(
        "names are the parts of the path reversed: /c/church/outdoor is 'outdoor church'; mteb does not reverse them",
        "under .jpg lie BMP, PNG and GIF files; two pictures are badly encoded",
    ),
)
