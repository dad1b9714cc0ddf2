"""STS15, SemEval's test of 2015: all of its files together."""

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import semeval

ENTRY = Entry(
    title="STS15 (Agirre et al. 2015)",
    holds="scores",
    rows=semeval("STS15", "STS15-en-test"),
    folders=("STS", "sts", "."),
    splits=("test",),
    counts={"test": 3_000},
    page="https://github.com/facebookresearch/SentEval",
    licence="by part; see SemEval",
    steps=("SentEval's get_transfer_data.bash fetches STS/STS15-en-test; mteb/sts15-sts on the hub holds it",),
    notes=("Spearman over all pairs at once; means over files are other figures",),
)
