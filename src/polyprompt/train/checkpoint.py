"""Checkpoints: all that a run needs to go on as if it had never stopped.

A checkpoint is a folder named after the batches that are done, `epoch-0003-batch-000120`: what learns
(`task.safetensors`), the optimiser's memory (`optimizer.safetensors`), the random generators of every process
(`random.safetensors`), where the run stands (`state.json`), and their hashes (`manifest.json`). It appears whole or
not at all; two are kept, so that one that is damaged later still leaves the other. No pickle is written or read.
"""

import random
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from polyprompt.disk.files import check_manifest, read_json, set_aside, sweep, whole_folder, write_json
from polyprompt.disk.tensors import read_tensors
from polyprompt.errors import ConfigError, FileError
from polyprompt.progress import say
from polyprompt.values import Values

KEPT = 2
FORMAT = 1
TASK, OPTIMIZER, RANDOM, STATE = "task.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"


@dataclass(frozen=True)
class Cursor:
    """Where a run stands, between two steps."""

    epoch: int = 1
    """The epoch under way, counted from 1."""
    batch: int = 0
    """Batches of this epoch that are done."""
    step: int = 0
    """Optimiser steps done since the start."""
    seconds: float = 0.0
    """Time in the loop so far, earlier stretches included, pauses left out: steps, and what epochs end with."""
    log_bytes: int = 0
    """Length of the log at this point; what a killed run wrote behind it is done again."""
    log_sha256: str = ""
    """The log's hash at this point, as train/log.py has it; "" in checkpoints of earlier versions."""
    step_seconds: float = 0.0
    """Time in steps alone."""
    elapsed: float = 0.0
    """All time so far, what comes before the loop included: reading data, opening towers, filling caches."""

    def later(self, *, steps: float = 0.0, others: float = 0.0) -> "Cursor":
        """The same place, after so many seconds in a step, or in what an epoch ends with."""
        return replace(self, seconds=self.seconds + steps + others, step_seconds=self.step_seconds + steps)


# Saving


def save(
    folder: Path,
    at: Cursor,
    task: nn.Module,
    optimizer: torch.optim.Optimizer,
    randoms: Mapping[str, Tensor],
    plan: Values,
) -> None:
    """Write one checkpoint into `folder`; then let go of all but the two newest.

    Args:
        folder: `checkpoints/` of a run.
        at: where the run stands.
        task: its tensors that learn, and its buffers, are saved; frozen parameters are not.
        optimizer: over parameters of `task`.
        randoms: `random_state()` of every process, stacked.
        plan: what must be the same when the run goes on; compared by `restore`.

    Raises:
        FileError: it cannot be written; the earlier checkpoints are still there.
    """
    sweep(folder)  # of a run that was killed while it saved
    target = folder / f"epoch-{at.epoch:04}-batch-{at.batch:06}"
    if target.exists():  # resumed here, and stopped again before a step was done
        return
    with whole_folder(target) as temporary:
        _write_tensors(temporary / TASK, learned_state(task))
        _write_tensors(temporary / OPTIMIZER, _memory(task, optimizer))
        _write_tensors(temporary / RANDOM, randoms)
        write_json(temporary / STATE, {"format": FORMAT, "cursor": asdict(at), "plan": dict(plan)})
    for old in checkpoints_in(folder)[KEPT:]:
        shutil.rmtree(old)


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    return sorted((path for path in folder.glob("epoch-*-batch-*") if not path.suffix), reverse=True)


def newest(folder: Path) -> Cursor:
    """Where the newest checkpoint in a folder stands; at the start, if there is none that can be read."""
    for path in checkpoints_in(folder):
        try:
            return Cursor(**read_json(path / STATE)["cursor"])
        except (FileError, TypeError, KeyError):  # `restore` tells of it
            continue
    return Cursor()


def learned_state(task: nn.Module) -> dict[str, Tensor]:
    """What a run changes: the parameters that learn and the buffers, by their names in `state_dict`; not copied."""
    return {
        name: tensor.detach()
        for name, tensor in task.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor) and (tensor.requires_grad or not isinstance(tensor, nn.Parameter))
    }


