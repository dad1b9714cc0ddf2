"""EuroSAT with CoOp's own split over all 27,000 pictures, and its names."""

from polyprompt.data.entry import Download, Entry
from polyprompt.data.layouts import coop_split

ENTRY = Entry(
    title="EuroSAT RGB (Helber et al. 2019), 10 kinds of land",
    holds="labels",
    rows=coop_split("split_zhou_EuroSAT.json", "2750"),
    folders=("eurosat",),
    splits=("train", "val", "test"),
    counts={"train": 13_500, "val": 5_400, "test": 8_100},
    classes=10,
    template="a centered satellite photo of {}.",
    page="https://github.com/phelber/eurosat",
    licence="MIT",
    renamed={
        "AnnualCrop": "Annual Crop Land",
        "HerbaceousVegetation": "Herbaceous Vegetation Land",
        "Highway": "Highway or Road",
        "Industrial": "Industrial Buildings",
        "Pasture": "Pasture Land",
        "PermanentCrop": "Permanent Crop Land",
        "Residential": "Residential Buildings",
        "SeaLake": "Sea or Lake",
    },
    order="alphabetical",
    downloads=(
        Download(
            url="https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
            folder="eurosat",
            md5="c8fa014336c82ac7804f0398fcb19387",
        ),
    ),
    notes=(
        "all pictures are 64 x 64, so how they are enlarged matters",
        "CoOp's test is not clip_benchmark's (all 27,000) or mteb's (5,400)",
    ),
)
