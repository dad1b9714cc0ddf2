"""CAMPE's savings, each against the plain way: SmolLM2-135M, K = 6 prompts with negations, EfficientNet-Lite0.

    python benchmarks/align.py tree         one tree pass against 12 separate passes, and against the flat masked row
    python benchmarks/align.py cache        a training step from the cache against the same step without it
    python benchmarks/align.py last-block   the last block for the readout rows against the whole block
    python benchmarks/align.py step         share of the matmul peak a training step reaches, and its peak memory
    python benchmarks/align.py start        `import polyprompt`, `polyprompt --help`

Both sides share weights and must agree in float32 (1e-4 of the largest value) before they are timed, in turn.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measure import in_turn, peak_memory, seconds, write
from torch.utils.flop_counter import FlopCounterMode

from polyprompt.campe.config import ModelSettings
from polyprompt.campe.model import CAMPE, build
from polyprompt.campe.objective import Batch, Objective
from polyprompt.campe.text import prompt_tree
from polyprompt.nn.memory import keep_memory
from polyprompt.nn.precision import matmul_peak
from polyprompt.nn.tree import CAPTION, PromptTree, Sequences, sequences
from polyprompt.towers.llm import LLM, open_llm

WORDS = "two brown dogs run over wet grass near the old barn while a child in blue looks on from the fence"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def captions(llm: LLM, count: int, tokens: int) -> list[list[int]]:
    """Captions of exactly so many tokens, no two alike."""
    words = WORDS.split()
    texts = [" ".join((words[i % len(words) :] + words) * 4) for i in range(count)]
    return [ids[:tokens] for ids in llm.tokens(texts, 200)[0]]


def flat(tree: PromptTree) -> PromptTree:
    """The same prompts, each with all its words for itself: the paper's one row with a mask."""
    ids: list[int] = []
    parents: list[int] = []
    ends = []
    for leaf in tree.readouts + tree.negated:
        for place, token in enumerate(tree.path(leaf)):
            parents.append(len(ids) - 1 if place else CAPTION)
            ids.append(token)
        ends.append(len(ids) - 1)
    k = len(tree.readouts)
    return PromptTree(tuple(ids), tuple(parents), (), tuple(ends[:k]), tuple(ends[k:]))


def readouts(llm: LLM, batch: Sequences, leaves: tuple[int, ...]) -> torch.Tensor:
    """States of the leaves behind all blocks: `[captions, leaves, d]`."""
    hidden, flow = llm.embed(batch.ids, batch.positions, batch.mask)
    return llm.run(hidden, flow, 0, llm.depth)[:, [batch.width + leaf for leaf in leaves]]


@torch.no_grad()
def tree_pass(rounds: int) -> list[dict]:
    """The tree against separate passes and the flat row, at three caption lengths and two precisions."""
    settings = ModelSettings().text
    llm = open_llm(settings.tower)
    tree = prompt_tree(llm, settings.adaptive_words(), settings.template, settings.negated_template)
    leaves, row = tree.readouts + tree.negated, flat(tree)
    found = []
    for tokens in (14, 32, 64):
        ids = captions(llm, 16, tokens)
        one = sequences(ids, tree)
        flat_one = sequences(ids, row)
        each = [sequences([[*caption, *tree.path(leaf)] for caption in ids], PromptTree()) for leaf in leaves]

        def ours(one=one):
            return readouts(llm, one, leaves)

        def separate(each=each):
            return torch.stack([readouts(llm, batch, (-1,))[:, 0] for batch in each], dim=1)

        def masked(flat_one=flat_one):
            return readouts(llm, flat_one, row.readouts + row.negated)

        agree(ours(), separate())
        agree(ours(), masked())
        for name, dtype in DTYPES.items():
            with torch.autocast("cpu", dtype, enabled=name == "bf16"):
                ours(), separate(), masked()
                against = {"separate": in_turn(ours, separate, rounds), "flat": in_turn(ours, masked, rounds)}
            nodes = {
                "tree": one.ids.shape[1],
                "flat": flat_one.ids.shape[1],
                "separate": sum(b.ids.shape[1] for b in each),
            }
            ratios = {side: times["ratio"] for side, times in against.items()}
            found.append({"tokens": tokens, "precision": name, "rows": nodes, "ratio": ratios, "time": against})
            print(tokens, name, ratios, flush=True)
    return found


