"""STS14, SemEval's test of 2014: all of its files together."""

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import semeval

ENTRY = Entry(
    title="STS14 (Agirre et al. 2014)",
    holds="scores",
    rows=semeval("STS14", "STS14-en-test"),
    folders=("STS", "sts", "."),
    splits=("test",),
    counts={"test": 3_750},
    page="https://github.com/facebookresearch/SentEval",
    licence="by part; see SemEval",
    steps=("SentEval's get_transfer_data.bash fetches STS/STS14-en-test; mteb/sts14-sts on the hub holds it",),
    notes=("Spearman over all pairs at once; means over files are other figures",),
)
