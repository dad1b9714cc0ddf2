"""Workers as Slurm jobs, handed in through submitit; where there is no Slurm, its stand-in runs them here.

Partition, time and the like are Slurm's own variables: SBATCH_PARTITION, SBATCH_TIMELIMIT, SBATCH_ACCOUNT.
"""

import time
from pathlib import Path

from polyprompt.executors.job import Job, Watch
from polyprompt.progress import say

EVERY = 1.0
"""Seconds between two looks."""


def run(workers: int, job: Job, what: Path, watch: Watch, cluster: str = "slurm") -> None:
    """See `executors.start`. What they work on has to lie where all machines of the cluster see it.

    Args:
        cluster: submitit's; "local" runs the same jobs as processes of this machine.
    """
    import submitit

    executor = submitit.AutoExecutor(folder=what.with_name("slurm"), cluster=cluster)
    executor.update_parameters(name="polyprompt", timeout_min=24 * 60, cpus_per_task=1)
    jobs = [executor.submit(job, what.resolve()) for _ in range(workers)]
    say(f"Jobs {', '.join(one.job_id for one in jobs)}; what they write to their logs is in {executor.folder}")
    while not all(one.done() for one in jobs):
        time.sleep(EVERY)
        watch()
    watch()
