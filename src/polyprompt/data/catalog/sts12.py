"""STS12, SemEval's test of 2012: all of its files together."""

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import semeval

ENTRY = Entry(
    title="STS12 (Agirre et al. 2012)",
    holds="scores",
    rows=semeval("STS12", "STS12-en-test"),
    folders=("STS", "sts", "."),
    splits=("test",),
    counts={"test": 3_108},
    page="https://github.com/facebookresearch/SentEval",
    licence="by part; see SemEval",
    steps=("SentEval's get_transfer_data.bash fetches STS/STS12-en-test; mteb/sts12-sts on the hub holds it",),
    notes=("Spearman over all pairs at once; means over files are other figures",),
)
