import math
import os
import resource
from contextlib import contextmanager

import pytest
import torch
from run_files import log_of
from safetensors.torch import load_file
from torch import nn
from toy_contrast import Contrast, fetch, seeded, toy_batches, train

from polyprompt.errors import ConfigError, FileError, TrainingError
from polyprompt.train import checkpoint
from polyprompt.train.batches import Batches
from polyprompt.train.loop import TrainSettings, fit
from polyprompt.train.schedule import cosine_rate, published_rate


def at_step(number, change):
    """`fetch`, with the batch of one step changed."""
    calls = 0

    def fetched(items):
        nonlocal calls
        calls += 1
        return change(fetch(items)) if calls == number else fetch(items)

    return fetched


def with_nan(batch):
    return batch | {"images": batch["images"] * math.nan}


class Slope(nn.Module):
    """One number whose loss has the gradient that the batch says."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.zeros(2))

    def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.at * batch).sum(), "unused": torch.tensor(math.nan)}


def slope_run(folder, gradients, lr=0.1, **settings) -> Slope:
    task = Slope()
    batches = Batches(fetch=lambda items: torch.tensor(gradients), image_of=range(4), size=4)
    options = {"epochs": 1, "optimizer": "sgd", "schedule": "constant", "weight_decay": 0.0} | settings
    fit(task, batches, TrainSettings(**options), folder, groups=[{"params": task.parameters(), "lr": lr}])
    return task


# Learning


def test_the_loss_falls_and_the_log_says_what_happened(tmp_path):
    train(tmp_path, fetch=fetch, epochs=20, log_every=7, warmup=0.1)
    lines = log_of(tmp_path)
    steps = [line for line in lines if "loss" in line]
    epochs = [line for line in lines if "dev" in line]
    assert steps[-1]["loss"] < 0.7 * steps[0]["loss"]
    assert [line["step"] for line in steps] == [1, 7, 14, 21, 28, 35, 42, 49, 56, 60]
    assert [(line["epoch"], line["step"]) for line in epochs] == [(epoch, 3 * epoch) for epoch in range(1, 21)]
    assert [line["lr"] for line in steps] == [cosine_rate(line["step"] - 1, 60, 0.02, 6) for line in steps]
    assert all(line["rates"]["scale"] == pytest.approx(line["lr"] / 2) for line in steps)
    assert all(line["seconds"] > 0 and line["pairs_per_second"] > 0 for line in steps)


def test_published_rates_hold_for_an_epoch(tmp_path):
    train(tmp_path, epochs=4, schedule="published", optimizer="sgd")
    for line in log_of(tmp_path):
        if "loss" in line:
            assert line["rates"]["towers"] == line["lr"] == published_rate(line["epoch"], 4, 0.02)
            assert line["rates"]["scale"] == published_rate(line["epoch"], 4, 0.01)


def test_groups_learn_at_their_own_rates_and_what_is_frozen_stays(tmp_path):
    before = seeded("local")
    task = seeded("local")
    groups = task.groups()
    groups[1]["lr"] = 0.0
    settings = TrainSettings(epochs=1, weight_decay=0.0)
    fit(task, toy_batches(), settings, tmp_path, groups=groups)
    moved = {name for name, old in before.named_parameters() if not old.equal(task.get_parameter(name))}
    assert moved == {name for name, _ in task.named_parameters()} - {
        "scale",
        "bias",
        "trunk.weight",
        "trunk.bias",
    }


def test_the_gradient_is_clipped_to_the_norm(tmp_path):
    assert slope_run(tmp_path / "clipped", [3.0, 4.0]).at.tolist() == pytest.approx([-0.06, -0.08], rel=1e-5)
    assert slope_run(tmp_path / "free", [3.0, 4.0], clip=None).at.tolist() == pytest.approx([-0.3, -0.4])
    assert slope_run(tmp_path / "small", [0.3, 0.4]).at.tolist() == pytest.approx([-0.03, -0.04])


def test_a_number_that_is_not_finite_is_null_in_the_log_unless_it_is_the_loss(tmp_path):
    slope_run(tmp_path, [1.0, 1.0])
    assert log_of(tmp_path)[0]["unused"] is None


def test_bf16_trains_nearly_the_same_weights_which_stay_in_fp32(tmp_path):
    full, half = (train(tmp_path / name, fetch=fetch, precision=name) for name in ("fp32", "bf16"))
    losses = [[line["loss"] for line in log_of(tmp_path / name) if "loss" in line] for name in ("fp32", "bf16")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    assert not full.words.weight.equal(half.words.weight)


# What goes wrong


def test_a_loss_that_is_nan_stops_the_run_in_one_line_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(TrainingError) as caught:
        train(tmp_path, fetch=at_step(5, with_nan), checkpoint_steps=2)
    message = str(caught.value)
    assert message.startswith("step 5 (epoch 2): the loss is not finite (loss nan, contrast nan, scale 2.6")
    assert "at learning rate 0.01" in message
    assert "Try a smaller rate" in message
    assert "epoch-0002-batch-000001 is kept" in message
    assert "\n" not in message
    train(tmp_path, fetch=fetch, resume=True)  # and it goes on from there
    assert [line["step"] for line in log_of(tmp_path) if "loss" in line] == list(range(1, 10))


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_step(tmp_path):
    task = Slope()
    task.forward = lambda batch: {"loss": task.at.sqrt().sum()}  # 0, with an infinite slope
    groups = [{"params": task.parameters(), "lr": 0.1}]
    with pytest.raises(
        TrainingError, match=r"step 1 .*the gradient is not finite \(loss 0\).*no checkpoint was written"
    ):
        fit(task, toy_batches(), TrainSettings(epochs=1), tmp_path, groups=groups)
    assert task.at.tolist() == [0, 0]


@contextmanager
def room_for(size: int):
    """No file may grow beyond `size` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("size", "name"), [(300, "log.jsonl"), (8000, "epoch-0002-batch-000000")])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(size, name, tmp_path):
    whole, short = tmp_path / "whole", tmp_path / "short"
    train(whole, fetch=fetch)
    with room_for(size), pytest.raises(FileError, match=name) as caught:
        train(short, fetch=fetch)
    assert "\n" not in str(caught.value)
    assert not checkpoint.checkpoints_in(short / "checkpoints")
    assert not list((short / "checkpoints").glob(".*"))
    train(short, fetch=fetch, resume=True)
    left, right = (load_file(folder / "final.safetensors") for folder in (whole, short))
    assert all(left[tensor].equal(right[tensor]) for tensor in left)
    assert len(log_of(short)) == len(log_of(whole))