def _memory(task: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors, as "parameter.what"."""
    return {
        f"{name}.{what}": tensor
        for name, parameter in _optimized(task, optimizer)
        for what, tensor in optimizer.state.get(parameter, {}).items()
        if tensor is not None  # SGD without momentum
    }


def _optimized(task: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    """The optimiser's parameters in its own order, with their names in the task."""
    names = {id(parameter): name for name, parameter in task.named_parameters()}
    return [(names[id(parameter)], parameter) for group in optimizer.param_groups for parameter in group["params"]]


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save as to_bytes

    # Cloned, for safetensors refuses tied tensors. Written by Python, whose error for a full disk is an OSError.
    path.write_bytes(to_bytes({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}))


# Restoring


def restore(
    folder: Path, task: nn.Module, optimizer: torch.optim.Optimizer, plan: Values
) -> tuple[Cursor, dict[str, Tensor]] | None:
    """Put the newest sound checkpoint back into `task` and `optimizer`; a damaged one is set aside, and said.

    Returns:
        Where that run stood, and the random states of its processes; None if no checkpoint was written yet.

    Raises:
        ConfigError: the run was started with another plan. FileError: all checkpoints are damaged, or of another model.
    """
    checkpoints = checkpoints_in(folder)
    for path in checkpoints:
        try:
            check_manifest(path, [TASK, OPTIMIZER, RANDOM, STATE])
        except FileError as error:
            say(f"{error} Set aside as {set_aside(path).name}; trying the checkpoint before it.")
            continue
        return _open(path, task, optimizer, plan)
    if checkpoints:
        raise FileError(f"{folder}: every checkpoint is damaged. Start again in another folder.")
    return None


def _open(
    path: Path, task: nn.Module, optimizer: torch.optim.Optimizer, plan: Values
) -> tuple[Cursor, dict[str, Tensor]]:
    state = read_json(path / STATE)
    if state["format"] != FORMAT:
        raise FileError(f"{path}: format {state['format']}, this version of polyprompt reads format {FORMAT}.")
    for name, value in plan.items():
        if state["plan"][name] != value:
            raise ConfigError(
                f"{name} is {value!r}, but the run in {path.parent.parent} was started with {state['plan'][name]!r}. "
                "Resume it with that, or start another run in a new folder."
            )
    _put(path / TASK, learned_state(task))
    memory = read_tensors(path / OPTIMIZER)
    states: dict[int, dict[str, Tensor]] = {}
    for number, (name, _) in enumerate(_optimized(task, optimizer)):
        entries = {key.removeprefix(f"{name}."): memory[key] for key in memory if key.rpartition(".")[0] == name}
        if entries:
            states[number] = entries
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return Cursor(**state["cursor"]), read_tensors(path / RANDOM)


@torch.no_grad()
def _put(path: Path, into: Mapping[str, Tensor]) -> None:
    """Copy the tensors of a file over those of the same names; names and shapes must be the same."""
    saved = read_tensors(path)
    wrong = sorted(
        saved.keys() ^ into.keys()
        | {name for name in saved.keys() & into.keys() if saved[name].shape != into[name].shape}
    )
    if wrong:
        raise FileError(
            f"{path}: written for another model; {wrong[0]}{f' and {len(wrong) - 1} more' if wrong[1:] else ''} "
            "missing on one side, or of another shape. Resume with the options that the run was started with."
        )
    for name, tensor in into.items():
        tensor.copy_(saved[name])


# Random generators


def random_state() -> dict[str, Tensor]:
    """The states of Python's, numpy's and torch's global generators in this process, as tensors of fixed sizes."""
    _, words, spare = random.getstate()
    _, keys, position, has_spare, numpy_spare = np.random.get_state()
    state = {
        "python": torch.tensor(words, dtype=torch.int64),
        "python_spare": torch.tensor([spare is not None, spare or 0.0], dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_spare": torch.tensor([position, has_spare, numpy_spare], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Tensor]) -> None:
    """Put back what `random_state` gave."""
    has_spare, spare = state["python_spare"].tolist()
    random.setstate((3, tuple(state["python"].tolist()), spare if has_spare else None))
    position, has_spare, spare = state["numpy_spare"].tolist()
    np.random.set_state(("MT19937", state["numpy"].numpy().astype(np.uint32), int(position), int(has_spare), spare))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
