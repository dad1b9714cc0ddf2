"""STS16, SemEval's test of 2016: all of its files together."""

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import semeval

ENTRY = Entry(
    title="STS16 (Agirre et al. 2016)",
    holds="scores",
    rows=semeval("STS16", "STS16-en-test"),
    folders=("STS", "sts", "."),
    splits=("test",),
    counts={"test": 1_186},
    page="https://github.com/facebookresearch/SentEval",
    licence="by part; see SemEval",
    steps=("SentEval's get_transfer_data.bash fetches STS/STS16-en-test; mteb/sts16-sts on the hub holds it",),
    notes=("Spearman over all pairs at once; means over files are other figures",),
)
