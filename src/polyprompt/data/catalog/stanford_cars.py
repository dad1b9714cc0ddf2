"""StanfordCars with CoOp's split: the official test, names with the year moved to the front."""

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import coop_split

ENTRY = Entry(
    title="StanfordCars (Krause et al. 2013), 196 models",
    holds="labels",
    rows=coop_split("split_zhou_StanfordCars.json", "."),
    folders=("stanford_cars",),
    splits=("train", "val", "test"),
    counts={"train": 6_509, "val": 1_635, "test": 8_041},
    classes=196,
    template="a photo of a {}.",
    page="http://ai.stanford.edu/~jkrause/cars/car_dataset.html",
    licence="research only",
    order="the official label minus 1",
    steps=(
        "The official links are dead. Take stanford_cars from https://huggingface.co/zhengli97/prompt_learning_dataset",
        "Unpack it so that stanford_cars/cars_train and stanford_cars/cars_test hold the pictures",
    ),
    notes=(
        "torchvision's class names have the year last",
        "one name has a slash: '2012 Ram C/V Cargo Van Minivan'",
    ),
)
