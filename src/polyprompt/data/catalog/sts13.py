"""STS13, SemEval's test of 2013: all of its files together."""

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import semeval

ENTRY = Entry(
    title="STS13 (Agirre et al. 2013)",
    holds="scores",
    rows=semeval("STS13", "STS13-en-test"),
    folders=("STS", "sts", "."),
    splits=("test",),
    counts={"test": 1_500},
    page="https://github.com/facebookresearch/SentEval",
    licence="by part; see SemEval",
    steps=("SentEval's get_transfer_data.bash fetches STS/STS13-en-test; mteb/sts13-sts on the hub holds it",),
    notes=("without SMT, whose licence forbids it, as everybody has it",),
)
