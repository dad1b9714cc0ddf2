"""DTD with CoOp's own split over all pictures (60, 24 and 36 a class); its ten official ones have 40 each."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import coop_split

ENTRY = Entry(
    title="DTD (Cimpoi et al. 2014), 47 textures",
    holds="labels",
    rows=coop_split("split_zhou_DescribableTextures.json", "images", "dtd/images"),
    folders=(
        "dtd",
        "dtd10",
    ),
    splits=("train", "val", "test"),
    counts={"train": 2_820, "val": 1_128, "test": 1_692},
    classes=47,
    template="{} texture.",
    page="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    licence="research only",
    order="alphabetical",
    downloads=(
        Download(
            url="https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
            md5="fff73e5086ae6bdbea199a49dfb8a4c1",
        ),
    ),
    notes=(
        "CoOp's test is not the official one (1,880 pictures)",
        "KgCoOp and its followers prompt with 'a photo of a {}, a type of texture.'",
    ),
)
