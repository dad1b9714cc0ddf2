"""A toy contrastive task that trains in milliseconds, and functions that train it in processes of their own."""

import json
import os
import random
import signal
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from polyprompt.train.batches import Batches
from polyprompt.train.loop import TrainSettings, fit

PICTURES, CAPTIONS, WORDS = 26, 60, 5
IMAGE_OF = [*range(PICTURES), *(random.Random(0).randrange(PICTURES) for _ in range(CAPTIONS - PICTURES))]


class Towers(nn.Module):
    """Attention over words, a linear map of a frozen trunk's features, one space."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.attention = nn.MultiheadAttention(8, 2, dropout=dropout, batch_first=True)
        self.trunk = nn.Linear(6, 8).requires_grad_(False)
        self.image = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.bias = nn.Parameter(torch.tensor(-1.0))
        self.register_buffer("seen", torch.zeros(()))

    def embed(self, captions: torch.Tensor, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        words = self.words(captions)
        texts = self.attention(words, words, words)[0].mean(1)
        return F.normalize(texts, dim=-1), F.normalize(self.image(self.trunk(images).relu()), dim=-1)

    def groups(self) -> list[dict]:
        own = [self.scale, self.bias]
        ids = {id(tensor) for tensor in own}
        rest = [tensor for tensor in self.parameters() if tensor.requires_grad and id(tensor) not in ids]
        return [{"params": rest, "lr": 0.02, "name": "towers"}, {"params": own, "lr": 0.01, "name": "scale"}]


class Contrast(Towers):
    """In-batch softmax contrast of one process, with dropout, and a buffer that counts."""

    def __init__(self) -> None:
        super().__init__(dropout=0.1)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        texts, images = self.embed(batch["captions"], batch["images"])
        self.seen += len(texts)
        logits = texts @ images.T * self.scale.exp() + self.bias
        here = torch.arange(len(texts))
        contrast = (F.cross_entropy(logits, here) + F.cross_entropy(logits.T, here)) / 2
        return {"loss": contrast, "contrast": contrast, "scale": self.scale.exp()}


class Gathered(Towers):
    """The contrast of the library, over the items of all processes."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        from polyprompt.nn.losses import sigmoid_contrast, softmax_contrast

        texts, images = self.embed(batch["captions"], batch["images"])
        if self.kind == "softmax":
            return {"loss": softmax_contrast(texts, images, self.scale.exp()) + 0 * self.bias}
        return {"loss": sigmoid_contrast(texts, images, self.scale.exp(), self.bias)}


def fetch(items: list[int]) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    captions = torch.randint(20, (CAPTIONS, WORDS), generator=draw)
    images = torch.randn(PICTURES, 6, generator=draw)
    return {"captions": captions[items], "images": images[[IMAGE_OF[item] for item in items]]}


def noisy(items: list[int]) -> dict[str, torch.Tensor]:
    """Augmentation that draws from all three global generators."""
    batch = fetch(items)
    shift = random.gauss(0, 0.1) + np.random.normal() * 0.1
    return batch | {"images": batch["images"] + 0.1 * torch.randn_like(batch["images"]) + shift}


def seeded(kind: str) -> Towers:
    torch.manual_seed(3)
    return Contrast() if kind == "local" else Gathered(kind)


def toy_batches(fetch=fetch, size: int = 8) -> Batches:
    return Batches(fetch=fetch, image_of=IMAGE_OF, size=size, seed=5)


def train(folder: Path, kind: str = "local", fetch=noisy, size: int = 8, resume: bool = False, **settings) -> Towers:
    """Train the toy; its final state lies in `folder/final.safetensors` afterwards."""
    from safetensors.torch import save_file

    from polyprompt.train.checkpoint import learned_state

    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    task = seeded(kind)
    options = {"epochs": 3, "log_every": 1, "weight_decay": 0.1} | settings
    # What an epoch's evaluation draws must not be lost on a resume either.
    every_epoch = lambda epoch: {"dev": {"drawn": torch.rand(()).item(), "seen": task.seen.item()}}  # noqa: E731
    fit(
        task,
        toy_batches(fetch, size),
        TrainSettings(**options),
        folder,
        groups=task.groups(),
        every_epoch=every_epoch,
        resume=resume,
    )
    if int(os.environ.get("RANK", "0")) == 0:
        save_file({name: tensor.clone() for name, tensor in learned_state(task).items()}, folder / "final.safetensors")
    return task


def record_shares(folder: Path, ctrl_c: tuple[int, int] | None = None, fetch=fetch, **arguments) -> None:
    """Train, noting which items this process is given; `ctrl_c` comes to one process only, amid one of its steps."""
    rank = int(os.environ.get("RANK", "0"))
    steps = 0

    def recording(items: list[int]) -> dict[str, torch.Tensor]:
        nonlocal steps
        steps += 1
        with open(folder / f"items-{rank}.jsonl", "a") as file:
            file.write(json.dumps(items) + "\n")
        if ctrl_c == (rank, steps):
            os.kill(os.getpid(), signal.SIGINT)
        return fetch(items)

    train(folder, fetch=recording, **arguments)
