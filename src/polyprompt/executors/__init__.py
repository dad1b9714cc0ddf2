"""Where work runs: in processes here, as Ray tasks, or as Slurm jobs. All of them do the same work in one folder."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from polyprompt.errors import ConfigError, install
from polyprompt.executors.job import Job, Watch

Executor = Literal["local", "ray", "slurm"]
NEEDED = {"ray": "ray", "slurm": "submitit"}
"""The package that each needs."""


def check(executor: Executor) -> None:
    """Refuses an executor that cannot be used here.

    Raises:
        ConfigError: it is not installed, or there is nothing that it could run on.
    """
    if executor in NEEDED and find_spec(NEEDED[executor]) is None:
        raise ConfigError(
            f"--executor {executor} needs the package {NEEDED[executor]}; {install(executor)}; or use --executor local"
        )
    if executor == "slurm" and not shutil.which("sbatch"):
        raise ConfigError("--executor slurm: there is no sbatch on this machine; use --executor local or ray")


def prepare(executor: Executor, workers: int, module: str) -> None:
    """Starts to load the module of a job, which may take seconds, while the caller still finds out what is to be done.

    Workers of this machine need it, those of Ray and Slurm load it where they are; `start` works without it.
    """
    if executor == "local" and workers > 0:
        from polyprompt.executors.local import prepare

        prepare(workers, module)


def start(executor: Executor, workers: int, job: Job, what: Path, watch: Watch) -> None:
    """Runs `job(what)` in so many workers, and returns when all have ended.

    Raises:
        ConfigError: as `check`, or no worker.
    """
    if workers < 1:
        raise ConfigError(f"workers is {workers}; give 1 or more")
    check(executor)
    if executor == "local":
        from polyprompt.executors.local import run
    elif executor == "ray":
        from polyprompt.executors.on_ray import run
    else:
        from polyprompt.executors.slurm import run
    run(workers, job, what, watch)
