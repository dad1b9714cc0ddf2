"""UCF101 as CoOp has it: one middle frame a clip, trainlist01 and testlist01, a fifth of train drawn as val."""

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import coop_split

ENTRY = Entry(
    title="UCF101 (Soomro et al. 2012), the middle frames of 101 actions",
    holds="labels",
    rows=coop_split("split_zhou_UCF101.json", "UCF-101-midframes"),
    folders=("ucf101",),
    splits=("train", "val", "test"),
    counts={"train": 7_639, "val": 1_898, "test": 3_783},
    classes=101,
    template="a photo of a person doing {}.",
    page="https://www.crcv.ucf.edu/data/UCF101.php",
    licence="research only",
    order="UCF101's own: 'Hammering' before 'Hammer_Throw'",
    steps=(
        "CoOp's UCF-101-midframes.zip is on Google Drive (link in its DATASETS.md); "
        "https://huggingface.co/zhengli97/prompt_learning_dataset holds it, too",
        "Unpack it as ucf101/UCF-101-midframes",
    ),
    notes=(
        "train and val share scenes (1,238 of a class and group lie in both), so accuracy on val is too high",
        "the folder is Handstand_Pushups, its files are v_HandStandPushups_*",
    ),
)
