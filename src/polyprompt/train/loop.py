"""The training loop, for every task: batches in, named losses out, and nothing lost whatever stops it.

A task is a module that maps a batch to named numbers, `loss` among them. One process or several (`accelerate launch`,
torchrun; data parallel), a run goes through the same batches; killed at any moment and resumed, it ends with the same
weights, to the last bit on a CPU.
"""

import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from polyprompt.disk.files import make_folder
from polyprompt.errors import ConfigError, FileError, TrainingError
from polyprompt.nn.memory import kept_memory
from polyprompt.nn.precision import Precision
from polyprompt.progress import Advance, progress, say
from polyprompt.train import checkpoint
from polyprompt.train.batches import Batches, share
from polyprompt.train.checkpoint import Cursor
from polyprompt.train.log import LOG, Log
from polyprompt.train.schedule import cosine_rate, published_rate
from polyprompt.values import Foreign, Json, Values

EPOCH_SECONDS = 10.0
"""Epochs of few pictures take less time than a checkpoint: one that is this old is new enough."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How to train; what is learned, and at which rates, is said by the parameter groups."""

    epochs: int
    """Passes over the data."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """AdamW or Adam with torch's betas, or SGD with momentum 0.9 as CoOp and MaPLe use it."""
    weight_decay: float = 0.01
    """For groups that do not bring their own; 5e-4 in the CoOp family."""
    eps: float = 1e-8
    """Of Adam and AdamW."""
    schedule: Literal["cosine", "published", "by-epoch", "constant"] = "cosine"
    """Warm-up and cosine per step; the CoOp family's per epoch; a cosine per epoch; or none."""
    warmup: float = 0.05
    """Share of all steps in which the cosine schedule warms up."""
    clip: float | None = 1.0
    """Largest norm of the whole gradient; None for no limit."""
    precision: Precision = "fp32"
    """bf16: autocast, weights and optimiser stay in fp32."""
    seed: int = 0
    """Of the generators that dropout and the like draw from."""
    log_every: int = 10
    """Steps between lines in log.jsonl."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints, besides those after epochs."""
    epoch_seconds: float = 0.0
    """An epoch's end brings a checkpoint only if the last one is this old; the end of the run always does."""
    seconds: float | None = None
    """Training ends with the step in which so much time is over, counted as `since` does; None: with the last epoch."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints, if they shall also be counted in steps."""

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1),
            ("log_every", 1),
            ("checkpoint_steps", 1),
            ("seed", 0),
            ("weight_decay", 0),
            ("epoch_seconds", 0),
        ):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ConfigError(f"{name} is {value}; it must be {least} or more")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup is {self.warmup}; it is a share of the steps, from 0 to less than 1")
        for name in ("clip", "checkpoint_minutes", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}; it must be larger than 0")


@kept_memory()
def fit(
    task: nn.Module,
    batches: Batches,
    settings: TrainSettings,
    folder: Path,
    *,
    groups: Sequence[Values],
    every_epoch: Callable[[int], Values] | None = None,
    resume: bool = False,
    since: float | None = None,
) -> Cursor:
    """Train `task` in place; `folder` gets `log.jsonl` and `checkpoints/`. Returns where training ended.

    Args:
        task: called with what `batches.fetch` returns; gives scalar tensors by name. `loss` is minimised, and all are
            logged. In several processes each sees its share of the batch, and gradients and logged numbers are
            averaged: a loss that compares the items of a batch has to gather them, as those in `nn/losses.py` do.
        batches: the data and its order.
        settings: how to train.
        folder: of the run; one that all machines see, if there are several.
        groups: `{"params": [...], "lr": peak rate, "name": ...}` and what else torch's optimisers know per group. Each
            parameter of `task` that requires a gradient is in one group.
        every_epoch: called with the epoch's number, from 1, after each epoch (in every process). It may change the
            buffers of `task`; what it returns goes into the epoch's line of the log. A run that was killed may call it
            again for the same epoch, with the same task.
        resume: go on from the newest checkpoint in `folder`, if there is one.
        since: when the run began, on `time.perf_counter`'s clock, as if without pauses; for `Cursor.elapsed`. Now, if
            not given, but for what the newest checkpoint says.

    Raises:
        TrainingError: a loss or gradient is not finite; no step was taken with it, and the checkpoints are kept.
        ConfigError: groups, batch size and number of processes, or the run to be resumed, do not fit.
        FileError: `folder` holds a run and `resume` is not set, all its checkpoints are damaged, or the disk is full.
        KeyboardInterrupt: Ctrl-C; the step was ended and a checkpoint written.
    """
    if not resume and ((folder / LOG).exists() or checkpoint.checkpoints_in(folder / "checkpoints")):
        raise FileError(f"{folder}: holds a run already. Resume it with --resume, or choose another folder.")
    run = _start_run(task, batches, settings, groups, folder, since)
    at = run.restore() if resume else Cursor()
    run.open_log(at)
    with _interruptible() as interrupted, progress("Training", run.steps, at.step, run.seconds_left()) as advance:
        (over,) = run.agree(at.step > 0 and run.over())
        while at.epoch <= settings.epochs and not over:
            at, over = run.rest_of_epoch(at, interrupted, advance)
            if at.batch < len(batches):
                run.save(at)
                break
            at = run.end_of_epoch(at, every_epoch, interrupted, over=over)
    if over and at.step < run.steps and run.accelerator.is_main_process:
        say(f"{settings.seconds:g} seconds are over: training ends after step {at.step:,} of {run.steps:,}.")
    return at


