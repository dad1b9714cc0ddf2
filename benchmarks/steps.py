"""What a training step of each method costs beside one of CoOp's: .venv/bin/python benchmarks/steps.py [--rounds N]

An open_clip ViT-B/16 with random weights, 100 classes, 4 pictures whose states are kept, forward and back in full
precision, settings as published. All methods in turn, so that drift of the machine hits all. `polyprompt methods` and
its page show the figures, from a copy in the package.
"""

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from measure import seconds, write
from open_clip import create_model
from safetensors.torch import save_file

from polyprompt import methods
from polyprompt.adapt.engine import build
from polyprompt.adapt.published import Untrained
from polyprompt.adapt.view import PixelPictures
from polyprompt.bench.estimate import training_step
from polyprompt.nn.memory import keep_memory
from polyprompt.runs.load import load_encoder
from polyprompt.towers.encoder import Encoder

SHIPPED = Path(methods.__file__).with_name("steps.json")
CLASSES, PICTURES, SHOTS = 100, 4, 16
BASE = "coop"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    keep_memory()
    torch.manual_seed(0)
    opened = encoder()
    steps = {name: step for name in methods.names() if (step := step_of(name, opened)) is not None}
    for step in steps.values():
        step()  # warms up
    found: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name in [*steps][:: 1 if number % 2 == 0 else -1]:
            found[name].append(seconds(steps[name]))
            print(name, found[name][-1], flush=True)
    rows = [
        {
            "method": name,
            "seconds": round(statistics.median(times), 4),
            "beside CoOp": round(statistics.median(a / b for a, b in zip(times, found[BASE], strict=True)), 2),
        }
        for name, times in found.items()
    ]
    claim = f"a training step of each method, {CLASSES} classes, {PICTURES} pictures, ViT-B/16, beside CoOp's"
    shutil.copy(write("steps", {"claim": claim, "rounds": rounds, "found": rows}), SHIPPED)


def encoder() -> Encoder:
    """OpenAI's layout, random numbers."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "encoder.safetensors"
        save_file({k: v.contiguous() for k, v in create_model("ViT-B-16-quickgelu").state_dict().items()}, file)
        return load_encoder(str(file))


def step_of(name: str, opened: Encoder) -> Callable[[], object] | None:
    """A step of a method as published; None if it is not trained by steps."""
    if isinstance(methods.records(name), Untrained):
        return None
    method = build(methods.typical(name), opened, [f"class {number}" for number in range(CLASSES)])
    labels = torch.arange(CLASSES * SHOTS) % CLASSES
    method.adapter.fit(torch.randn(1, len(labels), opened.dim), labels)  # Tip-Adapter's cache
    pictures = PixelPictures(opened, torch.randn(PICTURES, 3, 224, 224))
    return training_step(method, pictures, torch.arange(PICTURES), "fp32")


if __name__ == "__main__":
    main()
