"""Where work runs: in processes here, as Ray tasks, or as Slurm jobs. All of them do the same work in one folder."""

from pathlib import Path
from typing import Literal

from polyprompt.errors import ConfigError
from polyprompt.executors.job import Job, Watch

Executor = Literal["local", "ray", "slurm"]


def start(executor: Executor, workers: int, job: Job, what: Path, watch: Watch) -> None:
    """Runs `job(what)` in so many workers, and returns when all have ended.

    Raises:
        ConfigError: the executor is not installed, or there is nothing that it could run on.
    """
    if workers < 1:
        raise ConfigError(f"workers is {workers}; give 1 or more")
    if executor == "local":
        from polyprompt.executors.local import run
    elif executor == "ray":
        from polyprompt.executors.on_ray import run
    else:
        from polyprompt.executors.slurm import run
    run(workers, job, what, watch)