def _start_run(
    task: nn.Module,
    batches: Batches,
    settings: TrainSettings,
    groups: Sequence[Values],
    folder: Path,
    since: float | None,
) -> "_Run":
    """What `fit` holds, seeds set; nothing is trained or read yet."""
    from accelerate import Accelerator
    from accelerate.utils import set_seed

    groups = [{**group, "params": list(group["params"])} for group in groups]
    _check_groups(task, groups)
    accelerator = Accelerator(mixed_precision="no")  # see `_Run.step`
    if accelerator.distributed_type not in ("NO", "MULTI_CPU", "MULTI_GPU"):
        raise ConfigError(
            f"accelerate is set to {accelerator.distributed_type.value}, and training here is data parallel only. "
            "Use `accelerate launch --multi_gpu` or torchrun."
        )
    set_seed(settings.seed, device_specific=True)
    if since is None:
        since = time.perf_counter() - checkpoint.newest(folder / "checkpoints").elapsed
    return _Run(accelerator, task, batches, settings, groups, folder, since)


def _check_groups(task: nn.Module, groups: Sequence[Values]) -> None:
    """Every parameter that requires a gradient is in one group, and no other is in any."""
    grouped = Counter(id(parameter) for group in groups for parameter in group["params"])
    named = dict(task.named_parameters())
    wrong = [name for name, parameter in named.items() if grouped[id(parameter)] != int(parameter.requires_grad)]
    if wrong:
        raise ConfigError(
            f"{wrong[0]}{f' and {len(wrong) - 1} more' if wrong[1:] else ''}: "
            "a parameter that learns belongs in exactly one group, and one that is frozen in none"
        )


