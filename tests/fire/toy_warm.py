"""Done once, in the process that others are forked from: what work imports and builds late is there in all of them.

The toys lie elsewhere than those of the tests, so nothing that is remembered under the name of a file is known.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import torch
from toy_work import JOBS, make_place

torch.backends.nnpack.set_flags(False)  # its threads are not there in a fork, and it ends with that
with (
    tempfile.TemporaryDirectory() as folder,
    open(os.devnull, "w") as nothing,
    contextlib.redirect_stderr(nothing),
    contextlib.redirect_stdout(nothing),
):
    make_place(Path(folder))
    for name, job in JOBS.items():
        job.run(Path(folder), Path(folder) / name, Path(folder) / "cache")
