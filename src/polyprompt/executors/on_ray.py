"""Workers as Ray tasks, on the cluster that RAY_ADDRESS names, or on this machine.

Each has a core, and a GPU where there are some.
"""

import os
from pathlib import Path

from polyprompt.executors.job import Job, Watch
from polyprompt.progress import say

EVERY = 0.5
"""Seconds between two looks."""
RETRIES = 3
"""How often Ray makes up for a worker that was lost."""


def run(workers: int, job: Job, what: Path, watch: Watch) -> None:
    """See `executors.start`. What they work on has to lie where all machines of the cluster see it."""
    import ray
    from ray.exceptions import RayError

    started_here = not ray.is_initialized()
    if started_here:
        ray.init(address=os.environ.get("RAY_ADDRESS"), include_dashboard=False, log_to_driver=False)
    try:
        devices = 1 if ray.cluster_resources().get("GPU") else 0
        task = ray.remote(num_cpus=1, num_gpus=devices, max_retries=RETRIES)(job)
        left = [task.remote(what.resolve()) for _ in range(workers)]
        while left:
            ready, left = ray.wait(left, timeout=EVERY)
            for one in ready:
                try:
                    ray.get(one)
                except RayError as error:  # the others go on; what it leaves undone is told at the end
                    say(f"A worker was lost: {str(error).strip().splitlines()[-1]}")
            watch()
    finally:
        if started_here:
            ray.shutdown()
