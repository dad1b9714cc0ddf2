"""Several processes are one run: the gradients of the whole batch, the same batches after a resume on fewer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_contrast import fetch, record_shares, seeded, toy_batches, train

PLAIN_STEP = {"epochs": 1, "optimizer": "sgd", "schedule": "constant", "clip": None, "weight_decay": 0.0}


def whole_batch_step(kind: str, batch: list[int]) -> dict[str, torch.Tensor]:
    """The weights after one plain SGD step, from a dense loss written down here: no loop, no gathering, no tiles."""
    task = seeded(kind)
    data = fetch(batch)
    texts, images = task.embed(data["captions"], data["images"])
    logits = texts @ images.T * task.scale.exp()
    own = torch.eye(len(texts))
    if kind == "softmax":
        loss = -((logits.log_softmax(0) + logits.log_softmax(1)) * own).sum() / (2 * len(texts))
    else:
        loss = -torch.nn.functional.logsigmoid((2 * own - 1) * (logits + task.bias)).sum() / len(texts)
    loss.backward()
    with torch.no_grad():
        for group in task.groups():
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter -= group["lr"] * parameter.grad
    return {name: parameter.detach() for name, parameter in task.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_step_of_several_processes_is_the_step_of_the_whole_batch(kind, world, tmp_path, run_processes):
    # 24 of the 26 pictures are one batch, so an epoch is one step
    assert run_processes(train, world, folder=tmp_path, kind=kind, fetch=fetch, size=24, **PLAIN_STEP) == [0] * world
    after = load_file(tmp_path / "final.safetensors")
    for name, expected in whole_batch_step(kind, toy_batches(size=24).epoch(1)[0]).items():
        torch.testing.assert_close(
            after[name], expected, atol=1e-8, rtol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_stopped_on_four_and_resumed_on_one_the_batches_are_the_same(tmp_path, start_processes, run_processes):
    processes = start_processes(record_shares, 4, folder=tmp_path, kind="softmax", ctrl_c=(2, 5))
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [1] * 4
    assert all("KeyboardInterrupt" in process.output.read_text() for process in processes)
    shares = [read_lines(tmp_path / f"items-{rank}.jsonl") for rank in range(4)]
    on_four = [[item for share in step for item in share] for step in zip(*shares, strict=True)]
    (tmp_path / "items-0.jsonl").unlink()

    assert run_processes(record_shares, 1, folder=tmp_path, kind="softmax", resume=True) == [0]
    on_one = read_lines(tmp_path / "items-0.jsonl")
    assert len(on_four) == 5
    assert on_four + on_one == [batch for epoch in (1, 2, 3) for batch in toy_batches().epoch(epoch)]
    assert [line["step"] for line in read_lines(tmp_path / "log.jsonl") if "loss" in line] == list(range(1, 10))


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_written(tmp_path, start_processes):
    for process in start_processes(train, 2, folder=tmp_path, kind="softmax", size=7):
        process.join(60)
        assert "a batch of 7 cannot be shared equally by 2 processes" in process.output.read_text()
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_accelerate_launch_trains_as_one_process_does(world, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom toy_contrast import fetch, train\n"
        f"train(Path({str(tmp_path)!r}), 'softmax', fetch, size=24, **{PLAIN_STEP!r})\n"
    )
    options = f"--cpu --num_processes {world} --num_machines 1 --mixed_precision no --dynamo_backend no"
    launch = [sys.executable, "-m", "accelerate.commands.launch", *options.split(), "--main_process_port", "0"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, str(script)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = load_file(tmp_path / "final.safetensors")
    for name, expected in whole_batch_step("softmax", toy_batches(size=24).epoch(1)[0]).items():
        torch.testing.assert_close(after[name], expected, atol=1e-8, rtol=1e-6)


def read_lines(path: Path) -> list:
    return [json.loads(line) for line in path.read_text().splitlines()]
