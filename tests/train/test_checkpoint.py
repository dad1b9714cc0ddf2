import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toy_contrast import Contrast, fetch

from polyprompt.disk.files import write_manifest
from polyprompt.errors import ConfigError, FileError
from polyprompt.train import checkpoint
from polyprompt.train.checkpoint import Cursor, random_state, restore, save, set_random_state

PLAN = {"batch size": 8}


def trained(seed: int, optimizer: str = "adamw", steps: int = 2):
    """A toy and its optimiser after some steps."""
    torch.manual_seed(seed)
    task = Contrast()
    kinds = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "momentum": lambda p: torch.optim.SGD(p, momentum=0.9)}
    optimizer = kinds[optimizer](task.groups())
    for _ in range(steps):
        step(task, optimizer)
    return task, optimizer


def step(task, optimizer) -> None:
    optimizer.zero_grad()
    task(fetch(list(range(8))))["loss"].backward()
    optimizer.step()


def stacked() -> dict[str, torch.Tensor]:
    return {name: state[None] for name, state in random_state().items()}


def state_of(task) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in checkpoint.learned_state(task).items()}


def equal(left, right) -> bool:
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


@pytest.mark.parametrize(("optimizer", "name"), [("adamw", "a"), ("sgd", "a"), ("momentum", "a"), ("adamw", "\udcff")])
def test_what_is_restored_takes_the_same_next_step(optimizer, name, tmp_path):
    """In a folder, too, whose name is not UTF-8."""
    tmp_path = tmp_path / name
    task, memory = trained(0, optimizer)
    save(tmp_path, Cursor(3, 4, 5, 6.5, 7), task, memory, stacked(), PLAN)
    other, other_memory = trained(1, optimizer, steps=0)
    other.trunk.load_state_dict(task.trunk.state_dict())  # frozen, so not in the checkpoint
    at, randoms = restore(tmp_path, other, other_memory, PLAN)
    assert at == Cursor(3, 4, 5, 6.5, 7)
    assert equal(state_of(other), state_of(task))
    set_random_state({name: rows[0] for name, rows in randoms.items()})
    step(task, memory)
    set_random_state({name: rows[0] for name, rows in randoms.items()})
    step(other, other_memory)
    assert equal(state_of(other), state_of(task))


def test_learned_tensors_and_buffers_are_saved_and_frozen_ones_are_not(tmp_path):
    save(tmp_path, Cursor(), *trained(0), stacked(), PLAN)
    (folder,) = checkpoint.checkpoints_in(tmp_path)
    names = load_file(folder / "task.safetensors").keys()
    assert {"words.weight", "scale", "seen"} < names
    assert not any(name.startswith("trunk") for name in names)
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}


@pytest.mark.parametrize("draws", range(4))
def test_random_generators_go_on_where_they_were(draws):
    def draw():
        return random.gauss(0, 1), np.random.normal(), torch.randn(2).tolist(), random.random(), np.random.rand()

    for _ in range(draws):
        draw()
    state = random_state()
    expected = [draw() for _ in range(3)]
    set_random_state(state)
    assert [draw() for _ in range(3)] == expected


def test_two_are_kept(tmp_path):
    task, memory = trained(0)
    for at in (Cursor(1, 9), Cursor(1, 10), Cursor(2, 0), Cursor(10, 1)):
        save(tmp_path, at, task, memory, stacked(), PLAN)
    assert [path.name for path in checkpoint.checkpoints_in(tmp_path)] == [
        "epoch-0010-batch-000001",
        "epoch-0002-batch-000000",
    ]


@pytest.mark.parametrize("name", ["task.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "not named"])
def test_a_damaged_checkpoint_is_set_aside_and_the_older_one_taken(name, damage, tmp_path, capsys):
    task, memory = trained(0)
    save(tmp_path, Cursor(1, 1, 1), task, memory, stacked(), PLAN)
    older = state_of(task)
    step(task, memory)
    save(tmp_path, Cursor(1, 2, 2), task, memory, stacked(), PLAN)
    hurt(checkpoint.checkpoints_in(tmp_path)[0] / name, damage)

    at, _ = restore(tmp_path, task, memory, PLAN)
    assert at.step == 1
    assert equal(state_of(task), older)
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert name in message
    assert "epoch-0001-batch-000002.damaged" in message
    assert [path.name for path in checkpoint.checkpoints_in(tmp_path)] == ["epoch-0001-batch-000001"]


def hurt(path, damage) -> None:
    content = path.read_bytes()
    match damage:
        case "flipped":
            middle = len(content) // 2
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        case "cut":
            path.write_bytes(content[:-1])
        case "missing":
            path.unlink()
        case "not named":
            write_manifest(path.parent, {one.name for one in path.parent.iterdir()} - {path.name, "manifest.json"})


def test_all_damaged_is_an_error_and_none_at_all_is_not(tmp_path):
    task, memory = trained(0)
    assert restore(tmp_path / "never", task, memory, PLAN) is None
    for batch in (1, 2):
        save(tmp_path, Cursor(1, batch), task, memory, stacked(), PLAN)
    for path in checkpoint.checkpoints_in(tmp_path):
        hurt(path / "state.json", "cut")
    with pytest.raises(FileError, match="every checkpoint is damaged"):
        restore(tmp_path, task, memory, PLAN)


def test_another_plan_another_model_another_format_are_refused_and_the_checkpoint_stays(tmp_path):
    task, memory = trained(0)
    save(tmp_path, Cursor(), task, memory, stacked(), PLAN)
    with pytest.raises(ConfigError, match=r"batch size is 16, but the run in .* was started with 8"):
        restore(tmp_path, task, memory, {"batch size": 16})
    wider = Contrast()
    wider.image = torch.nn.Linear(8, 9)
    before = state_of(wider)
    with pytest.raises(FileError, match=r"another model; image\.bias and 1 more"):
        restore(tmp_path, wider, torch.optim.AdamW(wider.groups()), PLAN)
    assert equal(state_of(wider), before)
    (folder,) = checkpoint.checkpoints_in(tmp_path)
    state = json.loads((folder / "state.json").read_text()) | {"format": 99}
    (folder / "state.json").write_text(json.dumps(state))
    write_manifest(folder)
    with pytest.raises(FileError, match="format 99"):
        restore(tmp_path, task, memory, PLAN)
    assert checkpoint.checkpoints_in(tmp_path) == [folder]


def test_a_killed_writers_left_overs_are_cleared(tmp_path):
    left = tmp_path / ".epoch-0001-batch-000001.0123456789ab.tmp"
    left.mkdir(parents=True)
    (left / "task.safetensors").write_bytes(b"half")
    assert checkpoint.checkpoints_in(tmp_path) == []
    save(tmp_path, Cursor(1, 2), *trained(0), stacked(), PLAN)
    assert not left.exists()