class _Run:
    """What a run holds while it lasts: model, optimiser and files, and what its processes have to agree on."""

    def __init__(
        self,
        accelerator: Foreign,
        task: nn.Module,
        batches: Batches,
        settings: TrainSettings,
        groups: Sequence[Json],
        folder: Path,
        since: float,
    ) -> None:
        share(batches.epoch(1)[0], 0, accelerator.num_processes)  # says at once if a batch cannot be shared
        self.accelerator, self.task, self.batches, self.settings = accelerator, task, batches, settings
        self.model = accelerator.prepare(task)
        self.peaks = {str(group.get("name", number)): group["lr"] for number, group in enumerate(groups)}
        if settings.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=settings.weight_decay)
        else:
            kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
            self.optimizer = kind(groups, eps=settings.eps, weight_decay=settings.weight_decay)
        self.steps = settings.epochs * len(batches)
        self.log, self.checkpoints = Log(folder / LOG), folder / "checkpoints"
        self.saved, self.since = time.monotonic(), since

    # Training

    def rest_of_epoch(self, at: Cursor, interrupted: Callable[[], bool], advance: Advance) -> tuple[Cursor, bool]:
        """The batches that are left of an epoch; and whether the time for the run is over, which ends it earlier."""
        self.task.train()
        order, over = self.batches.epoch(at.epoch), False
        while at.batch < len(order) and not over:
            began = time.perf_counter()
            terms = self.step(at, order[at.batch])
            took = time.perf_counter() - began
            at = replace(at, batch=at.batch + 1, step=at.step + 1).later(steps=took)
            advance(note=f"loss {terms['loss']:.4g}")
            if at.step % self.settings.log_every == 0 or at.step in (1, self.steps):
                speed = {"seconds": at.seconds, "pairs_per_second": len(order[at.batch - 1]) / took}
                self.write_log({"step": at.step, "epoch": at.epoch, **terms, **self.rates(), **speed})
            stop, due, over = self.agree(interrupted(), self.due(at), self.over())
            self.save_or_stop(at, stop=stop, due=due)
        return at, over

    def end_of_epoch(
        self, at: Cursor, every_epoch: Callable[[int], Values] | None, interrupted: Callable[[], bool], *, over: bool
    ) -> Cursor:
        """What is done and logged behind an epoch."""
        began = time.perf_counter()
        facts = every_epoch(at.epoch) if every_epoch else {}
        at = at.later(others=time.perf_counter() - began)
        self.write_log({"epoch": at.epoch, "step": at.step, "seconds": at.seconds, **facts})
        at = replace(at, epoch=at.epoch + 1, batch=0)
        ended = over or at.epoch > self.settings.epochs
        stop, due = self.agree(interrupted(), ended or self.age() >= self.settings.epoch_seconds)
        self.save_or_stop(at, stop=stop, due=due)
        return at

    def save_or_stop(self, at: Cursor, *, stop: bool, due: bool) -> None:
        """A checkpoint where one is due; where it was interrupted, one and the end."""
        if stop or due:
            self.save(at)
        if stop:
            raise KeyboardInterrupt

    def step(self, at: Cursor, items: Sequence[int]) -> dict[str, float]:
        """One step of the optimiser; the task's numbers, averaged over the processes."""
        from accelerate.utils import send_to_device

        self._set_rates(at)
        part = share(items, self.accelerator.process_index, self.accelerator.num_processes)
        batch = send_to_device(self.batches.fetch(part), self.accelerator.device)
        # torch's own autocast, for accelerate's is fixed for all runs of a process by the first of them
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            outputs = self.model(batch)
        values = torch.stack([value.detach().float() for value in outputs.values()])
        terms = dict(zip(outputs, self.accelerator.reduce(values, "mean").tolist(), strict=True))
        if not math.isfinite(terms["loss"]):
            raise self._stuck("the loss", at, terms)
        self.accelerator.backward(outputs["loss"])
        learned = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if not math.isfinite(nn.utils.clip_grad_norm_(learned, self.settings.clip or math.inf).item()):
            raise self._stuck("the gradient", at, terms)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return terms

    def _set_rates(self, at: Cursor) -> None:
        """Give every group its rate for the step to come."""
        warmup = min(round(self.settings.warmup * self.steps), self.steps - 1)
        for group, peak in zip(self.optimizer.param_groups, self.peaks.values(), strict=True):
            match self.settings.schedule:
                case "cosine":
                    group["lr"] = cosine_rate(at.step, self.steps, peak, warmup)
                case "published":
                    group["lr"] = published_rate(at.epoch, self.settings.epochs, peak)
                case "by-epoch":
                    group["lr"] = cosine_rate(at.epoch - 1, self.settings.epochs, peak)
                case "constant":
                    group["lr"] = peak

    def rates(self) -> Json:
        """The rates of the step just done, for the log: the first group's, and all by name if there are several."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return {"lr": rates[0]} | ({"rates": dict(zip(self.peaks, rates, strict=True))} if len(rates) > 1 else {})

    def _stuck(self, what: str, at: Cursor, terms: Mapping[str, float]) -> TrainingError:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
        rate = max(group["lr"] for group in self.optimizer.param_groups)
        saved = checkpoint.checkpoints_in(self.checkpoints)
        kept = f"{saved[0]} is kept, and --resume goes on from there" if saved else "no checkpoint was written yet"
        return TrainingError(
            f"step {at.step + 1} (epoch {at.epoch}): {what} is not finite ({numbers}) at learning rate {rate:.3g}. "
            f"Try a smaller rate, a longer warm-up, or precision fp32; {kept}."
        )

    def agree(self, *flags: bool) -> list[bool]:
        """Each flag: whether any process has it."""
        if self.accelerator.num_processes == 1:
            return list(flags)
        raised = torch.tensor([float(flag) for flag in flags], device=self.accelerator.device)
        return [total > 0 for total in self.accelerator.reduce(raised, "sum").tolist()]

    # Checkpoints

    def due(self, at: Cursor) -> bool:
        """Whether the time, or the number of steps, for a checkpoint has come."""
        every = self.settings.checkpoint_steps
        late = self.age() >= 60 * self.settings.checkpoint_minutes
        return late or (every is not None and at.step % every == 0)

    def over(self) -> bool:
        """Whether the time for the whole run is over."""
        left = self.seconds_left()
        return left is not None and left <= 0

    def seconds_left(self) -> float | None:
        """Of the time for the whole run, if it has one."""
        return None if self.settings.seconds is None else self.since + self.settings.seconds - time.perf_counter()

    def age(self) -> float:
        """Seconds since the last checkpoint, or since the start."""
        return time.monotonic() - self.saved

    def save(self, at: Cursor) -> None:
        """Write a checkpoint; all processes take part, for each has random generators."""
        states = {name: state[None].to(self.accelerator.device) for name, state in checkpoint.random_state().items()}
        randoms = {name: self.accelerator.gather(state) for name, state in states.items()}
        if self.accelerator.is_main_process:
            length, total = self.log.length(), self.log.total
            at = replace(at, log_bytes=length, log_sha256=total, elapsed=time.perf_counter() - self.since)
            checkpoint.save(self.checkpoints, at, self.task, self.optimizer, randoms, self._plan())
        self.saved = time.monotonic()

    def restore(self) -> Cursor:
        """Back to the newest sound checkpoint, or to the start if there is none."""
        from accelerate.utils import set_seed

        with self.accelerator.main_process_first():  # it sets damaged ones aside before the others look
            restored = checkpoint.restore(self.checkpoints, self.task, self.optimizer, self._plan())
        at, randoms = restored or (Cursor(), {})
        steps = self.accelerator.gather(torch.tensor([at.step], device=self.accelerator.device))
        if steps.unique().numel() > 1:
            raise FileError(f"{self.checkpoints}: the processes see different ones. Use a disk that all of them share.")
        if restored and len(randoms["torch"]) == self.accelerator.num_processes:
            checkpoint.set_random_state({name: row[self.accelerator.process_index] for name, row in randoms.items()})
        elif restored:  # other processes than before: no generator can go on, but dropout need not repeat itself
            set_seed(self.settings.seed + at.step, device_specific=True)
        if self.accelerator.is_main_process:
            say(f"Resuming after step {at.step:,}" if restored else "No checkpoint to resume from; starting at step 0")
        return at

    def _plan(self) -> Json:
        """What has to be the same when the run goes on: the order of the data, and the kind of the optimiser."""
        return {
            "batch size": self.batches.size,
            "number of items": len(self.batches.image_of),
            "seed of the data": self.batches.seed,
            "optimizer": self.settings.optimizer,
        }

    # The log

    def open_log(self, at: Cursor) -> None:
        """Cut what a killed run logged behind its last checkpoint: those steps are done, and logged, again."""
        if self.accelerator.is_main_process:
            make_folder(self.checkpoints)
            self.log.open(at.log_bytes, at.log_sha256)

    def write_log(self, line: Values) -> None:
        """Append one line to the log."""
        if self.accelerator.is_main_process:
            self.log.add(line)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a wish that the loop asks for between steps; the second one acts at once."""
    wished, before = False, signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is signal.SIG_IGN:
        yield lambda: False  # Python gives signals to the main thread only; and whoever started us may keep them
        return

    def wish(number: int, frame: object) -> None:
        nonlocal wished
        wished = True
        signal.signal(signal.SIGINT, before)
        say("Stopping: ending this step and writing a checkpoint. Ctrl-C again stops at once, without it.")

    signal.signal(signal.SIGINT, wish)
    try:
        yield lambda: wished
    finally:
        signal.signal(signal.SIGINT, before)
