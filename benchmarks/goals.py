"""What each measurement is to reach, so that a program can say whether it did."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A bound on one figure of a result file; `least` or `most`, and the other is None."""

    result: str
    """The file's name."""
    claim: str
    """What is claimed of it, in words."""
    figure: tuple[str, ...] = ("time", "ratio")
    """Where the figure stands in a row of what was found."""
    rows: Mapping[str, object] = field(default_factory=dict)
    """The rows that it holds for; none said: all."""
    least: float | None = None
    most: float | None = None
    unit: str = " times"
    per: float = 1.0
    """What the figure is counted in."""

    @property
    def text(self) -> str:
        """The bound as the claim writes it."""
        sign, bound = (">=", self.least) if self.most is None else ("<=", self.most)
        return f"{sign} {bound:g}{self.unit}"

    def met(self, value: float) -> bool:
        """Whether a figure keeps it."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def figures(self, result: dict[str, Any]) -> Iterator[tuple[str, float, float | None]]:
        """What tells the rows apart, and the figure of each that has it, of a list the median; the limit beside it."""
        for row in rows_of(result):
            value: Any = row if all(row.get(key) == wanted for key, wanted in self.rows.items()) else {}
            limit = None
            for key in self.figure:
                limit = next((value[one] for one in value if one.startswith(LIMIT)), limit)
                value = value.get(key, {})
            if value != {}:
                which = ", ".join(str(row[key]) for key in ("precision", "questions", "caches") if key in row)
                yield which, float(statistics.median(value) if isinstance(value, list) else value) / self.per, limit


LIMIT = "limit_by_"
"""How the name of a ratio begins that no code could pass, if all but one part took no time."""


def rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What was found, row by row; older files have it at their top."""
    found = result.get("found", result)
    return found if isinstance(found, list) else [found]


FOLDER = "a folder of pictures and captions, against"
NEWER = {"clip_lora": ("CLIP-LoRA", 2, 2), "mma": ("MMA", 2, 3), "mmrl": ("MMRL", 4, 7), "tcp": ("TCP", 2, 20),
         "coprompt": ("CoPrompt", 3, 3)}  # fmt: skip
"""How many times as fast a step is to be with new crops, and with states that are kept."""
GOALS = (
    Goal(result="adapt-maple", claim="MaPLe's training step, 200 classes", rows={"classes": 200}, least=8.5),
    Goal(result="adapt-maple", claim="MaPLe's training step, 50 classes", rows={"classes": 50}, least=3.8),
    Goal(result="adapt-bf16", claim="MaPLe's step in bf16 against fp32, 200 classes", least=15),
    Goal(result="adapt-memory", claim="peak of MaPLe's step, 400 classes, of the plain way's", rows={"classes": 400},
         figure=("ours_over_theirs",), most=0.2, unit=""),
    Goal(result="adapt-memory", claim="MaPLe with 1,000 classes, the whole process", rows={"classes": 1000},
         figure=("ours_whole_process_bytes",), most=6, unit=" GB", per=1e9),
    Goal(result="adapt-cocoop", claim="CoCoOp's training step, 100 classes", least=5),
    Goal(result="adapt-coop", claim="CoOp's training step, 200 classes", least=12),
    Goal(result="adapt-promptsrc", claim="PromptSRC's training step, 200 classes", least=6),
    Goal(result="adapt-evaluate", claim="1,000 pictures scored, 100 classes", least=5),
    *(
        goal
        for method, (name, crops, kept) in NEWER.items()
        for goal in (
            Goal(result=f"adapt-{method}", claim=f"{name}'s training step, new crops", rows={"pictures": "new crops"},
                 least=crops),
            Goal(result=f"adapt-{method}", claim=f"{name}'s training step, kept states",
                 rows={"pictures": "kept states"}, least=kept),
            Goal(result=f"adapt-{method}", claim=f"{name}'s text side, 200 classes", rows={"side": "text"}, least=15),
            Goal(result="adapt-newer-memory", claim=f"{name} with 1,000 classes, the whole process",
                 rows={"method": method}, figure=("ours_whole_process_bytes",), most=6, unit=" GB", per=1e9),
        )
    ),
    Goal(result="adapt-tip_adapter", claim="Tip-Adapter, 100 classes of 16 pictures",
         figure=("time", "seconds", "ours"), most=1, unit=" s"),
    Goal(result="align-cache", claim="a training step from the cache", least=10),
    Goal(result="align-last-block", claim="the last block for readout rows", least=3),
    Goal(result="align-tree", claim="one tree pass, 14 tokens, against separate passes", rows={"tokens": 14},
         figure=("ratio", "separate"), least=3.5),
    Goal(result="align-tree", claim="one tree pass, 14 tokens, against the flat row", rows={"tokens": 14},
         figure=("ratio", "flat"), least=1.2),
    Goal(result="align-start", claim="import polyprompt", figure=("import",), most=0.2, unit=" s"),
    Goal(result="align-start", claim="polyprompt --help", figure=("help",), most=0.5, unit=" s"),
    Goal(result="contrast", claim="softmax contrast in tiles, memory of open_clip's",
         figure=("memory_ours_over_theirs",), most=0.1, unit=""),
    Goal(result="contrast", claim="softmax contrast in tiles, time of open_clip's",
         figure=("time_ours_over_theirs",), most=1.5, unit=""),
    Goal(result="encode-open-clip", claim=f"{FOLDER} open_clip, fp32", figure=("fp32", "ratio"), least=1.5),
    Goal(result="encode-open-clip", claim=f"{FOLDER} open_clip, bf16", figure=("bf16", "ratio"), least=2),
    Goal(result="encode-sentence-transformers", claim=f"{FOLDER} sentence-transformers, fp32",
         figure=("fp32", "ratio"), least=1.5),
    Goal(result="encode-sentence-transformers", claim=f"{FOLDER} sentence-transformers, bf16",
         figure=("bf16", "ratio"), least=2),
    Goal(result="data-encode", claim="time that encoding waits for pictures", figure=("share",), most=0.1, unit=""),
    Goal(result="data-train", claim="time that training with new crops waits for pictures", figure=("share",), most=0.1,
         unit=""),
    Goal(result="grid-commands", claim="9 cells with two workers against 9 commands", least=3),
    Goal(result="grid-deciding", claim="what is left of 10,000 cells", figure=("seconds",), most=1, unit=" s"),
    Goal(result="grid-overhead", claim="a cell beside its work", figure=("seconds_a_cell",), most=0.05, unit=" s"),
    Goal(result="recall", claim="recall of 5,000 pictures against clip_benchmark", least=20),
    Goal(result="search", claim="recall@10 of a question to a million rows", figure=("recall_at_10",), least=0.99,
         unit=""),
    Goal(result="search", claim="a question to a million rows", figure=("milliseconds_a_question",), most=12,
         unit=" ms"),
    Goal(result="search", claim="its processor time against faiss Flat", figure=("time", "processor_ratio"), least=15),
    Goal(result="search", claim="opening a million rows", figure=("seconds_of_opening",), most=0.05, unit=" s"),
    Goal(result="serve", claim="32 clients at once against one by one, a toy tower", figure=("ratio",), least=3),
)  # fmt: skip
