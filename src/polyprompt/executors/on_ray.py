"""Workers as Ray tasks, on the cluster that RAY_ADDRESS names, or on this machine.

Each has a core, and a GPU where there are some.
"""

import os
from pathlib import Path

from polyprompt.errors import ConfigError
from polyprompt.executors.job import Job, Watch

EVERY = 0.5
"""Seconds between two looks."""
RETRIES = 3
"""How often Ray makes up for a worker that was lost."""


def run(workers: int, job: Job, what: Path, watch: Watch) -> None:
    """See `executors.start`. What they work on has to lie where all machines of the cluster see it."""
    try:
        import ray
    except ModuleNotFoundError:
        raise ConfigError("--executor ray needs Ray; pip install 'polyprompt[ray]'") from None
    begun = not ray.is_initialized()
    if begun:
        ray.init(address=os.environ.get("RAY_ADDRESS"), include_dashboard=False, log_to_driver=False)
    try:
        devices = 1 if ray.cluster_resources().get("GPU") else 0
        task = ray.remote(num_cpus=1, num_gpus=devices, max_retries=RETRIES)(job)
        left = [task.remote(what.resolve()) for _ in range(workers)]
        while left:
            ready, left = ray.wait(left, timeout=EVERY)
            ray.get(ready)
            watch()
    finally:
        if begun:
            ray.shutdown()
