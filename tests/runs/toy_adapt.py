"""A run of adapt on a toy encoder, to be started in processes of its own."""

from pathlib import Path

import torch
from toy_encoders import toy_encoder

from polyprompt.runs.adapt import adapt
from polyprompt.runs.settings import AdaptSettings


def run(out: Path, images: Path, family: str = "clip", resume: bool = False, **settings) -> None:
    torch.set_num_threads(1)
    quick = {"epochs": 3, "batch": 4, "rate": 0.01, "shots": 3, "precision": "fp32", "encoder": "toy"}
    adapt(AdaptSettings(data=str(images), **(quick | settings)), out, resume=resume, encoder=toy_encoder(family))