def test_a_folder_that_holds_a_run_is_not_written_over(tmp_path):
    train(tmp_path, epochs=1)
    log = (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(FileError, match=r"holds a run already\. Resume it with --resume"):
        train(tmp_path, epochs=1)
    assert (tmp_path / "log.jsonl").read_bytes() == log


def test_a_run_is_not_resumed_with_other_batches(tmp_path):
    train(tmp_path, epochs=1)
    with pytest.raises(ConfigError, match=r"batch size is 4, but the run in .* was started with 8"):
        train(tmp_path, epochs=1, size=4, resume=True)


def test_what_learns_is_said_once_and_completely(tmp_path):
    task = Contrast()
    towers, scale = task.groups()
    frozen = {"params": [task.trunk.weight], "lr": 0.1}
    cases = {"scale and 1 more": [towers], "scale": [towers, scale, scale], "trunk.weight": [towers, scale, frozen]}
    for name, groups in cases.items():
        with pytest.raises(ConfigError, match=f"^{name}"):
            fit(task, toy_batches(), TrainSettings(epochs=1), tmp_path, groups=groups)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("log_every", 0),
        ("checkpoint_steps", 0),
        ("seed", -1),
        ("weight_decay", -0.1),
        ("weight_decay", math.nan),
        ("warmup", 1.0),
        ("clip", 0.0),
        ("clip", math.nan),
        ("checkpoint_minutes", 0.0),
    ],
)
def test_settings_check_themselves(name, value):
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        TrainSettings(**{"epochs": 1} | {name: value})


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """`slow(40.0)`: fetches batches, so many seconds apart by the clock; and the checkpoints that were seen then."""
    now, saved = 0.0, set[str]()
    monkeypatch.setattr("polyprompt.train.loop.time.monotonic", lambda: now)

    def every(seconds):
        def fetched(items):
            nonlocal now
            now += seconds
            saved.update(names_in(tmp_path))
            return fetch(items)

        return fetched, saved

    return every


def test_checkpoints_come_after_minutes_too(tmp_path, slow):
    fetched, saved = slow(40.0)
    train(tmp_path, fetch=fetched, epochs=1, size=2, checkpoint_minutes=2.0)
    places = [(1, 3), (1, 6), (1, 9), (1, 12), (2, 0)]
    assert saved | names_in(tmp_path) == {f"epoch-{epoch:04}-batch-{batch:06}" for epoch, batch in places}


def names_in(run) -> set[str]:
    """Its checkpoints, of which only the newest stay."""
    return {path.name for path in checkpoint.checkpoints_in(run / "checkpoints")}


def test_short_epochs_share_a_checkpoint_and_the_last_one_has_its_own(tmp_path, slow):
    fetched, saved = slow(1.0)
    train(tmp_path, fetch=fetched, epochs=6, size=13, epoch_seconds=3.0)  # two batches an epoch
    assert saved | names_in(tmp_path) == {f"epoch-{epoch:04}-batch-000000" for epoch in (3, 5, 7)}
