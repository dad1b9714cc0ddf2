"""Toy runs, to be started in processes of their own."""

import time
from pathlib import Path

import torch
from toy_encoders import toy_encoder

from polyprompt.errors import FileError
from polyprompt.runs.adapt import adapt
from polyprompt.runs.align import align
from polyprompt.runs.folder import held, open_run
from polyprompt.runs.processes import is_main_process, on_main_process, processes
from polyprompt.runs.settings import AdaptSettings, AlignSettings
from polyprompt.settings import Settings


class ToySettings(Settings):
    FREE = ("budget",)
    name: str = "toy"
    seed: int = 0
    rate: float = 0.1
    budget: float | None = None


def toy_settings(place: Path, **settings) -> AlignSettings:
    """A run of `align` that takes a second: K = 3, D = 24."""
    base = {
        "data": str(place / "captions"), "epochs": 2, "batch": 4, "precision": "fp32", "dim": 24,
        "text": {"tower": str(place / "llm"), "prompts": 3}, "image": {"tower": str(place / "cnn"), "width": 32},
    }  # fmt: skip
    return AlignSettings(**base | settings)


def run(out: Path, place: Path, resume: bool = False, **settings) -> None:
    torch.set_num_threads(1)
    align(toy_settings(place, **settings), out, resume=resume)


def adapt_settings(place: Path, **settings) -> AdaptSettings:
    """A run of `adapt` that takes a second; the encoder is a toy CLIP."""
    quick = {"epochs": 3, "batch": 4, "rate": 0.01, "shots": 3, "precision": "fp32", "encoder": "toy"}
    method = {"name": "coop", "context": 2}
    return AdaptSettings(**{"data": str(place / "photos"), "method": method} | quick | settings)


def run_adapt(out: Path, place: Path, resume: bool = False, **settings) -> None:
    torch.set_num_threads(1)
    adapt(adapt_settings(place, **settings), out, resume=resume, encoder=toy_encoder("clip"))


def hold(folder: Path) -> None:
    """Holds a run folder until it is killed."""
    with held(folder):
        (folder / "holding").touch()
        time.sleep(60)


def train_alone(out: Path, seconds: float, rate: float = 0.1) -> None:
    """What all runs do with their folder; the training is sleep, and notes who did it."""
    with open_run("toy", out, ToySettings(rate=rate), resume=True) as run:
        if not run.finished:
            run.start({})
            if is_main_process():
                with open(out / "log.jsonl", "a") as log:
                    log.write(f"{rate} begins\n")
                    log.flush()
                    time.sleep(seconds)
                    log.write(f"{rate} ends\n")
                run.finish(run.head(), Path.mkdir)


def print_place(folder: Path) -> None:
    """Notes which process this is; then one that fails in the main process must fail in all."""
    here = processes()
    (folder / f"{here.process_index}-of-{here.num_processes}").touch()
    assert on_main_process(lambda: here.process_index) == 0

    def fail() -> None:
        raise FileError(f"said by process {here.process_index}")

    on_main_process(fail)