def agree(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal within 1e-4 of the largest value."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(theirs.abs().max()))


def prepared(model: CAMPE, pairs: int) -> tuple[Batch, Batch]:
    """A batch with its frozen parts at hand, and the same one without."""
    ids = captions(model.text.llm, pairs, 14)
    laid = sequences(ids, model.text.tree)
    size = model.preprocess.size
    pixels = torch.randn(pairs, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden, flow = model.text.llm.embed(laid.ids, laid.positions, laid.mask)
        hidden = model.text.llm.run(hidden, flow, 0, model.text.split)
        tokens = model.image.frozen_tokens(pixels)
    return Batch(laid, hidden, tokens, None), Batch(laid, None, None, pixels)


def step_of(objective: Objective, batch: Batch) -> Callable[[], float]:
    """Forward and backward of one training step."""

    def step() -> float:
        objective.zero_grad(set_to_none=True)
        loss = objective(batch)["loss"]
        loss.backward()
        return loss.item()

    return step


def cached_step(rounds: int) -> list[dict]:
    """A training step of 64 pairs from cached states and tokens, against pixels and words through the towers."""
    torch.manual_seed(0)
    objective = Objective(build(ModelSettings()))
    cached, plain = (step_of(objective, batch) for batch in prepared(objective.model, 64))
    losses = cached(), plain()
    assert abs(losses[0] - losses[1]) < 1e-5 * abs(losses[1]), losses
    found = []
    for name in DTYPES:
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
            cached(), plain()
            times = in_turn(cached, plain, rounds)
        speeds = {side: 64 / statistics.median(took) for side, took in times["seconds"].items()}
        found.append({"precision": name, "ratio": times["ratio"], "captions_per_second": speeds, "time": times})
        print(name, times["ratio"], speeds, flush=True)
    return found


def last_block(rounds: int) -> list[dict]:
    """Block 30 with its gradients: 12 readout rows of 75, against all rows."""
    torch.manual_seed(0)
    model = build(ModelSettings())
    llm, batch = model.text.llm, prepared(model, 64)[0]
    block = list(llm.blocks[-1].parameters())
    nodes = torch.tensor(model.text.tree.readouts + model.text.tree.negated) + batch.captions.width
    rows = nodes.expand(64, -1)
    assert batch.hidden is not None
    hidden = batch.hidden.requires_grad_()  # the adaptive tokens' gradient passes through it
    _, flow = llm.embed(batch.captions.ids, batch.captions.positions, batch.captions.mask)
    weights = torch.randn(64, len(nodes), llm.width)

    def gradients(out: torch.Tensor) -> list[torch.Tensor]:
        return [out, *torch.autograd.grad((out * weights).sum(), [hidden, *block])]

    def ours():
        return gradients(llm.run_rows(hidden, flow, llm.depth - 1, rows))

    def theirs():
        return gradients(llm.run(hidden, flow, llm.depth - 1, llm.depth)[:, nodes])

    for one, other in zip(ours(), theirs(), strict=True):
        agree(one, other)
    found = []
    for name in DTYPES:
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
            ours(), theirs()
            times = in_turn(ours, theirs, rounds)
        found.append({"precision": name, "ratio": times["ratio"], "time": times})
        print(name, times["ratio"], flush=True)
    return found


def memory_step(name: str) -> Callable[[], object]:
    """A step of 256 pairs from the cache, for `peak_memory`."""
    torch.manual_seed(0)
    objective = Objective(build(ModelSettings()))
    step = step_of(objective, prepared(objective.model, 256)[0])

    def under():
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
            step()

    return under


def share_of_peak(rounds: int) -> list[dict]:
    """What torch counts in a step of 256 pairs, over the time it takes, against the fastest product of matrices."""
    torch.manual_seed(0)
    objective = Objective(build(ModelSettings()))
    step = step_of(objective, prepared(objective.model, 256)[0])
    with FlopCounterMode(display=False) as counter:
        step()
    found = []
    for name, dtype in DTYPES.items():
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
            step()
            speeds, peaks = [], []
            for _ in range(rounds):  # in turn: others may be using the machine
                peaks.append(matmul_peak(dtype))
                speeds.append(counter.get_total_flops() / seconds(step) / 1e9)
        peak, speed = max(peaks), statistics.median(speeds)
        figures = {"gflops": speed, "peak_gflops": peak, "share": speed / peak}
        found.append({"precision": name, **figures, "peak_memory_bytes": peak_memory(memory_step, name)})
        print(found[-1], flush=True)
    return found


def start(rounds: int) -> dict:
    """Median seconds; the import without what Python itself needs."""
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import": [sys.executable, "-c", "import polyprompt"],
        "help": [str(Path(sys.executable).with_name("polyprompt")), "--help"],
    }
    found = {}
    for name, command in commands.items():
        found[name] = statistics.median(took(command) for _ in range(rounds + 1))
    return {"import": found["import"] - found["python"], "help": found["help"], "python": found["python"]}


def took(command: list[str]) -> float:
    """Wall-clock seconds of a command."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


CLAIMS: dict[str, tuple[str, Callable[[int], object]]] = {
    "tree": ("one tree pass, 14 tokens: >= 3.5 times 12 separate passes, >= 1.2 times the flat row", tree_pass),
    "cache": ("a training step from the cache: >= 10 times the captions a second", cached_step),
    "last-block": ("the last block for readout rows, with gradients: >= 3 times", last_block),
    "step": ("share of the matmul peak, and peak memory, of a step of 256 pairs", share_of_peak),
    "start": ("import under 0.2 s, help under 0.5 s", start),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", nargs="*", default=[*CLAIMS])
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    keep_memory()
    for what in asked.what:
        if what not in CLAIMS:
            options.error(f"{what!r}: choose from {', '.join(CLAIMS)}")
        claim, measure = CLAIMS[what]
        write(f"align-{what}", {"claim": claim, "found": measure(asked.rounds)})


if __name__ == "__main__":
    main()
