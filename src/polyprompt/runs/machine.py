"""What a run was made on, in one line: a figure without its machine says little about time."""

import os
import platform
from pathlib import Path

import torch

from polyprompt.data.messages import count


def machine() -> str:
    """ "Intel(R) Xeon(R) Processor, 2 cores, 2 threads"; with GPUs their names too."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cores, threads = count(os.cpu_count() or 1, "core"), count(torch.get_num_threads(), "thread")
    return ", ".join([processor(), cores, threads, *gpus])


def processor(listed: Path = Path("/proc/cpuinfo")) -> str:
    """The model's name where Linux tells it, else the architecture."""
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
