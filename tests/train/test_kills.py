"""Whatever stops a run, at any moment: it goes on to the same weights, to the last bit, and logs each step once."""

import os
import random
import signal
import time

import pytest
from run_files import log_of, same
from safetensors.torch import load_file
from toy_contrast import fetch, noisy, record_shares, train

from polyprompt.train import checkpoint

TIMINGS = ("seconds", "pairs_per_second", "sha256")
"""What differs from run to run: times, and the hash of a line with times."""


def timeless(folder) -> list[dict]:
    """A log without what differs from run to run."""
    return [{name: value for name, value in line.items() if name not in TIMINGS} for line in log_of(folder)]


def same_bits(left, right) -> bool:
    return same(load_file(left / "final.safetensors"), load_file(right / "final.safetensors"))


@pytest.mark.parametrize(("kills", "epochs"), [(6, 24), pytest.param(20, 60, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_times_ends_with_the_same_bits(kills, epochs, tmp_path, start_processes, run_processes):
    options = {"epochs": epochs, "checkpoint_steps": 2}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_processes(train, folder=whole, **options) == [0]
    draw = random.Random(0)
    for _ in range(kills):
        (process,) = start_processes(train, folder=killed, resume=True, **options)
        wait_for_progress(killed, process)
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL  # not yet at its end, and not failed
    assert run_processes(train, folder=killed, resume=True, **options) == [0]
    assert same_bits(killed, whole)
    assert timeless(killed) == timeless(whole)
    assert [line["step"] for line in timeless(killed) if "loss" in line] == list(range(1, 3 * epochs + 1))
    assert len(checkpoint.checkpoints_in(killed / "checkpoints")) == 2
    assert not list((killed / "checkpoints").glob(".*"))


def wait_for_progress(folder, process) -> None:
    """Until the process has written a line of its own."""
    log = folder / "log.jsonl"
    before = log.stat().st_mtime_ns if log.exists() else 0
    while process.is_alive() and not (log.exists() and log.stat().st_mtime_ns > before):
        time.sleep(0.002)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_ctrl_c_ends_the_step_saves_and_goes_on_with_the_same_bits(optimizer, tmp_path, start_processes, run_processes):
    options = {"fetch": noisy, "epochs": 4, "optimizer": optimizer, "schedule": "published"}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run_processes(record_shares, folder=whole, **options) == [0]
    (process,) = start_processes(record_shares, folder=stopped, ctrl_c=(0, 5), **options)
    process.join(60)
    assert process.exitcode == 1
    assert "Stopping: ending this step" in process.output.read_text()
    assert "KeyboardInterrupt" in process.output.read_text()
    names = [path.name for path in checkpoint.checkpoints_in(stopped / "checkpoints")]
    assert names == ["epoch-0002-batch-000002", "epoch-0002-batch-000000"]
    assert run_processes(record_shares, folder=stopped, resume=True, **options) == [0]
    assert same_bits(stopped, whole)
    assert timeless(stopped) == timeless(whole)
    assert (stopped / "items-0.jsonl").read_text() == (whole / "items-0.jsonl").read_text()


def test_ctrl_c_twice_stops_at_once_and_the_handler_is_put_back(tmp_path):
    before = signal.getsignal(signal.SIGINT)

    def impatient(items):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, fetch=impatient)
    assert not checkpoint.checkpoints_in(tmp_path / "checkpoints")
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_is_left_to_who_ignores_it(tmp_path):
    """Workers of a grid do: the command that started them ends them, and says so."""

    def pressing(items):
        os.kill(os.getpid(), signal.SIGINT)
        return fetch(items)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        train(tmp_path, fetch=pressing)
    finally:
        signal.signal(signal.SIGINT, before)
    assert checkpoint.checkpoints_in(tmp_path / "checkpoints")


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    train(tmp_path)
    final, log = load_file(tmp_path / "final.safetensors"), (tmp_path / "log.jsonl").read_bytes()
    again = train(tmp_path, resume=True)
    assert all(tensor.equal(final[name]) for name, tensor in checkpoint.learned_state(again).items())
    assert (tmp_path / "log.jsonl").read_bytes() == log
